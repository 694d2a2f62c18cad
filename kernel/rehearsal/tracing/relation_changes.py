"""What a statement did to relations, by what was seen of them before it and after it.

A rewrite shows in a new filenode. So do TRUNCATE, which is none, and REINDEX, which is one of the index only; and an
index that ALTER TABLE made again, or that REINDEX CONCURRENTLY put in its place, has another OID but the old name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel.rehearsal.tracing.catalog import RowCounters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kernel.rehearsal.tracing.catalog import RelationState


_TABLE_KINDS = frozenset({"table", "materialized view"})
# An index read for single keys yields a row or a few for each scan; one read from end to end, all of them in one.
_FULL_SCAN_ROWS = 100
_DEAD_SHARE = 0.1  # of a pass: rows that were read and, being dead, not counted as the table's


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationChanges:
    """By OID. `scanned` are rows of a table read one after the other, through an index from end to end as well.

    `emptied` are tables that got an empty file in place of theirs, as by TRUNCATE.
    """

    rewrites: tuple[int, ...] = ()
    index_rebuilds: tuple[int, ...] = ()
    emptied: tuple[int, ...] = ()
    scanned_rows: Mapping[int, int]
    written: Mapping[int, RowCounters]

    def without_rows_of(self, oids: frozenset[int]) -> RelationChanges:
        """Without the rows of these relations."""
        return replace(
            self,
            scanned_rows={oid: rows for oid, rows in self.scanned_rows.items() if oid not in oids},
            written={oid: one for oid, one in self.written.items() if oid not in oids},
        )


def compare_relations(
    before: Mapping[int, RelationState],
    after: Mapping[int, RelationState],
    counted: Mapping[int, RowCounters],
    *,
    rewritten: frozenset[int],
) -> RelationChanges:
    """The changes between two sights of the same relations.

    `after` holds at least all that the statement had locks on, a dropped one without its name; `counted` are the
    counters before. `rewritten` are the tables that the server said it rewrites.
    """
    moved = [
        sight
        for oid, sight in after.items()
        if oid in before and 0 != sight.filenode != before[oid].filenode != 0 and sight.name is not None
    ]
    emptied = tuple(
        one.oid
        for one in moved
        if one.kind == "table" and one.pages == 0 and one.rows <= 0 and one.oid not in rewritten
    )
    stored = {one.oid for one in moved if one.kind in _TABLE_KINDS}
    built = _built_indexes(before, after)
    rebuilt = {one.oid for one in moved if one.kind == "index"} | {old for old in built.values() if old}
    scanned, written = _counter_differences(after, counted)
    for oid in {*built, *(one.oid for one in moved if one.kind == "index")}:
        # An index build reads the whole table, and leaves the number of rows that it met behind.
        owner = after.get(after[oid].owner_oid)
        if owner and owner.rows > 0:
            scanned[owner.oid] = _rows_of_full_scans(scanned.get(owner.oid, 0), owner.rows)
    for oid in emptied:
        rows = max(0, round(before[oid].rows))
        had = written.get(oid, RowCounters())
        written[oid] = RowCounters(inserted=had.inserted, updated=had.updated, deleted=had.deleted + rows)
    return RelationChanges(
        rewrites=tuple(sorted(stored.difference(emptied))),
        index_rebuilds=tuple(sorted(oid for oid in rebuilt if before[oid].owner_oid not in stored)),
        emptied=emptied,
        scanned_rows={oid: rows for oid, rows in scanned.items() if rows},
        written={oid: one for oid, one in written.items() if one.inserted or one.updated or one.deleted},
    )


def _rows_of_full_scans(read: int, rows: float) -> int:
    """Rows read by passes over all of a table's rows; parallel workers keep what they count to themselves."""
    passes = max(1, math.ceil(read / rows - _DEAD_SHARE))
    return max(read, round(passes * rows))


def _built_indexes(before: Mapping[int, RelationState], after: Mapping[int, RelationState]) -> dict[int, int]:
    """New indexes of tables that were there, each with the old index whose place it takes, 0 for none.

    One that took the old one's file over was not built: so ALTER TABLE keeps an index that a change of type leaves be.
    """
    new = [one for oid, one in after.items() if one.kind == "index" and oid not in before and one.owner_oid in before]
    if not new:
        return {}
    owners = {one.owner_oid for one in new}
    old = [one for one in before.values() if one.kind == "index" and one.owner_oid in owners]
    files = {one.filenode for one in old}
    gone = {(one.owner_oid, one.name): one.oid for one in old if one.oid not in after or after[one.oid].name is None}
    return {one.oid: gone.get((one.owner_oid, one.name), 0) for one in new if one.filenode not in files}


def _counter_differences(
    after: Mapping[int, RelationState], counted: Mapping[int, RowCounters]
) -> tuple[dict[int, int], dict[int, RowCounters]]:
    scanned: dict[int, int] = {}
    written: dict[int, RowCounters] = {}
    for oid, sight in after.items():
        difference = sight.counters.since(counted.get(oid, RowCounters()))
        if sight.kind in _TABLE_KINDS:
            scanned[oid] = scanned.get(oid, 0) + difference.read
            written[oid] = difference
        elif sight.kind == "index" and difference.scans and difference.read >= _FULL_SCAN_ROWS * difference.scans:
            scanned[sight.owner_oid] = scanned.get(sight.owner_oid, 0) + difference.read
    return scanned, written
