"""The sessions of an application, driven by one thread: who asks when, and who is kept waiting.

Probes take turns on a bounded number of sessions. Where each can have sessions of its own, it waits for a lock for as
long as it takes, as an application does, and several of a kind let a queue grow. Where there are more probes than that,
one gives up after a moment, so that those of other relations get their turn, and goes on waiting when it is next.
"""

from __future__ import annotations

import selectors
import threading
import time
from typing import TYPE_CHECKING, Self

import psycopg

from kernel.errors import DatabaseUnreachable
from kernel.rehearsal.traffic.probe import follow_probe
from kernel.rehearsal.traffic.schedule import LockWaitMonitor, ProbeQueue, ScheduledProbe
from kernel.rehearsal.traffic.session import ProbeAnswer, ProbeSession, connect_without_limits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from kernel.rehearsal.traffic.probe import Probe, ProbeWait


MAX_SESSIONS = 20
_PROBES_PER_SECOND = 400.0  # questions in all: a tenth of one processor
_PROBES_PER_SECOND_OF_MANY = 1000.0
_RESERVED_SESSIONS = 2  # of the server's last sessions: the reader, and who looks at what blocks a migration
_SESSIONS_PER_PROBE = 4  # sessions for each probe, where there are enough
_LONG_LOCK_TIMEOUT_MS = 60_000  # a wait that lasts longer goes on with the next attempt
_SHORT_LOCK_TIMEOUT_MS = 25
_MAX_SLEEP_SECONDS = 0.01  # at most: somebody may be waiting for a lock, and somebody wants to leave
_WARM_UP_SECONDS = 5.0
_STOP_SECONDS = 1.0


class TrafficLoad:
    """Probes asked again and again while the block runs; after `count`, `waits` are those that were kept waiting.

    `round_seconds` is the time between two questions of one kind to one relation: what is over sooner may be missed.
    `asked` counts the questions, `sessions` those that ask them. `gone` are probes of what is not there any more.
    `lost` is why nothing is asked any more, "" while it is. Raises DatabaseUnreachable when nothing could be asked.
    """

    def __init__(self, url: str, probes: Sequence[Probe]) -> None:
        self._url = url
        abreast = max(1, min(_SESSIONS_PER_PROBE, MAX_SESSIONS // max(1, len(probes))))
        per_second = _PROBES_PER_SECOND if len(probes) <= MAX_SESSIONS else _PROBES_PER_SECOND_OF_MANY
        self.interval_seconds = len(probes) / per_second
        started = time.monotonic()
        turns = [
            ScheduledProbe(
                probe=one, offset_seconds=started + number / per_second, pause_seconds=self.interval_seconds * abreast
            )
            for number, one in enumerate(one for _ in range(abreast) for one in probes)
        ]
        self._queue = ProbeQueue()
        for turn in turns:
            self._queue.put(turn, started)
        self._unanswered_probes = set(turns)
        self._session_limit = min(len(turns), MAX_SESSIONS)
        self._lock_timeout_ms = _LONG_LOCK_TIMEOUT_MS if len(turns) <= MAX_SESSIONS else _SHORT_LOCK_TIMEOUT_MS
        self._idle_sessions: list[ProbeSession] = []
        self._busy_sessions: dict[ProbeSession, ScheduledProbe] = {}
        self._all_sessions: list[ProbeSession] = []
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._warmed_up = threading.Event()
        self._stopping = threading.Event()
        self._counted_from = float("inf")
        self.waits: list[ProbeWait] = []
        self.vanished_probes: list[Probe] = []
        self.probe_count = 0
        self.session_count = 0
        self.stop_reason = ""

    def __enter__(self) -> Self:
        try:
            self._open_sessions()
        except BaseException:
            self._close()
            raise
        if not self._unanswered_probes:
            self._warmed_up.set()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._close()

    def start_counting(self) -> None:
        """Count from now on, once every probe has been answered: the first answer of a session takes longest."""
        self._warmed_up.wait(_WARM_UP_SECONDS)
        self.probe_count = 0
        self._counted_from = time.monotonic()

    def _open_sessions(self) -> None:
        """Connect. Where the server has no room for all of the sessions, those that it has room for do as well."""
        self._lock_wait_monitor = LockWaitMonitor(self._open_session())
        for _ in range(self._session_limit):
            try:
                self._idle_sessions.append(self._open_session())
            except DatabaseUnreachable:
                if len(self._idle_sessions) <= _RESERVED_SESSIONS:
                    raise
                for one in self._idle_sessions[-_RESERVED_SESSIONS:]:
                    self._close_session(one)
                del self._idle_sessions[-_RESERVED_SESSIONS:]
                self._lock_timeout_ms = _SHORT_LOCK_TIMEOUT_MS
                break
        self.session_count = len(self._idle_sessions)
        for one in self._idle_sessions:
            one.set_lock_timeout(self._lock_timeout_ms)

    def _open_session(self) -> ProbeSession:
        one = ProbeSession(connect_without_limits(self._url))
        self._all_sessions.append(one)
        self._selector.register(one, selectors.EVENT_READ, one)
        return one

    def _close_session(self, one: ProbeSession) -> None:
        self._selector.unregister(one)
        self._all_sessions.remove(one)
        one.close()

    def _close(self) -> None:
        for one in self._all_sessions:
            one.close()
        self._selector.close()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._send_due_probes()
                next_seconds = (
                    self._queue.seconds_to_next(time.monotonic()) if self._idle_sessions else _MAX_SLEEP_SECONDS
                )
                self._receive_answers(min(next_seconds, _MAX_SLEEP_SECONDS))
            deadline = time.monotonic() + _STOP_SECONDS
            while self._busy_sessions and (left := deadline - time.monotonic()) > 0:
                self._receive_answers(left)
            for turn in self._busy_sessions.values():
                self._record_wait(turn.finish(time.monotonic(), gave_up=True))
        except (psycopg.Error, DatabaseUnreachable) as reason:
            self.stop_reason = " ".join(str(reason).split())
        finally:
            self._warmed_up.set()

    def _send_due_probes(self) -> None:
        """Ask what is due, as far as there are sessions."""
        while self._idle_sessions and (turn := self._queue.take(time.monotonic())):
            asking = self._idle_sessions.pop()
            self._busy_sessions[asking] = turn
            self.probe_count += 1
            if not asking.send(turn.start(time.monotonic())):
                self._handle_probe_answer(asking, ProbeAnswer.LOST)

    def _receive_answers(self, timeout_seconds: float) -> None:
        for key, _ in self._selector.select(timeout_seconds):
            heard: ProbeSession = key.data
            answer = heard.poll_answer()
            if answer and heard is self._lock_wait_monitor.session:
                self._handle_monitor_answer(answer)
            elif answer:
                self._handle_probe_answer(heard, answer)
        self._lock_wait_monitor.poll(self._busy_sessions)

    def _handle_monitor_answer(self, answer: ProbeAnswer) -> None:
        if answer is ProbeAnswer.LOST:
            self._lock_wait_monitor = LockWaitMonitor(self._replace_session(self._lock_wait_monitor.session))
        else:
            self._lock_wait_monitor.handle_answer(self._busy_sessions)

    def _handle_probe_answer(self, heard: ProbeSession, answer: ProbeAnswer) -> None:
        turn = self._busy_sessions.pop(heard, None)
        if turn:
            self._record_wait(turn.finish(time.monotonic(), gave_up=answer is ProbeAnswer.GAVE_UP))
        else:  # ended by the server while it had nothing to do
            self._idle_sessions.remove(heard)
        if answer is ProbeAnswer.LOST:
            heard = self._replace_session(heard)
        self._idle_sessions.append(heard)
        if turn and (answer is not ProbeAnswer.REFUSED or self._follow_renamed_relation(turn, heard)):
            self._queue.put(turn, time.monotonic())
        self._unanswered_probes.discard(turn)
        if not self._unanswered_probes:
            self._warmed_up.set()

    def _record_wait(self, wait: ProbeWait | None) -> None:
        if wait and wait.waiting_since >= self._counted_from:
            self.waits.append(wait)

    def _replace_session(self, lost: ProbeSession) -> ProbeSession:
        """Another session: an application too connects again."""
        self._close_session(lost)
        other = self._open_session()
        other.set_lock_timeout(self._lock_timeout_ms)
        return other

    def _follow_renamed_relation(self, turn: ScheduledProbe, heard: ProbeSession) -> bool:
        """Whether the relation is there under another name, or something else under its name: then that is asked."""
        found = follow_probe(heard.connection, turn.probe)
        if found is None:
            self.vanished_probes.append(turn.probe)
            return False
        turn.probe = found
        return True
