"""Apply a backfill: its statement in ranges of a key, each in a transaction together with its progress.

    BEGIN; SET LOCAL lock_timeout ...
    UPDATE orders SET ... WHERE (...) AND orders.id > 10000 AND orders.id <= 20000
    SET CONSTRAINTS ALL IMMEDIATE; SELECT <who waits for it>; SET LOCAL ROLE ...; SELECT pg_try_advisory_lock(...);
        SELECT <records>; UPDATE schema_migrations_progress ... WHERE <as this run saved it> RETURNING ...
    COMMIT

The last batch has the record of the file in place of the progress. So each range is committed exactly once, whatever
happens to the runner, the server or another runner, and the next run goes on after the last range that is committed.

The walk ends at the key that was the last when it began: it is of the rows that were committed by then. Rows that are
inserted meanwhile are the application's, which has to write the new form before the backfill begins.
"""

from __future__ import annotations

import statistics
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg

from kernel.apply.batches import Batch, Message
from kernel.apply.deferred_signals import deferred_signals
from kernel.apply.events import BackfillStopped, BatchCommitted, MigrationApplied, MigrationStarted
from kernel.apply.executor import ResultT, run_with_retries
from kernel.apply.failures import connection_lost_error, refused_error, server_error
from kernel.apply.ledger_guard import LedgerGuard
from kernel.apply.no_transaction import application_name_statement, begin_step_statements
from kernel.apply.pace import WAITING_SESSIONS, Pace
from kernel.apply.transaction import COMMIT, reset_session, roll_back_transaction
from kernel.db.progress_table import (
    FileProgress,
    KeyWalk,
    delete_progress_statement,
    read_progress,
    save_progress_statement,
)
from kernel.db.records import claim_statement
from kernel.db.walk_key import find_walk_key, null_keys_problem
from kernel.errors import Drift, LockBusy, MigrationFailed, Problem
from kernel.migrations.migration import file_checksum
from kernel.units import format_quantity, format_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg.pq.abc import PGresult

    from kernel.apply.executor import Executor
    from kernel.db.walk_key import WalkKey
    from kernel.migrations.backfill import Backfill
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Script


def run_in_batches(executor: Executor, migration: Migration, script: Script, backfill: Backfill) -> MigrationApplied:
    """Walk the key from where the last run stopped, and record the file with the last batch.

    A signal ends the run after the batch. Raises MigrationFailed, which says what is committed, Drift when the
    statement has changed since a former run, and LockBusy when another runner goes on with the file.
    """
    began = time.monotonic()
    executor.observer(MigrationStarted(migration=migration, script=script))
    walk = _Walk(executor, migration, script, backfill)
    try:
        executor.protocol.query(application_name_statement(migration))
        if executor.hooks:
            executor.hooks.begun(executor.session, migration, script)
        walk.run()
        reset_session(executor)
    except OSError as error:
        message = f"cannot be read any more: {error.strerror}"
        raise refused_error(migration, message, aftermath=walk.aftermath()) from error
    except psycopg.Error as error:
        if executor.session.connection.broken:
            raise connection_lost_error(migration, error, aftermath=walk.aftermath()) from error
        roll_back_transaction(executor)
        raise server_error(migration, error, executor.ledger, aftermath=walk.aftermath()) from error
    finally:
        roll_back_transaction(executor)
    applied = MigrationApplied(
        migration=migration, seconds=time.monotonic() - began, statements=script.statement_count, note=walk.note
    )
    executor.observer(applied)
    return applied


def backfill_sql(executor: Executor, migration: Migration, script: Script, backfill: Backfill) -> Iterator[bytes]:
    """The SQL that `run_in_batches` sends, as a script for psql, without sending it: the next batch, then the rest.

    Comments take the place of what saves the progress. Before its table is there, the statement has no range.
    """
    connection, options, ledger = executor.session.connection, backfill.options, executor.ledger
    progress = read_progress(executor.session, ledger) if ledger.exists else {}
    walk = (progress.get(migration.version) or FileProgress()).walk
    key, _problems = find_walk_key(connection, backfill, migration.filename, looks_at_rows=False)
    upper = walk.upper if walk else key.last_key(connection) if key else None
    after = walk.after if walk else None
    yield b"\n-- %b, in batches of %d rows by %b\n" % (
        migration.filename.encode(),
        options.rows,
        options.key.encode(),
    )
    yield application_name_statement(migration) + b";\n"
    begin = b"%b;\n" % begin_step_statements(executor, script)
    if key and upper is not None and (part := key.next_range(connection, after, upper, options.rows)):
        if part.end != upper:
            yield b"/* the end of each batch: */ %b;\n" % key.next_range_query(connection, after, upper, options.rows)
            yield begin + _script_text(backfill, backfill.sql_for_range(key.condition(connection, after, part.end)))
            yield b"/* here the runner saves the progress */ COMMIT;\n"
            yield b"/* here the runner pauses, and goes on with the next rows; the last batch has the record: */\n"
            after = part.end
        yield begin + _script_text(backfill, backfill.sql_for_range(key.condition(connection, after, upper)))
    elif key is None:
        yield begin + _script_text(backfill, backfill.part.sql)
    else:
        yield b"BEGIN;\n"
    yield b"%b;\n" % claim_statement(connection, ledger, migration)
    yield b"/* here the runner deletes the progress */ COMMIT;\n"


def _script_text(backfill: Backfill, statement: bytes) -> bytes:
    return Message(batch=Batch((backfill.part._replace(text=statement, start=0),))).script


class _Walk:
    """The walk of one file. `saved` is its row in the table of progress, as it is in the database."""

    def __init__(self, executor: Executor, migration: Migration, script: Script, backfill: Backfill) -> None:
        self._executor = executor
        self._migration = migration
        self._script = script
        self._backfill = backfill
        self._digest = backfill.digest
        self.saved = read_progress(executor.session, executor.ledger).get(migration.version) or FileProgress()
        self._resumed = self.saved.walk
        self._guard = LedgerGuard(executor)
        self._began = time.monotonic()
        self._batch_seconds: list[float] = []
        self._is_recorded = False

    @property
    def note(self) -> str:
        """What the line of the applied file says of the walk."""
        note = format_quantity(len(self._batch_seconds), "batch", "batches")
        if len(self._batch_seconds) > 1:
            middle, longest = statistics.median(self._batch_seconds), max(self._batch_seconds)
            note += f" of {format_seconds(middle)}, {format_seconds(longest)} at most"
        return f"{note}, went on from {self._resumed}" if self._resumed else note

    def run(self) -> None:
        """Walk the ranges that are left, and record the file. Raises MigrationFailed, Drift, LockBusy."""
        if self.saved.xid and (self.saved.walk is None or self.saved.digest != self._digest):
            raise self._changed_error()
        key, walk = self._in_transaction(self._begin_walk)
        pace = Pace(self._executor, self._migration, self._backfill.options)
        with self._hooked(), deferred_signals() as signals:
            while not self._is_recorded:
                began = time.monotonic()
                if signals.received:
                    self._executor.observer(BackfillStopped(migration=self._migration, walk=walk))
                    signals.deliver()
                walk = self._run_batch(key, walk, pace)
                if not self._is_recorded:
                    pace.rest(time.monotonic() - began, stopped=lambda: signals.received)
            if signals.received:  # in the last batch; other files may follow
                signals.deliver()

    def _in_transaction(self, step: Callable[[], ResultT]) -> ResultT:
        """Run a step that commits, again after a lock conflict. Raises what it raises, and MigrationFailed."""
        executor = self._executor

        def attempt() -> ResultT:
            try:
                self._query(begin_step_statements(executor, self._script))
                return step()
            except psycopg.Error as error:
                if executor.session.connection.broken:
                    raise
                raise server_error(self._migration, error, executor.ledger, aftermath=self.aftermath()) from error
            finally:
                roll_back_transaction(executor)

        return run_with_retries(executor, attempt)

    def _begin_walk(self) -> tuple[WalkKey, KeyWalk | None]:
        """The key, as the server has it now, and the walk; None for a table without rows.

        Raises MigrationFailed with everything that is wrong with the key.
        """
        connection = self._executor.session.connection
        filename, walk = self._migration.filename, self.saved.walk
        key, problems = find_walk_key(connection, self._backfill, filename, looks_at_rows=True)
        if key and walk is None and (upper := key.last_key(connection)) is not None:
            walk = KeyWalk(key=self._backfill.options.key, upper=upper, estimate=key.estimated_rows(connection))
        elif key and walk is None and key.has_null_keys(connection):  # the look before did not wait for a lock
            key, problems = None, (null_keys_problem(self._backfill, filename),)
        if key is None:
            first, *others = problems
            message = "; ".join([first.message, *(f"line {one.line}: {one.message}" for one in others)])
            error = refused_error(self._migration, message, aftermath=self.aftermath())
            error.failure = replace(error.failure, line=first.line, column=first.column)
            raise error
        self._query(COMMIT)
        return key, walk

    @contextmanager
    def _hooked(self) -> Iterator[None]:
        """Let the hooks see the statement once, around all of its batches."""
        hooks = self._executor.hooks
        if not hooks:
            yield
            return
        hooks.before(Batch((self._backfill.part,)))
        try:
            yield
        finally:
            roll_back_transaction(self._executor)
            hooks.after()

    def _run_batch(self, key: WalkKey, walk: KeyWalk | None, pace: Pace) -> KeyWalk | None:
        """Run the next batch, in smaller ones after lock conflicts; return the walk after it."""
        began = time.monotonic()

        def commit() -> KeyWalk | None:
            try:
                return self._commit_batch(key, walk, pace)
            except (MigrationFailed, psycopg.Error):
                pace.shrink()
                raise

        after = self._in_transaction(commit)
        if after:
            self._batch_seconds.append(time.monotonic() - began)
            event = BatchCommitted(
                migration=self._migration,
                walk=after,
                batch_seconds=self._batch_seconds[-1],
                run_rows=after.rows - (self._resumed.rows if self._resumed else 0),
                run_seconds=time.monotonic() - self._began,
            )
            self._executor.observer(event)
        return after

    def _commit_batch(self, key: WalkKey, walk: KeyWalk | None, pace: Pace) -> KeyWalk | None:
        """Run the statement for a range and save the progress, or the record after the last; without rows, record."""
        connection = self._executor.session.connection
        batch = key.next_range(connection, walk.after, walk.upper, pace.rows) if walk else None
        if walk and batch:
            self._send(self._backfill.sql_for_range(key.condition(connection, walk.after, batch.end)))
            walk = replace(walk, after=batch.end, rows=walk.rows + batch.rows)
        is_last = walk is None or batch is None or batch.end == walk.upper
        if is_last and file_checksum(self._migration.path) != self._migration.checksum:
            message = "changed while it ran; run inv db.migrate again"
            raise refused_error(self._migration, message, aftermath=self.aftermath())
        progress = FileProgress(digest=self._digest, begun=1, walk=walk)
        _, waiting, _, _, locked, fingerprint, *saved = self._query(*self._tail(progress, is_last=is_last))
        if not self._guard.keeps_lock(locked):
            raise LockBusy(f"{self._place}: {self._guard.lock_lost_message()}; {self.aftermath()}")
        if not self._guard.keeps_records(fingerprint):
            what = self._guard.describe_change(fingerprint)
            message = f"it changes {what}; leave that table to the runner"
            raise refused_error(self._migration, message, aftermath=self.aftermath())
        if not all(result.ntuples for result in saved):
            raise self._taken_over_error()
        self._query(COMMIT)
        self._is_recorded = is_last
        self.saved = replace(progress, xid=(saved[0].get_value(0, 0) or b"").decode())
        pace.adapt(int(waiting.get_value(0, 0) or b"0"))
        return walk

    def _tail(self, progress: FileProgress, *, is_last: bool) -> Iterator[bytes]:
        """The statements before COMMIT: what waits, the lock, the records, and the progress, or the record."""
        connection, ledger, version = self._executor.session.connection, self._executor.ledger, self._migration.version
        yield from (b"SET CONSTRAINTS ALL IMMEDIATE", WAITING_SESSIONS)
        yield from (*self._executor.session.local_role, *self._guard.statements)
        if not is_last:
            yield save_progress_statement(connection, ledger, version, progress, previous_xid=self.saved.xid)
            return
        yield claim_statement(connection, ledger, self._migration)
        if self.saved.xid:
            yield delete_progress_statement(connection, ledger, version, xid=self.saved.xid)

    def _query(self, *statements: bytes) -> list[PGresult]:
        """Send statements of the runner; a failure is one of the file. Raises psycopg.Error without a connection."""
        executor = self._executor
        try:
            return executor.protocol.query(b"; ".join(statements))
        except psycopg.Error as error:
            if executor.session.connection.broken:
                raise
            raise server_error(self._migration, error, executor.ledger, aftermath=self.aftermath()) from error

    def _send(self, statement: bytes) -> None:
        """Send the statement for a range. An error is located in the statement as it is in the file."""
        executor, part = self._executor, self._backfill.part
        message = Message(batch=Batch((part._replace(text=statement, start=0),)))
        if error := executor.send(self._migration, message, hooked=False):
            original = Message(batch=Batch((part,)))
            raise executor.statement_error(self._migration, original, error, aftermath=self.aftermath())

    @property
    def _place(self) -> str:
        return f"{self._migration.filename}:{self._backfill.part.line}"

    def aftermath(self) -> str:
        """Describe what is committed, and where the next run goes on."""
        walk = self.saved.walk
        if walk is None or walk.after is None:
            return "rolled back: no batch is committed, and the next run begins with the first"
        return f"{walk}, the batches up to the key {walk.after}, committed and kept; the next run goes on from there"

    def _changed_error(self) -> Drift:
        done = f"of which {self.saved.walk} ran before," if self.saved.walk else "of which statements ran before,"
        message = (
            f"the backfill, {done} has another statement or key now; restore it, or let it run from its beginning: "
            f"inv db.repair --restart {self._migration.version}"
        )
        return Drift([Problem(message=message, file=self._migration.filename)])

    def _taken_over_error(self) -> LockBusy:
        return LockBusy(
            f"{self._migration.filename}: its progress in {self._executor.ledger.progress_name} is not as this run "
            "saved it: another runner went on with it; run inv db.migrate again, which goes on with what is saved there"
        )
