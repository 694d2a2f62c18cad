"""A probe's place in the round: when it is next, and whether it was kept waiting."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.rehearsal.traffic.felt import Wait

if TYPE_CHECKING:
    from kernel.rehearsal.traffic.probe import Probe

# What a question may take beyond its quickest answer before it counts as kept waiting.
NEGLIGIBLE_SECONDS = 0.02
_REST = 8  # times what a question takes: a session costs at most a ninth of a processor


@dataclass(slots=True, kw_only=True, eq=False)
class Turn:
    """Asks every `pause_seconds`, at its own `offset` from the others. Moments are those of time.monotonic().

    `quickest_seconds` is what an answer takes when nobody is in its way. `since` is when a wait began, while attempts
    are given up one after the other. `locked` tells that it was seen waiting for a lock.
    """

    probe: Probe
    offset: float
    pause_seconds: float
    began: float = 0.0
    locked: bool = False
    since: float | None = None
    quickest_seconds: float | None = None

    def ask(self, now: float) -> bytes:
        """The statement, which is sent now."""
        self.began = now
        self.locked = False
        return self.probe.statement

    def answered(self, ended: float, *, gave_up: bool) -> Wait | None:
        """Take note of an answer, or of one that is not waited for any longer; the Wait, if that is what it was."""
        took = ended - self.began
        if not gave_up:
            quickest = took if self.quickest_seconds is None else min(self.quickest_seconds, took)
            self.quickest_seconds = quickest
            if not self.locked or took - quickest <= NEGLIGIBLE_SECONDS:
                self.since = None
                return None
        since = self.began if self.since is None else self.since
        self.since = since if gave_up else None
        return Wait(relation=self.probe.relation, kind=self.probe.kind, since=since, began=self.began, ended=ended)

    def due(self, now: float) -> float:
        """When it asks next: in step with its offset, however long the last answer took."""
        rest_seconds = _REST * (self.quickest_seconds or 0.0)
        return now + rest_seconds + self.pause_seconds - (now + rest_seconds - self.offset) % self.pause_seconds


class Round:
    """The turns that wait for their moment, the next one first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Turn]] = []
        self._count = itertools.count()  # of two that are due at once, the one that came first

    def put(self, turn: Turn, now: float) -> None:
        """Let it ask again when it is due."""
        heapq.heappush(self._heap, (turn.due(now), next(self._count), turn))

    def take(self, now: float) -> Turn | None:
        """The turn that is due, None when none is."""
        return heapq.heappop(self._heap)[-1] if self._heap and self._heap[0][0] <= now else None

    def seconds_to_next(self, now: float) -> float:
        """How long until one is due; for ever, when there is none."""
        return max(0.0, self._heap[0][0] - now) if self._heap else float("inf")
