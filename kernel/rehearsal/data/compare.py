"""Two databases' rows of a table: compared by sums of hashes, and told apart where the sums differ.

One pass over each side gives the rows, the sum of the keys' hashes, and for each column the sum of its hashes seeded by
the key: swapped values and duplicated pairs change it, as an unseeded sum or xor would not. PostgreSQL adds bigint up
in 128 bits, so that nothing overflows. Only where sums differ, a second pass groups the rows into buckets by their
key's hash, and a third copies the hashes of the differing buckets beside those of the clone, where a join counts
exactly. Tables of any size need no memory here, and no value leaves the server but the keys that `query` names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import errors, sql

from kernel.rehearsal.data import hashes, listing, sources
from kernel.rehearsal.data.sides import rows
from kernel.rehearsal.data.spread import Spread

if TYPE_CHECKING:
    from kernel.rehearsal.data.sides import Sides
    from kernel.rehearsal.data.sources import Compared, Source
    from kernel.rehearsal.data.touched import Shared, Side, Table

_ROWS_IN_A_BUCKET = 64
_MOST_BUCKETS = 1 << 13  # with more the groups outgrow the processor's caches


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """How many rows differ in a column, and of those, how many had NULL there, and how many have it now."""

    column: Shared
    rows: int
    were_null: int
    became_null: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What became of the rows, exactly. `query` lists some of those that differ, "" where there is no key.

    `as_text` tells that converted values could only be compared by their text.
    """

    rows_before: int
    rows_after: int
    added: int = 0
    removed: int = 0
    changed: int = 0
    columns: tuple[Changed, ...] = ()
    query: str = ""
    as_text: bool = False


def difference(sides: Sides, table: Table, before: Side, after: Side) -> Difference:
    """Compare a table that both sides have."""
    text = any(not _castable(sides, column) for column in table.shared if hashes.converted(column))
    if not text:
        try:
            return _difference(sides, sources.compared(table, before, after, text=False), before)
        except errors.DataError:
            # A value that its cast refuses: the migration went another way, with USING or a column of its own.
            if not any(hashes.converted(column) for column in table.shared):
                raise
    return _difference(sides, sources.compared(table, before, after, text=True), before, as_text=True)


def _castable(sides: Sides, column: Shared) -> bool:
    try:
        rows(sides.golden, hashes.castable(column))
    except (errors.CannotCoerce, errors.UndefinedObject):
        return False
    return True


def _difference(sides: Sides, both: Compared, before: Side, *, as_text: bool = False) -> Difference:
    (ours,), (theirs,) = sides.both(_sums(both.golden), _sums(both.clone))
    still = rows(sides.golden, sources.counted(before.still))[0][0] if before.still else 0
    if ours == theirs:
        return Difference(rows_before=ours[0] + still, rows_after=theirs[0] + still, as_text=as_text)
    # The sums begin with the count of rows and the sum of keys.
    differing = [place for place, (one, other) in enumerate(zip(ours[2:], theirs[2:], strict=True)) if one != other]
    only = _condition(sides, both, differing, rows_at_most=max(ours[0], theirs[0]))
    with Spread(sides, both, differing, only) as spread:
        added, removed, changed, *by_column = spread.counts()
        query = listing.query(
            sides, both, spread.examples(golden=bool(removed or changed)), golden=bool(removed or changed)
        )
    columns = [
        Changed(
            column=both.columns[place], rows=by_column[at], were_null=by_column[at + 1], became_null=by_column[at + 2]
        )
        for at, place in zip(range(0, len(by_column), 3), differing, strict=True)
    ]
    return Difference(
        rows_before=ours[0] + still,
        rows_after=theirs[0] + still,
        added=added,
        removed=removed,
        changed=changed,
        columns=tuple(column for column in columns if column.rows),
        query=query,
        as_text=as_text,
    )


def _sums(source: Source) -> sql.Composed:
    sums = [sql.SQL("sum({})").format(one) for one in (source.identity, *source.values)]
    return sql.SQL("SELECT count(*), {} FROM {}").format(sql.SQL(", ").join(sums), source.rows)


def _condition(sides: Sides, both: Compared, differing: list[int], *, rows_at_most: int) -> tuple[sql.Composed, ...]:
    """For each side the condition that holds for the rows of the differing buckets; true where most of them differ."""
    buckets = 1
    while buckets < min(rows_at_most // _ROWS_IN_A_BUCKET, _MOST_BUCKETS):
        buckets *= 2
    everything = (sql.SQL("{}").format(sql.SQL("true")),) * 2
    if buckets == 1:
        return everything
    bucket = [sql.SQL("({} & {})").format(one.identity, buckets - 1) for one in (both.golden, both.clone)]
    grouped = [
        sql.SQL("SELECT {}, count(*), {} FROM {} GROUP BY 1").format(
            place,
            sql.SQL(", ").join(
                sql.SQL("sum({})").format(one)
                for one in (source.identity, *(source.values[column] for column in differing))
            ),
            source.rows,
        )
        for place, source in zip(bucket, (both.golden, both.clone), strict=True)
    ]
    ours, theirs = sides.both(*grouped)
    changed = sorted({number for number, *_ in set(ours) ^ set(theirs)})
    if len(changed) > buckets // 2:
        return everything
    return tuple(sql.SQL("{} = ANY({}::bigint[])").format(place, changed) for place in bucket)
