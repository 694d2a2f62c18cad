"""Sending the statements of one file: batch after batch, notices and progress attributed, errors located."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg

from kernel.apply import batch, failure, remedies, segment
from kernel.apply.batch import Queue
from kernel.apply.events import Blocked, Building, Noticed, Progressed, Waiting
from kernel.apply.messages import Exchange
from kernel.apply.segment import Segment
from kernel.apply.watch import Watch
from kernel.errors import MigrationFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from psycopg import pq

    from kernel.apply.events import Observer
    from kernel.apply.witness import Witness
    from kernel.database import Session
    from kernel.files.migration import Migration
    from kernel.files.script import Script
    from kernel.ledger import Ledger
    from kernel.lock import Holder
    from kernel.sql.part import Part

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
        behind: Sequence[bytes],
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
            only = Segment(migration, item)
            with self.attending(only):
                if item.copies:
                    error = self.exchange.copy(item.message, queue.copy_data())
                elif last:
                    message = b"%b\n%b" % (item.message, b"; ".join(behind))
                    kept = range(only.end, sys.maxsize)
                    error = self.exchange.run(message, kept=kept, meanwhile=meanwhile)
                else:
                    error = self.exchange.run(item.message, meanwhile=queue.look_ahead)
            if error:
                raise self.failed([only], error)
            done += len(item.statements)
            sent_bytes += sum([len(part.text) for part in item.statements])
            self.observer(Progressed(migration=migration, script=script, statements=done, sent_bytes=sent_bytes))
            if last:
                return list(self.exchange.rows.values())
        return [result for result in self.exchange.ask(b"; ".join(behind)) if result.ntuples]

    def failed(
        self, segments: Sequence[Segment], error: pq.abc.PGresult, *, aftermath: str | None = None
    ) -> MigrationFailed | psycopg.Error:
        """The error that stopped a message, with its place and the next step; psycopg's for a statement of ours."""
        stopped = segment.stopped(segments, self.exchange.done, failure.position(error))
        if stopped is None:
            return psycopg.errors.error_from_result(error, encoding="utf-8")
        message, place = failure.located(stopped, self.exchange.done, error)
        return MigrationFailed(message, failure=place, aftermath=aftermath, hint=remedies.remedy(place.sqlstate))

    @contextmanager
    def attending(self, *segments: Segment, building: bool = False) -> Iterator[None]:
        """Attribute notices to the statement of a message that is under way, and look at who blocks it."""

        def noticed(diagnostic: psycopg.errors.Diagnostic) -> None:
            number = self.exchange.noticing()
            found = segment.under_way(segments, number)
            part = found.part(number)
            self.observer(
                Noticed(
                    migration=found.migration,
                    severity=diagnostic.severity_nonlocalized or "NOTICE",
                    message=diagnostic.message_primary or "",
                    line=part.line if part else None,
                )
            )

        def waited() -> None:
            if blockers := self.watch.look():
                self.observer(Blocked(migration=self._under_way(segments), blockers=blockers))
            if building and (phase := self.watch.index_build()):
                self.observer(Building(migration=segments[0].migration, phase=phase))

        connection = self.session.connection
        if self.witness:
            self.witness.before(segments[0].batch)
        connection.add_notice_handler(noticed)
        try:
            with self.exchange.telling(waited):
                yield
        finally:
            connection.remove_notice_handler(noticed)
            if self.witness:
                self.witness.after()

    def _under_way(self, segments: Sequence[Segment]) -> Migration:
        """Whose statement runs now: results may wait at the server, but each file names the session after itself."""
        name = self.watch.application_name() if len(segments) > 1 else ""
        return next((one.migration for one in segments if named(one.migration) == name), segments[0].migration)


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
