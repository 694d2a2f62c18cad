"""Where two sides differ: their rows in buckets by the hash of the key, and the buckets that are not alike.

What is read again is then a small part of the table, unless the differing rows are many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

if TYPE_CHECKING:
    from kernel.rehearsal.data.sides import Sides
    from kernel.rehearsal.data.sources import Compared, Source

_ROWS_IN_A_BUCKET = 64
# Among 2^16, thousands of differing rows leave most alike. With 2^20 of them every row would wait for memory, and the
# pass takes three times as long.
_MOST_BUCKETS = 1 << 16
# Neighbours among integer keys share a bucket: tables lie more or less in the order of such keys, so that a bucket is
# still in the processor's caches when its next row comes. That halves the time of the pass.
_NEIGHBOURS = "hashint8extended({}::bigint >> 6, 0)"


def differing(sides: Sides, both: Compared, columns: list[int], *, before: int, after: int) -> tuple[sql.Composed, ...]:
    """For each side the condition that holds for the rows of differing buckets; true where most of them differ.

    `columns` are the places of those whose sums differ, `before` and `after` the numbers of rows.
    """
    everything = (sql.SQL("{}").format(sql.SQL("true")),) * 2
    buckets = 1
    while buckets < min(max(before, after) // _ROWS_IN_A_BUCKET, _MOST_BUCKETS):
        buckets *= 2
    if buckets == 1 or abs(before - after) > buckets:
        return everything  # with a row for each bucket hardly any would be spared
    places = [sql.SQL("({} & {})").format(_hash(one), buckets - 1) for one in (both.golden, both.clone)]
    ours, theirs = sides.both(
        *(
            _grouped(source, place, columns, keyed=bool(both.table.key))
            for source, place in zip((both.golden, both.clone), places, strict=True)
        )
    )
    changed = sorted({number for number, _ in set(ours) ^ set(theirs)})
    if len(changed) > buckets // 2:
        return everything
    return tuple(sql.SQL("{} = ANY({}::bigint[])").format(place, changed) for place in places)


def _hash(source: Source) -> sql.Composable:
    """What decides about a row's bucket: the hash of the key, or of its neighbourhood where it is a single integer."""
    return sql.SQL(_NEIGHBOURS).format(source.key[0]) if len(source.key) == 1 else source.identity


def _grouped(source: Source, place: sql.Composed, columns: list[int], *, keyed: bool) -> sql.Composed:
    """A query of the buckets and what is in each, as one number.

    Where a key tells the golden rows apart, none of their hashes comes twice, and xor with the count is as good as a
    sum, and cheaper: its state is a plain bigint. OFFSET 0 hides from the planner what the groups are made of: it would
    expect one for each row, and sort.
    """
    hashed = [source.identity, *(source.values[column] for column in columns)]
    names = [sql.Identifier(f"h{number}") for number in range(len(hashed))]
    gathered = sql.SQL("bit_xor({})" if keyed else "sum({})")
    return sql.SQL(
        'SELECT bucket, hashtextextended(ROW(count(*), {})::text COLLATE "C", 0)'
        " FROM (SELECT {} AS bucket, {} FROM {} OFFSET 0) AS hashed GROUP BY bucket"
    ).format(
        sql.SQL(", ").join(gathered.format(name) for name in names),
        place,
        sql.SQL(", ").join(sql.SQL("{} AS {}").format(*one) for one in zip(hashed, names, strict=True)),
        source.rows,
    )
