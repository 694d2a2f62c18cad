"""Apply files outside of a transaction: statement by statement; a next run resumes after the last.

A statement that can run in a transaction does, together with its progress: it happens exactly once. For one that cannot
(CREATE INDEX CONCURRENTLY, VACUUM …), or that may commit by itself (CALL), progress is saved before and after, and the
next run checks what an interrupted one left. Whether a statement can run in a transaction is the server's word where
the text does not show it: refused there, it has done nothing, and runs again outside.

    BEGIN; SET LOCAL lock_timeout ...
    <statement>
    SET CONSTRAINTS ALL IMMEDIATE; SET LOCAL ROLE ...; SELECT pg_try_advisory_lock(...);
        UPDATE schema_migrations_progress ... WHERE <as this run saved it> RETURNING ...; SELECT <fingerprint>
    COMMIT

The file may let go of the lock, and may change the ledger. Both are noticed before COMMIT, so that the statement is
rolled back; outside of a transaction they are noticed after it.
"""

from __future__ import annotations

import hashlib
import re
import time
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import psycopg
from psycopg.pq import TransactionStatus

from kernel.apply.batches import Batch, BatchQueue, Message
from kernel.apply.concurrent_changes import (
    ConcurrentAction,
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
from kernel.apply.failures import connection_lost_error, refused_error, server_error, shorten_statement
from kernel.apply.transaction import reset_session, roll_back_transaction
from kernel.db.advisory_lock import advisory_lock_key, find_lock_holder
from kernel.db.ledger import Record, claim_statement, fingerprint_expression, read_records
from kernel.db.progress_table import (
    FileProgress,
    delete_progress_statement,
    left_indexes,
    read_progress,
    save_progress_statement,
)
from kernel.errors import Drift, LockBusy, MigrationFailed, Problem
from kernel.migrations.script import open_script
from kernel.migrations.transactions import RunMode
from kernel.sql.classify import StatementEffect, statement_effect
from kernel.sql.lexer import PartKind
from kernel.units import format_quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from psycopg.pq.abc import PGresult

    from kernel.apply.executor import Executor
    from kernel.db.connection import Session
    from kernel.db.ledger import Ledger
    from kernel.migrations.autocommit import SessionObject
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Script
    from kernel.sql.lexer import Part


_SESSION_STATE = (StatementEffect.SETTING, StatementEffect.LEXICAL)
# A DO block commits only by these words; most have none of them.
_COMMITTING_WORD = re.compile(rb"\b(?:commit|rollback|call)\b", re.IGNORECASE)
# "Cannot run inside a transaction block", and COMMIT in a procedure that a transaction surrounds.
_REFUSED_IN_TRANSACTION = ("25001", "2D000")
_GONE_SQLSTATES = ("42P01", "42703", "3F000")  # undefined table, column, schema
_CHANGES_SHOWN = 5
_RESTORE_LEDGER = "put the table and its records back as they were, then run inv db.migrate again"


def run_outside_transaction(executor: Executor, migration: Migration, script: Script) -> MigrationApplied:
    """Run the statements of a file one by one from where the last run stopped, and record it at the end.

    Raises MigrationFailed, which says what is committed, Drift when the part that ran before has changed since, and
    LockBusy when the file let go of the lock and another runner took it.
    """
    began = time.monotonic()
    executor.observer(MigrationStarted(migration=migration, script=script))
    steps = _StatementRun(executor, migration, script)
    try:
        executor.protocol.query(f"SET application_name = '{migration_application_name(migration)}'".encode())
        if executor.hooks:
            executor.hooks.begun(executor.session, migration, script)
        with open_script(script, migration.path) as reading:
            steps.run(reading.parts)
        if reading.checksum() != migration.checksum:
            raise refused_error(
                migration, "changed while it ran; run inv db.migrate again", aftermath=steps.aftermath()
            )
        steps.record()
    except OSError as error:
        message = f"cannot be read any more: {error.strerror}"
        raise refused_error(migration, message, aftermath=steps.aftermath()) from error
    except psycopg.Error as error:
        if executor.session.connection.broken:
            raise connection_lost_error(migration, error, aftermath=steps.aftermath()) from error
        roll_back_transaction(executor)
        raise server_error(migration, error, executor.ledger, aftermath=steps.aftermath()) from error
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


def renumbered_problems(
    session: Session, ledger: Ledger, migrations: Iterable[Migration], files: Sequence[tuple[Migration, Script]]
) -> list[Problem]:
    """The files that are partly done under another version, of which there is no file any more. Reads only."""
    versions = {migration.version for migration in migrations}
    progress = read_progress(session, ledger) if ledger.exists else {}
    orphans = {version: one for version, one in progress.items() if version not in versions and one.finished}
    problems = []
    for version, one in orphans.items():
        for migration, script in files:
            if script.mode is RunMode.TRANSACTION:
                continue
            with open_script(script, migration.path) as reading:
                statements = (part.sql for part in reading.parts if part.kind is PartKind.STATEMENT)
                digest = hashlib.sha256(b"".join(islice(statements, one.finished)))
            if digest.hexdigest() == one.digest:
                count = format_quantity(one.finished, "statement")
                message = (
                    f"what ran of it as version {version} ({count}) would run again; "
                    f"number it {version} again, or let it run again: inv db.repair --restart {version}"
                )
                problems.append(Problem(message=message, file=migration.filename))
    return problems


class _StatementRun:
    """The run of one file: the next statement, what is finished, whether a transaction of the file is open.

    `_saved` is the row of progress as it is in the database.
    """

    def __init__(self, executor: Executor, migration: Migration, script: Script) -> None:
        self._executor = executor
        self._migration = migration
        self._script = script
        self._saved = read_progress(executor.session, executor.ledger).get(migration.version) or FileProgress()
        self._resumed = self._saved
        self._records = {record.version: record for record in read_records(executor.session, executor.ledger)}
        self._fingerprint = self._query_row(b"SELECT " + self._fingerprint_expression())[0]
        self._finished_line = 0
        self._begin_line = 0
        self._number = 0
        self._digest = hashlib.sha256()
        self._refuse_lost_objects()
        self.resume_note = f"went on with statement {self._resumed.finished + 1}" if self._resumed.finished else ""

    def run(self, parts: Iterator[Part]) -> None:
        """Send the statements that are not finished yet."""
        sent_bytes = 0
        for part in parts:
            sent_bytes += len(part.text)
            if part.kind is not PartKind.STATEMENT:
                continue
            self._number += 1
            self._digest.update(part.sql)
            effect = statement_effect(part.sql)
            if self._number > self._resumed.finished:
                if self._number == self._resumed.finished + 1 and self._resumed.table_oid is not None:
                    self._drop_left_indexes(part)
                self._run_statement(part, effect, parts)
            else:
                self._finished_line = part.line
                if self._number == self._resumed.finished and self._digest.hexdigest() != self._resumed.digest:
                    raise self._changed_error()
                if effect in _SESSION_STATE:  # the setting was lost with the session that ran it
                    self._send(part, parts)
            # Of the finished part as well, so that the next statement has its number.
            sent = MigrationProgressed(
                migration=self._migration, script=self._script, statements=self._number, sent_bytes=sent_bytes
            )
            self._executor.observer(sent)
        if self._number < self._resumed.finished:
            raise self._changed_error()

    def record(self) -> None:
        """Record the file and delete its progress, in one transaction."""
        executor = self._executor
        connection = executor.session.connection
        reset_session(executor)
        statements = [b"BEGIN", claim_statement(connection, executor.ledger, self._migration)]
        if self._saved.xid:
            statements.append(
                delete_progress_statement(connection, executor.ledger, self._migration.version, xid=self._saved.xid)
            )
        results = executor.protocol.query(b"; ".join(statements))[1:]
        if not all(result.ntuples for result in results):
            raise self._taken_over_error()
        executor.protocol.query(b"COMMIT")

    def _run_statement(self, part: Part, effect: StatementEffect, parts: Iterator[Part]) -> None:
        self._refuse_invalid_index(part)
        if effect is StatementEffect.BEGIN:
            self._send(part, parts)
            self._begin_line = self._begin_line or part.line
        elif effect is StatementEffect.COMMIT and self._begin_line:
            saved = self._save(self._finished_progress(), part, in_transaction=True)
            self._send(part, parts)
            self._mark_finished(part, saved)
        elif effect in (StatementEffect.COMMIT, StatementEffect.ROLLBACK):
            self._send(part, parts)
            self._mark_finished(part, self._save(self._finished_progress(), part))
        elif self._begin_line:
            self._send(part, parts)
        elif effect is StatementEffect.OUTSIDE or _may_commit(part, effect):
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
            self._query_row(f"BEGIN; SET LOCAL lock_timeout = {self._lock_timeout_ms()}".encode())
            self._send(part, parts)
            saved = self._save(self._finished_progress(), part, in_transaction=True)
            self._query_at(part, b"COMMIT")
            if self._executor.hooks:
                self._executor.hooks.ended()
        finally:
            roll_back_transaction(self._executor)
        self._mark_finished(part, saved)

    def _run_outside_transaction(self, part: Part, parts: Iterator[Part]) -> None:
        """Run a statement outside of a transaction, and save the progress before and after."""
        connection = self._executor.session.connection
        change = parse_concurrent_change(part.sql)
        with self._without_timeouts():
            again = self._resumed.begun == self._number and self._resumed.begun_digest == self._digest.hexdigest()
            if not (change and again and is_change_done(connection, change, self._resumed)):
                table_oid, other_indexes = state_before(connection, change) if change else (None, ())
                begun = replace(
                    self._saved,
                    begun=self._number,
                    begun_digest=self._digest.hexdigest(),
                    table_oid=table_oid,
                    other_indexes=other_indexes,
                )
                self._saved = self._save(begun, part)
                sent = part
                if change and again and is_detach_pending(connection, change):
                    sent = part._replace(text=change.finalize, start=0)
                self._send(sent, parts, builds_index=change is not None)
                if change and is_index_missing(connection, change, self._saved):
                    message = f"no index was built, and none that is valid has the name {change.name}"
                    raise self._refused_error(part, message)
        saved = self._save(self._finished_progress(), part)
        self._mark_finished(part, saved)

    def _refuse_invalid_index(self, part: Part) -> None:
        """Raise MigrationFailed for CREATE INDEX when an INVALID index, which this file did not leave, has its name."""
        change = parse_concurrent_change(part.sql)
        connection = self._executor.session.connection
        if change and (name := invalid_index_of_name(connection, change)):
            raise self._refused_error(part, describe_invalid_index(name, change))

    @contextmanager
    def _without_timeouts(self) -> Iterator[None]:
        """Disable timeouts, which would leave the statement half done."""
        before = self._query_row(b"SELECT current_setting('lock_timeout'), current_setting('statement_timeout')")
        self._query_row(b"SET lock_timeout = 0; SET statement_timeout = 0")
        yield
        self._query_row(b"SET lock_timeout = '%b'; SET statement_timeout = '%b'" % tuple(before))

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
                failed.aftermath = self.aftermath(part)
                if self._begin_line and failed.failure.sqlstate in _REFUSED_IN_TRANSACTION:
                    failed.hint = f"take it out of the transaction that begins in line {self._begin_line}"
            raise failed

    def _save(self, progress: FileProgress, part: Part, *, in_transaction: bool = False) -> FileProgress:
        """Save the progress, make sure of the lock and of the records; return the progress with its `xid`.

        Raises LockBusy, and MigrationFailed when the statement changed what is the runner's. In a transaction it can
        still be rolled back.
        """
        executor = self._executor
        save = save_progress_statement(
            executor.session.connection,
            executor.ledger,
            self._migration.version,
            progress,
            previous_xid=self._saved.xid,
        )
        constraints = (b"SET CONSTRAINTS ALL IMMEDIATE",) if in_transaction else ()
        lock = b"SELECT pg_catalog.pg_try_advisory_lock(%d)" % advisory_lock_key(
            executor.ledger.schema, executor.ledger.table
        )
        statements = (
            *constraints,
            *executor.session.local_role,
            lock,
            save,
            b"SELECT " + self._fingerprint_expression(),
        )
        locked, saved, fingerprint = self._query_at(part, b"; ".join(statements))[-3:]
        if locked.get_value(0, 0) != b"t":
            raise self._lock_lost_error(part)
        if not saved.ntuples:
            raise self._taken_over_error()
        progress = replace(progress, xid=(saved.get_value(0, 0) or b"").decode())
        if fingerprint.get_value(0, 0) != self._fingerprint:
            if not in_transaction:
                self._mark_finished(part, progress)
            raise self._records_changed_error(part)
        return progress

    def _query_at(self, part: Part, message: bytes) -> list[PGresult]:
        """Send statements of the runner that end a statement of the file; their failure is that statement's.

        Raises MigrationFailed; psycopg.Error when the connection is lost.
        """
        executor = self._executor
        try:
            return executor.protocol.query(message)
        except psycopg.Error as error:
            if executor.session.connection.broken:
                raise
            was_inside = executor.session.connection.pgconn.transaction_status != TransactionStatus.IDLE
            roll_back_transaction(executor)
            if error.sqlstate in _GONE_SQLSTATES:
                raise self._tables_gone_error(part, error, rolled_back=was_inside) from error
            failed = server_error(self._migration, error, executor.ledger, aftermath=self.aftermath(part))
            failed.failure = replace(failed.failure, line=part.line)
            raise failed from error

    def _query_row(self, message: bytes) -> list[bytes]:
        last = self._executor.protocol.query(message)[-1]
        return [last.get_value(0, column) or b"" for column in range(last.nfields)] if last.ntuples else []

    def _fingerprint_expression(self) -> bytes:
        """The expression for the records as they are; it fails for a ledger without its columns."""
        connection, ledger = self._executor.session.connection, self._executor.ledger
        columns = b" AND ".join(name.encode() + b" IS NULL" for name in Record._fields)
        table = ledger.identifier.as_bytes(connection)
        return b"%b WHERE NOT EXISTS (SELECT FROM %b WHERE %b)" % (
            fingerprint_expression(connection, ledger),
            table,
            columns,
        )

    def _finished_progress(self) -> FileProgress:
        return FileProgress(finished=self._number, digest=self._digest.hexdigest(), begun=self._number)

    def _mark_finished(self, part: Part, saved: FileProgress) -> None:
        self._saved = saved
        self._finished_line = part.line
        self._begin_line = 0

    def _lock_timeout_ms(self) -> int:
        of_file = self._script.lock_timeout_ms
        return self._executor.waits.lock_timeout_ms if of_file is None else of_file

    def _changed_error(self) -> Drift:
        message = (
            f"what ran before, up to statement {self._resumed.finished}, has changed since; restore it, "
            f"or let it run from its beginning: inv db.repair --restart {self._migration.version}"
        )
        return Drift([Problem(message=message, file=self._migration.filename)])

    def _lost_objects(self) -> list[SessionObject]:
        """The objects of the session that the next run would lack."""
        return [each for each in self._script.session_objects if each.is_lost(self._saved.finished)]

    def _refuse_lost_objects(self) -> None:
        """Raise MigrationFailed before anything runs when the rest of the file needs what its first part made."""
        if lost := self._lost_objects():
            message = "; ".join(
                f"{each} is gone with its session, and line {each.needed_line} needs it" for each in lost
            )
            raise refused_error(self._migration, message, aftermath=self.aftermath())

    def _drop_left_indexes(self, part: Part) -> None:
        connection = self._executor.session.connection
        try:
            with self._without_timeouts():
                drop_left_indexes(connection, self._resumed)
        except psycopg.DatabaseError as error:
            if connection.broken:
                raise
            names = ", ".join(index.name for index in left_indexes(connection, self._resumed))
            message = f"{names} was left INVALID, and the runner cannot drop it: {error.diag.message_primary or error}"
            hint = f"let a role that may run: DROP INDEX CONCURRENTLY {names}; then run inv db.migrate again"
            raise self._refused_error(part, message, hint=hint) from error

    def _refused_error(
        self, part: Part, message: str, *, aftermath: str = "", hint: str | None = None
    ) -> MigrationFailed:
        """The error of a statement that the runner refuses; its transaction, if there is one, is rolled back."""
        roll_back_transaction(self._executor)
        error = refused_error(self._migration, message, aftermath=aftermath or self.aftermath(part))
        error.failure = replace(error.failure, line=part.line, statement=shorten_statement(part.sql))
        error.hint = hint
        return error

    def _lock_lost_error(self, part: Part) -> LockBusy:
        executor = self._executor
        roll_back_transaction(executor)
        holder = find_lock_holder(executor.session, advisory_lock_key(executor.ledger.schema, executor.ledger.table))
        return LockBusy(
            f"{self._migration.filename}:{part.line}: the file let go of the lock, and another runner has it now"
            f"{f': {holder}' if holder else ''}; {self.aftermath(part)}; run inv db.migrate again"
        )

    def _taken_over_error(self) -> LockBusy:
        roll_back_transaction(self._executor)
        return LockBusy(
            f"{self._migration.filename}: its progress in {self._executor.ledger.progress_name} is not as this run "
            "saved it: the file changed it, or let go of the lock and another runner went on with it; "
            "run inv db.migrate again, which goes on with what is saved there"
        )

    def _records_changed_error(self, part: Part) -> MigrationFailed:
        """The error of a statement after which the records are not as before."""
        executor = self._executor
        name = executor.ledger.name
        if executor.session.connection.pgconn.transaction_status != TransactionStatus.IDLE:
            return self._refused_error(part, f"it changes the records in {name}; leave that table to the runner")
        reset_session(executor)  # the file's role may not read them
        now = {record.version: record for record in read_records(executor.session, executor.ledger)}
        versions = sorted(now.keys() | self._records.keys())
        changes = [
            f"{version} is {'new' if version not in self._records else 'changed' if version in now else 'gone'}"
            for version in versions
            if now.get(version) != self._records.get(version)
        ]
        shown = ", ".join(changes[:_CHANGES_SHOWN]) + (" …" if changes[_CHANGES_SHOWN:] else "")
        message = f"it changed the records in {name} ({shown}); leave that table to the runner"
        aftermath = f"{self._committed_text()}, and the change of the records with it"
        return self._refused_error(part, message, aftermath=aftermath, hint=_RESTORE_LEDGER)

    def _tables_gone_error(self, part: Part, error: psycopg.Error, *, rolled_back: bool) -> MigrationFailed:
        """The error of a statement after which the runner's own statements find no table, or not its columns."""
        ledger = self._executor.ledger
        message = (
            f"it drops or alters a table of the runner ({error.diag.message_primary}); "
            f"leave {ledger.name} and {ledger.progress_name} to the runner"
        )
        if rolled_back:
            return self._refused_error(part, message)
        aftermath = f"{self._committed_text()}, and statement {self._number}, of which no progress is saved"
        return self._refused_error(part, message, aftermath=aftermath, hint=_RESTORE_LEDGER)

    def _committed_text(self) -> str:
        finished = self._saved.finished
        if not finished:
            return "none of its statements is committed"
        until = f", down to line {self._finished_line}," if self._finished_line else ""
        return f"{'statement 1' if finished == 1 else f'statements 1 to {finished}'}{until} committed and kept"

    def aftermath(self, part: Part | None = None) -> str:
        """Describe what is committed, what is not, and where the next run resumes."""
        connection = self._executor.session.connection
        finished = self._saved.finished
        following = (
            f"the next run goes on with statement {finished + 1}" if finished else "the next run begins with the first"
        )
        if lost := self._lost_objects():
            following = (
                f"{lost[0]} is gone with the session, so that the file has to run from its beginning: "
                f"inv db.repair --restart {self._migration.version}"
            )
        sentences = [f"{self._committed_text()}; {following}"]
        if self._begin_line:
            sentences.append(f"the transaction begun in line {self._begin_line} is rolled back")
        if part and not connection.broken:
            change = parse_concurrent_change(part.sql)
            again = " and builds it again" if change and change.action is ConcurrentAction.CREATE else ""
            left = left_indexes(connection, self._saved)
            sentences += [f"{index.name} is left INVALID; the next run drops it{again}" for index in left]
        return "; ".join(sentences)


def _may_commit(part: Part, effect: StatementEffect) -> bool:
    """Whether a statement may commit by itself: CALL, and a DO block with a word that does it."""
    if effect is not StatementEffect.PROCEDURE:
        return False
    return part.sql[:2].upper() != b"DO" or _COMMITTING_WORD.search(part.sql) is not None
