"""Poll the locks of the migration's session from a second session while a statement runs.

Polling alone shows locks that a statement releases before it ends (CREATE INDEX CONCURRENTLY, VACUUM, subtransactions
rolled back), and how long the statement waited for a lock. Polling every 2 to 5 ms misses none of the phases of a
concurrent build, every 20 ms all of them, and a tight loop would slow the statement down by a third.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import psycopg

from kernel.lint.lock_modes import LOCK_MODE_NAMES
from kernel.rehearsal.tracing.catalog import FIRST_NORMAL_OID

if TYPE_CHECKING:
    from kernel.db.connection import Connection


_FIRST_POLL_SECONDS = 0.001  # most statements are over by then, and cost nothing
_SHORTEST_INTERVAL_SECONDS = 0.002
_LONGEST_INTERVAL_SECONDS = 0.005
_INTERVAL_PER_COST = 8  # times the duration of a poll: it uses at most a ninth of one processor
_LOCKS_SQL = f"""
SELECT pg_catalog.int8(relation), mode, granted FROM pg_catalog.pg_lock_status()
WHERE pid = %s AND locktype = 'relation' AND database = %s AND relation >= {FIRST_NORMAL_OID}
"""  # noqa: S608 - a constant


@dataclass(slots=True, kw_only=True)
class PolledLock:
    """A lock that polls have seen, for the longest time that it can have been held; times are time.monotonic().

    `since` is the poll before the first that saw it, `until` the first poll that no longer did, None while it was held
    to the last. `waited_since` is when the session began to wait, None when no poll saw it waiting.
    """

    oid: int
    mode: str
    since: float
    waited_since: float | None = None
    until: float | None = None


class LockPoller:
    """Polls the locks of the backend `pid` in the database `database` (an OID), in a thread of its own.

    Its connection should be to another database: CONCURRENTLY waits for all snapshots in this one.
    Of the last statement, `locks` are those that were seen, `waiting` those that were only waited for, by OID and mode,
    with the time when waiting began, `last_poll` the moment of the last poll (when the statement began, if there was
    none), `gap_seconds` the longest time between polls. `lost_reason` is why polling stopped, "" while it works.
    """

    def __init__(self, connection: Connection, *, pid: int, database: int) -> None:
        self._connection = connection
        self._parameters = (pid, database)
        self._resumed = threading.Event()
        self._paused = threading.Event()
        self._poll_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="lock-poller", daemon=True)
        self._closing = False
        self._active = False
        self._interval_seconds = _SHORTEST_INTERVAL_SECONDS
        self._held: dict[tuple[int, str], PolledLock] = {}
        self.waiting: dict[tuple[int, str], float] = {}
        self._released: list[PolledLock] = []
        self.locks: tuple[PolledLock, ...] = ()
        self.last_poll = 0.0
        self.gap_seconds = 0.0
        self.lost_reason = ""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._paused.set()
        self._resumed.set()
        self._thread.join()

    def start_statement(self) -> None:
        """Poll until `end_statement`."""
        self._held.clear()
        self.waiting.clear()
        self._released = []
        self.gap_seconds = 0.0
        self.last_poll = time.monotonic()
        self._active = True
        self._paused.clear()
        self._resumed.set()

    def end_statement(self) -> None:
        """Stop polling, and set `locks`."""
        with self._poll_lock:
            self._active = False
            self._resumed.clear()
            self._paused.set()
        self.gap_seconds = max(self.gap_seconds, time.monotonic() - self.last_poll)
        self.locks = (*self._released, *self._held.values())

    def _run(self) -> None:
        while self._resumed.wait() and not self._closing:
            self._paused.wait(_FIRST_POLL_SECONDS)
            while self._poll():
                self._paused.wait(self._interval_seconds)

    def _poll(self) -> bool:
        with self._poll_lock:
            if not self._active:
                return False
            began = time.monotonic()
            try:
                rows = self._connection.execute(_LOCKS_SQL.encode(), self._parameters).fetchall()
            except psycopg.Error as error:
                self.lost_reason = " ".join(str(error).split())
                self._active = False
                self._resumed.clear()
                return False
            ended = time.monotonic()
            cost = ended - began
            self._interval_seconds = max(
                cost, min(_LONGEST_INTERVAL_SECONDS, max(_SHORTEST_INTERVAL_SECONDS, _INTERVAL_PER_COST * cost))
            )
            self._update(began + cost / 2, rows)
            return True

    def _update(self, moment: float, rows: list[tuple[int, str, bool]]) -> None:
        before, self.last_poll = self.last_poll, moment
        self.gap_seconds = max(self.gap_seconds, moment - before)
        seen = set()
        for oid, mode, granted in rows:
            key = (oid, LOCK_MODE_NAMES.get(mode, ""))
            if not granted:
                self.waiting.setdefault(key, before)
                continue
            seen.add(key)
            if key[1] and key not in self._held:
                self._held[key] = PolledLock(
                    oid=oid, mode=key[1], since=before, waited_since=self.waiting.pop(key, None)
                )
        for key in self._held.keys() - seen:
            gone = self._held.pop(key)
            gone.until = moment
            self._released.append(gone)
