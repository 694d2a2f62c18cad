"""Waits of single probes, made into what an application felt of a relation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.rehearsal.result import Standstill
from kernel.rehearsal.traffic.probe import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kernel.rehearsal.result import Relation


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A probe that was kept waiting from `began` to `ended`, in seconds of time.monotonic().

    It may have given up, and be the next attempt of one: `since` is when the first of them in a row began.
    """

    relation: Relation
    kind: Kind
    since: float
    began: float
    ended: float


def standstills(relations: Iterable[Relation], waits: Sequence[Wait]) -> tuple[Standstill, ...]:
    """A Standstill for each of the relations, the worst first; without waits, nothing stood still."""
    found = []
    for relation in relations:
        own = [one for one in waits if one.relation == relation]
        reads, writes = ([(one.since, one.ended) for one in own if one.kind is kind] for kind in Kind)
        found.append(
            Standstill(
                relation=relation.name,
                reads_longest_seconds=_longest(reads),
                reads_total_seconds=_together(reads),
                writes_longest_seconds=_longest(writes),
                writes_total_seconds=_together(writes),
                queued=_at_once((one.began, one.ended) for one in own),
            )
        )
    return tuple(sorted(found, key=lambda one: (-one.reads_longest_seconds, -one.writes_longest_seconds, one.relation)))


def _longest(stretches: Iterable[tuple[float, float]]) -> float:
    return max((end - begin for begin, end in stretches), default=0.0)


def _together(stretches: Iterable[tuple[float, float]]) -> float:
    """How long all of them last, times that several share counted once."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(stretches):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def _at_once(stretches: Iterable[tuple[float, float]]) -> int:
    """How many of them there are at one time, at most. One that ends as another begins is not there with it."""
    changes = sorted(change for begin, end in stretches for change in ((begin, 1), (end, -1)))
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most
