"""Events of a run, which an observer receives, and hooks around its statements, which a rehearsal measures with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from kernel.apply.batches import Batch
    from kernel.db.advisory_lock import LockHolder
    from kernel.db.connection import Session
    from kernel.db.progress_table import KeyWalk
    from kernel.errors import Problem
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Script


def ignore_event(_event: Event) -> None:
    """An observer that does nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingForLock:
    """The run waits for another runner, which holds the lock."""

    holder: LockHolder


@dataclass(frozen=True, slots=True, kw_only=True)
class FileWarning:
    """A statement of a pending file will not do what it seems to do; nothing has run yet."""

    problem: Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationStarted:
    """A file begins to run."""

    migration: Migration
    script: Script


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationProgressed:
    """Progress of a file: `statements` are done, and `sent_bytes` of it are sent."""

    migration: Migration
    script: Script
    statements: int
    sent_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementRunning:
    """A statement takes long: one of `count` statements that were sent together, of which `index` have finished.

    The server answers several statements of a message together, so that more may have finished. `line` is that of the
    first of those that are left; the last answer came `seconds` ago.
    """

    migration: Migration
    line: int
    index: int
    count: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementBlocked:
    """The statement waits for a lock that other sessions hold; `blockers` names them, a line each.

    It began `seconds` ago.
    """

    migration: Migration
    blockers: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexBuildProgressed:
    """Progress of a CREATE INDEX CONCURRENTLY, which began `seconds` ago; `phase` is the text of the server."""

    migration: Migration
    phase: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCommitted:
    """A batch of a backfill is committed. This run has walked `run_rows` keys in `run_seconds`, pauses included."""

    migration: Migration
    walk: KeyWalk
    batch_seconds: float
    run_rows: int
    run_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillWaiting:
    """A backfill waits with its next batch for a standby, which `standby` describes."""

    migration: Migration
    standby: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchesShrunk:
    """Other sessions waited for a batch; the next ones have so many `rows`."""

    migration: Migration
    waiting_sessions: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillStopped:
    """A signal has arrived, and the batch that ran is committed; `walk` is None for a table without rows."""

    migration: Migration
    walk: KeyWalk | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeReceived:
    """The server sent a NOTICE or WARNING; `line` is that of the statement, None for a statement of the runner."""

    migration: Migration
    severity: str
    message: str
    line: int | None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationRetrying:
    """The file was rolled back after a lock conflict with `blockers`, and will run again after the pause."""

    file: str
    attempt: int
    attempts: int
    reason: str
    blockers: tuple[str, ...]
    pause_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationApplied:
    """A migration is applied and recorded."""

    migration: Migration
    seconds: float
    statements: int
    note: str = ""


Event = (
    FileWarning
    | WaitingForLock
    | MigrationStarted
    | MigrationProgressed
    | StatementRunning
    | StatementBlocked
    | IndexBuildProgressed
    | BatchCommitted
    | BackfillWaiting
    | BatchesShrunk
    | BackfillStopped
    | NoticeReceived
    | MigrationRetrying
    | MigrationApplied
)
Observer = Callable[[Event], None]


class RunHooks(Protocol):
    """Hooks that the thread of the run calls between statements, while its session is free for queries of the hook.

    With hooks, statements go to the server one at a time, except that consecutive INSERTs share a message, or a file of
    data would take minutes. After a failure the transaction may be aborted: see the session's transaction status.
    """

    def begun(self, session: Session, migration: Migration, script: Script) -> None:
        """A migration begins, or begins again after a retry: its record is claimed, no statement has been sent."""

    def before(self, batch: Batch) -> None:
        """A statement, or consecutive INSERTs, will be sent next."""

    def after(self) -> None:
        """The batch is done, or has failed."""

    def committing(self) -> None:
        """All statements and deferred constraints are done; COMMIT is sent next."""

    def ended(self) -> None:
        """A transaction has ended, committed or rolled back: its locks are gone."""
