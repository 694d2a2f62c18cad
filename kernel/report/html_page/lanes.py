"""Lanes of locks: for each relation its locks in order, and the times when reads and writes were blocked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.lint.lock_modes import LOCK_MODE_STRENGTH, blocks_reads, blocks_writes, strongest_lock_mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kernel.rehearsal.result import Lock, Relation, Run

# Weaker modes block no command of an application, and are everywhere.
_WEAKEST_WITH_A_LANE = LOCK_MODE_STRENGTH["SHARE UPDATE EXCLUSIVE"]
_COMPANIONS = ("index", "partitioned index", "toast table")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSpan:
    """A time within a migration, in seconds from the start of the first rehearsed one."""

    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedLock:
    """A lock, and the number of the statement that took it, from 1."""

    statement_number: int
    lock: Lock

    @property
    def span(self) -> TimeSpan:
        return TimeSpan(begin=self.lock.at_seconds, end=self.lock.at_seconds + self.lock.held_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """The locks on a relation, in the order they were taken, and when they blocked reads and writes."""

    relation: Relation
    locks: tuple[NumberedLock, ...]
    reads: tuple[TimeSpan, ...]
    writes: tuple[TimeSpan, ...]

    @property
    def strongest(self) -> str:
        return strongest_lock_mode(tuple(held.lock.mode for held in self.locks))


def number_locks(*runs: Run) -> tuple[NumberedLock, ...]:
    """Every lock of migrations; their statements are numbered through."""
    statements = (statement for run in runs for statement in run.statements)
    return tuple(
        NumberedLock(statement_number=number, lock=lock)
        for number, statement in enumerate(statements, 1)
        for lock in statement.locks
    )


def lanes_by_relation(*runs: Run) -> tuple[Lane, ...]:
    """A lane for each relation on which other sessions could have waited, through all of the migrations.

    A relation that the migration created has none, nor has an index next to its table, whose lane says the same.
    """
    by_relation: dict[int, list[NumberedLock]] = {}
    for one in number_locks(*runs):
        if not one.lock.relation.created:
            by_relation.setdefault(one.lock.relation.oid, []).append(one)
    lanes = [_lane_of_locks(locks) for locks in by_relation.values()]
    lanes = [lane for lane in lanes if LOCK_MODE_STRENGTH[lane.strongest] >= _WEAKEST_WITH_A_LANE]
    tables = {lane.relation.name for lane in lanes if lane.relation.kind not in _COMPANIONS}
    return tuple(sorted((lane for lane in lanes if _has_lane(lane.relation, tables)), key=_lane_rank))


def last_end_seconds(*runs: Run) -> float:
    """When the last statement had ended and the last lock was gone."""
    return max([*(run.at_seconds + run.seconds for run in runs), *(one.span.end for one in number_locks(*runs))])


def _has_lane(relation: Relation, tables: set[str]) -> bool:
    return relation.kind not in _COMPANIONS or (relation.kind != "toast table" and relation.table not in tables)


def _lane_of_locks(locks: list[NumberedLock]) -> Lane:
    return Lane(
        relation=locks[0].lock.relation,
        locks=tuple(locks),
        reads=_united_spans(locks, blocks_reads),
        writes=_united_spans(locks, blocks_writes),
    )


def _united_spans(locks: Iterable[NumberedLock], blocks: Callable[[str], bool]) -> tuple[TimeSpan, ...]:
    """The times under any of the locks whose mode blocks; those that touch or overlap are one."""
    united: list[TimeSpan] = []
    for span in sorted((one.span for one in locks if blocks(one.lock.mode)), key=lambda one: one.begin):
        if united and span.begin <= united[-1].end:
            united[-1] = TimeSpan(begin=united[-1].begin, end=max(united[-1].end, span.end))
        else:
            united.append(span)
    return tuple(united)


def _lane_rank(lane: Lane) -> tuple[float, int, str]:
    """By the time blocked; a second without reads and writes counts twice."""
    blocked_seconds = sum(one.seconds for one in (*lane.reads, *lane.writes))
    return -blocked_seconds, -LOCK_MODE_STRENGTH[lane.strongest], lane.relation.name
