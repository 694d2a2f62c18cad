"""Run checks: queries whose row begins with true, at the top of a file and in its file in verify/."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import pq
from psycopg.adapt import Transformer

from kernel.apply.batches import Batch, Message
from kernel.apply.failures import error_field, error_sqlstate, shorten_statement, statement_excerpt
from kernel.apply.protocol import SimpleQueryProtocol
from kernel.db.missing_grant import INSUFFICIENT_PRIVILEGE, missing_grant
from kernel.errors import Failure, MigrationFailed, Problem
from kernel.migrations.script import column_at, open_script
from kernel.sql.lexer import PartKind
from kernel.sql.passwords import mask_passwords
from kernel.units import clip_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.apply.executor import Executor
    from kernel.db.connection import Session
    from kernel.migrations.checks import Check
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Script
    from kernel.sql.lexer import Part


CHECK_COMMENT = b"-- the runner stops unless the row begins with true:\n"
_BOOLEAN_OID = 16
_KEYS_SHOWN = 10
_KEY_CHARACTERS = 80
_HINT = "correct the rows, then run inv db.migrate again"


def verify_check(migration: Migration, check: Check, part: Part, protocol: SimpleQueryProtocol, number: int) -> None:
    """Raise MigrationFailed unless a check, statement `number` of the message that ran, returned one row with true."""
    row, row_count = protocol.rows.get(number), protocol.row_counts.get(number, 0)
    message, hint, keys = f"check failed: {check.message}", _HINT, ""
    if row_count > 1:
        message, hint = (
            f"a check has returned {row_count} rows",
            "write a query that returns one row, such as SELECT NOT EXISTS (…) or SELECT bool_and(…)",
        )
    elif row is None:
        message, hint = (
            "a check has returned no row",
            "write a query that always returns one, such as SELECT NOT EXISTS (…)",
        )
    elif row.ftype(0) != _BOOLEAN_OID:
        message, hint = "the first column of a check is not a boolean", "write a condition there, such as count(*) = 0"
    elif row.get_value(0, 0) == b"t":
        return
    else:
        keys = ", ".join(_violating_keys(row))
    failure = Failure(
        file=migration.filename,
        line=part.line,
        offset=part.offset,
        statement=shorten_statement(part.sql),
        excerpt=statement_excerpt(part, part.line, None, first_column=column_at(migration.path, part.offset)),
        detail=f"keys: {keys}" if keys else None,
    )
    raise MigrationFailed(message, failure=failure, hint=hint)


def _violating_keys(row: pq.abc.PGresult) -> Iterator[str]:
    """The first keys in the columns after the first one, each an array or a single value."""
    transformer = Transformer()
    transformer.set_pgresult(row)
    columns: list[Any]
    try:
        columns = transformer.load_row(0, list)
    except psycopg.DataError:  # such as infinity, a time that Python does not have
        columns = [(row.get_value(0, at) or b"").decode(errors="replace") for at in range(row.nfields)]
    values = [
        value
        for column in columns[1:]
        for value in (column if isinstance(column, list) else [column])
        if value is not None
    ]
    for value in values[:_KEYS_SHOWN]:
        yield clip_text(str(value), _KEY_CHARACTERS)
    if len(values) > _KEYS_SHOWN:
        yield "…"


def verification_sql(migration: Migration, script: Script) -> Iterator[bytes]:
    """The queries of a file in verify/, as a script for psql."""
    with open_script(script, migration.path) as reading:
        for part in reading.parts:
            if part.kind is PartKind.STATEMENT:
                yield CHECK_COMMENT + Message(batch=Batch((part,))).script


def run_verification(executor: Executor, migration: Migration, script: Script) -> None:
    """Run a file of verify/ in the open transaction. Raises MigrationFailed, psycopg.Error."""
    checks = {check.offset: check for check in script.checks}
    with open_script(script, migration.path) as reading:
        for part in reading.parts:
            if part.kind is not PartKind.STATEMENT:
                continue
            message = Message(batch=Batch((part,), is_check=True))
            if error := executor.send(migration, message, hooked=False):
                raise executor.statement_error(migration, message, error)
            verify_check(migration, checks[part.offset], part, executor.protocol, 0)


def verification_failures(session: Session, migration: Migration, script: Script) -> Iterator[Problem]:
    """Run a file of verify/ in a read-only transaction; yield a problem for each check that fails.

    An error of the server ends the file, as its transaction has failed. Raises psycopg.OperationalError.
    """
    checks = {check.offset: check for check in script.checks}
    protocol = SimpleQueryProtocol(session.connection)
    protocol.query(b"BEGIN READ ONLY")
    try:
        with open_script(script, migration.path) as reading:
            for part in reading.parts:
                if part.kind is not PartKind.STATEMENT:
                    continue
                if error := protocol.run(part.sql, kept=(0,)):
                    message = error_field(error, pq.DiagnosticField.MESSAGE_PRIMARY) or "the server gave no message"
                    if error_sqlstate(error) == INSUFFICIENT_PRIVILEGE:
                        protocol.query(b"ROLLBACK")
                        grant = missing_grant(session.connection, message, statement=part.sql.decode(errors="replace"))
                        message = f"{message}; {grant}" if grant else message
                    yield Problem(message=mask_passwords(message), file=migration.filename, line=part.line)
                    return
                try:
                    verify_check(migration, checks[part.offset], part, protocol, 0)
                except MigrationFailed as failed:
                    detail = f"; {failed.failure.detail}" if failed.failure.detail else ""
                    yield Problem(message=f"{failed}{detail}", file=migration.filename, line=part.line)
    finally:
        protocol.query(b"ROLLBACK")
