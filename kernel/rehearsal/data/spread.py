"""The rows that differ, by their hashes, in a temporary table of the clone.

The hashes of golden rows are copied there in batches; a join with those of the clone's rows finds what is on one side
only, and what is not alike. Memory is bounded by work_mem, however many rows there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from kernel.rehearsal.data import batches
from kernel.rehearsal.data.batches import Batches
from kernel.rehearsal.data.sides import rows

if TYPE_CHECKING:
    from typing import Self

    from kernel.rehearsal.data.sides import Row, Sides
    from kernel.rehearsal.data.sources import Compared

KEYS_SHOWN = 20


class Spread:
    """The differing rows; gone when the block ends.

    `differing` are the places of columns (sources.Compared) to look at, `only` the condition for each side that holds
    for the rows to look at.
    """

    _GOLDEN = sql.Identifier("pg_temp", "golden_hashes")
    _DIFFERING = sql.Identifier("pg_temp", "differing")

    def __init__(self, sides: Sides, both: Compared, differing: list[int], only: tuple[sql.Composed, ...]) -> None:
        self._sides = sides
        self._both = both
        self._only = only
        self._places = differing
        self._keys = [sql.Identifier(f"k{place}") for place, _ in enumerate(both.golden.key)]
        self._hashes = [sql.Identifier(f"h{place}") for place in differing]
        # What they are called where both sides' are in one row.
        self._sided = [(sql.Identifier(f"g{place}"), sql.Identifier(f"c{place}")) for place in differing]

    def __enter__(self) -> Self:
        golden, clone = self._sides.golden, self._sides.clone
        copied = Batches(table=self._GOLDEN, columns=(*self._keys, *self._hashes))
        copied.make(clone)
        source = self._both.golden
        expressions = [*source.key, *(source.values[place] for place in self._places)]
        for leaf in source.leaves:
            query = batches.arrays(golden, leaf, expressions, only=self._only[0])
            batches.copy(golden, clone, copied, query)
        clone.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(self._DIFFERING))
        clone.execute(sql.SQL("CREATE TEMP TABLE differing AS {}").format(self._joined(copied)))
        return self

    def __exit__(self, *_: object) -> None:
        if not self._sides.clone.broken:
            self._sides.clone.execute(sql.SQL("DROP TABLE IF EXISTS {}, {}").format(self._GOLDEN, self._DIFFERING))

    def counts(self) -> Row:
        """Rows added, removed and changed, then for each column: differing, NULL before, NULL now."""
        filters: list[sql.Composable] = [
            sql.SQL("golden IS NULL"),
            sql.SQL("clone IS NULL"),
            sql.SQL("golden AND clone"),
        ]
        for before, after in self._sided:
            differs = sql.SQL("golden AND clone AND {} IS DISTINCT FROM {}").format(before, after)
            filters += [
                differs,
                sql.SQL("{} AND {} IS NULL").format(differs, before),
                sql.SQL("{} AND {} IS NULL").format(differs, after),
            ]
        counts = sql.SQL(", ").join(sql.SQL("count(*) FILTER (WHERE {})").format(one) for one in filters)
        return rows(self._sides.clone, sql.SQL("SELECT {} FROM {}").format(counts, self._DIFFERING))[0]

    def examples(self, *, golden: bool) -> list[Row]:
        """The key (sources.Source) of some rows that differ: of golden rows removed or changed, else of added ones."""
        return rows(
            self._sides.clone,
            sql.SQL("SELECT {0} FROM {1} WHERE golden IS {2} ORDER BY {0} LIMIT {3}").format(
                sql.SQL(", ").join(self._keys),
                self._DIFFERING,
                sql.SQL("NOT NULL" if golden else "NULL"),
                KEYS_SHOWN,
            ),
        )

    def _joined(self, copied: Batches) -> sql.Composed:
        """A query of the rows that are on one side only, or differ: `golden`, `clone`, the key, both sides' hashes."""
        theirs = self._both.clone
        hashed = [*theirs.key, *(theirs.values[place] for place in self._places)]
        clone = sql.SQL("SELECT {} FROM {} WHERE {}").format(
            sql.SQL(", ").join(
                sql.SQL("({})::bigint AS {}").format(one, name)
                for one, name in zip(hashed, copied.columns, strict=True)
            ),
            theirs.rows,
            self._only[1],
        )
        wanted: list[sql.Composable] = [sql.SQL("g.here AS golden, c.here AS clone"), *self._keys]
        conditions: list[sql.Composable] = [sql.SQL("g.here IS NULL"), sql.SQL("c.here IS NULL")]
        for name, (before, after) in zip(self._hashes, self._sided, strict=True):
            wanted.append(sql.SQL("g.{0} AS {1}, c.{0} AS {2}").format(name, before, after))
            conditions.append(sql.SQL("g.{0} IS DISTINCT FROM c.{0}").format(name))
        ordinal = [sql.Identifier("ordinal")] if self._both.ordinal else []
        return sql.SQL("SELECT {} FROM ({}) AS g FULL JOIN ({}) AS c USING ({}) WHERE {}").format(
            sql.SQL(", ").join(wanted),
            self._told_apart(copied.single),
            self._told_apart(clone),
            sql.SQL(", ").join([*self._keys, *ordinal]),
            sql.SQL(" OR ").join(conditions),
        )

    def _told_apart(self, query: sql.Composed) -> sql.Composed:
        """The rows of one side, with an ordinal among equal ones where no key tells them apart."""
        if not self._both.ordinal:
            return sql.SQL("SELECT true AS here, * FROM ({}) AS hashed").format(query)
        order: list[sql.Composable] = [*self._hashes] or [sql.SQL("NULL::bigint")]
        return sql.SQL(
            "SELECT true AS here, *, row_number() OVER (PARTITION BY {} ORDER BY {}) AS ordinal FROM ({}) AS hashed"
        ).format(sql.SQL(", ").join(self._keys), sql.SQL(", ").join(order), query)
