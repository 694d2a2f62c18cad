"""Two databases' rows of a table: compared by sums of hashes, and told apart where the sums differ.

One pass over each side gives the rows, the sum of the keys' hashes, and for each column the sum of its hashes seeded by
the key: swapped values and duplicated pairs change it, as an unseeded sum or xor would not. PostgreSQL adds bigint up
in 128 bits, so that nothing overflows. Only where sums differ, a second pass tells in which buckets of rows, and a
third copies hashes of their golden rows to the clone, where a join with its own counts exactly. Tables of any size need
no memory here, and no value leaves the server but keys: those that `query` names, and integer ones, which are as short
as a hash of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import errors, sql

from kernel.rehearsal.data.connections import ArrayTable, array_query, copy_arrays, fetch_rows
from kernel.rehearsal.data.hashing import cast_probe_query, count_query, needs_cast, prepare_comparison

if TYPE_CHECKING:
    from typing import Self

    from kernel.rehearsal.data.connections import ConnectionPair, Row
    from kernel.rehearsal.data.hashing import RowSource, TableComparison
    from kernel.rehearsal.data.tables import CatalogColumn, ColumnPair, TablePair, TableSide


# Where two sides differ: their rows in buckets by the hash of the key, and the buckets that are not alike.
#
# What is read again is then a small part of the table, unless the differing rows are many.


_ROWS_PER_BUCKET = 64
# Among 2^16, thousands of differing rows leave most alike. With 2^20 of them every row would wait for memory, and the
# pass takes three times as long.
_MAX_BUCKETS = 1 << 16
# Neighbours among integer keys share a bucket: tables lie more or less in the order of such keys, so that a bucket is
# still in the processor's caches when its next row comes. That halves the time of the pass.
_NEIGHBOURHOOD_HASH = "hashint8extended({}::bigint >> 6, 0)"


def differing_buckets(
    sides: ConnectionPair, both: TableComparison, columns: list[int], *, before: int, after: int
) -> tuple[sql.Composed, ...]:
    """For each side the condition that holds for the rows of differing buckets; true where most of them differ.

    `columns` are the places of those whose sums differ, `before` and `after` the numbers of rows.
    """
    everything = (sql.SQL("{}").format(sql.SQL("true")),) * 2
    buckets = 1
    while buckets < min(max(before, after) // _ROWS_PER_BUCKET, _MAX_BUCKETS):
        buckets *= 2
    if buckets == 1 or abs(before - after) > buckets:
        return everything  # with a row for each bucket hardly any would be spared
    places = [sql.SQL("({} & {})").format(_bucket_hash(one), buckets - 1) for one in (both.template, both.clone)]
    ours, theirs = sides.query_both(
        *(
            _bucket_query(source, place, columns, keyed=bool(both.table.key))
            for source, place in zip((both.template, both.clone), places, strict=True)
        )
    )
    changed = sorted({number for number, _ in set(ours) ^ set(theirs)})
    if len(changed) > buckets // 2:
        return everything
    return tuple(sql.SQL("{} = ANY({}::bigint[])").format(place, changed) for place in places)


def _bucket_hash(source: RowSource) -> sql.Composable:
    """What decides about a row's bucket: the hash of the key, or of its neighbourhood where it is a single integer."""
    return sql.SQL(_NEIGHBOURHOOD_HASH).format(source.key[0]) if len(source.key) == 1 else source.key_hash


def _bucket_query(source: RowSource, place: sql.Composed, columns: list[int], *, keyed: bool) -> sql.Composed:
    """A query of the buckets and what is in each, as one number.

    Where a key tells the golden rows apart, none of their hashes comes twice, and xor with the count is as good as a
    sum, and cheaper: its state is a plain bigint. OFFSET 0 hides from the planner what the groups are made of: it would
    expect one for each row, and sort.
    """
    hashed = [source.key_hash, *(source.value_hashes[column] for column in columns)]
    names = [sql.Identifier(f"h{number}") for number in range(len(hashed))]
    gathered = sql.SQL("bit_xor({})" if keyed else "sum({})")
    return sql.SQL(
        'SELECT bucket, hashtextextended(ROW(count(*), {})::text COLLATE "C", 0)'
        " FROM (SELECT {} AS bucket, {} FROM {} OFFSET 0) AS hashed GROUP BY bucket"
    ).format(
        sql.SQL(", ").join(gathered.format(name) for name in names),
        place,
        sql.SQL(", ").join(sql.SQL("{} AS {}").format(*one) for one in zip(hashed, names, strict=True)),
        source.from_item,
    )


# The rows that differ, by their hashes, in a temporary table of the clone.
#
# The hashes of golden rows are copied there in batches; a join with those of the clone's rows finds what is on one side
# only, and what is not alike. Memory is bounded by work_mem, however many rows there are.


MAX_KEYS_SHOWN = 20


class DifferingRows:
    """The differing rows; gone when the block ends.

    `differing` are the places of columns (sources.Compared) to look at, `only` the condition for each side that holds
    for the rows to look at.
    """

    _TEMPLATE_HASHES = sql.Identifier("pg_temp", "golden_hashes")
    _DIFFERING = sql.Identifier("pg_temp", "differing")

    def __init__(
        self, sides: ConnectionPair, both: TableComparison, differing: list[int], only: tuple[sql.Composed, ...]
    ) -> None:
        self._connections = sides
        self._comparison = both
        self._conditions = only
        self._places = differing
        self._keys = [sql.Identifier(f"k{place}") for place, _ in enumerate(both.template.key)]
        self._hashes = [sql.Identifier(f"h{place}") for place in differing]
        # What they are called where both sides' are in one row.
        self._hash_pairs = [(sql.Identifier(f"g{place}"), sql.Identifier(f"c{place}")) for place in differing]

    def __enter__(self) -> Self:
        golden, clone = self._connections.template, self._connections.clone
        copied = ArrayTable(table=self._TEMPLATE_HASHES, columns=(*self._keys, *self._hashes))
        copied.create(clone)
        source = self._comparison.template
        expressions = [*source.key, *(source.value_hashes[place] for place in self._places)]
        for leaf in source.leaves:
            query = array_query(golden, leaf, expressions, only=self._conditions[0])
            copy_arrays(golden, clone, copied, query)
        clone.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(self._DIFFERING))
        clone.execute(sql.SQL("CREATE TEMP TABLE differing AS {}").format(self._difference_query(copied)))
        return self

    def __exit__(self, *_: object) -> None:
        if not self._connections.clone.broken:
            self._connections.clone.execute(
                sql.SQL("DROP TABLE IF EXISTS {}, {}").format(self._TEMPLATE_HASHES, self._DIFFERING)
            )

    def counts(self) -> Row:
        """Rows added, removed and changed, then for each column: differing, NULL before, NULL now."""
        filters: list[sql.Composable] = [
            sql.SQL("golden IS NULL"),
            sql.SQL("clone IS NULL"),
            sql.SQL("golden AND clone"),
        ]
        for before, after in self._hash_pairs:
            differs = sql.SQL("golden AND clone AND {} IS DISTINCT FROM {}").format(before, after)
            filters += [
                differs,
                sql.SQL("{} AND {} IS NULL").format(differs, before),
                sql.SQL("{} AND {} IS NULL").format(differs, after),
            ]
        counts = sql.SQL(", ").join(sql.SQL("count(*) FILTER (WHERE {})").format(one) for one in filters)
        return fetch_rows(self._connections.clone, sql.SQL("SELECT {} FROM {}").format(counts, self._DIFFERING))[0]

    def example_keys(self, *, golden: bool) -> list[Row]:
        """The key (sources.Source) of some rows that differ: of golden rows removed or changed, else of added ones."""
        return fetch_rows(
            self._connections.clone,
            sql.SQL("SELECT {0} FROM {1} WHERE golden IS {2} ORDER BY {0} LIMIT {3}").format(
                sql.SQL(", ").join(self._keys),
                self._DIFFERING,
                sql.SQL("NOT NULL" if golden else "NULL"),
                MAX_KEYS_SHOWN,
            ),
        )

    def _difference_query(self, copied: ArrayTable) -> sql.Composed:
        """A query of the rows that are on one side only, or differ: `golden`, `clone`, the key, both sides' hashes."""
        theirs = self._comparison.clone
        hashed = [*theirs.key, *(theirs.value_hashes[place] for place in self._places)]
        clone = sql.SQL("SELECT {} FROM {} WHERE {}").format(
            sql.SQL(", ").join(
                sql.SQL("({})::bigint AS {}").format(one, name)
                for one, name in zip(hashed, copied.columns, strict=True)
            ),
            theirs.from_item,
            self._conditions[1],
        )
        wanted: list[sql.Composable] = [sql.SQL("g.here AS golden, c.here AS clone"), *self._keys]
        conditions: list[sql.Composable] = [sql.SQL("g.here IS NULL"), sql.SQL("c.here IS NULL")]
        for name, (before, after) in zip(self._hashes, self._hash_pairs, strict=True):
            wanted.append(sql.SQL("g.{0} AS {1}, c.{0} AS {2}").format(name, before, after))
            conditions.append(sql.SQL("g.{0} IS DISTINCT FROM c.{0}").format(name))
        ordinal = [sql.Identifier("ordinal")] if self._comparison.needs_ordinal else []
        return sql.SQL("SELECT {} FROM ({}) AS g FULL JOIN ({}) AS c USING ({}) WHERE {}").format(
            sql.SQL(", ").join(wanted),
            self._with_ordinals(copied.unnest_query),
            self._with_ordinals(clone),
            sql.SQL(", ").join([*self._keys, *ordinal]),
            sql.SQL(" OR ").join(conditions),
        )

    def _with_ordinals(self, query: sql.Composed) -> sql.Composed:
        """The rows of one side, with an ordinal among equal ones where no key tells them apart."""
        if not self._comparison.needs_ordinal:
            return sql.SQL("SELECT true AS here, * FROM ({}) AS hashed").format(query)
        order: list[sql.Composable] = [*self._hashes] or [sql.SQL("NULL::bigint")]
        return sql.SQL(
            "SELECT true AS here, *, row_number() OVER (PARTITION BY {} ORDER BY {}) AS ordinal FROM ({}) AS hashed"
        ).format(sql.SQL(", ").join(self._keys), sql.SQL(", ").join(order), query)


# The query that lists rows which differ: their keys, never what else they hold.


def listing_query(sides: ConnectionPair, both: TableComparison, examples: list[Row], *, golden: bool) -> str:
    """A query that lists the rows of these keys: as production has them, or as the migration added them."""
    key = both.table.key
    side = both.table.before if golden else both.table.after
    if not key or not examples or side is None:
        return ""
    connection, source = (sides.template, both.template) if golden else (sides.clone, both.clone)
    columns = [column.before if golden else column.after for column in key]
    literals = [_key_literal(column) for column in columns]
    keys = fetch_rows(
        connection,
        sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT {}").format(
            sql.SQL(", ").join(literals),
            source.from_item,
            sql.SQL(" AND ").join(
                sql.SQL("{} = ANY({}::bigint[])").format(one, list(these))
                for one, these in zip(source.key, zip(*examples, strict=True), strict=True)
            ),
            sql.SQL(", ").join(sql.Identifier("r", column.name) for column in columns),
            MAX_KEYS_SHOWN,
        ),
    )
    values = [", ".join(one if one is not None else "NULL" for one in row) for row in keys]
    listed = ", ".join(f"({one})" if len(columns) > 1 else one for one in values)
    names = ", ".join(column.quoted for column in columns)
    # Names and literals are as the server quoted them.
    where = f"({names})" if len(columns) > 1 else names
    return f"SELECT * FROM {side.head.quoted} WHERE {where} IN ({listed})"  # noqa: S608 - text for people to run


def _key_literal(column: CatalogColumn) -> sql.Composed:
    """The expression that spells a key's value for SQL."""
    value = sql.Identifier("r", column.name)
    if column.kind in ("int2", "int4", "int8"):
        return sql.SQL("{}::text").format(value)
    # A bare literal is taken for an OID beside one of these, and beside a composite for a type without a name.
    cast = f"::{column.base}" if column.kind.startswith("reg") or not column.kind else ""
    return sql.SQL("quote_literal({}::text) || {}").format(value, sql.Literal(cast))


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDifference:
    """How many rows differ in a column, and of those, how many had NULL there, and how many have it now."""

    column: ColumnPair
    rows: int
    were_null: int
    became_null: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDifference:
    """What became of the rows, exactly. `query` lists some of those that differ, "" where there is no key.

    `as_text` tells that converted values could only be compared by their text.
    """

    rows_before: int
    rows_after: int
    added: int = 0
    removed: int = 0
    changed: int = 0
    columns: tuple[ColumnDifference, ...] = ()
    query: str = ""
    as_text: bool = False


def compare_table_rows(sides: ConnectionPair, table: TablePair, before: TableSide, after: TableSide) -> RowDifference:
    """Compare a table that both sides have."""
    text = any(not _cast_exists(sides, column) for column in table.shared_columns if needs_cast(column))
    if not text:
        try:
            return _compare_prepared(sides, prepare_comparison(table, before, after, text=False), before)
        except errors.DataError:
            # A value that its cast refuses: the migration went another way, with USING or a column of its own.
            if not any(needs_cast(column) for column in table.shared_columns):
                raise
    return _compare_prepared(sides, prepare_comparison(table, before, after, text=True), before, as_text=True)


def _cast_exists(sides: ConnectionPair, column: ColumnPair) -> bool:
    try:
        fetch_rows(sides.template, cast_probe_query(column))
    except (errors.CannotCoerce, errors.UndefinedObject):
        return False
    return True


def _compare_prepared(
    sides: ConnectionPair, both: TableComparison, before: TableSide, *, as_text: bool = False
) -> RowDifference:
    (ours,), (theirs,) = sides.query_both(_hash_sums_query(both.template), _hash_sums_query(both.clone))
    still = fetch_rows(sides.template, count_query(before.unchanged_leaves))[0][0] if before.unchanged_leaves else 0
    if ours == theirs:
        return RowDifference(rows_before=ours[0] + still, rows_after=theirs[0] + still, as_text=as_text)
    # The sums begin with the count of rows and the sum of keys.
    differing = [place for place, (one, other) in enumerate(zip(ours[2:], theirs[2:], strict=True)) if one != other]
    only = differing_buckets(sides, both, differing, before=ours[0], after=theirs[0])
    with DifferingRows(sides, both, differing, only) as spread:
        added, removed, changed, *by_column = spread.counts()
        query = listing_query(
            sides, both, spread.example_keys(golden=bool(removed or changed)), golden=bool(removed or changed)
        )
    columns = [
        ColumnDifference(
            column=both.columns[place], rows=by_column[at], were_null=by_column[at + 1], became_null=by_column[at + 2]
        )
        for at, place in zip(range(0, len(by_column), 3), differing, strict=True)
    ]
    return RowDifference(
        rows_before=ours[0] + still,
        rows_after=theirs[0] + still,
        added=added,
        removed=removed,
        changed=changed,
        columns=tuple(column for column in columns if column.rows),
        query=query,
        as_text=as_text,
    )


def _hash_sums_query(source: RowSource) -> sql.Composed:
    sums = [sql.SQL("sum({})").format(one) for one in (source.key_hash, *source.value_hashes)]
    return sql.SQL("SELECT count(*), {} FROM {}").format(sql.SQL(", ").join(sums), source.from_item)
