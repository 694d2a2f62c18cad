"""The ledger: the table schema_migrations and its records.

Source: the specification, "Migration Tracking Table": four columns, exactly these types. The table is found anywhere on
the search path, and from then on written with its schema: a migration may empty search_path, as pg_dump does.
kernel/db/progress_table.py is the table next to it, for files outside of a transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import starmap
from typing import TYPE_CHECKING, NamedTuple

import psycopg
from psycopg import pq, sql

from kernel.db.connection import current_role, format_identifier
from kernel.db.progress_table import create_progress_table
from kernel.errors import DatabaseRefused, LedgerShape, Problem, Unrecorded
from kernel.migrations.script import LedgerName

if TYPE_CHECKING:
    from datetime import datetime

    from kernel.db.connection import Connection, Session
    from kernel.migrations.migration import Migration


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
# The same statement looks for the ledger: another runner may have created it, and the first tables, in the meantime.
_USER_TABLES = f"""
SELECT count(*), min(c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind IN ('r', 'p') AND to_regclass('{LEDGER_TABLE}') IS NULL AND NOT EXISTS (
  SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
"""  # noqa: S608 - a constant
_XMIN_BITS = 2**32 - 1  # xmin is an id without its epoch
PROGRESS_TABLE = "schema_migrations_progress"


class Record(NamedTuple):
    """A row of schema_migrations: an applied migration. `applied_at` is UTC without a time zone, as the column is.

    A tuple, which is faster to create: a long history has thousands of them.
    """

    version: str
    filename: str
    applied_at: datetime
    checksum: str

    @property
    def number(self) -> int | None:
        """The version as a number; None for a text that no runner of these files wrote."""
        version = self.version
        return int(version) if version.isascii() and version.isdigit() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The schema of the table, or, when it does not exist yet, the schema to create it in."""

    schema: str
    exists: bool

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, LEDGER_TABLE)

    @property
    def name(self) -> str:
        return f"{format_identifier(self.schema)}.{LEDGER_TABLE}"

    @property
    def progress_table(self) -> str:
        return PROGRESS_TABLE

    @property
    def progress_identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.progress_table)

    @property
    def progress_name(self) -> str:
        return f"{format_identifier(self.schema)}.{PROGRESS_TABLE}"


def ledger_name(ledger: Ledger) -> LedgerName:
    """Return the name by which statements of a file are found that change the ledger."""
    return LedgerName(schema=ledger.schema, table=LEDGER_TABLE)


def find_ledger(session: Session) -> Ledger:
    """Find the table. Read-only. Raises LedgerShape for a table of another shape, DatabaseRefused without schema."""
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
    columns_by_name = {str(column["name"]): column for column in columns}
    absent = [name for name in _LEDGER_COLUMNS if name not in columns_by_name]
    if absent:
        without = ", ".join(absent)
        rename = f"{alter} RENAME TO schema_migrations_of_another_runner"
        return [f"the table of another runner (no column {without}); rename it: {rename}"]
    problems = []
    for name, kind in _LEDGER_COLUMNS.items():
        column = columns_by_name.pop(name)
        if column["type"] != kind:
            change = f"{alter} ALTER COLUMN {name} TYPE {kind}"
            if column["type"] == "timestamp with time zone":
                change += f" USING {name} AT TIME ZONE 'UTC'"
            problems.append(f"column {name} is {column['type']}, not {kind}; fix it: {change}")
        if not column["required"]:
            problems.append(f"column {name} may be NULL; fix it: {alter} ALTER COLUMN {name} SET NOT NULL")
    if not unique:
        problems.append(f"version is no primary key; fix it: {alter} ADD PRIMARY KEY (version)")
    problems += [
        f"column {name} has to be filled, and is not ours; "
        f"fix it: {alter} ALTER COLUMN {format_identifier(name)} DROP NOT NULL"
        for name, column in columns_by_name.items()
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
    return tuple(starmap(Record, rows))  # find_ledger has checked the types of the columns


def refuse_missing_privilege(session: Session, ledger: Ledger, privilege: str) -> None:
    """Raise DatabaseRefused when the table exists and the role lacks the privilege, INSERT or DELETE."""
    if not ledger.exists:
        return
    row = session.connection.execute(
        "SELECT has_table_privilege(%s, %s)", (ledger.identifier.as_string(session.connection), privilege)
    ).fetchone()
    if row and not row[0]:
        raise _privilege_error(session, ledger, privilege)


def create_ledger(session: Session, ledger: Ledger) -> Ledger:
    """Create the table and the one of progress, under the lock. Raises DatabaseRefused without the privilege."""
    try:
        session.connection.execute(sql.SQL(_CREATE_LEDGER).format(ledger.identifier))
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseRefused(
            f"{session.name}: no privilege to create {ledger.name}; "
            f"let its owner run: GRANT CREATE ON SCHEMA {format_identifier(ledger.schema)} "
            f"TO {current_role(session)}"
        ) from error
    create_progress_table(session, ledger)
    return Ledger(schema=ledger.schema, exists=True)


def refuse_tables_without_ledger(session: Session, ledger: Ledger) -> None:
    """Raise Unrecorded when the schema has tables and no ledger that records their migrations."""
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


def claim_statement(connection: Connection, ledger: Ledger, migration: Migration) -> bytes:
    """The INSERT that claims a migration: it returns the transaction's id, or no row when another runner was first."""
    values = _quote_literals(connection, migration.version, migration.filename, migration.checksum)
    return (
        b"INSERT INTO %b (version, filename, checksum, applied_at) "
        b"VALUES (%b, %b, %b, clock_timestamp() AT TIME ZONE 'UTC') "
        b"ON CONFLICT (version) DO NOTHING RETURNING pg_current_xact_id()"
    ) % (ledger.identifier.as_bytes(connection), *values)


def claim_holds_expression(connection: Connection, ledger: Ledger, migration: Migration) -> bytes:
    """The SQL expression for whether a record is still as `claim_statement` wrote it in the same transaction."""
    values = _quote_literals(connection, migration.version, migration.filename, migration.checksum)
    return (
        b"EXISTS (SELECT FROM %b WHERE version = %b AND filename = %b AND checksum = %b "
        b"AND xmin = pg_catalog.pg_current_xact_id()::pg_catalog.xid)"
    ) % (ledger.identifier.as_bytes(connection), *values)


def delete_record_statement(connection: Connection, ledger: Ledger, version: str) -> bytes:
    """The DELETE of one record; it returns the transaction's id, or no row when there is no record."""
    return (
        sql.SQL("DELETE FROM {} WHERE version = {} RETURNING pg_current_xact_id()")
        .format(ledger.identifier, version)
        .as_bytes(connection)
    )


def _quote_literals(connection: Connection, *values: str) -> list[bytes]:
    """String literals. psycopg.sql takes five times as long, and the server waits while a file's claim is composed."""
    quoting = pq.Escaping(connection.pgconn)
    return [quoting.escape_literal(value.encode()) for value in values]


class LedgerFingerprint(NamedTuple):
    """The number of records, and the sum of the ids of the transactions that wrote them (xmin).

    It changes with every INSERT, UPDATE and DELETE, those of a subtransaction included: each row that a transaction
    writes has an id that is higher than those of the rows before.
    """

    records: int
    xmin_sum: int

    def with_claims(self, claims: int, xid: str) -> LedgerFingerprint:
        """The fingerprint after a transaction, of which pg_current_xact_id() is `xid`, has claimed so many records."""
        return LedgerFingerprint(self.records + claims, self.xmin_sum + claims * (int(xid) & _XMIN_BITS))

    def with_claims_expression(self, claims: int) -> bytes:
        """The SQL expression for `with_claims` of the transaction that evaluates it, as text."""
        xmin = b"pg_catalog.pg_current_xact_id()::pg_catalog.xid::pg_catalog.text::pg_catalog.int8"
        return b"pg_catalog.concat_ws(' ', %d, %d + %d * %b)" % (
            self.records + claims,
            self.xmin_sum,
            claims,
            xmin,
        )


def claim_check_statement(
    connection: Connection, ledger: Ledger, *, holds: bytes, before: LedgerFingerprint, claims: int, nonce: str
) -> bytes:
    """The SELECT that fails unless the expression `holds` is true and the ledger has `claims` more records than before.

    The server then fails to cast a text that ends with the nonce: "lost", and the id of the transaction that it is in,
    or "changed", and the fingerprint of the ledger.
    """
    found = fingerprint_expression(connection, ledger)
    lost = b"pg_catalog.concat('lost ', pg_catalog.pg_current_xact_id(), ' %b')" % nonce.encode()
    changed = b"pg_catalog.concat('changed ', %b, ' %b')" % (found, nonce.encode())
    return (
        b"SELECT CASE WHEN NOT %b THEN %b::pg_catalog.int4 "
        b"WHEN %b OPERATOR(pg_catalog.<>) %b THEN %b::pg_catalog.int4 ELSE 1 END"
    ) % (holds, lost, found, before.with_claims_expression(claims), changed)


def fingerprint_expression(connection: Connection, ledger: Ledger) -> bytes:
    """The SQL expression for a LedgerFingerprint as text, such as "14 10523"."""
    table = ledger.identifier.as_bytes(connection)
    return (
        b"(SELECT pg_catalog.concat_ws(' ', pg_catalog.count(*), "
        b"coalesce(pg_catalog.sum(xmin::pg_catalog.text::pg_catalog.int8), 0)) FROM %b)" % table
    )


def read_fingerprint(session: Session, ledger: Ledger) -> LedgerFingerprint:
    """The fingerprint of the records as they are now."""
    expression = fingerprint_expression(session.connection, ledger)
    row = session.connection.execute(b"SELECT " + expression).fetchone()
    records, xmin_sum = str(row[0]).split() if row else ("0", "0")
    return LedgerFingerprint(records=int(records), xmin_sum=int(xmin_sum))


def update_record(session: Session, ledger: Ledger, record: Record, migration: Migration) -> None:
    """Give a record the version, filename and checksum of a file."""
    session.connection.execute(
        sql.SQL("UPDATE {} SET version = %s, filename = %s, checksum = %s WHERE version = %s").format(
            ledger.identifier
        ),
        (migration.version, migration.filename, migration.checksum, record.version),
    )


def is_recorded(session: Session, ledger: Ledger, version: str) -> bool:
    """Whether a version is recorded."""
    query = sql.SQL("SELECT FROM {} WHERE version = %s").format(ledger.identifier)
    return session.connection.execute(query, (version,)).fetchone() is not None


def _privilege_error(session: Session, ledger: Ledger, privilege: str) -> DatabaseRefused:
    return DatabaseRefused(
        f"{session.name}: no privilege for {privilege} on {ledger.name}; "
        f"let its owner run: GRANT {privilege} ON {ledger.name} TO {current_role(session)}"
    )
