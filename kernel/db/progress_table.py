"""The progress of files that run outside of a transaction: a table next to the ledger, a row for each unfinished file.

It is created with the ledger and never dropped: what a run needs at its end is there before its first statement. A row
is written only if it is still as this run wrote it last, by its xmin: two runners never advance the same file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import psycopg
from psycopg import sql

from kernel.db.connection import current_role, format_identifier
from kernel.errors import DatabaseRefused

if TYPE_CHECKING:
    from kernel.db.connection import Connection, Session
    from kernel.db.ledger import Ledger


_CREATE_LEDGER = """
CREATE TABLE IF NOT EXISTS {} (
  version VARCHAR(255) PRIMARY KEY,
  filename VARCHAR(255) NOT NULL,
  applied_at TIMESTAMP NOT NULL DEFAULT NOW(),
  checksum VARCHAR(64) NOT NULL
)"""
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
}
_ADDED_COLUMNS = ("begun_digest", "table_oid", "other_indexes")
_PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE")
_INSPECT = """
SELECT c.relkind IN ('r', 'p'),
  ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
  ARRAY(SELECT privilege FROM unnest(%(privileges)s::text[]) privilege WHERE NOT has_table_privilege(c.oid, privilege))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(table)s
"""
# A table of a former release lacks columns, which to_jsonb leaves out. An OID is a string in JSON.
_READ = """
SELECT version, finished, digest, begun, xmin::text,
  to_jsonb(p) ->> 'begun_digest', to_jsonb(p) ->> 'table_oid', to_jsonb(p) -> 'other_indexes'
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
class FileProgress:
    """Progress of a file: the number of `finished` statements, the SHA-256 of their text, the last one `begun`.

    Statements count from 1. One that is begun and not finished ran outside of a transaction: it may be done, half done,
    or not done at all; `begun_digest` is the SHA-256 of the text down to its end. If it changes indexes, `table_oid` is
    their table, 0 for any table, and `other_indexes` are the OIDs of those that it cannot have left, since they
    were there before it. `xid` is the transaction that saved the row, "" before it is saved.
    """

    finished: int = 0
    digest: str = ""
    begun: int = 0
    begun_digest: str = ""
    table_oid: int | None = None
    other_indexes: tuple[int, ...] = ()
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
            xid=xid,
        )
        for version, finished, digest, begun, xid, begun_digest, table_oid, other_indexes in rows
    }


def left_indexes(connection: Connection, progress: FileProgress) -> tuple[LeftIndex, ...]:
    """The INVALID indexes that the statement begun last has left, if it is not finished. Read-only."""
    if progress.table_oid is None or progress.begun <= progress.finished:
        return ()
    values = {"table_oid": progress.table_oid, "other_indexes": list(progress.other_indexes)}
    return tuple(LeftIndex(*row) for row in connection.execute(_LEFT, values).fetchall())


def create_ledger_tables(session: Session, ledger: Ledger) -> Ledger:
    """Create the ledger and the table of progress, unless they exist. Raises DatabaseRefused without the privilege."""

    def create() -> None:
        with session.connection.transaction():
            session.connection.execute(sql.SQL(_CREATE_LEDGER).format(ledger.identifier))
            create_progress_table(session, ledger)

    try:
        try:
            create()
        except psycopg.errors.UniqueViolation:
            # Through a pooler there is no lock of the session. IF NOT EXISTS does not see the table of a transaction
            # that has not committed: it waits for it, and fails on the catalog's index.
            create()
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseRefused(
            f"{session.name}: no privilege to create {ledger.name}; "
            f"let its owner run: GRANT CREATE ON SCHEMA {format_identifier(ledger.schema)} "
            f"TO {current_role(session)}"
        ) from error
    return replace(ledger, exists=True)


def create_progress_table(session: Session, ledger: Ledger) -> None:
    """Create the table, under the lock. Raises DatabaseRefused with the reason, and what to run instead."""
    columns = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
    _alter(session, ledger, f"CREATE TABLE IF NOT EXISTS {ledger.progress_name} ({columns})")


def prepare_progress_table(session: Session, ledger: Ledger) -> None:
    """Make sure, under the lock, that the table can be used; create it next to a ledger of a former release.

    Raises DatabaseRefused with the remedy; nothing of a file has run.
    """
    row = session.connection.execute(
        _INSPECT, {"privileges": list(_PRIVILEGES), "schema": ledger.schema, "table": ledger.progress_table}
    ).fetchone()
    if row is None:
        create_progress_table(session, ledger)
        return
    is_table, columns, denied = row
    absent = [name for name in _COLUMNS if name not in columns]
    if not is_table or not set(absent).issubset(_ADDED_COLUMNS):
        raise DatabaseRefused(
            f"{session.name}: {ledger.progress_name} is no table of this runner, which keeps the progress of files "
            "outside of a transaction there; rename it"
        )
    if absent:
        added = ", ".join(f"ADD COLUMN IF NOT EXISTS {name} {_COLUMNS[name]}" for name in absent)
        _alter(session, ledger, f"ALTER TABLE {ledger.progress_name} {added}")
    if denied:
        privileges = ", ".join(_PRIVILEGES)
        raise DatabaseRefused(
            f"{session.name}: no privilege for {', '.join(denied)} on {ledger.progress_name}, which keeps the progress "
            f"of files outside of a transaction; let its owner run: GRANT {privileges} ON {ledger.progress_name} "
            f"TO {current_role(session)}"
        )


def _alter(session: Session, ledger: Ledger, statement: str) -> None:
    try:
        session.connection.execute(statement.encode())
    except psycopg.DatabaseError as error:
        if session.connection.broken:
            raise
        raise DatabaseRefused(
            f"{session.name}: {ledger.progress_name}, which keeps the progress of files outside of a transaction, "
            f"cannot be made: {error.diag.message_primary or error}; let a role that may run: {statement}; "
            f"GRANT {', '.join(_PRIVILEGES)} ON {ledger.progress_name} "
            f"TO {current_role(session)}"
        ) from error


def save_progress_statement(
    connection: Connection, ledger: Ledger, version: str, progress: FileProgress, *, previous_xid: str
) -> bytes:
    """The statement that saves the progress of a version, in place of the row that `previous_xid` saved, "" for none.

    It returns the id of the transaction that it is in, or no row when the row is not as it was saved.
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
        "now": sql.SQL("pg_catalog.clock_timestamp() AT TIME ZONE 'UTC'"),
        "same": _same_row(version, previous_xid),
    }
    statement = (
        "UPDATE {table} SET finished = {finished}, digest = {digest}, begun = {begun}, "
        "begun_digest = {begun_digest}, table_oid = {table_oid}, "
        "other_indexes = {other_indexes}::pg_catalog.oid[], updated_at = {now} WHERE {same} "
        if previous_xid
        else "INSERT INTO {table} "
        "(version, finished, digest, begun, begun_digest, table_oid, other_indexes, updated_at) VALUES "
        "({version}, {finished}, {digest}, {begun}, {begun_digest}, {table_oid}, {other_indexes}::pg_catalog.oid[], "
        "{now}) "
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


def _same_row(version: str, xid: str) -> sql.Composed:
    return sql.SQL("version = {} AND xmin::pg_catalog.text OPERATOR(pg_catalog.=) {}").format(version, xid)
