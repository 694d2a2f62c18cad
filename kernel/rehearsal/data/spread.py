"""The hashes of both sides' rows beside each other in the clone, where a join counts what differs.

They are copied from server to server in PostgreSQL's binary form, and lie in temporary tables: memory is bounded by
work_mem, however many rows differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from kernel.rehearsal.data.sides import rows

if TYPE_CHECKING:
    from typing import Self

    from kernel.rehearsal.data.sides import Row, Sides
    from kernel.rehearsal.data.sources import Compared, Source

KEYS_SHOWN = 20


class Spread:
    """The hashes of both sides' rows, side by side in temporary tables of the clone; gone when the block ends."""

    _GOLDEN = sql.Identifier("pg_temp", "golden_hashes")
    _CLONE = sql.Identifier("pg_temp", "clone_hashes")

    def __init__(self, sides: Sides, both: Compared, differing: list[int], only: tuple[sql.Composed, ...]) -> None:
        self._sides = sides
        self._golden, self._clone = (
            _hashed(source, differing, condition, ordinal=both.ordinal)
            for source, condition in zip((both.golden, both.clone), only, strict=True)
        )
        self._names = [sql.Identifier(f"h{place}") for place in differing]

    def __enter__(self) -> Self:
        clone = self._sides.clone
        clone.execute(sql.SQL("DROP TABLE IF EXISTS {}, {}").format(self._GOLDEN, self._CLONE))
        clone.execute(sql.SQL("CREATE TEMP TABLE clone_hashes AS {}").format(self._clone))
        clone.execute(sql.SQL("CREATE TEMP TABLE golden_hashes (LIKE {})").format(self._CLONE))
        read = sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(self._golden)
        write = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(self._GOLDEN)
        with self._sides.golden.cursor().copy(read) as source, clone.cursor().copy(write) as target:
            for block in source:
                target.write(block)
        clone.execute(sql.SQL("ANALYZE {}, {}").format(self._GOLDEN, self._CLONE))
        return self

    def __exit__(self, *_: object) -> None:
        if not self._sides.clone.broken:
            self._sides.clone.execute(sql.SQL("DROP TABLE IF EXISTS {}, {}").format(self._GOLDEN, self._CLONE))

    def counts(self) -> Row:
        """Rows added, removed and changed, then for each column: differing, NULL before, NULL now."""
        filters = [sql.SQL("g.here IS NULL"), sql.SQL("c.here IS NULL"), self._changed()]
        for name in self._names:
            differs = sql.SQL("g.here AND c.here AND g.{0} IS DISTINCT FROM c.{0}").format(name)
            filters += [
                differs,
                sql.SQL("{} AND g.{} IS NULL").format(differs, name),
                sql.SQL("{} AND c.{} IS NULL").format(differs, name),
            ]
        counts = sql.SQL(", ").join(sql.SQL("count(*) FILTER (WHERE {})").format(one) for one in filters)
        return rows(self._sides.clone, sql.SQL("SELECT {} FROM {}").format(counts, self._joined()))[0]

    def examples(self, *, golden: bool) -> list[Row]:
        """Both hashes of some keys that differ: of golden rows removed or changed, else of added ones."""
        condition = sql.SQL("c.here IS NULL OR {}").format(self._changed()) if golden else sql.SQL("g.here IS NULL")
        return rows(
            self._sides.clone,
            sql.SQL("SELECT k1, k2 FROM {} WHERE {} ORDER BY 1, 2 LIMIT {}").format(
                self._joined(), condition, KEYS_SHOWN
            ),
        )

    def _joined(self) -> sql.Composed:
        return sql.SQL("{} AS g FULL JOIN {} AS c USING (k1, k2, ordinal)").format(self._GOLDEN, self._CLONE)

    def _changed(self) -> sql.Composed:
        differ = [sql.SQL("g.{0} IS DISTINCT FROM c.{0}").format(name) for name in self._names]
        return sql.SQL("(g.here AND c.here AND ({}))").format(sql.SQL(" OR ").join([*differ, sql.SQL("false")]))


def _hashed(source: Source, differing: list[int], condition: sql.Composed, *, ordinal: bool) -> sql.Composed:
    """A query of both hashes of the key, an ordinal among equal keys, and the hashes of columns."""
    values = [source.values[place] for place in differing]
    number: sql.Composable = sql.SQL("1::int8")
    if ordinal:
        order = sql.SQL(", ").join(values or [sql.SQL("1")])
        number = sql.SQL("row_number() OVER (PARTITION BY {}, {} ORDER BY {})").format(
            source.identity, source.second_identity, order if values else sql.SQL("NULL::int8")
        )
    return sql.SQL("SELECT true AS here, {} AS k1, {} AS k2, {} AS ordinal{} FROM {} WHERE {}").format(
        source.identity,
        source.second_identity,
        number,
        sql.SQL("").join(
            sql.SQL(", {} AS {}").format(value, sql.Identifier(f"h{place}"))
            for place, value in zip(differing, values, strict=True)
        ),
        source.rows,
        condition,
    )
