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

from kernel.rehearsal import modes
from kernel.rehearsal.witness.sight import FIRST_NORMAL_OID

if TYPE_CHECKING:
    from types import TracebackType

    from kernel.database import Connection

_FIRST_LOOK_SECONDS = 0.001  # most statements are over by then, and cost nothing
_SHORTEST_SECONDS = 0.002
_LONGEST_SECONDS = 0.005
_REST = 8  # times what a look takes: it costs at most a ninth of one processor
_LOCKS = f"""
SELECT pg_catalog.int8(relation), mode, granted FROM pg_catalog.pg_lock_status()
WHERE pid = %s AND locktype = 'relation' AND database = %s AND relation >= {FIRST_NORMAL_OID}
"""  # noqa: S608 - a constant


@dataclass(slots=True, kw_only=True)
class Sighting:
    """A lock that was seen, from when to when, as time.monotonic(); as long as it can have been.

    `since` is the look before the one that saw it first, `until` the first look that missed it again, None while it was
    there to the last. `waited_since` is when it was asked for, None when it was granted at once, as far as can be seen.
    """

    oid: int
    mode: str
    since: float
    waited_since: float | None = None
    until: float | None = None


class Lookout:
    """Watches the locks of the backend `pid` in the database `database` (an OID), in a thread of its own.

    Its own connection should stand in another database: CONCURRENTLY waits for everybody's snapshot in this one.
    Of the statement watched last, `sightings` are the locks that were seen, `waiting` those that were only seen waited
    for, by OID and mode, and since when, `last_look` the moment of the last look at
    it (when it began, if it was too quick for any), `gap_seconds` the longest time without one. `lost` is why it sees
    no more, "" while it does.
    """

    def __init__(self, connection: Connection, *, pid: int, database: int) -> None:
        self._connection = connection
        self._asked = (pid, database)
        self._begun = threading.Event()
        self._over = threading.Event()
        self._looking = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="lookout", daemon=True)
        self._closing = False
        self._watching = False
        self._rest_seconds = _SHORTEST_SECONDS
        self._present: dict[tuple[int, str], Sighting] = {}
        self.waiting: dict[tuple[int, str], float] = {}
        self._past: list[Sighting] = []
        self.sightings: tuple[Sighting, ...] = ()
        self.last_look = 0.0
        self.gap_seconds = 0.0
        self.lost = ""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._over.set()
        self._begun.set()
        self._thread.join()

    def watch(self) -> None:
        """A statement is sent now."""
        self._present.clear()
        self.waiting.clear()
        self._past = []
        self.gap_seconds = 0.0
        self.last_look = time.monotonic()
        self._watching = True
        self._over.clear()
        self._begun.set()

    def rest(self) -> None:
        """It is over."""
        with self._looking:
            self._watching = False
            self._begun.clear()
            self._over.set()
        self.gap_seconds = max(self.gap_seconds, time.monotonic() - self.last_look)
        self.sightings = (*self._past, *self._present.values())

    def _run(self) -> None:
        while self._begun.wait() and not self._closing:
            self._over.wait(_FIRST_LOOK_SECONDS)
            while self._look():
                self._over.wait(self._rest_seconds)

    def _look(self) -> bool:
        with self._looking:
            if not self._watching:
                return False
            began = time.monotonic()
            try:
                rows = self._connection.execute(_LOCKS.encode(), self._asked).fetchall()
            except psycopg.Error as error:
                self.lost = " ".join(str(error).split())
                self._watching = False
                self._begun.clear()
                return False
            ended = time.monotonic()
            cost = ended - began
            self._rest_seconds = max(cost, min(_LONGEST_SECONDS, max(_SHORTEST_SECONDS, _REST * cost)))
            self._see(began + cost / 2, rows)
            return True

    def _see(self, moment: float, rows: list[tuple[int, str, bool]]) -> None:
        before, self.last_look = self.last_look, moment
        self.gap_seconds = max(self.gap_seconds, moment - before)
        seen = set()
        for oid, mode, granted in rows:
            key = (oid, modes.NAMES.get(mode, ""))
            if not granted:
                self.waiting.setdefault(key, before)
                continue
            seen.add(key)
            if key[1] and key not in self._present:
                self._present[key] = Sighting(
                    oid=oid, mode=key[1], since=before, waited_since=self.waiting.pop(key, None)
                )
        for key in self._present.keys() - seen:
            gone = self._present.pop(key)
            gone.until = moment
            self._past.append(gone)
