"""Apply files outside of a transaction: statement by statement; a next run resumes after the last.

A statement that can run in a transaction does, together with its progress: it happens exactly once. For one that cannot
(CREATE INDEX CONCURRENTLY, VACUUM …), or that may commit by itself (CALL), progress is saved before and after, and the
next run checks what an interrupted one left. Whether a statement can run in a transaction is the server's word where
the text does not show it: refused there, it has done nothing, and runs again outside.

    BEGIN; SET LOCAL lock_timeout ...
    <statement>
    <progress>
    COMMIT

A statement that runs outside of a transaction has a message to itself: the server takes several statements in one
message for a transaction. What is saved, and what of its session a file that goes on has lost: `saved_progress.py`.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg.pq import DiagnosticField

from kernel.apply.batches import Batch, BatchQueue, Message
from kernel.apply.concurrent_changes import (
    describe_invalid_index,
    drop_left_indexes,
    invalid_index_of_name,
    is_change_done,
    is_detach_pending,
    is_index_missing,
    parse_concurrent_change,
    state_before,
)
from kernel.apply.events import MigrationApplied, MigrationProgressed, MigrationStarted
from kernel.apply.executor import migration_application_name, run_with_retries
from kernel.apply.failures import (
    connection_lost_error,
    error_field,
    refused_error,
    server_error,
    sets_transaction_late,
)
from kernel.apply.saved_progress import READ_ONLY_SQLSTATE, REPEATED, SavedProgress
from kernel.apply.transaction import roll_back_transaction
from kernel.db.progress_table import FileProgress, left_indexes, read_progress
from kernel.db.records import claim_statement
from kernel.errors import MigrationFailed
from kernel.migrations.script import open_script
from kernel.sql.classify import StatementEffect, statement_effect
from kernel.sql.lexer import PartKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.pq.abc import PGresult

    from kernel.apply.executor import Executor
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Script
    from kernel.sql.lexer import Part


BEGIN_STEP = b"BEGIN; SET LOCAL lock_timeout = "  # the transaction of a statement and its progress
# A DO block commits only by these words; most have none of them.
_COMMITTING_WORD = re.compile(rb"\b(?:commit|rollback|call)\b", re.IGNORECASE)
# "Cannot run inside a transaction block", and COMMIT in a procedure that a transaction surrounds; with the remedies for
# a statement that ran outside of a transaction.
_REFUSED_IN_TRANSACTION = {
    "25001": "what cannot run in a transaction cannot run in a DO block, a function or a procedure either; "
    "write the statement itself in the file",
    "2D000": "COMMIT needs a CALL or DO of the file itself: no SELECT or function that calls it, "
    "and no EXCEPTION in the block around it",
}
# By the function of the server's source in which an error arises: its message is in the language of the server.
_SEQUENCE_FUNCTIONS = ("currval_oid", "lastval")
_TRANSACTION_ENDS = (StatementEffect.COMMIT, StatementEffect.ROLLBACK)
_TRANSACTION_CONTROL = (StatementEffect.BEGIN, *_TRANSACTION_ENDS)
_NO_TIMEOUTS = b"SET lock_timeout = 0; SET statement_timeout = 0"
_RESTORE_TIMEOUTS_COMMENT = b"/* here the runner sets both timeouts as before, and saves the progress */\n"


def run_outside_transaction(executor: Executor, migration: Migration, script: Script) -> MigrationApplied:
    """Run the statements of a file one by one from where the last run stopped, and record it at the end.

    Raises MigrationFailed, which says what is committed, Drift when the part that ran before has changed since, and
    LockBusy when the file let go of the lock and another runner took it.
    """
    began = time.monotonic()
    executor.observer(MigrationStarted(migration=migration, script=script))
    steps = _StatementRun(executor, migration, script)
    try:
        executor.protocol.query(application_name_statement(migration))
        if executor.hooks:
            executor.hooks.begun(executor.session, migration, script)
        with open_script(script, migration.path) as reading:
            steps.run(reading.parts)
        if reading.checksum() != migration.checksum:
            raise refused_error(
                migration, "changed while it ran; run inv db.migrate again", aftermath=steps.progress.aftermath()
            )
        steps.progress.record()
    except OSError as error:
        message = f"cannot be read any more: {error.strerror}"
        raise refused_error(migration, message, aftermath=steps.progress.aftermath()) from error
    except psycopg.Error as error:
        if executor.session.connection.broken:
            raise connection_lost_error(migration, error, aftermath=steps.progress.aftermath()) from error
        roll_back_transaction(executor)
        raise server_error(migration, error, executor.ledger, aftermath=steps.progress.aftermath()) from error
    finally:
        roll_back_transaction(executor)
    applied = MigrationApplied(
        migration=migration,
        seconds=time.monotonic() - began,
        statements=script.statement_count,
        note=steps.resume_note,
    )
    executor.observer(applied)
    return applied


def outside_transaction_sql(executor: Executor, migration: Migration, script: Script) -> Iterator[bytes]:
    """The SQL that `run_outside_transaction` sends, as a script for psql, without sending it.

    Comments take the place of what saves the progress, in which the ids of its transactions are. A statement that the
    server refuses in a transaction is sent again without one.
    """
    ledger, session = executor.ledger, executor.session
    progress = read_progress(session, ledger) if ledger.exists else {}
    finished = (progress.get(migration.version) or FileProgress()).finished
    yield b"\n-- %b, outside of a transaction%b\n" % (
        migration.filename.encode(),
        b", from statement %d" % (finished + 1) if finished else b"",
    )
    yield application_name_statement(migration) + b";\n"
    number, in_transaction = 0, False
    with open_script(script, migration.path) as reading:
        parts = reading.parts
        for part in parts:
            if part.kind is not PartKind.STATEMENT:
                continue
            number += 1
            effect = statement_effect(part.sql)
            if number <= finished and effect not in REPEATED:
                continue
            text = Message(batch=Batch((part,))).script
            if effect is StatementEffect.COPY_IN:
                text += b"".join(BatchQueue(parts).copy_data()) + b"\\.\n"
            if number <= finished or in_transaction or effect in _TRANSACTION_CONTROL:
                yield text
                in_transaction = (in_transaction or effect is StatementEffect.BEGIN) and effect not in _TRANSACTION_ENDS
            elif _runs_outside(part, effect):
                yield b"%b;\n%b%b" % (_NO_TIMEOUTS, text, _RESTORE_TIMEOUTS_COMMENT)
            else:
                yield b"%b;\n%b" % (begin_step_statements(executor, script), text)
                yield b"/* here the runner saves the progress */ COMMIT;\n"
    yield b"BEGIN;\n%b;\n" % claim_statement(session.connection, ledger, migration)
    yield b"/* here the runner deletes the progress */ COMMIT;\n"


def application_name_statement(migration: Migration) -> bytes:
    """The statement that names the session by the file, for those who wait for it."""
    return f"SET application_name = '{migration_application_name(migration)}'".encode()


def begin_step_statements(executor: Executor, script: Script) -> bytes:
    """The beginning of the transaction of one statement."""
    of_file = script.lock_timeout_ms
    milliseconds = executor.waits.lock_timeout_ms if of_file is None else of_file
    return BEGIN_STEP + b"%d" % milliseconds


class _StatementRun:
    """The run of one file: each statement in the way that it needs."""

    def __init__(self, executor: Executor, migration: Migration, script: Script) -> None:
        self._executor = executor
        self._migration = migration
        self._script = script
        self.progress = SavedProgress(executor, migration, script)
        finished = self.progress.resumed.finished
        self.resume_note = f"went on with statement {finished + 1}" if finished else ""

    def run(self, parts: Iterator[Part]) -> None:
        """Send the statements that are not finished yet."""
        progress, sent_bytes = self.progress, 0
        for part in parts:
            sent_bytes += len(part.text)
            if part.kind is not PartKind.STATEMENT:
                continue
            effect = statement_effect(part.sql)
            progress.count(part, effect)
            if progress.number > progress.resumed.finished:
                if progress.number == progress.resumed.finished + 1:
                    self._resume(part)
                self._run_statement(part, effect, parts)
            elif effect in REPEATED:  # the setting was lost with the session that ran it
                self._send(part, parts)
            # Of the finished part as well, so that the next statement has its number.
            sent = MigrationProgressed(
                migration=self._migration, script=self._script, statements=progress.number, sent_bytes=sent_bytes
            )
            self._executor.observer(sent)
        if progress.number < progress.resumed.finished:
            raise progress.changed_error()

    def _resume(self, part: Part) -> None:
        """Prepare the session for the first statement to run."""
        if self.progress.resumed.finished:
            self.progress.refuse_lost_state(part)
        if self.progress.resumed.table_oid is not None:
            self._drop_left_indexes(part)

    def _run_statement(self, part: Part, effect: StatementEffect, parts: Iterator[Part]) -> None:
        self._refuse_invalid_index(part)
        if effect is StatementEffect.BEGIN:
            self._send(part, parts)
            self.progress.begin_line = self.progress.begin_line or part.line
        elif effect is StatementEffect.COMMIT and self.progress.begin_line:
            saved = self.progress.save_in_transaction(part)
            self._send(part, parts)
            self.progress.mark_committed(part, saved)
        elif effect in (StatementEffect.COMMIT, StatementEffect.ROLLBACK):
            self._send(part, parts)
            self.progress.save_finished(part)
        elif self.progress.begin_line:
            self._send(part, parts)
        elif _runs_outside(part, effect):
            self._run_outside_transaction(part, parts)
        elif effect is StatementEffect.COPY_IN:
            self._run_with_progress(part, parts)  # its data can be read once only
        else:
            try:
                run_with_retries(self._executor, lambda: self._run_with_progress(part, parts))
            except MigrationFailed as error:
                if error.failure.sqlstate not in _REFUSED_IN_TRANSACTION:
                    raise
                self._run_outside_transaction(part, parts)

    def _run_with_progress(self, part: Part, parts: Iterator[Part]) -> None:
        """Run a statement and save the progress in one transaction."""
        try:
            self._executor.protocol.query(begin_step_statements(self._executor, self._script))
            self._send(part, parts)
            self.progress.commit(part, self.progress.save_in_transaction(part))
            if self._executor.hooks:
                self._executor.hooks.ended()
        finally:
            roll_back_transaction(self._executor)

    def _run_outside_transaction(self, part: Part, parts: Iterator[Part]) -> None:
        """Run a statement outside of a transaction, and save the progress before and after."""
        connection = self._executor.session.connection
        change = parse_concurrent_change(part.sql)
        progress, resumed = self.progress, self.progress.resumed
        with self._without_timeouts():
            again = resumed.begun == progress.number and resumed.begun_digest == progress.digest
            if not (change and again and is_change_done(connection, change, resumed)):
                progress.save_begun(part, *(state_before(connection, change) if change else (None, ())))
                sent = part
                if change and again and is_detach_pending(connection, change):
                    sent = part._replace(text=change.finalize, start=0)
                self._send(sent, parts, builds_index=change is not None)
                if change and is_index_missing(connection, change, progress.saved):
                    message = f"no index was built, and none that is valid has the name {change.name}"
                    raise progress.refused_error(part, message)
        progress.save_finished(part)

    def _refuse_invalid_index(self, part: Part) -> None:
        """Raise MigrationFailed for CREATE INDEX when an INVALID index, which this file did not leave, has its name."""
        change = parse_concurrent_change(part.sql)
        connection = self._executor.session.connection
        if change and (name := invalid_index_of_name(connection, change)):
            raise self.progress.refused_error(part, describe_invalid_index(name, change))

    @contextmanager
    def _without_timeouts(self) -> Iterator[None]:
        """Disable timeouts, which would leave the statement half done."""
        query = self._executor.protocol.query
        before = query(b"SELECT current_setting('lock_timeout'), current_setting('statement_timeout')")[-1]
        query(_NO_TIMEOUTS)
        yield
        values = [before.get_value(0, column) or b"" for column in range(2)]
        query(b"SET lock_timeout = '%b'; SET statement_timeout = '%b'" % tuple(values))

    def _send(self, part: Part, parts: Iterator[Part], *, builds_index: bool = False) -> None:
        is_copy = statement_effect(part.sql) is StatementEffect.COPY_IN
        message = Message(batch=Batch((part,), is_copy=is_copy))
        executor = self._executor
        error = executor.send(
            self._migration, message, BatchQueue(parts) if is_copy else None, builds_index=builds_index
        )
        if error:
            failed = executor.statement_error(self._migration, message, error, aftermath="")
            roll_back_transaction(executor)  # nothing can be asked in a transaction that failed
            if isinstance(failed, MigrationFailed):
                failed.aftermath = self.progress.aftermath(part)
                failed.hint = self._hint(failed, error) or failed.hint
            raise failed

    def _hint(self, failed: MigrationFailed, error: PGresult) -> str:
        """The remedy for an error that has another one in such a file; "" for any other."""
        sqlstate, progress = failed.failure.sqlstate, self.progress
        function = error_field(error, DiagnosticField.SOURCE_FUNCTION) or ""
        if sqlstate == READ_ONLY_SQLSTATE:
            return progress.read_only_remedy
        if sqlstate in _REFUSED_IN_TRANSACTION and not sets_transaction_late(sqlstate, function):
            if progress.begin_line:
                return f"take it out of the transaction that begins in line {progress.begin_line}"
            return _REFUSED_IN_TRANSACTION[sqlstate]
        if progress.resumed.finished and function in _SEQUENCE_FUNCTIONS:
            return (
                "the session that called nextval has ended with a former run; "
                f"let the file run from its beginning: {progress.restart}"
            )
        return ""

    def _drop_left_indexes(self, part: Part) -> None:
        connection = self._executor.session.connection
        try:
            with self._without_timeouts():
                drop_left_indexes(connection, self.progress.resumed)
        except psycopg.DatabaseError as error:
            if connection.broken:
                raise
            names = ", ".join(index.name for index in left_indexes(connection, self.progress.resumed))
            message = f"{names} was left INVALID, and the runner cannot drop it: {error.diag.message_primary or error}"
            hint = f"let a role that may run: DROP INDEX CONCURRENTLY {names}; then run inv db.migrate again"
            raise self.progress.refused_error(part, message, hint=hint) from error


def _runs_outside(part: Part, effect: StatementEffect) -> bool:
    """Whether a statement runs outside of a transaction from the first."""
    return effect is StatementEffect.OUTSIDE or _may_commit(part, effect)


def _may_commit(part: Part, effect: StatementEffect) -> bool:
    """Whether a statement may commit by itself: CALL, and a DO block with a word that does it."""
    if effect is not StatementEffect.PROCEDURE:
        return False
    return part.sql[:2].upper() != b"DO" or _COMMITTING_WORD.search(part.sql) is not None
