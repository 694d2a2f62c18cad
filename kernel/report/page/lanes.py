"""Who was locked when: from the locks of a migration's statements to lanes, one for each relation, worst first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.rehearsal import modes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kernel.rehearsal.result import Lock, Relation, Run

# Weaker modes keep no command of an application waiting, and are everywhere.
_WEAKEST_WITH_A_LANE = modes.STRENGTH["SHARE UPDATE EXCLUSIVE"]
_COMPANIONS = ("index", "partitioned index", "toast table")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A time within a migration, in seconds from the start of the first rehearsed one."""

    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A lock, and the number of the statement that took it, from 1."""

    statement: int
    lock: Lock

    @property
    def stretch(self) -> Stretch:
        return Stretch(begin=self.lock.at_seconds, end=self.lock.at_seconds + self.lock.held_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """The locks on a relation, in the order they were taken, and when they kept all reads and all writes waiting."""

    relation: Relation
    locks: tuple[Held, ...]
    reads: tuple[Stretch, ...]
    writes: tuple[Stretch, ...]

    @property
    def strongest(self) -> str:
        return modes.strongest(tuple(held.lock.mode for held in self.locks))


def held(*runs: Run) -> tuple[Held, ...]:
    """Every lock of migrations, whose statements are counted through."""
    statements = (statement for run in runs for statement in run.statements)
    return tuple(
        Held(statement=number, lock=lock) for number, statement in enumerate(statements, 1) for lock in statement.locks
    )


def of(*runs: Run) -> tuple[Lane, ...]:
    """A lane for each relation that somebody could have waited for, through all of the migrations.

    What the migration made itself has none, nor have indexes beside their table, whose lane says the same.
    """
    by_relation: dict[int, list[Held]] = {}
    for one in held(*runs):
        if not one.lock.relation.created:
            by_relation.setdefault(one.lock.relation.oid, []).append(one)
    lanes = [_lane(locks) for locks in by_relation.values()]
    lanes = [lane for lane in lanes if modes.STRENGTH[lane.strongest] >= _WEAKEST_WITH_A_LANE]
    tables = {lane.relation.name for lane in lanes if lane.relation.kind not in _COMPANIONS}
    shown = [lane for lane in lanes if lane.relation.kind not in _COMPANIONS or _alone(lane.relation, tables)]
    return tuple(sorted(shown, key=_rank))


def end_of(*runs: Run) -> float:
    """When the last statement had ended and the last lock was gone."""
    return max([*(run.at_seconds + run.seconds for run in runs), *(one.stretch.end for one in held(*runs))])


def _alone(relation: Relation, tables: set[str]) -> bool:
    return relation.kind != "toast table" and relation.table not in tables


def _lane(locks: list[Held]) -> Lane:
    return Lane(
        relation=locks[0].lock.relation,
        locks=tuple(locks),
        reads=_union(locks, modes.shuts_out_reads),
        writes=_union(locks, modes.shuts_out_writes),
    )


def _union(locks: Iterable[Held], shuts_out: Callable[[str], bool]) -> tuple[Stretch, ...]:
    """The times under any of the locks that shut out, those that touch or overlap put together."""
    found: list[Stretch] = []
    for stretch in sorted((one.stretch for one in locks if shuts_out(one.lock.mode)), key=lambda one: one.begin):
        if found and stretch.begin <= found[-1].end:
            found[-1] = Stretch(begin=found[-1].begin, end=max(found[-1].end, stretch.end))
        else:
            found.append(stretch)
    return tuple(found)


def _rank(lane: Lane) -> tuple[float, int, str]:
    """By all the time that somebody waited; a second without reads and writes is two."""
    stood = sum(one.seconds for one in (*lane.reads, *lane.writes))
    return -stood, -modes.STRENGTH[lane.strongest], lane.relation.name
