"""Sending the statements of one file: batch after batch, notices and progress attributed, errors located."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg

from kernel.apply import batch, failure, remedies
from kernel.apply.batch import Queue
from kernel.apply.events import Blocked, Building, Noticed, Progressed, Waiting
from kernel.apply.messages import Exchange
from kernel.apply.watch import Watch
from kernel.errors import Failure, MigrationFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg import pq

    from kernel.apply.batch import Batch
    from kernel.apply.events import Observer
    from kernel.apply.witness import Witness
    from kernel.database import Session
    from kernel.files.migration import Migration
    from kernel.files.script import Script
    from kernel.ledger import Ledger
    from kernel.lock import Holder
    from kernel.sql.part import Part

ROLLED_BACK = "rolled back: the database is as it was before this file"
_IDLE_SECONDS = 1.0
_NAME_BYTES = 63  # PostgreSQL cuts an application_name there


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a run waits: for other runners, for tables that others use, for a statement; 0 ms is for ever."""

    lock_wait_seconds: float = 60
    lock_timeout_ms: int = 5000
    lock_retries: int = 5
    statement_timeout_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """What running a file takes: the session, its messages, the ledger, who looks at blockers, and who is told.

    A `witness` looks on statement by statement.
    """

    session: Session
    exchange: Exchange
    ledger: Ledger
    patience: Patience
    observer: Observer
    watch: Watch = field(repr=False)
    witness: Witness | None = None

    def waiting(self, holder: Holder) -> None:
        """Tell that another runner is waited for."""
        self.observer(Waiting(holder=holder))

    def send(
        self,
        migration: Migration,
        script: Script,
        parts: Iterator[Part],
        *,
        behind: bytes,
        meanwhile: Callable[[], object] | None = None,
    ) -> list[pq.abc.PGresult]:
        """Send every statement of a file in the open transaction, and `behind` them statements of our own.

        Returns the rows of those, each a result. `meanwhile` is called while the server works on the last statements.
        Raises MigrationFailed for the file's statements, psycopg.Error for ours; rolls nothing back.
        """
        done = sent_bytes = 0
        queue = Queue(batch.batches(parts, singly=self.witness is not None, plain=script.plain))
        while item := queue.next():
            last = queue.ended and item.open_ended and self.witness is None
            with self.attending(migration, item):
                if item.copies:
                    error = self.exchange.copy(item.message, queue.copy_data())
                elif last:
                    message = b"%b\n%b" % (item.message, behind)
                    error = self.exchange.run(message, kept_from=len(item.statements), meanwhile=meanwhile)
                else:
                    error = self.exchange.run(item.message, meanwhile=queue.look_ahead)
            if error and last and self.exchange.done >= len(item.statements):
                raise psycopg.errors.error_from_result(error, encoding="utf-8")
            if error:
                raise self.failed(migration, item, error)
            done += len(item.statements)
            sent_bytes += sum(len(part.text) for part in item.statements)
            self.observer(Progressed(migration=migration, script=script, statements=done, sent_bytes=sent_bytes))
            if last:
                return self.exchange.rows
        return [result for result in self.exchange.ask(behind) if result.ntuples]

    def failed(
        self, migration: Migration, item: Batch, error: pq.abc.PGresult, *, aftermath: str = ROLLED_BACK
    ) -> MigrationFailed:
        """The error that stopped a batch, with its place and the next step."""
        message, place = failure.located(migration.filename, item, self.exchange.done, error)
        return MigrationFailed(message, failure=place, aftermath=aftermath, hint=remedies.remedy(place.sqlstate))

    @contextmanager
    def attending(self, migration: Migration, item: Batch, *, building: bool = False) -> Iterator[None]:
        """Attribute notices to the statement of a batch that is under way, and look at who blocks it."""

        def noticed(diagnostic: psycopg.errors.Diagnostic) -> None:
            under_way = item.statements[self.exchange.noticing() :]
            self.observer(
                Noticed(
                    migration=migration,
                    severity=diagnostic.severity_nonlocalized or "NOTICE",
                    message=diagnostic.message_primary or "",
                    line=under_way[0].line if under_way else None,
                )
            )

        def waited() -> None:
            if blockers := self.watch.look():
                self.observer(Blocked(migration=migration, blockers=blockers))
            if building and (phase := self.watch.index_build()):
                self.observer(Building(migration=migration, phase=phase))

        connection = self.session.connection
        if self.witness:
            self.witness.before(item)
        connection.add_notice_handler(noticed)
        try:
            with self.exchange.telling(waited):
                yield
        finally:
            connection.remove_notice_handler(noticed)
            if self.witness:
                self.witness.after()


@contextmanager
def runner(
    session: Session, ledger: Ledger, *, patience: Patience, observer: Observer, witness: Witness | None = None
) -> Iterator[Runner]:
    """A Runner on a session. While a statement waits for others, they are looked up before lock_timeout ends it."""
    half_timeout = patience.lock_timeout_ms / 2000
    idle_seconds = min(_IDLE_SECONDS, half_timeout) if half_timeout else _IDLE_SECONDS
    with Watch(session) as watch:
        yield Runner(
            session=session,
            exchange=Exchange(session.connection, idle_seconds=idle_seconds),
            ledger=ledger,
            patience=patience,
            observer=observer,
            watch=watch,
            witness=witness,
        )


def named(migration: Migration) -> str:
    """The application_name of a session that is on a file: what whoever waits for its lock is told."""
    return f"inv db.migrate {migration.filename}"[:_NAME_BYTES]


def lost(migration: Migration, error: psycopg.Error, *, aftermath: str) -> MigrationFailed:
    """The connection broke while a migration ran."""
    reason = " ".join(str(error).split())
    return MigrationFailed(
        f"the connection was lost: {reason}",
        failure=Failure(file=migration.filename),
        aftermath=aftermath,
        hint="find out why in the server's log, then run inv db.migrate again",
    )
