"""A second session that looks at the locks of the first while a statement runs.

It alone sees what a statement takes and lets go of before it ends: CREATE INDEX CONCURRENTLY, VACUUM, subtransactions
rolled back; and how long a lock was waited for. A look every 2 to 5 ms misses none of the phases of a concurrent build,
one every 20 ms all of them, and a tight loop would slow the statement down by a third.
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
    from types import TracebackType

    from kernel.db.connection import Connection


_FIRST_POLL_SECONDS = 0.001  # most statements are over by then, and cost nothing
_SHORTEST_INTERVAL_SECONDS = 0.002
_LONGEST_INTERVAL_SECONDS = 0.005
_INTERVAL_PER_COST = 8  # times what a look takes: it costs at most a ninth of one processor
_LOCKS_SQL = f"""
SELECT pg_catalog.int8(relation), mode, granted FROM pg_catalog.pg_lock_status()
WHERE pid = %s AND locktype = 'relation' AND database = %s AND relation >= {FIRST_NORMAL_OID}
"""  # noqa: S608 - a constant


@dataclass(slots=True, kw_only=True)
class PolledLock:
    """A lock that was seen, from when to when, as time.monotonic(); as long as it can have been.

    `since` is the look before the one that saw it first, `until` the first look that missed it again, None while it was
    there to the last. `waited_since` is when it was asked for, None when it was granted at once, as far as can be seen.
    """

    oid: int
    mode: str
    since: float
    waited_since: float | None = None
    until: float | None = None


class LockPoller:
    """Watches the locks of the backend `pid` in the database `database` (an OID), in a thread of its own.

    Its own connection should stand in another database: CONCURRENTLY waits for everybody's snapshot in this one.
    Of the statement watched last, `sightings` are the locks that were seen, `waiting` those that were only seen waited
    for, by OID and mode, and since when, `last_look` the moment of the last look at
    it (when it began, if it was too quick for any), `gap_seconds` the longest time without one. `lost` is why it sees
    no more, "" while it does.
    """

    def __init__(self, connection: Connection, *, pid: int, database: int) -> None:
        self._connection = connection
        self._parameters = (pid, database)
        self._resumed = threading.Event()
        self._paused = threading.Event()
        self._poll_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="lookout", daemon=True)
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._paused.set()
        self._resumed.set()
        self._thread.join()

    def start_statement(self) -> None:
        """A statement is sent now."""
        self._held.clear()
        self.waiting.clear()
        self._released = []
        self.gap_seconds = 0.0
        self.last_poll = time.monotonic()
        self._active = True
        self._paused.clear()
        self._resumed.set()

    def end_statement(self) -> None:
        """It is over."""
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
