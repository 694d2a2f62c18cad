"""PURE: which values are others in every run, such as what a trigger takes from the clock; they prove nothing.

A difference in them is none of the suggestion, as long as everything else about them is the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.rehearsal.suggest.same import Apart

Counts = dict[tuple[str, str], int]


def columns(
    apart: Sequence[Apart], again: Sequence[Apart], changes: Sequence[Apart], suggested_changes: Sequence[Apart]
) -> Counts:
    """The (table, column) of `apart` whose values are others in every run, with the number of rows that differ.

    `apart` is how the suggestion's end differs from the originals', `again` how a second run of the originals does,
    `changes` what the originals make of the golden copy, and `suggested_changes` what the suggestion makes of it. A
    column counts only where two runs of the originals differ in no fewer rows, and where both ways change it in as many
    rows: a suggestion that forgets to write it, or writes it everywhere, is still another one.
    """
    in_every_run, meant, done = _counts(again), _counts(changes), _counts(suggested_changes)
    return {
        column: rows
        for column, rows in _counts(apart).items()
        if in_every_run.get(column, 0) >= rows and meant.get(column, 0) == done.get(column, 0)
    }


def inserted(apart: Apart, again: Sequence[Apart]) -> bool:
    """Whether two runs of the originals have the same number of rows apart, as keys do that are made anew each time.

    Nobody can tell then which row should be compared with which.
    """
    both = (apart.added, apart.removed)
    return any(both) and any((one.table, one.added, one.removed) == (apart.table, *both) for one in again)


def _counts(apart: Sequence[Apart]) -> Counts:
    return {(one.table, column): rows for one in apart for column, rows in one.columns}
