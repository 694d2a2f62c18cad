"""What a statement did to relations, from their states before and after it.

A rewrite has a new filenode. So have TRUNCATE, which is no rewrite, and REINDEX, which rewrites the index only; an
index that ALTER TABLE recreated, or that REINDEX CONCURRENTLY replaced, has another OID and the old name.
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
# An index scan for single keys reads a row or a few; a full index scan reads all of them at once.
_FULL_SCAN_ROWS = 100
_DEAD_SHARE = 0.1  # of a scan: dead rows, which are read and are not in the table's number of rows


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationChanges:
    """Changes by OID. `scanned_rows` are rows of a table read by sequential scans and full index scans."""

    rewrites: tuple[int, ...] = ()
    index_rebuilds: tuple[int, ...] = ()
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
    """The changes between two states of the same relations.

    `after` has at least all relations that the statement locked, a dropped one without its name; `counted` are the
    counters before. `rewritten` are the tables for which the server reported a rewrite.
    """
    moved = [
        state
        for oid, state in after.items()
        if oid in before and 0 != state.filenode != before[oid].filenode != 0 and state.name is not None
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
        # An index build reads the whole table, and sets the table's number of rows.
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
        scanned_rows={oid: rows for oid, rows in scanned.items() if rows},
        written={oid: one for oid, one in written.items() if one.inserted or one.updated or one.deleted},
    )


def _rows_of_full_scans(read: int, rows: float) -> int:
    """Rows read by full scans of a table; the counters leave out what parallel workers read."""
    passes = max(1, math.ceil(read / rows - _DEAD_SHARE))
    return max(read, round(passes * rows))


def _built_indexes(before: Mapping[int, RelationState], after: Mapping[int, RelationState]) -> dict[int, int]:
    """New indexes of existing tables, each with the old index that it replaces, 0 for none.

    An index with the old one's file was not built: ALTER TABLE keeps an index that a change of type does not affect.
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
    for oid, state in after.items():
        difference = state.counters.since(counted.get(oid, RowCounters()))
        if state.kind in _TABLE_KINDS:
            scanned[oid] = scanned.get(oid, 0) + difference.read
            written[oid] = difference
        elif state.kind == "index" and difference.scans and difference.read >= _FULL_SCAN_ROWS * difference.scans:
            scanned[state.owner_oid] = scanned.get(state.owner_oid, 0) + difference.read
    return scanned, written
