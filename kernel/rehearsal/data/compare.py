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

from kernel.rehearsal.data import buckets, hashes, listing, sources
from kernel.rehearsal.data.sides import rows
from kernel.rehearsal.data.spread import Spread

if TYPE_CHECKING:
    from kernel.rehearsal.data.sides import Sides
    from kernel.rehearsal.data.sources import Compared, Source
    from kernel.rehearsal.data.touched import Shared, Side, Table


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
    only = buckets.differing(sides, both, differing, before=ours[0], after=theirs[0])
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
