"""Apply files in a transaction: one message for a file, several for a larger one.

    BEGIN; SET LOCAL lock_timeout ...; INSERT INTO schema_migrations ... RETURNING pg_current_xact_id();     -- head
    <statements of the file>
    SET CONSTRAINTS ALL IMMEDIATE; RESET ROLE; SELECT <an error, unless the ledger has our claim and no other change>;
    RESET ALL; ...; COMMIT; SELECT pg_try_advisory_lock(...)                                                 -- tail

A larger file is head + first batch, batches, last batch + tail. With --single-transaction the head begins the
transaction in the first file only, and the tail commits it in the last file only. A check at the top of a file ends its
message, as its row decides whether the next is sent; the file in verify/ runs before the tail.

The head claims the migration's record before the first statement of the file runs: whatever happens to the lock, to the
connection or to a pooler, one runner commits a version, and a record means that the file is applied as a whole. A file
that changes the ledger, by whatever means, does not commit.
"""

from __future__ import annotations

import re
import secrets
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq

from kernel.apply.batches import BatchQueue, Message, split_into_batches
from kernel.apply.checks import CHECK_COMMENT, run_verification, verification_sql, verify_check
from kernel.apply.commit_in_doubt import SentCommit, commit_in_doubt_error
from kernel.apply.events import MigrationApplied, MigrationProgressed, MigrationStarted
from kernel.apply.executor import SessionDefaults, migration_application_name, run_with_retries
from kernel.apply.failures import connection_lost_error, refused_error, server_error
from kernel.db.advisory_lock import advisory_lock_key, poll_for_lock, try_lock_statement
from kernel.db.ledger import ledger_name
from kernel.db.records import (
    GUARDS,
    LedgerFingerprint,
    claim_check_statement,
    claim_holds_expression,
    claim_statement,
    delete_record_statement,
    read_fingerprint,
    record_query,
)
from kernel.db.repeatable_table import claim_repeatable_statement, repeatable_claim_holds, repeatable_record_query
from kernel.errors import LockBusy, MigrationFailed
from kernel.migrations.paired_files import read_verification
from kernel.migrations.script import open_script

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.apply.executor import Executor
    from kernel.db.connection import Session
    from kernel.db.ledger import Ledger
    from kernel.db.repeatable_table import RepeatableRecord
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import OpenScript, Script


COMMIT = b"COMMIT"  # in the tail of the last file of a transaction
# What a file may leave in its session. DISCARD ALL would also release the advisory lock.
_RESET_SESSION = (
    b"RESET ALL",
    b"CLOSE ALL",
    b"UNLISTEN *",
    b"DISCARD TEMP",
    b"DISCARD SEQUENCES",
    b"DEALLOCATE ALL",
)
_IDLE = pq.TransactionStatus.IDLE
_LEAVE_LEDGER = "leave that table to the runner: inv db.rollback, db.baseline and db.repair change it"
_NAME_OR_PRIVILEGE = ("42", "3F")  # the classes of SQLSTATE for names and privileges, and for schemas
_CLAIM_CHECK_COMMENT = b" /* here the runner checks that the ledger has this record and no other change */"
_PERHAPS_COMMITTED = (
    "what ran up to that point may be committed, the change of its record included; "
    "compare the database with the file, and put both right by hand"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRun:
    """A file to run in a transaction.

    `claim_sql` changes its record and returns the transaction's id, or no row when another runner was first.
    `claim_holds_sql` is the expression for whether that change still stands in the same transaction; it is empty for a
    revert, after which there is no record (`leaves_record`). `record_sql` is the query that returns a row if there is
    one; it is in the ledger unless the file is repeatable (`in_ledger`). `nonce` marks the server's error when the
    claim is lost. `verification` is the migration's file in verify/, which runs before COMMIT.
    """

    migration: Migration
    script: Script
    claim_sql: bytes
    record_sql: bytes
    claim_holds_sql: bytes = b""
    leaves_record: bool = True
    in_ledger: bool = True
    verification: tuple[Migration, Script] | None = None
    nonce: str = field(default_factory=lambda: secrets.token_hex(8))


def file_run_for_migration(session: Session, ledger: Ledger, migration: Migration, script: Script) -> FileRun:
    """A file to apply and record."""
    return FileRun(
        migration=migration,
        script=script,
        claim_sql=claim_statement(session.connection, ledger, migration),
        claim_holds_sql=claim_holds_expression(session.connection, ledger, migration),
        record_sql=record_query(session.connection, ledger, migration.version),
        verification=read_verification(migration, ledger=ledger_name(ledger)),
    )


def file_run_for_revert(session: Session, ledger: Ledger, revert: Migration, script: Script) -> FileRun:
    """A revert file to run, whose migration loses its record."""
    return FileRun(
        migration=revert,
        script=script,
        claim_sql=delete_record_statement(session.connection, ledger, revert.version),
        record_sql=record_query(session.connection, ledger, revert.version),
        leaves_record=False,
    )


def file_run_for_repeatable(
    session: Session, ledger: Ledger, migration: Migration, script: Script, planned: RepeatableRecord | None
) -> FileRun:
    """A repeatable file to apply and record; `planned` is its record when the run was planned."""
    record = (session.connection, ledger, migration.version, migration.checksum)
    return FileRun(
        migration=migration,
        script=script,
        claim_sql=claim_repeatable_statement(*record, planned),
        claim_holds_sql=repeatable_claim_holds(*record),
        record_sql=repeatable_record_query(*record),
        in_ledger=False,
    )


class _ClaimedByAnotherError(Exception):
    """Another runner recorded the migration first; its statements must not take effect again."""

    def __init__(self, file_run: FileRun) -> None:
        super().__init__(file_run.migration.filename)
        self.file_run = file_run


def apply_in_transaction(executor: Executor, file_runs: Sequence[FileRun]) -> tuple[MigrationApplied, ...]:
    """Apply files in one transaction: all of them or none.

    Files that another runner records first are left out of the result. After a lock timeout, a deadlock or a
    serialization failure the transaction runs again. Raises MigrationFailed, LockBusy.
    """
    remaining = list(file_runs)

    def attempt() -> tuple[MigrationApplied, ...]:
        while remaining:
            try:
                return _run_transaction(executor, remaining)
            except _ClaimedByAnotherError as conflict:
                _verify_claimed(executor, conflict.file_run)
                remaining.remove(conflict.file_run)
        return ()

    applied = run_with_retries(executor, attempt)
    for event in applied:
        executor.observer(event)
    return applied


def transaction_sql(executor: Executor, file_runs: Sequence[FileRun]) -> Iterator[bytes]:
    """The SQL that `apply_in_transaction` sends, as a script for psql, without sending it.

    A comment takes the place of the check of the ledger, in which the id of the transaction is. Raises MigrationFailed.
    """
    for position, file_run in enumerate(file_runs, start=1):
        with (
            _migration_errors(executor, file_run.migration),
            open_script(file_run.script, file_run.migration.path) as script,
        ):
            yield b"\n-- %b\n" % file_run.migration.filename.encode()
            yield from _FileTransaction(
                executor, file_run, begins=position == 1, commits=position == len(file_runs), claims=0, xid=""
            ).sql(script)


def _verify_claimed(executor: Executor, file_run: FileRun) -> None:
    """Raise MigrationFailed when the claim changed nothing, but no other runner was first: a trigger prevents it."""
    migration, ledger = file_run.migration, executor.ledger
    row = executor.session.connection.execute(file_run.record_sql).fetchone()
    if (row is not None) != file_run.leaves_record:
        what = "insert its record into" if file_run.leaves_record else "delete its record from"
        table = ledger.name if file_run.in_ledger else ledger.repeatable_name
        text = f"cannot {what} {table}: the statement has no effect; look for a trigger on that table"
        raise refused_error(migration, text)


def _run_transaction(executor: Executor, file_runs: Sequence[FileRun]) -> tuple[MigrationApplied, ...]:
    applied = []
    claims, xid = 0, ""
    try:
        for position, file_run in enumerate(file_runs, start=1):
            claims += file_run.in_ledger
            began = time.monotonic()
            executor.observer(MigrationStarted(migration=file_run.migration, script=file_run.script))
            with (
                _migration_errors(executor, file_run.migration),
                open_script(file_run.script, file_run.migration.path) as script,
            ):
                xid = _FileTransaction(
                    executor, file_run, begins=position == 1, commits=position == len(file_runs), claims=claims, xid=xid
                ).run(script)
            applied.append(
                MigrationApplied(
                    migration=file_run.migration,
                    seconds=time.monotonic() - began,
                    statements=file_run.script.statement_count,
                )
            )
    except BaseException:
        executor.fingerprint.forget()
        raise
    finally:
        roll_back_transaction(executor)
    executor.fingerprint.add_claims(claims, xid)
    return tuple(applied)


@contextmanager
def _migration_errors(executor: Executor, migration: Migration) -> Iterator[None]:
    """Raise MigrationFailed for errors outside of the file's own statements."""
    try:
        yield
    except OSError as error:
        raise refused_error(migration, f"cannot be read any more: {error.strerror}") from error
    except psycopg.Error as error:
        if executor.session.connection.broken:
            raise connection_lost_error(migration, error) from error
        raise server_error(migration, error, executor.ledger) from error


class _FileTransaction:
    """The messages of one file in its transaction: it `begins` the transaction, or `commits` it, or both.

    `claims` counts the records that the transaction has claimed, that of this file included. `xid` is its id, "" as
    long as the server has not returned it.
    """

    def __init__(
        self, executor: Executor, file_run: FileRun, *, begins: bool, commits: bool, claims: int, xid: str
    ) -> None:
        self._executor = executor
        self._file_run = file_run
        self._begins = begins
        self._commits = commits
        self._claims = claims if file_run.leaves_record else 0
        self._before = LedgerFingerprint(0, 0)
        self._claim_check = b""
        self._checks = {check.offset: check for check in file_run.script.checks}
        self._xid = xid

    def run(self, script: OpenScript) -> str:
        """Send the file; returns the transaction's id. Raises MigrationFailed, _ClaimedByAnotherError, LockBusy."""
        executor, file_run = self._executor, self._file_run
        hooks = executor.hooks
        apart = hooks is not None or file_run.verification is not None
        head = self._head(self._begin())
        if file_run.leaves_record:
            self._before = executor.fingerprint.read(executor.session, executor.ledger)
        if apart or not file_run.leaves_record:
            # Hooks run between the claim and the first statement; the tail of a revert names the transaction's id.
            self._send(Message(head=head))
            head = ()
        if not file_run.leaves_record:
            self._before = read_fingerprint(executor.session, executor.ledger)  # without the record that is removed
        if hooks:
            hooks.begun(executor.session, file_run.migration, file_run.script)
        check, end = self._check(), self._end()
        singly, plain = hooks is not None, file_run.script.all_plain
        queue = BatchQueue(split_into_batches(script.parts, singly=singly, plain=plain, checks=self._checks))
        statements = sent_bytes = 0
        for message in _messages(queue, head, check=check, end=end, apart=apart):
            if message.tail and script.checksum() != file_run.migration.checksum:
                raise refused_error(file_run.migration, "changed while it ran; run inv db.migrate again")
            if apart and message.tail:
                self._run_between(is_end=message.tail == end)
            self._send(message, queue)
            if message.batch.statements:
                statements += len(message.batch.statements)
                sent_bytes += sum([len(part.text) for part in message.batch.statements])
                self._report_progress(statements, sent_bytes)
        if hooks and self._commits:
            hooks.ended()
        return self._xid

    def _run_between(self, *, is_end: bool) -> None:
        """Run what comes before the check of the claim, or before the end of the transaction.

        The file in verify/ runs as the runner's role, and with deferred constraints checked.
        """
        executor, verification = self._executor, self._file_run.verification
        if is_end and executor.hooks:
            executor.hooks.committing()
        elif verification and not is_end:
            self._send(Message(tail=(b"SET CONSTRAINTS ALL IMMEDIATE", *executor.session.reset_role)))
            run_verification(executor, *verification)

    def _report_progress(self, statements: int, sent_bytes: int) -> None:
        migration, script = self._file_run.migration, self._file_run.script
        self._executor.observer(
            MigrationProgressed(migration=migration, script=script, statements=statements, sent_bytes=sent_bytes)
        )

    def sql(self, script: OpenScript) -> Iterator[bytes]:
        """The SQL that `run` sends, without sending it."""
        plain, verification = self._file_run.script.all_plain, self._file_run.verification
        queue = BatchQueue(split_into_batches(script.parts, plain=plain, checks=self._checks))
        check, end = self._before_claim_check(), self._end()
        check = (*check[:-1], check[-1] + _CLAIM_CHECK_COMMENT)
        head = self._head(self._begin_statements())
        for message in _messages(queue, head, check=check, end=end, apart=verification is not None):
            if verification and message.tail == check:
                yield Message(tail=self._before_claim_check()).script
                yield from verification_sql(*verification)
            if any(part.offset in self._checks for part in message.batch.statements):
                yield CHECK_COMMENT
            yield message.script
            if message.batch.is_copy:
                yield from queue.copy_data()
                yield b"\\.\n"

    def _begin(self) -> tuple[bytes, ...]:
        """Begin the transaction now where that takes the lock; else return the statements that begin it."""
        if not (self._begins and self._executor.session.pooled):
            return self._begin_statements()
        self._executor.fingerprint.forget()  # between transactions other runners have the lock
        _begin_with_transaction_lock(self._executor, self._begin_statements())
        return ()

    def _begin_statements(self) -> tuple[bytes, ...]:
        """The statements that begin the transaction or continue it."""
        executor, script = self._executor, self._file_run.script
        if not self._begins:
            return _between_files(executor)
        if not executor.session.pooled:
            return script.begin
        key = advisory_lock_key(executor.ledger.schema, executor.ledger.table)
        return (*script.begin, b"SELECT pg_try_advisory_xact_lock(%d)" % key)

    def _head(self, begin: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Begin the transaction or continue it, set its timeouts, and claim the record."""
        executor, script = self._executor, self._file_run.script
        waits = executor.waits
        lock_timeout_ms = waits.lock_timeout_ms if script.lock_timeout_ms is None else script.lock_timeout_ms
        name = migration_application_name(self._file_run.migration)
        return (
            *begin,
            *executor.session.transaction_settings,
            b"SET LOCAL lock_timeout = %d" % lock_timeout_ms,
            b"SET LOCAL statement_timeout = %d" % waits.statement_timeout_ms,
            b"SET LOCAL application_name = '%b'" % name.encode(),
            self._file_run.claim_sql,
        )

    def _check(self) -> tuple[bytes, ...]:
        """Check deferred constraints, whose failure still belongs to the file, then the claim and all other records."""
        executor, file_run = self._executor, self._file_run
        holds = file_run.claim_holds_sql
        if not holds:
            holds = b"pg_catalog.pg_current_xact_id()::pg_catalog.text OPERATOR(pg_catalog.=) '%b'" % self._xid.encode()
        self._claim_check = claim_check_statement(
            executor.session.connection,
            executor.ledger,
            holds=holds,
            before=self._before,
            claims=self._claims,
            nonce=file_run.nonce,
        )
        return (*self._before_claim_check(), self._claim_check)

    def _before_claim_check(self) -> tuple[bytes, ...]:
        return (b"SET CONSTRAINTS ALL IMMEDIATE", *self._executor.session.reset_role)

    def _end(self) -> tuple[bytes, ...]:
        """Reset the session, commit, and make sure of the advisory lock; () in all files of a transaction but the last.

        Through a pooler the next statement may reach another session, so that the session is reset before COMMIT.
        """
        if not self._commits:
            return ()
        executor = self._executor
        end = (*_RESET_SESSION, *executor.session.runner_settings, COMMIT)
        if executor.session.pooled:
            return end
        return (
            *end,
            b"%b, (%b)"
            % (
                try_lock_statement(advisory_lock_key(executor.ledger.schema, executor.ledger.table)),
                SessionDefaults.query,
            ),
        )

    def _send(self, message: Message, queue: BatchQueue | None = None) -> None:
        """Send a message and check its results. Where COMMIT was sent and the connection broke, look up the record."""
        protocol = self._executor.protocol
        commits = COMMIT in message.tail
        try:
            error = self._executor.send(self._file_run.migration, message, queue)
        except psycopg.OperationalError as lost:
            if not commits:
                raise
            sent = self._commit(apart=not message.batch.statements)
            raise commit_in_doubt_error(self._executor, self._file_run.migration, lost, sent) from lost
        claim_number = len(message.head) - 1
        if message.head and protocol.statements_done > claim_number:
            claim = protocol.rows.get(claim_number)
            if claim is None:
                raise _ClaimedByAnotherError(self._file_run)
            self._xid = (claim.get_value(0, 0) or b"").decode()
        if error:
            raise self._error(message, error)
        if message.batch.is_check:
            (part,) = message.batch.statements
            verify_check(self._file_run.migration, self._checks[part.offset], part, protocol, message.count - 1)
        if commits and not self._executor.session.pooled:
            result = protocol.rows.get(message.count - 1)
            _verify_lock_kept(result)
            if result:
                self._executor.session_defaults.compare(result.get_value(0, 1))

    def _error(self, message: Message, result: pq.abc.PGresult) -> MigrationFailed | psycopg.Error:
        """The error that stopped a message: psycopg's for a statement of the runner."""
        executor, file_run = self._executor, self._file_run
        error = executor.statement_error(file_run.migration, message, result)
        if isinstance(error, MigrationFailed):
            return error
        if executor.session.connection.broken and COMMIT in message.tail:
            return commit_in_doubt_error(executor, file_run.migration, error, self._commit(apart=True))
        return self._claim_check_error(message, error) or error

    def _claim_check_error(self, message: Message, error: psycopg.Error) -> MigrationFailed | None:
        """The error for a file after which the check of claim and ledger fails; None when it is not that check."""
        migration, ledger, nonce = self._file_run.migration, self._executor.ledger.name, self._file_run.nonce
        reason = error.diag.message_primary or ""
        is_check = message.tail_statement(self._executor.protocol.statements_done) == self._claim_check
        if is_check and (error.sqlstate or "").startswith(_NAME_OR_PRIVILEGE):
            return refused_error(migration, f"{ledger} cannot be read after it ({reason}); {_LEAVE_LEDGER}")
        found = re.search(rf"(lost|changed) ([0-9]+).* {nonce}", reason)
        if found is None:
            return None
        if found[1] == "changed" and f" {self._before.guards} " not in found[0]:
            return refused_error(migration, f"it changes {GUARDS} of {ledger}; {_LEAVE_LEDGER}")
        if found[1] == "changed":
            own = int(self._file_run.leaves_record and self._file_run.in_ledger)
            before, after = self._before.records + self._claims - own, int(found[2]) - own
            counts = f"{before} before, {after} after"
            text = f"records of other migrations in {ledger} changed while it ran ({counts}); {_LEAVE_LEDGER}"
            return refused_error(migration, text)
        if found[2] == self._xid:
            table = ledger if self._file_run.in_ledger else self._executor.ledger.repeatable_name
            return refused_error(migration, f"it changes its own record in {table}; {_LEAVE_LEDGER}")
        text = "the transaction that ran it is not the one begun for it: something in it commits or rolls back"
        return refused_error(migration, text, aftermath=_PERHAPS_COMMITTED)

    def _commit(self, *, apart: bool) -> SentCommit:
        file_run = self._file_run
        return SentCommit(
            xid=self._xid, record_sql=file_run.record_sql, leaves_record=file_run.leaves_record, apart=apart
        )


def _messages(
    queue: BatchQueue, head: tuple[bytes, ...], *, check: tuple[bytes, ...], end: tuple[bytes, ...], apart: bool
) -> Iterator[Message]:
    """The messages of a file. With `apart` the statements of the runner do not share a message with the file's."""
    while batch := queue.next_batch():
        if head and batch.is_copy:
            yield Message(head=head)
            head = ()
        if not apart and queue.ended and batch.open_ended:
            yield Message(head=head, batch=batch, tail=(*check, *end))
            return
        yield Message(head=head, batch=batch)
        head = ()
    if apart:
        yield Message(tail=check)
        if end:
            yield Message(tail=end)
    else:
        yield Message(head=head, tail=(*check, *end))


def roll_back_transaction(executor: Executor) -> None:
    """End the open transaction, if there is one and the connection still stands."""
    connection = executor.session.connection
    if not connection.broken and connection.pgconn.transaction_status != _IDLE:
        executor.protocol.query(b"ROLLBACK")
        if executor.hooks:
            executor.hooks.ended()


def reset_session(executor: Executor) -> None:
    """Reset the session after a file, outside of a transaction."""
    if not executor.session.pooled:
        session = executor.session
        executor.protocol.query(b"; ".join((*session.reset_role, *_RESET_SESSION, *session.runner_settings)))


def _between_files(executor: Executor) -> tuple[bytes, ...]:
    """The statements between two files of a transaction: the second finds the session as COMMIT leaves it."""
    # SET CONSTRAINTS has no way back to the mode of each; deferred, they are all checked when a file ends.
    return (b"SET CONSTRAINTS ALL DEFERRED", *_RESET_SESSION, *executor.session.runner_settings)


def _begin_with_transaction_lock(executor: Executor, statements: tuple[bytes, ...]) -> None:
    """Through a pooler the lock belongs to the transaction, as does everything else. Raises LockBusy."""
    key = advisory_lock_key(executor.ledger.schema, executor.ledger.table)

    def attempt() -> bool:
        roll_back_transaction(executor)
        result = executor.protocol.query(b"; ".join(statements))[-1]
        return result.get_value(0, 0) == b"t"

    wait_seconds = executor.waits.lock_wait_seconds
    poll_for_lock(executor.session, key, attempt, wait_seconds=wait_seconds, waiting=executor.report_waiting)


def _verify_lock_kept(result: pq.abc.PGresult | None) -> None:
    if result is None or result.get_value(0, 0) != b"t":
        raise LockBusy("a migration let go of the lock, and another runner has it now; run inv db.migrate again")
