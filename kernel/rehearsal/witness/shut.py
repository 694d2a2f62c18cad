"""For how long reads and writes were shut out of each relation: the figure that an application feels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal import modes
from kernel.rehearsal.result import Relation, Shut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kernel.rehearsal.result import Lock, Run

_NEGLIGIBLE_SECONDS = 1e-9  # what adding up floating-point numbers may leave between two stretches that touch


def shut(runs: Sequence[Run]) -> tuple[Shut, ...]:
    """The longest stretch for each migration and each relation that was there before, the longest first.

    Locks on indexes and TOAST tables count for their table: planning a query locks every index of the table, and
    reading a long value its TOAST table.
    """
    tables = {lock.relation.name: lock.relation for run in runs for lock in _locks(run) if not lock.relation.table}
    found = []
    for run in runs:
        felt: dict[Relation, list[Lock]] = {}
        for lock in _locks(run):
            felt.setdefault(_felt(lock.relation, tables), []).append(lock)
        for relation, locks in felt.items():
            reads, writes = _longest(locks, modes.shuts_out_reads), _longest(locks, modes.shuts_out_writes)
            if writes:
                found.append(Shut(relation=relation, version=run.version, reads_seconds=reads, writes_seconds=writes))
    return tuple(sorted(found, key=lambda one: (-one.reads_seconds, -one.writes_seconds, one.relation.name)))


def _locks(run: Run) -> Iterable[Lock]:
    return (lock for statement in run.statements for lock in statement.locks if not lock.relation.created)


def _felt(relation: Relation, tables: dict[str, Relation]) -> Relation:
    """The table that a lock is felt on; one of which nothing but an index was locked is known by its name only."""
    if not relation.table:
        return relation
    return tables.get(relation.table) or Relation(oid=0, name=relation.table)


def _longest(locks: Iterable[Lock], shuts_out: Callable[[str], bool]) -> float:
    longest = start = end = 0.0
    for lock in sorted((one for one in locks if shuts_out(one.mode)), key=lambda one: one.at_seconds):
        if lock.at_seconds > end + _NEGLIGIBLE_SECONDS:
            start = end = lock.at_seconds
        end = max(end, lock.at_seconds + lock.held_seconds)
        longest = max(longest, end - start)
    return longest
