"""Files that run outside of a transaction: statement by statement, their progress kept, so that a next run goes on.

A statement that can run in a transaction does, together with the note that it is done: it happens exactly once. One
that cannot (CREATE INDEX CONCURRENTLY, VACUUM …), or that may commit by itself (CALL, DO), is noted before and after;
what an interrupted one left behind is looked at before it runs again.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg

from kernel import ledger
from kernel.apply import commit, index, leftover, progress
from kernel.apply.batch import Batch
from kernel.apply.events import Applied, Progressed, Started
from kernel.apply.failed import lost, refused, server_error
from kernel.apply.progress import Progress
from kernel.apply.retry import retried
from kernel.apply.runner import named
from kernel.apply.segment import Segment
from kernel.errors import Drift, Problem
from kernel.files.script import reading
from kernel.sql import effect
from kernel.sql.effect import Effect
from kernel.sql.part import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.apply.runner import Runner
    from kernel.files.migration import Migration
    from kernel.files.script import Script
    from kernel.sql.part import Part

_BY_ITSELF = (Effect.OUTSIDE, Effect.PROCEDURE)
_SESSION_ONLY = (Effect.SETTING, Effect.LEXICAL)
# The file may have taken a role that knows nothing of our tables; at the end of the transaction it has it again.
_AS_OURSELVES = b"SET LOCAL SESSION AUTHORIZATION DEFAULT; SET LOCAL ROLE NONE; "


def run(runner: Runner, migration: Migration, script: Script) -> Applied:
    """Run a file's statements one by one from where the last run stopped, and record it at the end.

    Raises MigrationFailed, which says what is committed, and Drift when the part that ran before has changed since.
    """
    began = time.monotonic()
    runner.observer(Started(migration=migration, script=script))
    steps = _Steps(runner, migration, script)
    try:
        progress.create(runner.session, runner.ledger)
        runner.exchange.ask(f"SET application_name = '{named(migration)}'".encode())
        if runner.witness:
            runner.witness.begun(runner.session, migration, script)
        with reading(script, migration.path) as its_reading:
            steps.run(its_reading.parts)
        if its_reading.checksum() != migration.checksum:
            raise refused(migration, "changed while it ran; run inv db.migrate again", aftermath=steps.aftermath())
        _record(runner, migration)
    except OSError as error:
        message = f"cannot be read any more: {error.strerror}"
        raise refused(migration, message, aftermath=steps.aftermath()) from error
    except psycopg.Error as error:
        if runner.session.connection.broken:
            raise lost(migration, error, aftermath=steps.aftermath()) from error
        raise server_error(migration, error, aftermath=steps.aftermath()) from error
    finally:
        commit.roll_back(runner)
    applied = Applied(
        migration=migration,
        seconds=time.monotonic() - began,
        statements=script.statements,
        note=steps.note,
    )
    runner.observer(applied)
    return applied


def _record(runner: Runner, migration: Migration) -> None:
    connection = runner.session.connection
    commit.clean(runner)
    claim = ledger.claim(connection, runner.ledger, migration)
    forget = progress.remove(connection, runner.ledger, migration.version)
    runner.exchange.ask(b"; ".join((b"BEGIN", claim, forget)))
    progress.drop_when_empty(runner.session, runner.ledger)
    runner.exchange.ask(b"COMMIT")


class _Steps:
    """The way through one file: which statement is next, what is finished, whether its own transaction is open."""

    def __init__(self, runner: Runner, migration: Migration, script: Script) -> None:
        self._runner = runner
        self._migration = migration
        self._script = script
        kept = progress.of_all(runner.session, runner.ledger).get(migration.version)
        self._kept = kept or Progress(finished=0, digest="")
        self._finished = self._kept.finished
        self._finished_line = 0
        self._finished_digest = self._kept.digest
        self._opened_line = 0
        self._number = 0
        self._digest = hashlib.sha256()
        self.note = f"went on with statement {self._finished + 1}" if self._kept.finished else ""

    def run(self, parts: Iterator[Part]) -> None:
        """Send what is not finished yet."""
        sent_bytes = 0
        for part in parts:
            sent_bytes += len(part.text)
            if part.kind is not Kind.STATEMENT:
                continue
            self._number += 1
            self._digest.update(part.sql)
            what = effect.of(part.sql)
            if self._number > self._kept.finished:
                self._step(part, what, parts)
                sent = Progressed(
                    migration=self._migration, script=self._script, statements=self._number, sent_bytes=sent_bytes
                )
                self._runner.observer(sent)
                continue
            self._finished_line = part.line
            if self._number == self._kept.finished and self._digest.hexdigest() != self._kept.digest:
                raise self._changed()
            if what in _SESSION_ONLY:  # it went with the session that ran it
                self._send(part, parts)
        if self._number < self._kept.finished:
            raise self._changed()

    def _step(self, part: Part, what: Effect, parts: Iterator[Part]) -> None:
        if what is Effect.BEGIN:
            self._send(part, parts)
            self._opened_line = self._opened_line or part.line
        elif what is Effect.COMMIT and self._opened_line:
            self._ask(self._note())
            self._send(part, parts)
            self._finish(part)
        elif what in (Effect.COMMIT, Effect.ROLLBACK):
            self._send(part, parts)
            self._ask(self._note())
            self._finish(part)
        elif self._opened_line:
            self._send(part, parts)
        elif what in _BY_ITSELF:
            self._by_itself(part, parts)
        elif what is Effect.COPY_IN:
            self._together(part, parts)  # its data can be read once only
        else:
            retried(self._runner, lambda: self._together(part, parts))

    def _together(self, part: Part, parts: Iterator[Part]) -> None:
        """The statement and the note that it is done, in one transaction."""
        try:
            self._ask(f"BEGIN; SET LOCAL lock_timeout = {self._lock_timeout_ms()}".encode())
            self._send(part, parts)
            self._ask(self._note())
            self._ask(b"COMMIT")
            if self._runner.witness:
                self._runner.witness.ended()
        finally:
            commit.roll_back(self._runner)
        self._finish(part)

    def _by_itself(self, part: Part, parts: Iterator[Part]) -> None:
        """A statement outside of a transaction, noted before and after."""
        again = self._kept.begun == self._number
        if not leftover.done_before(self._runner, self._migration, part, again=again, aftermath=self.aftermath()):
            begun = Progress(finished=self._finished, digest=self._finished_digest, begun=self._number)
            self._ask(self._kept_as(begun))
            with self._unhurried():
                self._send(part, parts, building=index.build(part.sql) is not None)
        self._ask(self._note())
        self._finish(part)

    @contextmanager
    def _unhurried(self) -> Iterator[None]:
        """Without timeouts, which would leave the statement half done."""
        before = self._ask(b"SELECT current_setting('lock_timeout'), current_setting('statement_timeout')")
        self._ask(b"SET lock_timeout = 0; SET statement_timeout = 0")
        yield
        self._ask(b"SET lock_timeout = '%b'; SET statement_timeout = '%b'" % tuple(before))

    def _send(self, part: Part, parts: Iterator[Part], *, building: bool = False) -> None:
        copies = effect.of(part.sql) is Effect.COPY_IN
        item = Segment(self._migration, Batch((part,), copies=copies))
        exchange = self._runner.exchange
        with self._runner.attending(item, building=building):
            error = exchange.copy(part.sql, _data(parts)) if copies else exchange.run(part.sql)
        if error:
            raise self._runner.failed([item], error, aftermath=self.aftermath(part))

    def _ask(self, message: bytes) -> list[bytes]:
        last = self._runner.exchange.ask(message)[-1]
        return [last.get_value(0, column) or b"" for column in range(last.nfields)] if last.ntuples else []

    def _note(self) -> bytes:
        return self._kept_as(Progress(finished=self._number, digest=self._digest.hexdigest(), begun=self._number))

    def _kept_as(self, kept: Progress) -> bytes:
        runner = self._runner
        return _AS_OURSELVES + progress.upsert(runner.session.connection, runner.ledger, self._migration.version, kept)

    def _finish(self, part: Part) -> None:
        self._finished = self._number
        self._finished_line = part.line
        self._finished_digest = self._digest.hexdigest()
        self._opened_line = 0

    def _lock_timeout_ms(self) -> int:
        own = self._script.lock_timeout_ms
        return self._runner.patience.lock_timeout_ms if own is None else own

    def _changed(self) -> Drift:
        table = f"{self._runner.ledger.schema}.{progress.TABLE}"
        message = (
            f"its first {self._kept.finished} statements ran before and have changed since; restore them; to run it "
            f"from its beginning, remove version {self._migration.version} from {table}"
        )
        return Drift([Problem(message=message, file=self._migration.filename)])

    def aftermath(self, part: Part | None = None) -> str:
        """What is committed, what is not, and where the next run goes on."""
        sentences = []
        if self._finished:
            until = f", down to line {self._finished_line}," if self._finished_line else ""
            count = "statement 1" if self._finished == 1 else f"statements 1 to {self._finished}"
            sentences.append(
                f"{count}{until} committed and kept; the next run goes on with statement {self._finished + 1}"
            )
        else:
            sentences.append("none of its statements is committed; the next run begins with the first")
        if self._opened_line:
            sentences.append(f"the transaction begun in line {self._opened_line} is rolled back")
        build = index.build(part.sql) if part else None
        if build and not self._runner.session.connection.broken:
            left = index.invalid(self._runner.session.connection, build)
            sentences += [f"{quoted} is left INVALID; the next run drops it and builds it again" for quoted in left]
        return "; ".join(sentences)


def _data(parts: Iterator[Part]) -> Iterator[bytes]:
    for part in parts:
        if part.kind is Kind.COPY_END:
            return
        if part.kind is Kind.COPY_DATA:
            yield part.text
