"""Errors of a migration: file, line, column and an excerpt for an error of the server, and a remedy for its SQLSTATE.

Syntax and name errors carry a position, in characters of the message. Runtime errors carry none; their statement is
known by counting command tags. An error inside a DO block, or in the data of COPY, is located by the line that its
CONTEXT names. Passwords are masked in quoted statements, those that the server quotes included.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from psycopg import pq

from kernel.db.missing_grant import INSUFFICIENT_PRIVILEGE, missing_grant
from kernel.errors import Failure, MigrationFailed
from kernel.migrations.script import column_at
from kernel.sql.lexer import advance_column
from kernel.sql.passwords import find_passwords, mask_passwords

if TYPE_CHECKING:
    import psycopg

    from kernel.apply.batches import Batch
    from kernel.db.connection import Connection
    from kernel.db.ledger import Ledger
    from kernel.migrations.migration import Migration
    from kernel.sql.lexer import Part


_FIELD = pq.DiagnosticField
_LINES_AHEAD = 4
_LINES_SHOWN = 8
_LINE_CHARACTERS = 160
# The words around the number are in the language of the server.
_IN_DO_BLOCK = re.compile(r"inline_code_block[^0-9\n]+?([0-9]+)")
_IN_COPY = re.compile(r"^COPY .+?, [^0-9\n]+?([0-9]+)", re.MULTILINE)
# Characters that look like a blank or like nothing, and those that some programs take for the end of a line.
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\xa0\xad\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064\u2066-\u206f\u3000\ufeff]"
)


def error_position(result: pq.abc.PGresult) -> int | None:
    """The position of an error in the message, in characters counted from 1; None where the server gives none."""
    value = error_field(result, _FIELD.STATEMENT_POSITION)
    return int(value) if value else None


def locate_error(
    migration: Migration, batch: Batch, index: int, offset: int | None, result: pq.abc.PGresult
) -> tuple[str, Failure]:
    """(the server's message, the place) of an error at a byte offset, where known, of a statement of a batch."""
    from kernel.sql.plpgsql import do_block_body  # noqa: PLC0415 - after a failure only
    from kernel.sql.reader import read_words  # noqa: PLC0415 - likewise

    part = batch.statements[index]
    context = error_field(result, _FIELD.CONTEXT)
    line, column, first_column = part.line, None, column_at(migration.path, part.offset)
    if offset is not None:
        line += part.sql.count(b"\n", 0, offset)
        column = advance_column(first_column, part.sql[:offset])
    elif (inner := do_block_line(context or "")) and (body := do_block_body(read_words(part.sql))):
        line += part.sql.count(b"\n", 0, body.inner) + inner - 1
    elif batch.is_copy and (inner := copy_line(context or "")):
        line += part.sql.count(b"\n") + inner  # the data begin on the line after the statement
    secrets = find_passwords(part.sql.decode(errors="replace"))

    def quoted(code: pq.DiagnosticField) -> str | None:
        value = error_field(result, code)
        return value and mask_passwords(value, also=secrets)

    failure = Failure(
        file=migration.filename,
        line=line,
        column=column,
        offset=part.offset + (offset or 0),
        statement=shorten_statement(part.sql),
        excerpt=statement_excerpt(part, part.line if batch.is_copy else line, column, first_column=first_column),
        sqlstate=error_sqlstate(result),
        detail=quoted(_FIELD.MESSAGE_DETAIL),
        server_hint=quoted(_FIELD.MESSAGE_HINT),
        context=quoted(_FIELD.CONTEXT),
    )
    return quoted(_FIELD.MESSAGE_PRIMARY) or "the server gave no message", failure


def do_block_line(context: str) -> int | None:
    """The line in a DO block that the CONTEXT of an error names, in any language; of nested blocks the outermost."""
    lines = _IN_DO_BLOCK.findall(context)
    return int(lines[-1]) if lines else None


def copy_line(context: str) -> int | None:
    """The line of the data of COPY that the CONTEXT of an error names, in any language."""
    line = _IN_COPY.search(context)
    return int(line[1]) if line else None


def error_sqlstate(result: pq.abc.PGresult) -> str | None:
    """The SQLSTATE of an error."""
    return error_field(result, _FIELD.SQLSTATE)


def error_field(result: pq.abc.PGresult, code: pq.DiagnosticField) -> str | None:
    """A field of an error, None when it is absent."""
    value = result.error_field(code)
    return value.decode(errors="replace") if value is not None else None


def statement_excerpt(part: Part, line: int, column: int | None, *, first_column: int) -> str:
    """The lines of a statement around `line`, numbered as in the file, with a caret under `column`.

    The statement begins at `first_column`: blanks stand for what is before it on its line.
    """
    head = (b" " * (first_column - 1) + part.sql).decode(errors="replace")
    if column:
        column = _masked_column(head, line - part.line, column)
    numbered = list(enumerate(mask_passwords(head).split("\n"), start=part.line))
    first = max(0, line - part.line - _LINES_AHEAD)
    shown = numbered[first : first + _LINES_SHOWN]
    width = len(str(shown[-1][0])) if shown else 1
    rows = []
    for number, text in shown:
        anchor = column if column and number == line else first_column if number == part.line else 1
        start = max(0, anchor - _LINE_CHARACTERS // 2)
        rows.append(f"{number:>{width}} | {_visible(text[start : start + _LINE_CHARACTERS])}".rstrip())
        if column and number == line:
            pad = "".join(" " if letter != "\t" else letter for letter in _visible(text[start : column - 1]))
            rows.append(f"{'':>{width}} | {pad}^")
    if first + _LINES_SHOWN < len(numbered):
        rows.append(f"{'':>{width}} | …")
    return "\n".join(rows)


def _visible(text: str) -> str:
    """A line without the CR at its end, and with the code point of each character that cannot be seen."""
    return _INVISIBLE.sub(lambda match: f"<U+{ord(match[0]):04X}>", text.removesuffix("\r"))


def _masked_column(head: str, index: int, column: int) -> int:
    """Where a column of the line `index`, counted from 0, is once the passwords before it are masked."""
    lines = head.split("\n")[: index + 1]
    before = "\n".join([*lines[:-1], lines[-1][: column - 1]])
    return len(mask_passwords(before).rpartition("\n")[2]) + 1


def shorten_statement(sql: bytes) -> str:
    """The beginning of a statement for an error, with its passwords masked."""
    text = mask_passwords(sql.decode(errors="replace"))
    limit = _LINES_SHOWN * _LINE_CHARACTERS
    return text if len(text) <= limit else text[:limit] + "…"


# By SQLSTATE (PostgreSQL documentation, "PostgreSQL Error Codes").
_THEN_MIGRATE_AGAIN = "then run inv db.migrate again"
_REMEDIES = {
    "25001": "this cannot run here in a transaction; begin the file with -- migrate: no-transaction, and write the "
    "statement itself in the file, not inside a DO block or function",
    "2D000": "COMMIT needs a CALL or DO that runs outside of a transaction: begin the file with -- migrate: "
    "no-transaction, with no BEGIN before it, no SELECT that calls it, and no EXCEPTION in the block around COMMIT",
    "55P03": "another session held the lock for too long; try when it is quiet, or raise KERNEL_LOCK_TIMEOUT",
    "55P04": "a new enum value can be used only after its transaction; use it in the next file",
    "42P07": f"it exists already; write IF NOT EXISTS if it is the same, or drop it, {_THEN_MIGRATE_AGAIN}",
    "42701": f"the column exists already; write ADD COLUMN IF NOT EXISTS if it is the same, {_THEN_MIGRATE_AGAIN}",
    "42710": f"it exists already; drop it first, or create it only when it is absent, {_THEN_MIGRATE_AGAIN}",
    "42P01": "no such table; check its spelling and schema, and whether an earlier migration should have made it",
    "42703": "no such column; check its spelling, and whether an earlier migration should have made it",
    "42883": "no such function; check its name and argument types, and whether its extension is installed",
    "42704": "no such object; check its spelling, or write IF EXISTS",
    "42501": "this role lacks the privilege; run migrations as the owner, or let the owner GRANT it",
    "42601": f"correct the syntax, {_THEN_MIGRATE_AGAIN}",
    "57014": "cancelled, or slower than statement_timeout; raise KERNEL_STATEMENT_TIMEOUT if it needs the time",
    "40P01": f"a deadlock with another session; {_THEN_MIGRATE_AGAIN[5:]} when it is quiet",
    "40001": f"other transactions changed the same rows; {_THEN_MIGRATE_AGAIN[5:]}",
    "23502": f"rows hold NULL where the column forbids it; fill them in an earlier migration, {_THEN_MIGRATE_AGAIN}",
    "23503": f"rows refer to what does not exist; fix them in an earlier migration, {_THEN_MIGRATE_AGAIN}",
    "23505": f"rows have the same key; remove the duplicates in an earlier migration, {_THEN_MIGRATE_AGAIN}",
    "23514": f"rows violate the check; fix them in an earlier migration, {_THEN_MIGRATE_AGAIN}",
    "25006": "the transaction is read-only; take out what makes it so, such as READ ONLY or SET "
    "default_transaction_read_only, or, after a failover, give the URL of the primary",
    "53100": f"the server's disk is full; make room, {_THEN_MIGRATE_AGAIN}",
    "0A000": "PostgreSQL does not do this here; see the message and the version of the server",
}


_LEDGER_EXISTS = (
    "that table is the ledger of these migrations; leave it out of the file: "
    "a dump without it is made with pg_dump --exclude-table={ledger} --exclude-table={progress}; "
    "where another tool needs a table of this name, give the ledger another with KERNEL_MIGRATIONS_TABLE"
)
_LEDGER_GONE = (
    "that table is the ledger of these migrations, which the file drops, renames or moves; leave it to the runner"
)


_CHECK_OF_SETTING = "_check_hook"  # ends the names of PostgreSQL's functions that check a setting
_SET_TRANSACTION_REMEDY = (
    "SET TRANSACTION comes before the first query of its transaction: write it at the top of the file, "
    "above its checks, or right after a BEGIN of the file"
)


def sets_transaction_late(sqlstate: str | None, function: str | None) -> bool:
    """Whether an error, raised in this function of PostgreSQL, is that of a SET TRANSACTION after a query."""
    return sqlstate == "25001" and (function or "").endswith(_CHECK_OF_SETTING)


def remedy_for_error(sqlstate: str | None, message: str, ledger: Ledger, *, function: str | None = None) -> str:
    """The next step after an error with this SQLSTATE; a general one for codes that are not listed.

    An error that names the ledger has remedies of its own: a file neither makes that table nor drops it. `function` is
    the function of PostgreSQL that raised the error.
    """
    if sets_transaction_late(sqlstate, function):
        return _SET_TRANSACTION_REMEDY
    names = (ledger.table, f"{ledger.schema}.{ledger.table}", ledger.progress_table)
    if any(f'"{name}"' in message for name in names):
        if sqlstate == "42P07":
            return _LEDGER_EXISTS.format(ledger=ledger.name, progress=ledger.progress_name)
        if sqlstate == "42P01":
            return _LEDGER_GONE
    return _REMEDIES.get(sqlstate or "", f"correct the file, {_THEN_MIGRATE_AGAIN}")


def name_missing_grant(error: MigrationFailed, connection: Connection) -> None:
    """Let the error of a missing privilege name the GRANT. The transaction of the file is rolled back by now."""
    failure = error.failure
    if failure.sqlstate == INSUFFICIENT_PRIVILEGE:
        statement, context = failure.statement or "", failure.context or ""
        error.hint = missing_grant(connection, str(error), statement=statement, context=context) or error.hint


ENUM_VALUE_SQLSTATE = "55P04"
ENUM_IN_ONE_TRANSACTION = (
    "a new enum value can be used only after its transaction, and --single-transaction has one for all files; "
    "run without it, and use the value in a later file than the one that adds it"
)


ALL_ROLLED_BACK = "rolled back with all the others: the database is as it was before this run"


def refused_error(migration: Migration, message: str, *, aftermath: str | None = None) -> MigrationFailed:
    """The error for a file that the runner itself refuses."""
    return MigrationFailed(message, failure=Failure(file=migration.filename), aftermath=aftermath)


def connection_lost_error(
    migration: Migration, error: psycopg.Error, *, aftermath: str | None = None
) -> MigrationFailed:
    """The connection broke while a migration ran."""
    reason = " ".join(str(error).split())
    return MigrationFailed(
        f"the connection was lost: {reason}",
        failure=Failure(file=migration.filename),
        aftermath=aftermath,
        hint="find out why in the server's log, then run inv db.migrate again",
    )


def server_error(
    migration: Migration, error: psycopg.Error, ledger: Ledger, *, aftermath: str | None = None
) -> MigrationFailed:
    """The error for a server error outside of the file's statements: at the claim, at a deferred constraint."""
    diagnostic = error.diag
    return MigrationFailed(
        diagnostic.message_primary or str(error),
        failure=Failure(
            file=migration.filename,
            sqlstate=diagnostic.sqlstate,
            detail=diagnostic.message_detail,
            server_hint=diagnostic.message_hint,
            context=diagnostic.context,
        ),
        aftermath=aftermath,
        hint=remedy_for_error(diagnostic.sqlstate, diagnostic.message_primary or "", ledger),
    )
