"""What happens while migrations run, for whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from kernel.apply.batches import Batch
    from kernel.db.advisory_lock import LockHolder
    from kernel.db.connection import Session
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Script


def ignore_event(_event: Event) -> None:
    """The observer of runs that nobody watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingForLock:
    """Another runner holds the lock; it is waited for."""

    holder: LockHolder


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationStarted:
    """A file begins to run."""

    migration: Migration
    script: Script


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationProgressed:
    """So many of the file's statements are done, and so many of its bytes sent."""

    migration: Migration
    script: Script
    statements: int
    sent_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementBlocked:
    """The statement waits for a table that others hold; `blockers` says who, a line each."""

    migration: Migration
    blockers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexBuildProgressed:
    """An index build that shuts nobody out is under way; `phase` is the server's word for how far."""

    migration: Migration
    phase: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeReceived:
    """The server sent a NOTICE or WARNING; `line` is the statement's, None outside of the file's statements."""

    migration: Migration
    severity: str
    message: str
    line: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationRetrying:
    """The file was rolled back because of others, and will run again."""

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
    WaitingForLock
    | MigrationStarted
    | MigrationProgressed
    | StatementBlocked
    | IndexBuildProgressed
    | NoticeReceived
    | MigrationRetrying
    | MigrationApplied
)
Observer = Callable[[Event], None]


# Somebody who looks on while migrations run, from within their own session: a rehearsal measures through it.
#
# Without a witness none of this costs anything. With one, statements go to the server one at a time, so that each can
# be looked at: only INSERTs in a row share a message, or a file of data would take minutes.


class RunHooks(Protocol):
    """Told of each step by the thread that runs the migrations, while the session is free for its questions.

    Outside of `begun` … `ended` it may find a transaction aborted: the session's transaction status tells.
    """

    def begun(self, session: Session, migration: Migration, script: Script) -> None:
        """A migration begins: its record is claimed, none of its statements has been sent. Again after a retry."""

    def before(self, batch: Batch) -> None:
        """A statement, or INSERTs in a row, will be sent next."""

    def after(self) -> None:
        """It was sent and is done, or has failed."""

    def committing(self) -> None:
        """All statements are done; the transaction that ran them commits next."""

    def ended(self) -> None:
        """A transaction has ended, committed or rolled back: its locks are gone."""
