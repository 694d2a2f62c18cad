"""Hand jobs to an executor, so many at a time and so many on one server, whatever the executor is."""

from __future__ import annotations

import queue
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")

_TICK_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many jobs run at a time, in all and on one server."""

    at_a_time: int
    per_server: int


class Dispatch(Generic[JobT, ResultT]):
    """Jobs on their way through an executor. `running` are those that have begun and not ended."""

    def __init__(
        self,
        submit: Callable[[JobT], Future[ResultT]],
        jobs: Iterable[JobT],
        *,
        server_of: Callable[[JobT], str],
        limits: Limits,
        started: Callable[[JobT], None] = lambda _job: None,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._submit, self._limits, self._started, self._tick = submit, limits, started, tick
        self._server_of = server_of
        self._waiting: dict[str, deque[JobT]] = {}
        for job in jobs:
            self._waiting.setdefault(server_of(job), deque()).append(job)
        self._on_server = dict.fromkeys(self._waiting, 0)
        self._ended: queue.SimpleQueue[tuple[JobT, Future[ResultT]]] = queue.SimpleQueue()
        self.running = 0
        self._stopped = False

    def stop(self) -> None:
        """Begin no other job; those that run are still awaited."""
        self._stopped = True

    def others_ended(self) -> bool:
        """Whether there is a result that `results` yields at once."""
        return not self._ended.empty()

    def not_started(self) -> Iterator[JobT]:
        for jobs in self._waiting.values():
            yield from jobs

    def results(self) -> Iterator[tuple[JobT, Future[ResultT]]]:
        """Yield each job with its future, when it has ended. `tick` is called twice a second while none ends."""
        while True:
            self._fill()
            if not self.running:
                return
            try:
                job, future = self._ended.get(timeout=_TICK_SECONDS)
            except queue.Empty:
                self._tick()
                continue
            self.running -= 1
            self._on_server[self._server_of(job)] -= 1
            yield job, future

    def _fill(self) -> None:
        """Begin jobs, one server after the other, as long as the limits allow."""
        begun = True
        while begun and not self._stopped:
            begun = False
            for server, jobs in self._waiting.items():
                if self._stopped or self.running >= self._limits.at_a_time:
                    return
                if jobs and self._on_server[server] < self._limits.per_server:
                    self._begin(server, jobs.popleft())
                    begun = True

    def _begin(self, server: str, job: JobT) -> None:
        self.running += 1
        self._on_server[server] += 1
        self._started(job)
        self._submit(job).add_done_callback(lambda future: self._ended.put((job, future)))
