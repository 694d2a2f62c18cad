"""A row of schema_migrations: what was applied, when, and the checksum of the file it was."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import starmap
from typing import TYPE_CHECKING, NamedTuple

import psycopg
from psycopg import sql

from kernel.errors import DatabaseRefused, LedgerShape, Problem, Unrecorded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from kernel.db.connection import Connection, Session
    from kernel.migrations.migration import Migration


class Record(NamedTuple):
    """A migration that was applied whole; `applied_at` is UTC without a zone, as the column is.

    A tuple, which is quicker to make: a long history has thousands of them.
    """

    version: str
    filename: str
    applied_at: datetime
    checksum: str

    @property
    def number(self) -> int | None:
        """The version to compare by; None when it is no number, which no runner of these files wrote."""
        version = self.version
        return int(version) if version.isascii() and version.isdigit() else None


# The rows of schema_migrations, and the table itself.
#
# Source: the specification, "Migration Tracking Table": four columns, exactly these types. The table is found anywhere
# on the search path, and from then on written with its schema: a migration may empty search_path, as pg_dump does.


LEDGER_TABLE = "schema_migrations"
_LEDGER_COLUMNS = {
    "version": "character varying(255)",
    "filename": "character varying(255)",
    "applied_at": "timestamp without time zone",
    "checksum": "character varying(64)",
}
_CREATE_LEDGER = """
CREATE TABLE IF NOT EXISTS {} (
  version VARCHAR(255) PRIMARY KEY,
  filename VARCHAR(255) NOT NULL,
  applied_at TIMESTAMP NOT NULL DEFAULT NOW(),
  checksum VARCHAR(64) NOT NULL
)"""
_FIND_LEDGER = f"""
SELECT n.nspname, c.relkind::text, current_schema(),
  coalesce((SELECT json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
      'required', a.attnotnull, 'filled', a.atthasdef OR a.attidentity <> ''))
    FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]'),
  EXISTS (SELECT FROM pg_constraint p JOIN pg_attribute a ON a.attrelid = p.conrelid AND p.conkey = ARRAY[a.attnum]
    WHERE p.conrelid = c.oid AND p.contype IN ('p', 'u') AND a.attname = 'version')
FROM (SELECT to_regclass('{LEDGER_TABLE}') AS oid) found
LEFT JOIN pg_class c ON c.oid = found.oid
LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
"""  # noqa: S608 - a constant
_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_$]*")
# With a look at the ledger in the same statement: another runner may have made it, and its first tables, meanwhile.
_USER_TABLES = f"""
SELECT count(*), min(c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind IN ('r', 'p') AND to_regclass('{LEDGER_TABLE}') IS NULL AND NOT EXISTS (
  SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
"""  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Where the table is, or, when it does not exist yet, where it would be created."""

    schema: str
    exists: bool

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, LEDGER_TABLE)

    @property
    def name(self) -> str:
        return f"{_quote_name(self.schema)}.{LEDGER_TABLE}"


def find_ledger(session: Session) -> Ledger:
    """Look for the table. Read-only. Raises LedgerShape when it is another's, DatabaseRefused without a schema."""
    row = session.connection.execute(_FIND_LEDGER).fetchone()
    if row is None:  # pragma: no cover - the query yields one row
        raise DatabaseRefused(f"{session.name}: no answer to the search for {LEDGER_TABLE}")
    schema, relkind, current, columns, unique = row
    if schema is None and current is None:
        raise DatabaseRefused(
            f"{session.name}: the search_path names no schema that exists; "
            "create one, or set it: ALTER ROLE … SET search_path = public"
        )
    ledger = Ledger(schema=str(schema or current), exists=schema is not None)
    if ledger.exists:
        problems = _shape_problems(ledger, str(relkind), columns, unique=bool(unique))
        if problems:
            raise LedgerShape([Problem(message=f"{ledger.name}: {problem}") for problem in problems])
    return ledger


def _shape_problems(ledger: Ledger, relkind: str, columns: list[dict[str, object]], *, unique: bool) -> list[str]:
    if relkind not in ("r", "p"):
        return ["not a table; rename it, or put the schema of the migrations first in search_path"]
    alter = f"ALTER TABLE {ledger.name}"
    found = {str(column["name"]): column for column in columns}
    absent = [name for name in _LEDGER_COLUMNS if name not in found]
    if absent:
        without = ", ".join(absent)
        rename = f"{alter} RENAME TO schema_migrations_of_another_runner"
        return [f"the table of another runner (no column {without}); rename it: {rename}"]
    problems = []
    for name, kind in _LEDGER_COLUMNS.items():
        column = found.pop(name)
        if column["type"] != kind:
            change = f"{alter} ALTER COLUMN {name} TYPE {kind}"
            if column["type"] == "timestamp with time zone":
                change += f" USING {name} AT TIME ZONE 'UTC'"
            problems.append(f"column {name} is {column['type']}, not {kind}; mend it: {change}")
        if not column["required"]:
            problems.append(f"column {name} may be NULL; mend it: {alter} ALTER COLUMN {name} SET NOT NULL")
    if not unique:
        problems.append(f"version is no primary key; mend it: {alter} ADD PRIMARY KEY (version)")
    problems += [
        f"column {name} has to be filled, and is not ours; "
        f"mend it: {alter} ALTER COLUMN {_quote_name(name)} DROP NOT NULL"
        for name, column in found.items()
        if column["required"] and not column["filled"]
    ]
    return problems


def read_records(session: Session, ledger: Ledger) -> tuple[Record, ...]:
    """The rows in no order; () when the table is absent. Read-only. Raises DatabaseRefused without the privilege."""
    if not ledger.exists:
        return ()
    columns = sql.SQL(", ").join(map(sql.Identifier, Record._fields))
    query = sql.SQL("SELECT {} FROM {}").format(columns, ledger.identifier)
    try:
        rows = session.connection.execute(query).fetchall()
    except psycopg.errors.InsufficientPrivilege as error:
        raise _privilege_error(session, ledger, "SELECT") from error
    except psycopg.DataError as error:  # infinity, or a year that Python's calendar does not have
        message = f"{ledger.name}: applied_at of a record is no date of our calendar ({error}); correct it with UPDATE"
        raise LedgerShape([Problem(message=message)]) from error
    return tuple(starmap(Record, rows))  # `find` has seen to it that the types are the columns'


def refuse_missing_privilege(session: Session, ledger: Ledger, privilege: str) -> None:
    """Raise DatabaseRefused when the table is there, and the role may not INSERT into it, or DELETE from it."""
    if not ledger.exists:
        return
    row = session.connection.execute(
        "SELECT has_table_privilege(%s, %s)", (ledger.identifier.as_string(session.connection), privilege)
    ).fetchone()
    if row and not row[0]:
        raise _privilege_error(session, ledger, privilege)


def create_ledger(session: Session, ledger: Ledger) -> Ledger:
    """Create the table, under the lock. Raises DatabaseRefused without the privilege."""
    try:
        session.connection.execute(sql.SQL(_CREATE_LEDGER).format(ledger.identifier))
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseRefused(
            f"{session.name}: no privilege to create {ledger.name}; "
            f"let its owner run: GRANT CREATE ON SCHEMA {_quote_name(ledger.schema)} "
            f"TO {_quote_name(session.connection.info.user)}"
        ) from error
    return Ledger(schema=ledger.schema, exists=True)


def refuse_tables_without_ledger(session: Session, ledger: Ledger) -> None:
    """Raise Unrecorded when the schema holds tables, but no ledger that says how they came about."""
    if ledger.exists:
        return
    row = session.connection.execute(_USER_TABLES, (ledger.schema,)).fetchone()
    if row and row[0]:
        tables = f"the table {row[1]}" if row[0] == 1 else f"{row[0]} tables ({row[1]} …)"
        message = (
            f"{session.name}: schema {ledger.schema} holds {tables}, but no {LEDGER_TABLE}; "
            "say which files made them: inv db.baseline --to VERSION"
        )
        raise Unrecorded([Problem(message=message)])


def claim_statement(connection: Connection, ledger: Ledger, *migrations: Migration) -> bytes:
    """The INSERT that makes migrations ours: for each the transaction's id, or no row when another was first."""
    rows = sql.SQL(", ").join(
        sql.SQL("({}, {}, clock_timestamp() AT TIME ZONE 'UTC', {})").format(one.version, one.filename, one.checksum)
        for one in migrations
    )
    return (
        sql.SQL(
            "INSERT INTO {} (version, filename, applied_at, checksum) VALUES {} "
            "ON CONFLICT (version) DO NOTHING RETURNING pg_current_xact_id()"
        )
        .format(ledger.identifier, rows)
        .as_bytes(connection)
    )


def claim_holds_expression(connection: Connection, ledger: Ledger, migration: Migration) -> bytes:
    """The SQL expression that tells whether a migration's record stands as `claim` wrote it in this transaction."""
    return (
        sql.SQL(
            "EXISTS (SELECT FROM {} WHERE version = {} AND filename = {} AND checksum = {} "
            "AND xmin = pg_catalog.pg_current_xact_id()::pg_catalog.xid)"
        )
        .format(ledger.identifier, migration.version, migration.filename, migration.checksum)
        .as_bytes(connection)
    )


def all_claims_hold_expression(connection: Connection, ledger: Ledger, migrations: Sequence[Migration]) -> bytes:
    """As `recorded`, for several migrations at once."""
    # What a name or checksum has, the blank between them has not. Their versions find the rows by the index.
    told = [f"{one.version} {one.filename} {one.checksum}" for one in migrations]
    return (
        sql.SQL(
            "(SELECT count(*) = {} FROM {} WHERE version = ANY ({}) AND concat_ws(' ', version, filename, checksum) = "
            "ANY ({}) AND xmin = pg_catalog.pg_current_xact_id()::pg_catalog.xid)"
        )
        .format(len(told), ledger.identifier, [one.version for one in migrations], told)
        .as_bytes(connection)
    )


def delete_record_statement(connection: Connection, ledger: Ledger, version: str) -> bytes:
    """The DELETE of one record; it returns the transaction's id, or no row when the record is gone already."""
    return (
        sql.SQL("DELETE FROM {} WHERE version = {} RETURNING pg_current_xact_id()")
        .format(ledger.identifier, version)
        .as_bytes(connection)
    )


def is_recorded(session: Session, ledger: Ledger, version: str) -> bool:
    """Whether a version is recorded."""
    query = sql.SQL("SELECT FROM {} WHERE version = %s").format(ledger.identifier)
    return session.connection.execute(query, (version,)).fetchone() is not None


def _privilege_error(session: Session, ledger: Ledger, privilege: str) -> DatabaseRefused:
    user = _quote_name(session.connection.info.user)
    return DatabaseRefused(
        f"{session.name}: no privilege for {privilege} on {ledger.name}; "
        f"let its owner run: GRANT {privilege} ON {ledger.name} TO {user}"
    )


def _quote_name(name: str) -> str:
    """A name for a statement in a message: in quotes only where it needs them."""
    return name if _PLAIN_NAME.fullmatch(name) else sql.Identifier(name).as_string()


# How far a no-transaction file has come: a small table of our own beside schema_migrations.
#
# Only a file that is under way, or that failed in the middle, has a row; the table goes when the last row does.


PROGRESS_TABLE = "schema_migrations_progress"
_CREATE_PROGRESS = """
CREATE TABLE IF NOT EXISTS {} (
  version VARCHAR(255) PRIMARY KEY,
  finished INTEGER NOT NULL,
  digest VARCHAR(64) NOT NULL,
  begun INTEGER NOT NULL,
  updated_at TIMESTAMP NOT NULL
)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileProgress:
    """`finished` statements are done, whose text has the SHA-256 `digest`; `begun` is the last that was sent.

    Statements count from 1. One that is begun and not finished ran outside of a transaction: it may be done, half done,
    or not done at all.
    """

    finished: int
    digest: str
    begun: int = 0


def read_progress(session: Session, ledger: Ledger) -> dict[str, FileProgress]:
    """The progress of every version that is under way. Read-only; empty without the table or the privilege."""
    try:
        rows = session.connection.execute(
            sql.SQL("SELECT version, finished, digest, begun FROM {}").format(_progress_identifier(ledger))
        ).fetchall()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
        return {}
    return {
        version: FileProgress(finished=finished, digest=digest, begun=begun)
        for version, finished, digest, begun in rows
    }


def progress_xid(connection: Connection, ledger: Ledger, version: str) -> str:
    """The transaction that has kept a version's progress last; the version must have some."""
    query = sql.SQL("SELECT xmin::text FROM {} WHERE version = %s").format(_progress_identifier(ledger))
    (found,) = connection.execute(query, (version,)).fetchall()
    return str(found[0])


def create_progress_table(session: Session, ledger: Ledger) -> None:
    """Create the table, under the lock."""
    session.connection.execute(sql.SQL(_CREATE_PROGRESS).format(_progress_identifier(ledger)))


def upsert_progress_statement(connection: Connection, ledger: Ledger, version: str, progress: FileProgress) -> bytes:
    """The statement that keeps a version's progress."""
    return (
        sql.SQL(
            "INSERT INTO {table} AS kept (version, finished, digest, begun, updated_at) "
            "VALUES ({version}, {finished}, {digest}, {begun}, pg_catalog.clock_timestamp() AT TIME ZONE 'UTC') "
            "ON CONFLICT (version) DO UPDATE SET finished = excluded.finished, digest = excluded.digest, "
            "begun = excluded.begun, updated_at = excluded.updated_at"
        )
        .format(
            table=_progress_identifier(ledger),
            version=version,
            finished=progress.finished,
            digest=progress.digest,
            begun=progress.begun,
        )
        .as_bytes(connection)
    )


def delete_progress_statement(connection: Connection, ledger: Ledger, version: str) -> bytes:
    """The statement that forgets a version's progress."""
    return (
        sql.SQL("DELETE FROM {} WHERE version = {}").format(_progress_identifier(ledger), version).as_bytes(connection)
    )


def drop_empty_progress_table(session: Session, ledger: Ledger) -> None:
    """Drop the table unless another file is still under way."""
    row = session.connection.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(_progress_identifier(ledger))).fetchone()
    if row is None:
        session.connection.execute(sql.SQL("DROP TABLE {}").format(_progress_identifier(ledger)))


def _progress_identifier(ledger: Ledger) -> sql.Identifier:
    return sql.Identifier(ledger.schema, PROGRESS_TABLE)
