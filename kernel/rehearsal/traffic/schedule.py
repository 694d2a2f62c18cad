"""A probe's place in the round: when it is next, and whether it was kept waiting."""

from __future__ import annotations

import heapq
import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.rehearsal.traffic.probe import ProbeWait

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kernel.rehearsal.traffic.probe import Probe
    from kernel.rehearsal.traffic.session import ProbeSession


# What a question may take beyond its quickest answer before it counts as kept waiting.
NEGLIGIBLE_WAIT_SECONDS = 0.02
_REST_FACTOR = 8  # times what a question takes: a session costs at most a ninth of a processor


@dataclass(slots=True, kw_only=True, eq=False)
class ScheduledProbe:
    """Asks every `pause_seconds`, at its own `offset` from the others. Moments are those of time.monotonic().

    `quickest_seconds` is what an answer takes when nobody is in its way. `since` is when a wait began, while attempts
    are given up one after the other. `locked` tells that it was seen waiting for a lock.
    """

    probe: Probe
    offset_seconds: float
    pause_seconds: float
    sent_at: float = 0.0
    waited_for_lock: bool = False
    waiting_since: float | None = None
    quickest_seconds: float | None = None

    def start(self, now: float) -> bytes:
        """The statement, which is sent now."""
        self.sent_at = now
        self.waited_for_lock = False
        return self.probe.statement

    def finish(self, ended: float, *, gave_up: bool) -> ProbeWait | None:
        """Take note of an answer, or of one that is not waited for any longer; the Wait, if that is what it was."""
        took = ended - self.sent_at
        if not gave_up:
            quickest = took if self.quickest_seconds is None else min(self.quickest_seconds, took)
            self.quickest_seconds = quickest
            if not self.waited_for_lock or took - quickest <= NEGLIGIBLE_WAIT_SECONDS:
                self.waiting_since = None
                return None
        since = self.sent_at if self.waiting_since is None else self.waiting_since
        self.waiting_since = since if gave_up else None
        return ProbeWait(
            relation=self.probe.relation,
            kind=self.probe.kind,
            waiting_since=since,
            began_at=self.sent_at,
            ended_at=ended,
        )

    def next_due_at(self, now: float) -> float:
        """When it asks next: in step with its offset, however long the last answer took."""
        rest_seconds = _REST_FACTOR * (self.quickest_seconds or 0.0)
        return now + rest_seconds + self.pause_seconds - (now + rest_seconds - self.offset_seconds) % self.pause_seconds


class ProbeQueue:
    """The turns that wait for their moment, the next one first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, ScheduledProbe]] = []
        self._count = itertools.count()  # of two that are due at once, the one that came first

    def put(self, turn: ScheduledProbe, now: float) -> None:
        """Let it ask again when it is due."""
        heapq.heappush(self._heap, (turn.next_due_at(now), next(self._count), turn))

    def take(self, now: float) -> ScheduledProbe | None:
        """The turn that is due, None when none is."""
        return heapq.heappop(self._heap)[-1] if self._heap and self._heap[0][0] <= now else None

    def seconds_to_next(self, now: float) -> float:
        """How long until one is due; for ever, when there is none."""
        return max(0.0, self._heap[0][0] - now) if self._heap else float("inf")


# Tells a wait for a lock from one for a processor or a disk: a busy machine keeps any query waiting for a moment.
#
# Source: PostgreSQL documentation, "pg_stat_activity": wait_event_type is Lock while a session waits for a lock.


_LOCK_WAITS_QUERY = b"SELECT pid FROM pg_catalog.pg_stat_activity WHERE wait_event_type = 'Lock'"
_POLL_SECONDS = NEGLIGIBLE_WAIT_SECONDS / 2  # nothing that counts is over between two looks


class LockWaitMonitor:
    """Asks who waits for a lock, in a session of its own, for as long as somebody may be."""

    def __init__(self, caller: ProbeSession) -> None:
        self.session = caller
        self.sent_at = 0.0
        self.busy = False

    def poll(self, asking: Mapping[ProbeSession, ScheduledProbe]) -> None:
        """Ask, if a question has gone without an answer for long enough."""
        now = time.monotonic()
        if self.busy or now - self.sent_at < _POLL_SECONDS:
            return
        if any(now - turn.sent_at >= _POLL_SECONDS for turn in asking.values()):
            self.sent_at = now
            self.busy = self.session.send(_LOCK_WAITS_QUERY)

    def handle_answer(self, asking: Mapping[ProbeSession, ScheduledProbe]) -> None:
        """Take note of the answer. A question that is younger than the look was not what it saw."""
        self.busy = False
        pids = {int(pid) for pid in self.session.first_column}
        for caller, turn in asking.items():
            if caller.backend_pid in pids and turn.sent_at < self.sent_at:
                turn.waited_for_lock = True
