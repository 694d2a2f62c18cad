"""The progress of files that are more than one transaction: a table next to the ledger, a row for each unfinished file.

It is created with the ledger and never dropped: what a run needs at its end is there before its first statement. A row
is written only if it is still as this run wrote it last, by its xmin: two runners never advance the same file.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import psycopg
from psycopg import sql

from kernel.db.connection import current_role, format_identifier
from kernel.db.ledger import create_privilege_error, may_create_in_schema
from kernel.errors import DatabaseRefused

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import LiteralString

    from kernel.db.connection import Connection, Session
    from kernel.db.ledger import Ledger


_LEDGER_COLUMNS = {
    "version": "VARCHAR(255) PRIMARY KEY",
    "filename": "VARCHAR(255) NOT NULL",
    "applied_at": "TIMESTAMP NOT NULL DEFAULT NOW()",
    "checksum": "VARCHAR(64) NOT NULL",
}
# Former releases had the first five columns, and dropped the table when no file was unfinished.
_COLUMNS = {
    "version": "VARCHAR(255) PRIMARY KEY",
    "finished": "INTEGER NOT NULL",
    "digest": "VARCHAR(64) NOT NULL",
    "begun": "INTEGER NOT NULL",
    "updated_at": "TIMESTAMP NOT NULL",
    "begun_digest": "VARCHAR(64)",
    "table_oid": "OID",
    "other_indexes": "OID[]",
    "session_state": "JSONB",
    "walk": "JSONB",
}
_ADDED_COLUMNS = ("begun_digest", "table_oid", "other_indexes", "session_state", "walk")
_NO_PRIVILEGE = "42501"  # an event trigger may raise it too
_PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE")
_INSPECT = """
SELECT c.relkind IN ('r', 'p'),
  ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
  ARRAY(SELECT privilege FROM unnest(%(privileges)s::text[]) privilege WHERE NOT has_table_privilege(c.oid, privilege))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(table)s
"""
# The event triggers that a command of this tag fires in an ordinary session, with their functions.
_EVENT_TRIGGERS = """
SELECT e.evtname, p.proname FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid
WHERE e.evtenabled IN ('O', 'A') AND e.evtevent IN ('ddl_command_start', 'ddl_command_end')
  AND (e.evttags IS NULL OR %s = ANY (e.evttags))
ORDER BY e.evtname
"""
# A table of a former release lacks columns, which to_jsonb leaves out. An OID is a string in JSON.
_READ = """
SELECT version, finished, digest, begun, xmin::text,
  to_jsonb(p) ->> 'begun_digest', to_jsonb(p) ->> 'table_oid', to_jsonb(p) -> 'other_indexes',
  to_jsonb(p) -> 'session_state', to_jsonb(p) -> 'walk'
FROM {} AS p
"""
_LEFT = """
SELECT format('%%I.%%I', n.nspname, c.relname), format('%%I.%%I', tn.nspname, t.relname)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class t ON t.oid = coalesce((SELECT m.oid FROM pg_class m WHERE m.reltoastrelid = i.indrelid), i.indrelid)
JOIN pg_namespace tn ON tn.oid = t.relnamespace
WHERE NOT i.indisvalid AND c.relkind = 'i' AND i.indexrelid <> ALL (%(other_indexes)s::oid[])
  AND (i.indrelid = %(table_oid)s OR (%(table_oid)s = 0 AND c.relname ~ '_cc(new|old)[0-9]*$'))
ORDER BY 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyWalk:
    """How far a backfill is: the ranges up to the key `after` are committed, None for none; it ends at the key `upper`.

    `key` is the table and column as they are shown. `rows` are the keys walked, of `estimate`, which is the planner's.
    """

    key: str
    upper: str
    after: str | None = None
    rows: int = 0
    estimate: int = 0

    @property
    def percent(self) -> int:
        """The part that is done, as far as the estimate holds; 100 only at the end."""
        return 100 if self.after == self.upper else min(99, 100 * self.rows // max(self.estimate, self.rows, 1))

    def __str__(self) -> str:
        return f"{self.percent} % of {self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileProgress:
    """Progress of a file: the number of `finished` statements, the SHA-256 of their text, the last one `begun`.

    Statements count from 1. One that is begun and not finished ran outside of a transaction: it may be done, half done,
    or not done at all; `begun_digest` is the SHA-256 of the text down to its end. If it changes indexes, `table_oid` is
    their table, 0 for any table, and `other_indexes` are the OIDs of those that it cannot have left, since they
    were there before it. `session_state` is what the finished statements left in their session, each item with the
    number of the statement that made it; None in a row of a former release. `walk` is that of a backfill, of which
    `digest` is the SHA-256 of the statement and its key. `xid` is the transaction that saved the row, "" before it is
    saved.
    """

    finished: int = 0
    digest: str = ""
    begun: int = 0
    begun_digest: str = ""
    table_oid: int | None = None
    other_indexes: tuple[int, ...] = ()
    session_state: Mapping[str, int] | None = None
    walk: KeyWalk | None = None
    xid: str = ""


class LeftIndex(NamedTuple):
    """An INVALID index and its table, or the one that a TOAST table belongs to; quoted, with their schemas."""

    name: str
    table: str


def read_progress(session: Session, ledger: Ledger) -> dict[str, FileProgress]:
    """Progress by version. Read-only; empty without the table or the privilege, and for a table of another shape."""
    try:
        rows = session.connection.execute(sql.SQL(_READ).format(ledger.progress_identifier)).fetchall()
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.InsufficientPrivilege):
        return {}
    return {
        version: FileProgress(
            finished=finished,
            digest=digest,
            begun=begun,
            begun_digest=begun_digest or "",
            table_oid=None if table_oid is None else int(table_oid),
            other_indexes=tuple(map(int, other_indexes or ())),
            session_state=session_state,
            walk=KeyWalk(**walk) if walk else None,
            xid=xid,
        )
        for version, finished, digest, begun, xid, begun_digest, table_oid, other_indexes, session_state, walk in rows
    }


def hidden_progress_warning(session: Session, ledger: Ledger) -> str:
    """What a role does not see that may not read the table, and the GRANT for it; "" when it may, or there is none."""
    query = "SELECT has_table_privilege(to_regclass(%s), 'SELECT') IS FALSE"
    row = session.connection.execute(query, (ledger.progress_identifier.as_string(session.connection),)).fetchone()
    if not (row and row[0]):
        return ""
    return (
        f"{session.name}: no privilege for SELECT on {ledger.progress_name}, so that an incomplete file is shown as "
        f"pending; let its owner run: GRANT SELECT ON {ledger.progress_name} TO {current_role(session)}"
    )


def left_indexes(connection: Connection, progress: FileProgress) -> tuple[LeftIndex, ...]:
    """The INVALID indexes that the statement begun last has left, if it is not finished. Read-only."""
    if progress.table_oid is None or progress.begun <= progress.finished:
        return ()
    values = {"table_oid": progress.table_oid, "other_indexes": list(progress.other_indexes)}
    return tuple(LeftIndex(*row) for row in connection.execute(_LEFT, values).fetchall())


def create_ledger_tables(session: Session, ledger: Ledger) -> Ledger:
    """Create the ledger and the table of progress, unless they exist.

    Raises DatabaseRefused with the reason, and what to run instead.
    """
    statement, progress = create_statements(ledger)

    def create() -> None:
        # One message is one transaction. It need not wait for the disk: the next COMMIT, of a record, does for both.
        session.connection.execute(f"SET LOCAL synchronous_commit = off; {statement}; {progress}".encode())

    try:
        try:
            create()
        except psycopg.errors.UniqueViolation:
            # Through a pooler there is no lock of the session. IF NOT EXISTS does not see the table of a transaction
            # that has not committed: it waits for it, and fails on the catalog's index.
            create()
    except psycopg.DatabaseError as error:
        if session.connection.broken:
            raise
        if error.sqlstate == _NO_PRIVILEGE and not may_create_in_schema(session, ledger):
            raise create_privilege_error(session, ledger) from error
        raise DatabaseRefused(
            f"{session.name}: {ledger.name}, which records what is applied, cannot be created: "
            f"{_refusal_reason(session, error, statement)}; let a role that may run: {statement}; {progress}; "
            f"GRANT {', '.join(_PRIVILEGES)} ON {ledger.name}, {ledger.progress_name} TO {current_role(session)}"
        ) from error
    return replace(ledger, exists=True)


def create_statements(ledger: Ledger) -> tuple[str, str]:
    """The statements that create the ledger and the table of progress."""
    return _create_statement(ledger.name, _LEDGER_COLUMNS), _create_statement(ledger.progress_name, _COLUMNS)


def create_progress_table(session: Session, ledger: Ledger) -> None:
    """Create the table, under the lock. Raises DatabaseRefused with the reason, and what to run instead."""
    _alter(session, ledger, _create_statement(ledger.progress_name, _COLUMNS))


def prepare_progress_table(session: Session, ledger: Ledger) -> None:
    """Make sure, under the lock, that the table can be used; create it next to a ledger of a former release.

    Raises DatabaseRefused with the remedy; nothing of a file has run.
    """
    absent = refuse_unusable_progress_table(session, ledger)
    if absent is None:
        create_progress_table(session, ledger)
    elif absent:
        added = ", ".join(f"ADD COLUMN IF NOT EXISTS {name} {_COLUMNS[name]}" for name in absent)
        _alter(session, ledger, f"ALTER TABLE {ledger.progress_name} {added}")


def refuse_unusable_progress_table(session: Session, ledger: Ledger) -> list[str] | None:
    """The columns that the table lacks, None when it has to be created. Read-only.

    Raises DatabaseRefused with the remedy when this role cannot create or use it.
    """
    row = session.connection.execute(
        _INSPECT, {"privileges": list(_PRIVILEGES), "schema": ledger.schema, "table": ledger.progress_table}
    ).fetchone()
    if row is None:
        if not may_create_in_schema(session, ledger):
            reason = f"permission denied for schema {format_identifier(ledger.schema)}"
            statement = _create_statement(ledger.progress_name, _COLUMNS)
            raise _not_made_error(session, ledger, reason, statement)
        return None
    is_table, columns, denied = row
    absent = [name for name in _COLUMNS if name not in columns]
    if not is_table or not set(absent).issubset(_ADDED_COLUMNS):
        raise DatabaseRefused(
            f"{session.name}: {ledger.progress_name} is no table of this runner, which keeps the progress of files "
            "outside of a transaction there; rename it"
        )
    if denied:
        privileges = ", ".join(_PRIVILEGES)
        raise DatabaseRefused(
            f"{session.name}: no privilege for {', '.join(denied)} on {ledger.progress_name}, which keeps the progress "
            f"of files outside of a transaction; let its owner run: GRANT {privileges} ON {ledger.progress_name} "
            f"TO {current_role(session)}"
        )
    return absent


def _create_statement(name: str, columns: dict[str, str]) -> str:
    return f"CREATE TABLE IF NOT EXISTS {name} ({', '.join(f'{column} {kind}' for column, kind in columns.items())})"


def _refusal_reason(session: Session, error: psycopg.Error, statement: str) -> str:
    """Why the server refuses CREATE TABLE or ALTER TABLE: its message, and the event triggers that may have raised it.

    Where the CONTEXT of the error names their functions, those that it names; a function of C leaves no CONTEXT.
    """
    reason = error.diag.message_primary or str(error)
    tag, context = " ".join(statement.split()[:2]), error.diag.context or ""
    try:
        triggers = session.connection.execute(_EVENT_TRIGGERS, (tag,)).fetchall()
    except psycopg.Error:  # the transaction around the statement has failed
        return reason
    named = [name for name, function in triggers if f"{function}(" in context] or [name for name, _ in triggers]
    if not named:
        return reason
    names = ", ".join(map(format_identifier, named))
    return f"{reason} (event trigger{'s' if len(named) > 1 else ''} {names} on {tag})"


def _alter(session: Session, ledger: Ledger, statement: str) -> None:
    try:
        session.connection.execute(statement.encode())
    except psycopg.DatabaseError as error:
        if session.connection.broken:
            raise
        raise _not_made_error(session, ledger, _refusal_reason(session, error, statement), statement) from error


def _not_made_error(session: Session, ledger: Ledger, reason: str, statement: str) -> DatabaseRefused:
    return DatabaseRefused(
        f"{session.name}: {ledger.progress_name}, which keeps the progress of files outside of a transaction, "
        f"cannot be made: {reason}; let a role that may run: {statement}; "
        f"GRANT {', '.join(_PRIVILEGES)} ON {ledger.progress_name} TO {current_role(session)}"
    )


def save_progress_statement(
    connection: Connection,
    ledger: Ledger,
    version: str,
    progress: FileProgress,
    *,
    previous_xid: str,
    session_state: LiteralString = "NULL",
) -> bytes:
    """The statement that saves the progress of a version, in place of the row that `previous_xid` saved, "" for none.

    `session_state` is an expression for that column. The statement returns the id of the transaction that it is in, or
    no row when the row is not as it was saved.
    """
    values = {
        "table": ledger.progress_identifier,
        "version": version,
        "finished": progress.finished,
        "digest": progress.digest,
        "begun": progress.begun,
        "begun_digest": progress.begun_digest,
        "table_oid": progress.table_oid,
        "other_indexes": list(progress.other_indexes),
        "session_state": sql.SQL(session_state),
        "walk": json.dumps(asdict(progress.walk)) if progress.walk else None,
        "now": sql.SQL("pg_catalog.clock_timestamp() AT TIME ZONE 'UTC'"),
        "same": _same_row(version, previous_xid),
    }
    statement = (
        "UPDATE {table} SET finished = {finished}, digest = {digest}, begun = {begun}, "
        "begun_digest = {begun_digest}, table_oid = {table_oid}, "
        "other_indexes = {other_indexes}::pg_catalog.oid[], session_state = {session_state}, "
        "walk = {walk}::pg_catalog.jsonb, updated_at = {now} "
        "WHERE {same} "
        if previous_xid
        else "INSERT INTO {table} "
        "(version, finished, digest, begun, begun_digest, table_oid, other_indexes, session_state, walk, updated_at) "
        "VALUES "
        "({version}, {finished}, {digest}, {begun}, {begun_digest}, {table_oid}, {other_indexes}::pg_catalog.oid[], "
        "{session_state}, {walk}::pg_catalog.jsonb, {now}) "
        "ON CONFLICT (version) DO NOTHING "
    )
    return sql.SQL(statement + "RETURNING xmin::pg_catalog.text").format(**values).as_bytes(connection)


def delete_progress_statement(connection: Connection, ledger: Ledger, version: str, *, xid: str) -> bytes:
    """The statement that deletes the progress of a version as `xid` saved it; it returns the version, or no row."""
    return (
        sql.SQL("DELETE FROM {} WHERE {} RETURNING version")
        .format(ledger.progress_identifier, _same_row(version, xid))
        .as_bytes(connection)
    )


def forget_progress(session: Session, ledger: Ledger, numbers: Collection[int]) -> None:
    """Remove the progress of versions with these numbers, whose records are written or removed without their files.

    A later run would go on from there, though nothing of the file may be left. Raises psycopg.Error.
    """
    progress = read_progress(session, ledger) if ledger.exists else {}
    for version, saved in progress.items():
        if version.isdigit() and int(version) in numbers:
            session.connection.execute(delete_progress_statement(session.connection, ledger, version, xid=saved.xid))


def _same_row(version: str, xid: str) -> sql.Composed:
    return sql.SQL("version = {} AND xmin::pg_catalog.text OPERATOR(pg_catalog.=) {}").format(version, xid)
