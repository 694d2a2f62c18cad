"""The sessions of an application: one thread sends probes and records which of them wait for locks.

Probes take turns on a bounded number of sessions. With a session for each, a probe waits for a lock for as long as an
application would, and several probes of one kind let a queue grow. With more probes than sessions, a probe gives up
after a moment, so that other relations get their turn, and continues its wait when it is sent next.
"""

from __future__ import annotations

import selectors
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import psycopg

from kernel.errors import DatabaseUnreachable
from kernel.rehearsal.traffic.probe import follow_probe
from kernel.rehearsal.traffic.schedule import LockWaitMonitor, ProbeQueue, ScheduledProbe
from kernel.rehearsal.traffic.session import ProbeAnswer, ProbeSession

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from kernel.rehearsal.traffic.probe import Probe, ProbeWait


MAX_SESSIONS = 20
_PROBES_PER_SECOND = 400.0  # of all sessions together: a tenth of one processor
_PROBES_PER_SECOND_OF_MANY = 1000.0
_RESERVED_SESSIONS = 2  # left free on a full server, for the long transaction and the query for a migration's blockers
_SESSIONS_PER_PROBE = 4  # if there are enough
_LONG_LOCK_TIMEOUT_MS = 60_000  # a longer wait continues with the next attempt
_SHORT_LOCK_TIMEOUT_MS = 25
_MAX_SLEEP_SECONDS = 0.01  # a probe may be waiting for a lock, and the block may have ended
_WARM_UP_SECONDS = 5.0
_STOP_SECONDS = 1.0


class TrafficLoad:
    """Sends probes again and again while the block runs; `waits` are those that waited after start_counting().

    `interval_seconds` is the time between two probes of one kind of one relation. `vanished_probes` are those whose
    relation was dropped. `stop_reason` is why the traffic ended early, or "". Raises DatabaseUnreachable when no
    session can be opened.
    """

    def __init__(self, url: str, probes: Sequence[Probe]) -> None:
        self._url = url
        copies = max(1, min(_SESSIONS_PER_PROBE, MAX_SESSIONS // max(1, len(probes))))
        per_second = _PROBES_PER_SECOND if len(probes) <= MAX_SESSIONS else _PROBES_PER_SECOND_OF_MANY
        self.interval_seconds = len(probes) / per_second
        started_at = time.monotonic()
        self._unanswered_probes = {
            ScheduledProbe(
                probe=probe,
                offset_seconds=started_at + number / per_second,
                pause_seconds=self.interval_seconds * copies,
            )
            for number, probe in enumerate([*probes] * copies)
        }
        self._queue = ProbeQueue()
        for scheduled in self._unanswered_probes:
            self._queue.put(scheduled, started_at)
        self._session_limit = min(len(self._unanswered_probes), MAX_SESSIONS)
        enough_sessions = len(self._unanswered_probes) <= MAX_SESSIONS
        self._lock_timeout_ms = _LONG_LOCK_TIMEOUT_MS if enough_sessions else _SHORT_LOCK_TIMEOUT_MS
        self._idle_sessions: list[ProbeSession] = []
        self._busy_sessions: dict[ProbeSession, ScheduledProbe] = {}
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._warmed_up = threading.Event()
        self._stopping = threading.Event()
        self._counted_from = float("inf")
        self.waits: list[ProbeWait] = []
        self.vanished_probes: list[Probe] = []
        self.session_count = 0
        self.stop_reason = ""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._close)
            self._open_sessions()
            stack.pop_all()
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
        """Record waits from now on, once every probe was answered: the first answer of a session takes longest."""
        self._warmed_up.wait(_WARM_UP_SECONDS)
        self._counted_from = time.monotonic()

    def _open_sessions(self) -> None:
        """Open the sessions; on a server that has no room for all of them, as many as it accepts."""
        self._lock_wait_monitor = LockWaitMonitor(self._open_session())
        for _ in range(self._session_limit):
            try:
                self._idle_sessions.append(self._open_session())
            except DatabaseUnreachable:
                if len(self._idle_sessions) <= _RESERVED_SESSIONS:
                    raise
                for _ in range(_RESERVED_SESSIONS):
                    self._close_session(self._idle_sessions.pop())
                self._lock_timeout_ms = _SHORT_LOCK_TIMEOUT_MS
                break
        self.session_count = len(self._idle_sessions)
        for session in self._idle_sessions:
            session.set_lock_timeout(self._lock_timeout_ms)

    def _open_session(self) -> ProbeSession:
        session = ProbeSession(self._url)
        self._selector.register(session, selectors.EVENT_READ, session)
        return session

    def _close_session(self, session: ProbeSession) -> None:
        self._selector.unregister(session)
        session.close()

    def _close(self) -> None:
        for key in tuple(self._selector.get_map().values()):
            key.data.close()
        self._selector.close()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._send_due_probes()
                seconds = self._queue.seconds_to_next(time.monotonic()) if self._idle_sessions else _MAX_SLEEP_SECONDS
                self._receive_answers(min(seconds, _MAX_SLEEP_SECONDS))
            deadline = time.monotonic() + _STOP_SECONDS
            while self._busy_sessions and (left := deadline - time.monotonic()) > 0:
                self._receive_answers(left)
            for scheduled in self._busy_sessions.values():
                self._record_wait(scheduled.finish(time.monotonic(), gave_up=True))
        except (psycopg.Error, DatabaseUnreachable) as error:
            self.stop_reason = " ".join(str(error).split())
        finally:
            self._warmed_up.set()

    def _send_due_probes(self) -> None:
        """Send the probes that are due, as far as sessions are idle."""
        while self._idle_sessions and (scheduled := self._queue.take(time.monotonic())):
            session = self._idle_sessions.pop()
            self._busy_sessions[session] = scheduled
            if not session.send(scheduled.start(time.monotonic())):
                self._handle_probe_answer(session, ProbeAnswer.LOST)

    def _receive_answers(self, timeout_seconds: float) -> None:
        for key, _ in self._selector.select(timeout_seconds):
            session: ProbeSession = key.data
            answer = session.poll_answer()
            if answer and session is self._lock_wait_monitor.session:
                self._handle_monitor_answer(answer)
            elif answer:
                self._handle_probe_answer(session, answer)
        self._lock_wait_monitor.poll(self._busy_sessions)

    def _handle_monitor_answer(self, answer: ProbeAnswer) -> None:
        if answer is ProbeAnswer.LOST:
            self._lock_wait_monitor = LockWaitMonitor(self._replace_session(self._lock_wait_monitor.session))
        else:
            self._lock_wait_monitor.handle_answer(self._busy_sessions)

    def _handle_probe_answer(self, session: ProbeSession, answer: ProbeAnswer) -> None:
        scheduled = self._busy_sessions.pop(session, None)
        if scheduled:
            self._record_wait(scheduled.finish(time.monotonic(), gave_up=answer is ProbeAnswer.GAVE_UP))
        else:  # the server ended an idle session
            self._idle_sessions.remove(session)
        if answer is ProbeAnswer.LOST:
            session = self._replace_session(session)
        self._idle_sessions.append(session)
        if scheduled:
            if answer is not ProbeAnswer.REFUSED or self._follow_relation(scheduled, session):
                self._queue.put(scheduled, time.monotonic())
            self._unanswered_probes.discard(scheduled)
        if not self._unanswered_probes:
            self._warmed_up.set()

    def _record_wait(self, wait: ProbeWait | None) -> None:
        if wait and wait.waiting_since >= self._counted_from:
            self.waits.append(wait)

    def _replace_session(self, lost: ProbeSession) -> ProbeSession:
        """Open another session in place of a lost one, as an application does."""
        self._close_session(lost)
        session = self._open_session()
        session.set_lock_timeout(self._lock_timeout_ms)
        return session

    def _follow_relation(self, scheduled: ScheduledProbe, session: ProbeSession) -> bool:
        """Point a refused probe to the renamed relation, or to the one that replaced it; return False without any."""
        probe = follow_probe(session.connection, scheduled.probe)
        if probe is None:
            self.vanished_probes.append(scheduled.probe)
            return False
        scheduled.probe = probe
        return True
