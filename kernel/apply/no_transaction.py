"""Apply files outside of a transaction: statement by statement; a next run resumes after the last.

A statement that can run in a transaction does, together with its progress: it happens exactly once. For one that cannot
(CREATE INDEX CONCURRENTLY, VACUUM …), or that may commit by itself (CALL, DO), progress is saved before and after, and
the next run checks what an interrupted one left. CREATE INDEX or REINDEX CONCURRENTLY that fails leaves an INVALID
index, which IF NOT EXISTS takes for the finished one; it is dropped first.
Source: PostgreSQL documentation, "CREATE INDEX" and "REINDEX", Building and Rebuilding Indexes Concurrently.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from kernel.apply.batches import Batch, BatchQueue, Message
from kernel.apply.events import MigrationApplied, MigrationProgressed, MigrationStarted
from kernel.apply.executor import migration_application_name, run_with_retries
from kernel.apply.failures import connection_lost_error, refused_error, server_error
from kernel.apply.transaction import reset_session, roll_back_transaction
from kernel.db.ledger import (
    PROGRESS_TABLE,
    FileProgress,
    claim_statement,
    create_progress_table,
    delete_progress_statement,
    drop_empty_progress_table,
    progress_xid,
    read_progress,
    upsert_progress_statement,
)
from kernel.errors import Drift, Problem
from kernel.migrations.script import open_script
from kernel.sql.classify import StatementEffect, statement_effect
from kernel.sql.lexer import PartKind
from kernel.sql.tokens import scan_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.apply.executor import Executor
    from kernel.db.connection import Connection
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Script
    from kernel.sql.lexer import Part


_INVALID_INDEXES = """
SELECT format('%%I.%%I', n.nspname, c.relname) FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND i.indrelid = to_regclass(%(table)s)
  AND (%(name)s::text IS NULL OR c.relname = (parse_ident(%(name)s))[1])
ORDER BY c.relname
"""
# Of the indexes that the server named, those that are younger than the transaction %(xid)s.
_INDEXES_CREATED_SINCE = """
SELECT format('%%I.%%I', n.nspname, c.relname), i.indisvalid FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE i.indrelid = to_regclass(%(table)s) AND c.relname ~ '_idx[0-9]*$' AND age(c.xmin) < age(%(xid)s::xid)
ORDER BY c.relname
"""
# REINDEX CONCURRENTLY builds X_ccnew next to X, swaps the two, and drops X_ccold; an interrupted one leaves either.
_INVALID_REINDEX_COPIES = """
SELECT format('%%I.%%I', n.nspname, c.relname) FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$' AND i.indrelid IN (
  SELECT to_regclass(%(name)s) UNION SELECT indrelid FROM pg_index WHERE indexrelid = to_regclass(%(name)s))
ORDER BY c.relname
"""
_OUTSIDE_TRANSACTION = (StatementEffect.OUTSIDE, StatementEffect.PROCEDURE)
_SESSION_STATE = (StatementEffect.SETTING, StatementEffect.LEXICAL)


def run_outside_transaction(executor: Executor, migration: Migration, script: Script) -> MigrationApplied:
    """Run the statements of a file one by one from where the last run stopped, and record it at the end.

    Raises MigrationFailed, which says what is committed, and Drift when the part that ran before has changed since.
    """
    began = time.monotonic()
    executor.observer(MigrationStarted(migration=migration, script=script))
    steps = _StatementRun(executor, migration, script)
    try:
        create_progress_table(executor.session, executor.ledger)
        executor.protocol.query(f"SET application_name = '{migration_application_name(migration)}'".encode())
        if executor.hooks:
            executor.hooks.begun(executor.session, migration, script)
        with open_script(script, migration.path) as reading:
            steps.run(reading.parts)
        if reading.checksum() != migration.checksum:
            raise refused_error(
                migration, "changed while it ran; run inv db.migrate again", aftermath=steps.aftermath()
            )
        _record_migration(executor, migration)
    except OSError as error:
        message = f"cannot be read any more: {error.strerror}"
        raise refused_error(migration, message, aftermath=steps.aftermath()) from error
    except psycopg.Error as error:
        if executor.session.connection.broken:
            raise connection_lost_error(migration, error, aftermath=steps.aftermath()) from error
        raise server_error(migration, error, aftermath=steps.aftermath()) from error
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


def _record_migration(executor: Executor, migration: Migration) -> None:
    connection = executor.session.connection
    reset_session(executor)
    claim = claim_statement(connection, executor.ledger, migration)
    forget = delete_progress_statement(connection, executor.ledger, migration.version)
    executor.protocol.query(b"; ".join((b"BEGIN", claim, forget)))
    drop_empty_progress_table(executor.session, executor.ledger)
    executor.protocol.query(b"COMMIT")


class _StatementRun:
    """The run of one file: the next statement, what is finished, whether a transaction of the file is open."""

    def __init__(self, executor: Executor, migration: Migration, script: Script) -> None:
        self._executor = executor
        self._migration = migration
        self._script = script
        saved = read_progress(executor.session, executor.ledger).get(migration.version)
        self._saved_progress = saved or FileProgress(finished=0, digest="")
        self._finished = self._saved_progress.finished
        self._finished_line = 0
        self._finished_digest = self._saved_progress.digest
        self._begin_line = 0
        self._number = 0
        self._digest = hashlib.sha256()
        self.resume_note = f"went on with statement {self._finished + 1}" if self._saved_progress.finished else ""

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
            if self._number > self._saved_progress.finished:
                self._run_statement(part, effect, parts)
                sent = MigrationProgressed(
                    migration=self._migration, script=self._script, statements=self._number, sent_bytes=sent_bytes
                )
                self._executor.observer(sent)
                continue
            self._finished_line = part.line
            if (
                self._number == self._saved_progress.finished
                and self._digest.hexdigest() != self._saved_progress.digest
            ):
                raise self._changed_error()
            if effect in _SESSION_STATE:  # the setting was lost with the session that ran it
                self._send(part, parts)
        if self._number < self._saved_progress.finished:
            raise self._changed_error()

    def _run_statement(self, part: Part, effect: StatementEffect, parts: Iterator[Part]) -> None:
        if effect is StatementEffect.BEGIN:
            self._send(part, parts)
            self._begin_line = self._begin_line or part.line
        elif effect is StatementEffect.COMMIT and self._begin_line:
            self._query_row(self._finished_sql())
            self._send(part, parts)
            self._mark_finished(part)
        elif effect in (StatementEffect.COMMIT, StatementEffect.ROLLBACK):
            self._send(part, parts)
            self._query_row(self._finished_sql())
            self._mark_finished(part)
        elif self._begin_line:
            self._send(part, parts)
        elif effect in _OUTSIDE_TRANSACTION:
            self._run_outside_transaction(part, parts)
        elif effect is StatementEffect.COPY_IN:
            self._run_with_progress(part, parts)  # its data can be read once only
        else:
            run_with_retries(self._executor, lambda: self._run_with_progress(part, parts))

    def _run_with_progress(self, part: Part, parts: Iterator[Part]) -> None:
        """Run a statement and save the progress in one transaction."""
        try:
            self._query_row(f"BEGIN; SET LOCAL lock_timeout = {self._lock_timeout_ms()}".encode())
            self._send(part, parts)
            self._query_row(self._finished_sql())
            self._query_row(b"COMMIT")
            if self._executor.hooks:
                self._executor.hooks.ended()
        finally:
            roll_back_transaction(self._executor)
        self._mark_finished(part)

    def _run_outside_transaction(self, part: Part, parts: Iterator[Part]) -> None:
        """Run a statement outside of a transaction, and save the progress before and after."""
        again = self._saved_progress.begun == self._number
        if not is_done_already(self._executor, self._migration, part, again=again, aftermath=self.aftermath()):
            begun = FileProgress(finished=self._finished, digest=self._finished_digest, begun=self._number)
            self._query_row(self._progress_sql(begun))
            with self._without_timeouts():
                self._send(part, parts, builds_index=parse_index_build(part.sql) is not None)
        self._query_row(self._finished_sql())
        self._mark_finished(part)

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
            raise executor.statement_error(self._migration, message, error, aftermath=self.aftermath(part))

    def _query_row(self, message: bytes) -> list[bytes]:
        last = self._executor.protocol.query(message)[-1]
        return [last.get_value(0, column) or b"" for column in range(last.nfields)] if last.ntuples else []

    def _finished_sql(self) -> bytes:
        return self._progress_sql(
            FileProgress(finished=self._number, digest=self._digest.hexdigest(), begun=self._number)
        )

    def _progress_sql(self, progress: FileProgress) -> bytes:
        executor = self._executor
        upsert = upsert_progress_statement(
            executor.session.connection, executor.ledger, self._migration.version, progress
        )
        return b"; ".join((*executor.session.local_role, upsert))

    def _mark_finished(self, part: Part) -> None:
        self._finished = self._number
        self._finished_line = part.line
        self._finished_digest = self._digest.hexdigest()
        self._begin_line = 0

    def _lock_timeout_ms(self) -> int:
        of_file = self._script.lock_timeout_ms
        return self._executor.waits.lock_timeout_ms if of_file is None else of_file

    def _changed_error(self) -> Drift:
        table = f"{self._executor.ledger.schema}.{PROGRESS_TABLE}"
        message = (
            f"its first {self._saved_progress.finished} statements ran before and have changed since; restore them; "
            f"to run it from its beginning, remove version {self._migration.version} from {table}"
        )
        return Drift([Problem(message=message, file=self._migration.filename)])

    def aftermath(self, part: Part | None = None) -> str:
        """Describe what is committed, what is not, and where the next run resumes."""
        sentences = []
        if self._finished:
            until = f", down to line {self._finished_line}," if self._finished_line else ""
            count = "statement 1" if self._finished == 1 else f"statements 1 to {self._finished}"
            sentences.append(
                f"{count}{until} committed and kept; the next run goes on with statement {self._finished + 1}"
            )
        else:
            sentences.append("none of its statements is committed; the next run begins with the first")
        if self._begin_line:
            sentences.append(f"the transaction begun in line {self._begin_line} is rolled back")
        build = parse_index_build(part.sql) if part else None
        if build and not self._executor.session.connection.broken:
            left = invalid_indexes(self._executor.session.connection, build)
            sentences += [f"{quoted} is left INVALID; the next run drops it and builds it again" for quoted in left]
        return "; ".join(sentences)


def is_done_already(executor: Executor, migration: Migration, part: Part, *, again: bool, aftermath: str) -> bool:
    """Whether a statement is done already; with `again` an interrupted run of this file had sent it.

    Drops what that run left half done. Raises MigrationFailed, with `aftermath`, for an INVALID index that another
    file left.
    """
    connection = executor.session.connection
    if name := parse_index_drop(part.sql):
        return again and not relation_exists(connection, name)
    if again and (name := parse_reindex(part.sql)):
        for quoted in invalid_reindex_copies(connection, name):
            drop_index_concurrently(connection, quoted)
    build = parse_index_build(part.sql)
    if build is None:
        return False
    if build.name is None:
        return again and _is_unnamed_index_built(executor, migration, build)
    left = invalid_indexes(connection, build)
    if not left:
        return again and is_index_valid(connection, build)
    if not again:
        raise refused_error(
            migration,
            f"line {part.line}: {', '.join(left)} is INVALID, left by a build that failed; "
            f"drop it with DROP INDEX CONCURRENTLY {left[0]}, then run inv db.migrate again",
            aftermath=aftermath,
        )
    for quoted in left:
        drop_index_concurrently(connection, quoted)
    return False


def _is_unnamed_index_built(executor: Executor, migration: Migration, build: ConcurrentIndexBuild) -> bool:
    """The same for an index that the server names: one that is younger than the progress saved before the build."""
    connection = executor.session.connection
    begun = progress_xid(connection, executor.ledger, migration.version)
    since = indexes_created_since(connection, build, begun)
    for quoted in (quoted for quoted, is_valid in since.items() if not is_valid):
        drop_index_concurrently(connection, quoted)
    return any(since.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrentIndexBuild:
    """A CREATE INDEX CONCURRENTLY, names as written: `name` is None when the server chooses it."""

    name: str | None
    table: str


def parse_index_build(statement: bytes) -> ConcurrentIndexBuild | None:
    """Parse a CREATE INDEX CONCURRENTLY; None for any other statement."""
    words = _StatementWords(statement)
    if not (words.take("CREATE") and (words.take("UNIQUE") or True) and words.take("INDEX", "CONCURRENTLY")):
        return None
    words.take("IF", "NOT", "EXISTS")
    name = None if words.take("ON") else words.name()
    if name is not None and not words.take("ON"):
        return None
    words.take("ONLY")
    return ConcurrentIndexBuild(name=name, table=words.name())


def parse_index_drop(statement: bytes) -> str | None:
    """The first index that a DROP INDEX CONCURRENTLY names, as written; None for any other statement."""
    words = _StatementWords(statement)
    if not words.take("DROP", "INDEX", "CONCURRENTLY"):
        return None
    words.take("IF", "EXISTS")
    return words.name()


def parse_reindex(statement: bytes) -> str | None:
    """The index or table that a REINDEX CONCURRENTLY names, as written; None for any other statement."""
    words = _StatementWords(statement)
    if not words.take("REINDEX"):
        return None
    if words.take("("):
        while not words.take(")"):
            if not words.name():
                return None
    if not ((words.take("INDEX") or words.take("TABLE")) and words.take("CONCURRENTLY")):
        return None
    return words.name()


def invalid_reindex_copies(connection: Connection, name: str) -> tuple[str, ...]:
    """The INVALID indexes that an interrupted REINDEX CONCURRENTLY of `name` left, quoted, with their schema."""
    return tuple(str(row[0]) for row in connection.execute(_INVALID_REINDEX_COPIES, {"name": name}).fetchall())


def invalid_indexes(connection: Connection, build: ConcurrentIndexBuild) -> tuple[str, ...]:
    """The INVALID indexes of the table with the name of the build, or of any name, quoted, with their schema."""
    rows = connection.execute(_INVALID_INDEXES, {"table": build.table, "name": build.name}).fetchall()
    return tuple(str(row[0]) for row in rows)


def relation_exists(connection: Connection, name: str) -> bool:
    """Whether there is a relation of this name, as written in a statement."""
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (name,)).fetchone()
    return bool(row and row[0])


def indexes_created_since(connection: Connection, build: ConcurrentIndexBuild, xid: str) -> dict[str, bool]:
    """The indexes of the table that the server named and that are younger than a transaction: name -> is valid.

    Names are quoted, with their schema. Nothing else identifies the index of a build without a name.
    """
    rows = connection.execute(_INDEXES_CREATED_SINCE, {"table": build.table, "xid": xid}).fetchall()
    return {str(quoted): bool(is_valid) for quoted, is_valid in rows}


def is_index_valid(connection: Connection, build: ConcurrentIndexBuild) -> bool:
    """Whether the index of a build with a name exists on its table and is valid."""
    if build.name is None:
        return False
    row = connection.execute(
        "SELECT true FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "WHERE i.indisvalid AND i.indrelid = to_regclass(%s) AND c.relname = (parse_ident(%s))[1]",
        (build.table, build.name),
    ).fetchone()
    return row is not None


def drop_index_concurrently(connection: Connection, quoted: str) -> None:
    """Drop an index, named as `invalid_indexes` does, without blocking reads or writes."""
    connection.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(sql.SQL(quoted)))  # quoted by the server


class _StatementWords:
    """The tokens of a statement, taken from the front."""

    def __init__(self, statement: bytes) -> None:
        self._statement = statement
        self._spans = [(begin, end) for _kind, begin, end in scan_tokens(statement, 0)]

    def take(self, *words: str) -> bool:
        """Take these words if they come next."""
        following = [self._text(span).upper() for span in self._spans[: len(words)]]
        if following != list(words):
            return False
        del self._spans[: len(words)]
        return True

    def name(self) -> str:
        """Take a name, with its schema if it has one, as written."""
        parts = [self._next()]
        while self._spans and self._text(self._spans[0]) == ".":
            parts += [self._next(), self._next()]
        return "".join(parts)

    def _next(self) -> str:
        return self._text(self._spans.pop(0)) if self._spans else ""

    def _text(self, span: tuple[int, int]) -> str:
        return self._statement[span[0] : span[1]].decode(errors="replace")
