"""When each probe is sent next, and whether it waited for a lock."""

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


# What an answer may take beyond the quickest one before it counts as a wait.
NEGLIGIBLE_WAIT_SECONDS = 0.02
_REST_FACTOR = 8  # times the quickest answer: a session uses at most a ninth of a processor

# Distinguishes a wait for a lock from a wait for a processor or a disk.
# Source: PostgreSQL documentation, "pg_stat_activity": wait_event_type is Lock while a session waits for a lock.
_LOCK_WAITS_QUERY = b"SELECT pid FROM pg_catalog.pg_stat_activity WHERE wait_event_type = 'Lock'"
_POLL_SECONDS = NEGLIGIBLE_WAIT_SECONDS / 2  # no wait that counts begins and ends between two polls


@dataclass(slots=True, kw_only=True, eq=False)
class ScheduledProbe:
    """A probe that is sent every `pause_seconds`, in step with `offset_seconds`; times are those of time.monotonic().

    `waited_for_lock` is set when the server showed it waiting for a lock. `waiting_since` is when the first of several
    attempts that gave up began. `quickest_seconds` is the shortest time that an answer took.
    """

    probe: Probe
    offset_seconds: float
    pause_seconds: float
    sent_at: float = 0.0
    waited_for_lock: bool = False
    waiting_since: float | None = None
    quickest_seconds: float | None = None

    def start(self, now: float) -> bytes:
        """Record that the probe is sent, and return its statement."""
        self.sent_at = now
        self.waited_for_lock = False
        return self.probe.statement

    def finish(self, ended_at: float, *, gave_up: bool) -> ProbeWait | None:
        """Record the answer, or a lock timeout (`gave_up`); return the ProbeWait if the probe waited for a lock."""
        took_seconds = ended_at - self.sent_at
        if not gave_up:
            quickest = took_seconds if self.quickest_seconds is None else min(self.quickest_seconds, took_seconds)
            self.quickest_seconds = quickest
            if not self.waited_for_lock or took_seconds - quickest <= NEGLIGIBLE_WAIT_SECONDS:
                self.waiting_since = None
                return None
        since = self.sent_at if self.waiting_since is None else self.waiting_since
        self.waiting_since = since if gave_up else None
        return ProbeWait(
            relation=self.probe.relation,
            kind=self.probe.kind,
            waiting_since=since,
            began_at=self.sent_at,
            ended_at=ended_at,
        )

    def next_due_at(self, now: float) -> float:
        """When the probe is sent next: in step with its offset, however long the last answer took."""
        earliest = now + _REST_FACTOR * (self.quickest_seconds or 0.0)
        return earliest + self.pause_seconds - (earliest - self.offset_seconds) % self.pause_seconds


class ProbeQueue:
    """The probes that wait for their time, the next one first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, ScheduledProbe]] = []
        self._count = itertools.count()  # orders probes that are due at the same time

    def put(self, scheduled: ScheduledProbe, now: float) -> None:
        """Add a probe for its next time."""
        heapq.heappush(self._heap, (scheduled.next_due_at(now), next(self._count), scheduled))

    def take(self, now: float) -> ScheduledProbe | None:
        """Remove and return a probe that is due, or None."""
        return heapq.heappop(self._heap)[-1] if self._heap and self._heap[0][0] <= now else None

    def seconds_to_next(self, now: float) -> float:
        """The time until a probe is due; infinite without probes."""
        return max(0.0, self._heap[0][0] - now) if self._heap else float("inf")


class LockWaitMonitor:
    """Polls, in a session of its own, which sessions wait for a lock, while a probe takes long to be answered."""

    def __init__(self, session: ProbeSession) -> None:
        self.session = session
        self._sent_at = 0.0
        self._busy = False

    def poll(self, busy_sessions: Mapping[ProbeSession, ScheduledProbe]) -> None:
        """Send the query if a probe has gone without an answer for long enough."""
        now = time.monotonic()
        if self._busy or now - self._sent_at < _POLL_SECONDS:
            return
        if any(now - scheduled.sent_at >= _POLL_SECONDS for scheduled in busy_sessions.values()):
            self._sent_at = now
            self._busy = self.session.send(_LOCK_WAITS_QUERY)

    def handle_answer(self, busy_sessions: Mapping[ProbeSession, ScheduledProbe]) -> None:
        """Mark the probes whose sessions wait for a lock, except those that were sent after the query."""
        self._busy = False
        pids = {int(pid) for pid in self.session.first_column}
        for session, scheduled in busy_sessions.items():
            if session.backend_pid in pids and scheduled.sent_at < self._sent_at:
                scheduled.waited_for_lock = True
