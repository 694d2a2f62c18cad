"""Work side by side on several connections: the costliest first, and never two jobs that would wait for each other."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kernel.rehearsal.dump.hand import Hand

_CANCEL_SECONDS = 5.0


class Stopped(Exception):
    """Another job failed, or somebody pressed Ctrl-C: leave everything as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Something to do with a connection. It locks the tables of `exclusive` against all, `shared` against those.

    PostgreSQL would let two such jobs wait for each other, with a connection idle or, at worst, a deadlock.
    """

    cost: int
    run: Callable[[Hand], None]
    exclusive: frozenset[bytes] = frozenset()
    shared: frozenset[bytes] = frozenset()


class Crew:
    """Threads, one for each connection: libpq and the server work while Python waits."""

    def __init__(self, hands: Sequence[Hand]) -> None:
        self._hands = hands
        self._change = threading.Condition()
        self._waiting: list[Job] = []
        self._exclusive: Counter[bytes] = Counter()
        self._shared: Counter[bytes] = Counter()
        self._failure: BaseException | None = None

    @property
    def size(self) -> int:
        """How many connections there are."""
        return len(self._hands)

    @property
    def stopped(self) -> bool:
        """Whether jobs are to leave off."""
        return self._failure is not None

    def work(self, jobs: Sequence[Job]) -> None:
        """Do all of them. Raises what the first one that failed raised; the others are then cancelled."""
        self._waiting = sorted(jobs, key=lambda job: job.cost, reverse=True)
        threads = [threading.Thread(target=self._serve, args=(hand,), daemon=True) for hand in self._hands[: len(jobs)]]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException as reason:
            self._fail(reason)
            for thread in threads:
                if thread.is_alive():
                    thread.join()
            raise
        if self._failure:
            raise self._failure

    def _serve(self, hand: Hand) -> None:
        while job := self._take():
            try:
                job.run(hand)
            except BaseException as reason:  # noqa: BLE001 - handed to the thread that waits, which raises it
                self._fail(reason)
            self._done(job)

    def _take(self) -> Job | None:
        """The costliest job that need not wait for those under way; None when there is nothing left to do."""
        with self._change:
            while self._waiting and not self.stopped:
                for place, job in enumerate(self._waiting):
                    if self._free(job):
                        self._exclusive.update(job.exclusive)
                        self._shared.update(job.shared)
                        return self._waiting.pop(place)
                self._change.wait()
            return None

    def _free(self, job: Job) -> bool:
        return not (
            any(self._exclusive[table] or self._shared[table] for table in job.exclusive)
            or any(self._exclusive[table] for table in job.shared)
        )

    def _done(self, job: Job) -> None:
        with self._change:
            self._exclusive.subtract(job.exclusive)
            self._shared.subtract(job.shared)
            self._change.notify_all()

    def _fail(self, reason: BaseException) -> None:
        with self._change:
            if self._failure is None:
                self._failure = reason
            self._change.notify_all()
        for hand in self._hands:
            with suppress(psycopg.Error):
                hand.connection.cancel_safe(timeout=_CANCEL_SECONDS)
