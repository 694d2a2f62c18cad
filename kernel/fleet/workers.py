"""Who does the work: threads of this process, or the workers of a cluster (kernel/fleet/cluster.py)."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

from kernel.fleet.catalogs import read_catalogs
from kernel.fleet.kept_sessions import KeptSessions
from kernel.fleet.servers import Probe, probe_target
from kernel.fleet.work import migrate_target, read_targets, shares_sessions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from kernel.fleet.catalogs import Catalogs
    from kernel.fleet.outcome import TargetOutcome, TargetStatus
    from kernel.fleet.target import Target
    from kernel.fleet.work import Work

ResultT = TypeVar("ResultT")


class Workers(Protocol):
    """Where the work on targets is done. The results never raise: errors of a target are part of them."""

    def probe(self, target: Target) -> Future[Probe]:
        """Ask which server a target is on."""

    def read(self, targets: Sequence[Target]) -> Future[tuple[TargetStatus, ...]]:
        """Read the state of targets of one database."""

    def read_catalogs(self, targets: Sequence[Target]) -> Future[Catalogs]:
        """Read the catalogs of targets of one database."""

    def migrate(self, target: Target, timeout_seconds: float | None) -> Future[TargetOutcome]:
        """Migrate a target."""

    def end_wave(self) -> None:
        """Close the sessions that were kept for the next target."""

    def stop(self) -> None:
        """End the runs, as a signal ends db.migrate, where that is possible; elsewhere they finish."""


class ThreadWorkers:
    """Threads of this process, which share the files and what was read of them."""

    def __init__(self, work: Work, *, threads: int) -> None:
        self._kept = KeptSessions()
        self._work = replace(work, kept=self._kept) if shares_sessions(work) else work
        self._executor = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="fleet")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error:
            self.stop()
        self._executor.shutdown(cancel_futures=True)
        self._kept.close()

    def probe(self, target: Target) -> Future[Probe]:
        return self._executor.submit(probe_target, target, self._work.addresses)

    def read(self, targets: Sequence[Target]) -> Future[tuple[TargetStatus, ...]]:
        return self._executor.submit(read_targets, targets, self._work)

    def read_catalogs(self, targets: Sequence[Target]) -> Future[Catalogs]:
        return self._executor.submit(read_catalogs, targets, self._work)

    def migrate(self, target: Target, timeout_seconds: float | None) -> Future[TargetOutcome]:
        return self._executor.submit(migrate_target, target, timeout_seconds, self._work)

    def end_wave(self) -> None:
        self._kept.close()

    def stop(self) -> None:
        self._work.stop.set()


def finished(result: ResultT) -> Future[ResultT]:
    """A future that has its result already."""
    future: Future[ResultT] = Future()
    future.set_result(result)
    return future
