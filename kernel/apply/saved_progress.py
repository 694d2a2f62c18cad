"""The progress of a file that runs outside of a transaction: counted, saved in its row, and described by its errors.

    SET CONSTRAINTS ALL IMMEDIATE; SELECT <state of the session>; SET LOCAL ROLE ...; SELECT pg_try_advisory_lock(...);
        SELECT <records>; UPDATE schema_migrations_progress ... WHERE <as this run saved it> RETURNING ...

The file may let go of the lock, and may change the ledger. Both are noticed by the message that saves the progress: in
a transaction before COMMIT, so that the statement is rolled back.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
from psycopg.pq import TransactionStatus

from kernel.apply.concurrent_changes import ConcurrentAction, parse_concurrent_change
from kernel.apply.failures import refused_error, server_error, shorten_statement
from kernel.apply.ledger_guard import RESTORE_LEDGER, LedgerGuard
from kernel.apply.session_state import READ_STATE, SessionState, item_name, line_that_may_need
from kernel.apply.transaction import COMMIT, reset_session, roll_back_transaction
from kernel.db.progress_table import (
    FileProgress,
    delete_progress_statement,
    left_indexes,
    read_progress,
    save_progress_statement,
)
from kernel.db.records import claim_statement
from kernel.errors import Drift, LockBusy, MigrationFailed, Problem
from kernel.sql.classify import StatementEffect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg.pq.abc import PGresult

    from kernel.apply.executor import Executor
    from kernel.errors import KernelError
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Script
    from kernel.sql.lexer import Part


REPEATED = (StatementEffect.SETTING, StatementEffect.LEXICAL)  # in the session that goes on with the file

READ_ONLY_SQLSTATE = "25006"


class SavedProgress:
    """The progress of one file. `saved` is its row as it is in the database, `resumed` as it was before this run.

    `number` is that of the statement that runs, `begin_line` the line of the open BEGIN of the file, 0 for none.
    """

    def __init__(self, executor: Executor, migration: Migration, script: Script) -> None:
        self._executor = executor
        self._migration = migration
        self._script = script
        self.saved = read_progress(executor.session, executor.ledger).get(migration.version) or FileProgress()
        self.resumed = self.saved
        self.number = 0
        self.begin_line = 0
        self._guard = LedgerGuard(executor)
        self._session_state = SessionState(executor, script, self.resumed.session_state)
        self._digest = hashlib.sha256()
        self._finished_line = 0
        self._in_transaction = False

    @property
    def digest(self) -> str:
        """The SHA-256 of the statements down to the one that runs."""
        return self._digest.hexdigest()

    def count(self, part: Part, effect: StatementEffect) -> None:
        """Go on to the next statement. Raises Drift when the last finished one has changed."""
        self.number += 1
        self._digest.update(part.sql)
        begins = effect is StatementEffect.BEGIN
        if not self._in_transaction:
            place = f"the transaction that begins in line {part.line}" if begins else f"line {part.line}"
            self._session_state.begin(self.number, place)
        self._in_transaction = begins or (
            self._in_transaction and effect not in (StatementEffect.COMMIT, StatementEffect.ROLLBACK)
        )
        if effect in REPEATED:
            self._session_state.note_repeated()
        if self.number <= self.resumed.finished:
            self._finished_line = part.line
            if self.number == self.resumed.finished and self.digest != self.resumed.digest:
                raise self.changed_error()

    def save_begun(self, part: Part, table_oid: int | None, other_indexes: tuple[int, ...]) -> None:
        """Save that a statement begins outside of a transaction, with what FileProgress says of the indexes."""
        begun = replace(
            self.saved,
            begun=self.number,
            begun_digest=self.digest,
            table_oid=table_oid,
            other_indexes=other_indexes,
        )
        self.saved = self._save(begun, part)

    def save_finished(self, part: Part) -> None:
        """Save that a statement, or a transaction of the file, is finished."""
        self._mark_finished(part, self._save(self._finished_progress(), part))

    def save_in_transaction(self, part: Part) -> FileProgress:
        """Save in the open transaction that it is finished; `mark_committed` follows its COMMIT."""
        return self._save(self._finished_progress(), part, in_transaction=True)

    def commit(self, part: Part, saved: FileProgress) -> None:
        """Commit the transaction of a statement and its progress."""
        self.query_at(part, COMMIT)
        self.mark_committed(part, saved)

    def mark_committed(self, part: Part, saved: FileProgress) -> None:
        """Note that a transaction is committed; where it changed the state of the session, look again and save that.

        SET LOCAL and ON COMMIT DROP end with COMMIT. Until then the row says more than there is.
        """
        before = self.saved.session_state
        self._mark_finished(part, saved)
        if saved.session_state != before and self._session_state.read(saved.session_state) != saved.session_state:
            self.saved = self._save(saved, part)

    def record(self) -> None:
        """Record the file and delete its progress, in one transaction."""
        executor = self._executor
        connection = executor.session.connection
        reset_session(executor)
        statements = [b"BEGIN", claim_statement(connection, executor.ledger, self._migration)]
        if self.saved.xid:
            statements.append(
                delete_progress_statement(connection, executor.ledger, self._migration.version, xid=self.saved.xid)
            )
        results = executor.protocol.query(b"; ".join(statements))[1:]
        if not all(result.ntuples for result in results):
            raise self._taken_over_error()
        executor.protocol.query(COMMIT)

    def query_at(self, part: Part, statements: bytes) -> list[PGresult]:
        """Send statements of the runner that end a statement of the file; their failure is that statement's.

        Raises MigrationFailed; psycopg.Error when the connection is lost.
        """
        executor = self._executor
        try:
            return executor.protocol.query(statements)
        except psycopg.Error as error:
            if executor.session.connection.broken:
                raise
            was_inside = executor.session.connection.pgconn.transaction_status != TransactionStatus.IDLE
            roll_back_transaction(executor)
            if message := self._guard.tables_gone_message(error):
                raise self._tables_gone_error(part, message, rolled_back=was_inside) from error
            failed = server_error(self._migration, error, executor.ledger, aftermath=self.aftermath(part))
            failed.failure = replace(failed.failure, line=part.line)
            if error.sqlstate == READ_ONLY_SQLSTATE:
                failed.hint = self.read_only_remedy
            raise failed from error

    def refuse_lost_state(self, part: Part) -> None:
        """Raise MigrationFailed before `part`, the next to run, when the session lacks what those before it left."""
        saved = self.resumed.session_state
        if saved is None:  # a former release did not save it
            self.saved = replace(self.saved, session_state=self._session_state.read({}))
            self._session_state.note_repeated()
            return
        lost, different = self._session_state.differences(saved)
        if line := self._line_that_may_need([*lost, *different]):
            names = [self._session_state.describe(item, saved) for item in lost]
            verb = "is" if len(names) == 1 else "are"
            reasons = [f"{', '.join(names)} {verb} gone with the session"] if names else []
            reasons += [
                f"the {item_name(item)} is not as it was after line {self._finished_line}" for item in different
            ]
            message = f"{'; '.join(reasons)}, and line {line} may need {'it' if len(lost + different) == 1 else 'them'}"
            aftermath = self._aftermath(f"the file has to run from its beginning: {self.restart}")
            raise self.refused_error(part, message, aftermath=aftermath)

    def refused_error(
        self, part: Part, message: str, *, aftermath: str = "", hint: str | None = None
    ) -> MigrationFailed:
        """The error of a statement that the runner refuses; its transaction, if there is one, is rolled back."""
        roll_back_transaction(self._executor)
        error = refused_error(self._migration, message, aftermath=aftermath or self.aftermath(part))
        error.failure = replace(error.failure, line=part.line, statement=shorten_statement(part.sql))
        error.hint = hint
        return error

    def changed_error(self) -> Drift:
        """The error of a file whose finished part has changed."""
        message = (
            f"what ran before, up to statement {self.resumed.finished}, has changed since; restore it, "
            f"or let it run from its beginning: {self.restart}"
        )
        return Drift([Problem(message=message, file=self._migration.filename)])

    @property
    def restart(self) -> str:
        """The command that lets the file run from its beginning."""
        return f"inv db.repair --restart {self._migration.version}"

    @property
    def read_only_remedy(self) -> str:
        """The remedy where transactions are read-only; the server itself is not, which was checked before the run."""
        return (
            "a statement before made transactions read-only, in which the runner cannot save its progress either; "
            f"leave that setting out of the file, and let it run from its beginning: {self.restart}"
        )

    def aftermath(self, part: Part | None = None) -> str:
        """Describe what is committed, what is not, and where the next run resumes."""
        finished = self.saved.finished
        lost = self._session_state.to_be_lost(self.saved.session_state)
        if self._line_that_may_need(lost):
            following = (
                f"{self._session_state.describe(lost[0], self.saved.session_state)} is gone with the session, "
                f"so that the file has to run from its beginning: {self.restart}"
            )
        elif finished:
            following = f"the next run goes on with statement {finished + 1}"
        else:
            following = "the next run begins with the first"
        return self._aftermath(following, part)

    def _aftermath(self, following: str, part: Part | None = None) -> str:
        sentences = [f"{self._committed_text()}; {following}"]
        if self.begin_line:
            sentences.append(f"the transaction begun in line {self.begin_line} is rolled back")
        connection = self._executor.session.connection
        if part and not connection.broken:
            change = parse_concurrent_change(part.sql)
            again = " and builds it again" if change and change.action is ConcurrentAction.CREATE else ""
            left = left_indexes(connection, self.saved)
            sentences += [f"{index.name} is left INVALID; the next run drops it{again}" for index in left]
        return "; ".join(sentences)

    def _line_that_may_need(self, items: Sequence[str]) -> int | None:
        if not items or not self.saved.finished:
            return None
        try:
            return line_that_may_need(self._script, self._migration.path, finished=self.saved.finished, items=items)
        except OSError:  # it cannot be read any more, which is reported by itself
            return self._finished_line

    def _save(self, progress: FileProgress, part: Part, *, in_transaction: bool = False) -> FileProgress:
        """Save the progress, make sure of the lock and of the records; return the progress as it is saved.

        Raises LockBusy, and MigrationFailed when the statement changed what is the runner's. In a transaction it can
        still be rolled back.
        """
        executor = self._executor
        save = save_progress_statement(
            executor.session.connection,
            executor.ledger,
            self._migration.version,
            progress,
            previous_xid=self.saved.xid,
            session_state=READ_STATE,
        )
        constraints = (b"SET CONSTRAINTS ALL IMMEDIATE",) if in_transaction else ()
        read_state = self._session_state.statement(self.saved.session_state)  # as the role of the file
        statements = (*constraints, read_state, *executor.session.local_role, *self._guard.statements, save)
        results = self.query_at(part, b"; ".join(statements))
        locked, fingerprint, saved = results[-3:]
        if not self._guard.keeps_lock(locked):
            raise self._lock_lost_error(part)
        if not saved.ntuples:
            raise self._not_as_saved_error(part, fingerprint)
        progress = replace(
            progress,
            session_state=self._session_state.parse(results[len(constraints)]),
            xid=(saved.get_value(0, 0) or b"").decode(),
        )
        if not self._guard.keeps_records(fingerprint):
            if not in_transaction:
                self._mark_finished(part, progress)
            raise self._ledger_changed_error(part, fingerprint)
        return progress

    def _mark_finished(self, part: Part, saved: FileProgress) -> None:
        self.saved = saved
        self._finished_line = part.line
        self.begin_line = 0

    def _finished_progress(self) -> FileProgress:
        return FileProgress(finished=self.number, digest=self.digest, begun=self.number)

    def _lock_lost_error(self, part: Part) -> LockBusy:
        roll_back_transaction(self._executor)
        place = f"{self._migration.filename}:{part.line}"
        return LockBusy(f"{place}: {self._guard.lock_lost_message()}; {self.aftermath(part)}; run inv db.migrate again")

    def _not_as_saved_error(self, part: Part, fingerprint: PGresult) -> KernelError:
        """The error of a statement after which the row of the progress is not as this run saved it.

        Its transaction changed it if the row is the same without that transaction. A statement that committed by itself
        changed it if records are gone too: another runner only adds that of this file.
        """
        executor = self._executor
        was_inside = executor.session.connection.pgconn.transaction_status != TransactionStatus.IDLE
        roll_back_transaction(executor)
        reset_session(executor)  # the file's role may not read the tables
        now = read_progress(executor.session, executor.ledger).get(self._migration.version) or FileProgress()
        if was_inside and now.xid == self.saved.xid:
            return self.refused_error(
                part, f"it changes {executor.ledger.progress_name}; leave that table to the runner"
            )
        if not was_inside and not now.xid and not self._guard.keeps_former_records():
            message = self._guard.committed_change_message(fingerprint)
            return self.refused_error(part, message, aftermath=self._unsaved_aftermath(), hint=RESTORE_LEDGER)
        return self._taken_over_error()

    def _taken_over_error(self) -> LockBusy:
        roll_back_transaction(self._executor)
        return LockBusy(
            f"{self._migration.filename}: its progress in {self._executor.ledger.progress_name} is not as this run "
            "saved it: the file changed it, or let go of the lock and another runner went on with it; "
            "run inv db.migrate again, which goes on with what is saved there"
        )

    def _ledger_changed_error(self, part: Part, fingerprint: PGresult) -> MigrationFailed:
        """The error of a statement after which the ledger is not as before."""
        executor = self._executor
        if executor.session.connection.pgconn.transaction_status != TransactionStatus.IDLE:
            what = self._guard.describe_change(fingerprint)
            return self.refused_error(part, f"it changes {what}; leave that table to the runner")
        reset_session(executor)  # the file's role may not read them
        message = self._guard.committed_change_message(fingerprint)
        aftermath = f"{self._committed_text()}, and that change with it"
        return self.refused_error(part, message, aftermath=aftermath, hint=RESTORE_LEDGER)

    def _tables_gone_error(self, part: Part, message: str, *, rolled_back: bool) -> MigrationFailed:
        """The error of a statement after which the runner's own statements find no table, or not its columns."""
        if rolled_back:
            return self.refused_error(part, message)
        return self.refused_error(part, message, aftermath=self._unsaved_aftermath(), hint=RESTORE_LEDGER)

    def _unsaved_aftermath(self) -> str:
        return f"{self._committed_text()}, and statement {self.number}, of which no progress is saved"

    def _committed_text(self) -> str:
        finished = self.saved.finished
        if not finished:
            return "none of its statements is committed"
        until = f", down to line {self._finished_line}," if self._finished_line else ""
        return f"{'statement 1' if finished == 1 else f'statements 1 to {finished}'}{until} committed and kept"
