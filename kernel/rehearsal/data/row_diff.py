"""Compare the rows of a table in two databases by sums of hashes, and find the rows where the sums differ.

One pass over each side gives the number of rows, the sum of the keys' hashes, and for each column the sum of its hashes
seeded by the key: swapped values and duplicated pairs change it, which an unseeded sum or xor would miss. PostgreSQL
adds bigint in 128 bits, so that nothing overflows. Only where sums differ, a second pass finds the buckets of rows that
differ, and a third copies hashes of the template's rows in them to the clone, where a join with its own counts exactly.
Tables of any size need no memory here, and no value leaves the server but keys: those in `query`, and integer ones,
which are as short as their hash.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from psycopg import errors, sql

from kernel.rehearsal.data.connections import ArrayTable, array_query, comma_list, copy_arrays, fetch_rows
from kernel.rehearsal.data.hashing import cast_probe_query, count_query, needs_cast, prepare_comparison

if TYPE_CHECKING:
    from kernel.rehearsal.data.connections import ConnectionPair, Row
    from kernel.rehearsal.data.hashing import RowSource, TableComparison
    from kernel.rehearsal.data.tables import CatalogColumn, ColumnPair, TablePair, TableSide


# Rows are in buckets by the hash of their key: unless many rows differ, few buckets differ and are read again.
_ROWS_PER_BUCKET = 64
# With 2^16 buckets, most are equal when thousands of rows differ. With 2^20 every row misses the processor's caches,
# and the pass takes three times as long.
_MAX_BUCKETS = 1 << 16
# Adjacent integer keys share a bucket: tables are more or less in the order of such keys, so that a bucket is still in
# the processor's caches for its next row. That halves the time of the pass.
_NEIGHBOURHOOD_HASH = "hashint8extended({}::bigint >> 6, 0)"


def differing_buckets(
    sides: ConnectionPair, both: TableComparison, columns: list[int], *, before: int, after: int
) -> tuple[sql.Composed, ...]:
    """For each side the condition for the rows of differing buckets; true where most buckets differ.

    `columns` are the indexes of the columns whose sums differ, `before` and `after` the numbers of rows.
    """
    everything = (sql.SQL("{}").format(sql.SQL("true")),) * 2
    buckets = 1
    while buckets < min(max(before, after) // _ROWS_PER_BUCKET, _MAX_BUCKETS):
        buckets *= 2
    if buckets == 1 or abs(before - after) > buckets:
        return everything  # nearly every bucket has a row that differs
    places = [sql.SQL("({} & {})").format(_bucket_hash(one), buckets - 1) for one in (both.template, both.clone)]
    in_template, in_clone = sides.query_both(
        *(
            _bucket_query(source, place, columns, keyed=bool(both.table.key))
            for source, place in zip((both.template, both.clone), places, strict=True)
        )
    )
    changed = sorted({number for number, _ in set(in_template) ^ set(in_clone)})
    if len(changed) > buckets // 2:
        return everything
    return tuple(sql.SQL("{} = ANY({}::bigint[])").format(place, changed) for place in places)


def _bucket_hash(source: RowSource) -> sql.Composable:
    """The hash of a row's bucket: of the key, or of its neighbourhood where it is a single integer."""
    return sql.SQL(_NEIGHBOURHOOD_HASH).format(source.key[0]) if len(source.key) == 1 else source.key_hash


def _bucket_query(source: RowSource, place: sql.Composed, columns: list[int], *, keyed: bool) -> sql.Composed:
    """A query of the buckets and of the content of each, as one number.

    Where the template's rows have a key, none of their hashes occurs twice, and xor with the count is as good as a sum,
    and cheaper: its state is a plain bigint. OFFSET 0 hides the grouping expression from the planner, which would
    otherwise expect a group for each row, and sort.
    """
    hashed = [source.key_hash, *(source.value_hashes[column] for column in columns)]
    names = [sql.Identifier(f"h{number}") for number in range(len(hashed))]
    gathered = sql.SQL("bit_xor({})" if keyed else "sum({})")
    return sql.SQL(
        'SELECT bucket, hashtextextended(ROW(count(*), {})::text COLLATE "C", 0)'
        " FROM (SELECT {} AS bucket, {} FROM {} OFFSET 0) AS hashed GROUP BY bucket"
    ).format(
        comma_list(gathered.format(name) for name in names),
        place,
        comma_list(sql.SQL("{} AS {}").format(*one) for one in zip(hashed, names, strict=True)),
        source.from_item,
    )


MAX_KEYS_SHOWN = 20


_TEMPLATE_HASHES = sql.Identifier("pg_temp", "template_hashes")
_DIFFERING = sql.Identifier("pg_temp", "differing")


def find_differing_rows(
    sides: ConnectionPair, both: TableComparison, differing: list[int], only: tuple[sql.Composed, ...]
) -> tuple[Row, list[Row]]:
    """Count the rows that differ, by their hashes: (counts, the keys of some of them).

    The counts are rows added, removed and changed, then for each column: differing, NULL before, NULL now. The keys
    (RowSource) are of template rows removed or changed where there are any, else of added ones. `differing` are the
    indexes of the columns (TableComparison) to compare, `only` the condition for each side of the rows to compare.

    Hashes of the template's rows are copied to the clone in batches; a join with those of the clone's rows finds the
    rows that one side lacks and those that differ. Memory is bounded by work_mem.
    """
    keys = [sql.Identifier(f"k{place}") for place, _ in enumerate(both.template.key)]
    hashes = [sql.Identifier(f"h{place}") for place in differing]
    copied = ArrayTable(table=_TEMPLATE_HASHES, columns=(*keys, *hashes))
    copied.create(sides.clone)
    expressions, clone_expressions = (
        [*source.key, *(source.value_hashes[place] for place in differing)] for source in (both.template, both.clone)
    )
    for leaf in both.template.leaves:
        query = array_query(sides.template, leaf, expressions, only=only[0])
        copy_arrays(sides.template, sides.clone, copied, query)
    clone_hashes = sql.SQL("SELECT {} FROM {} WHERE {}").format(
        comma_list(
            sql.SQL("({})::bigint AS {}").format(one, name)
            for one, name in zip(clone_expressions, copied.columns, strict=True)
        ),
        both.clone.from_item,
        only[1],
    )
    rows = [_with_ordinals(query, both, keys, hashes) for query in (copied.unnest_query, clone_hashes)]
    # The names of both sides' hashes in one row.
    pairs = [(sql.Identifier(f"g{place}"), sql.Identifier(f"c{place}")) for place in differing]
    sides.clone.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(_DIFFERING))
    sides.clone.execute(
        sql.SQL(
            "CREATE TEMP TABLE differing AS SELECT {} FROM ({}) AS g FULL JOIN ({}) AS c USING ({}) WHERE {}"
        ).format(
            comma_list(
                [
                    sql.SQL("g.present AS template, c.present AS clone"),
                    *keys,
                    *(
                        sql.SQL("g.{0} AS {1}, c.{0} AS {2}").format(name, before, after)
                        for name, (before, after) in zip(hashes, pairs, strict=True)
                    ),
                ]
            ),
            *rows,
            comma_list([*keys, *([sql.Identifier("ordinal")] if both.needs_ordinal else [])]),
            sql.SQL(" OR ").join(
                [
                    sql.SQL("g.present IS NULL OR c.present IS NULL"),
                    *(sql.SQL("g.{0} IS DISTINCT FROM c.{0}").format(name) for name in hashes),
                ]
            ),
        )
    )
    filters: list[sql.Composable] = [
        sql.SQL("template IS NULL"),
        sql.SQL("clone IS NULL"),
        sql.SQL("template AND clone"),
    ]
    for before, after in pairs:
        differs = sql.SQL("template AND clone AND {} IS DISTINCT FROM {}").format(before, after)
        filters += [differs, *(sql.SQL("{} AND {} IS NULL").format(differs, one) for one in (before, after))]
    ((*counts,),) = fetch_rows(
        sides.clone,
        sql.SQL("SELECT {} FROM {}").format(
            comma_list(sql.SQL("count(*) FILTER (WHERE {})").format(one) for one in filters), _DIFFERING
        ),
    )
    _, removed, changed, *_ = counts
    examples = fetch_rows(
        sides.clone,
        sql.SQL("SELECT {0} FROM {1} WHERE template IS {2} ORDER BY {0} LIMIT {3}").format(
            comma_list(keys), _DIFFERING, sql.SQL("NOT NULL" if removed or changed else "NULL"), MAX_KEYS_SHOWN
        ),
    )
    sides.clone.execute(sql.SQL("DROP TABLE {}, {}").format(_TEMPLATE_HASHES, _DIFFERING))
    return tuple(counts), examples


def _with_ordinals(
    query: sql.Composed, both: TableComparison, keys: list[sql.Identifier], hashes: list[sql.Identifier]
) -> sql.Composed:
    """The rows of one side, with an ordinal among equal ones where there is no key."""
    if not both.needs_ordinal:
        return sql.SQL("SELECT true AS present, * FROM ({}) AS hashed").format(query)
    return sql.SQL(
        "SELECT true AS present, *, row_number() OVER (PARTITION BY {} ORDER BY {}) AS ordinal FROM ({}) AS hashed"
    ).format(comma_list(keys), comma_list(hashes or [sql.SQL("NULL::bigint")]), query)


def listing_query(sides: ConnectionPair, both: TableComparison, examples: list[Row], *, template: bool) -> str:
    """A query that lists rows by their keys, of production or of those added; it contains no other values."""
    key = both.table.key
    side = both.table.before if template else both.table.after
    if not key or not examples or side is None:
        return ""
    connection, source = (sides.template, both.template) if template else (sides.clone, both.clone)
    columns = [column.before if template else column.after for column in key]
    literals = [_key_literal(column) for column in columns]
    keys = fetch_rows(
        connection,
        sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT {}").format(
            comma_list(literals),
            source.from_item,
            sql.SQL(" AND ").join(
                sql.SQL("{} = ANY({}::bigint[])").format(one, list(these))
                for one, these in zip(source.key, zip(*examples, strict=True), strict=True)
            ),
            comma_list(sql.Identifier("r", column.name) for column in columns),
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
    """The SQL expression of a key's value as a literal."""
    value = sql.Identifier("r", column.name)
    if column.kind in ("int2", "int4", "int8"):
        return sql.SQL("{}::text").format(value)
    # Next to a reg* type an untyped literal would be read as an OID, next to a composite as an anonymous record.
    cast = f"::{column.base}" if column.kind.startswith("reg") or not column.kind else ""
    return sql.SQL("quote_literal({}::text) || {}").format(value, sql.Literal(cast))


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDifference:
    """How many rows differ in a column, and of those, how many had NULL before, and how many have it now."""

    column: ColumnPair
    rows: int
    were_null: int
    became_null: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDifference:
    """The exact changes of rows. `query` lists some of those that differ, "" where there is no key.

    `as_text` says that converted values could only be compared by their text.
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
            # The cast refuses a value: the migration converted it with USING, or with another column.
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
    (before_sums,), (after_sums,) = sides.query_both(_hash_sums_query(both.template), _hash_sums_query(both.clone))
    unchanged = fetch_rows(sides.template, count_query(before.unchanged_leaves))[0][0] if before.unchanged_leaves else 0
    same = RowDifference(rows_before=before_sums[0] + unchanged, rows_after=after_sums[0] + unchanged, as_text=as_text)
    if before_sums == after_sums:
        return same
    # The sums begin with the count of rows and the sum of keys.
    differing = [
        place for place, (one, other) in enumerate(zip(before_sums[2:], after_sums[2:], strict=True)) if one != other
    ]
    only = differing_buckets(sides, both, differing, before=before_sums[0], after=after_sums[0])
    (added, removed, changed, *by_column), examples = find_differing_rows(sides, both, differing, only)
    query = listing_query(sides, both, examples, template=bool(removed or changed))
    columns = [
        ColumnDifference(
            column=both.columns[place], rows=by_column[at], were_null=by_column[at + 1], became_null=by_column[at + 2]
        )
        for at, place in zip(range(0, len(by_column), 3), differing, strict=True)
    ]
    differing_columns = tuple(column for column in columns if column.rows)
    return replace(same, added=added, removed=removed, changed=changed, columns=differing_columns, query=query)


def _hash_sums_query(source: RowSource) -> sql.Composed:
    sums = [sql.SQL("sum({})").format(one) for one in (source.key_hash, *source.value_hashes)]
    return sql.SQL("SELECT count(*), {} FROM {}").format(comma_list(sums), source.from_item)
