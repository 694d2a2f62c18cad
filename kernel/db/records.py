"""Records, the rows of the ledger: read them, and the statements that insert, check and delete them.

The runner's statements in the transaction of a file are bytes: they are sent in one message with the file's own.
kernel/db/ledger.py finds the table.
"""

from __future__ import annotations

from itertools import starmap
from typing import TYPE_CHECKING, NamedTuple

import psycopg
from psycopg import pq, sql

from kernel.db.connection import current_role
from kernel.errors import DatabaseRefused, LedgerShape, Problem

if TYPE_CHECKING:
    from datetime import datetime

    from kernel.db.connection import Connection, Session
    from kernel.db.ledger import Ledger
    from kernel.migrations.migration import Migration


CLAIM_CLAUSE = b"ON CONFLICT (version) DO NOTHING RETURNING pg_current_xact_id()"  # in no other statement of a run
_XMIN_BITS = 2**32 - 1  # xmin is an id without its epoch
# What decides whether a table takes a record, as far as a look at the catalog tells. Bit 1 of tgtype is BEFORE.
GUARDS = "rules, BEFORE triggers, CHECK constraints or row security"
_GUARDS_OF_TABLE = (
    b"SELECT pg_catalog.concat_ws(',', relhasrules, relrowsecurity, relforcerowsecurity, relchecks, "
    b"CASE WHEN relhastriggers THEN (SELECT pg_catalog.count(*) FROM pg_catalog.pg_trigger "
    b"WHERE tgrelid OPERATOR(pg_catalog.=) pg_class.oid AND (tgtype OPERATOR(pg_catalog.&) 2::pg_catalog.int2) "
    b"OPERATOR(pg_catalog.<>) 0::pg_catalog.int2) ELSE 0 END) "
    b"FROM pg_catalog.pg_class WHERE oid OPERATOR(pg_catalog.=) %b::pg_catalog.regclass"
)


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
    """Raise DatabaseRefused when the table exists and the role lacks the privilege, such as INSERT."""
    if not ledger.exists:
        return
    row = session.connection.execute(
        "SELECT has_table_privilege(%s, %s)", (ledger.identifier.as_string(session.connection), privilege)
    ).fetchone()
    if row and not row[0]:
        raise _privilege_error(session, ledger, privilege)


def claim_statement(connection: Connection, ledger: Ledger, migration: Migration) -> bytes:
    """The INSERT that claims a migration: it returns the transaction's id, or no row when another runner was first."""
    values = _quote_literals(connection, migration.version, migration.filename, migration.checksum)
    return (
        b"INSERT INTO %b (version, filename, checksum, applied_at) "
        b"VALUES (%b, %b, %b, clock_timestamp() AT TIME ZONE 'UTC') "
        b"%b"
    ) % (ledger.identifier.as_bytes(connection), *values, CLAIM_CLAUSE)


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
    """The number of records, the sum of the ids of the transactions that wrote them (xmin), and what guards the table.

    The first two change with every INSERT, UPDATE and DELETE, those of a subtransaction included: each row that a
    transaction writes has an id that is higher than those of the rows before. `guards` are what decides whether the
    table takes the next record: rules, triggers that fire before it, row security and CHECK constraints.
    """

    records: int
    xmin_sum: int
    guards: str = ""

    def with_claims(self, claims: int, xid: str) -> LedgerFingerprint:
        """The fingerprint after a transaction, of which pg_current_xact_id() is `xid`, has claimed so many records."""
        return self._replace(records=self.records + claims, xmin_sum=self.xmin_sum + claims * (int(xid) & _XMIN_BITS))

    def with_claims_expression(self, claims: int) -> bytes:
        """The SQL expression for `with_claims` of the transaction that evaluates it, as text."""
        xmin = b"pg_catalog.pg_current_xact_id()::pg_catalog.xid::pg_catalog.text::pg_catalog.int8"
        return b"pg_catalog.concat_ws(' ', %d, %d + %d * %b, '%b')" % (
            self.records + claims,
            self.xmin_sum,
            claims,
            xmin,
            self.guards.encode(),
        )


def claim_check_statement(
    connection: Connection, ledger: Ledger, *, holds: bytes, before: LedgerFingerprint, claims: int, nonce: str
) -> bytes:
    """The SELECT that fails unless the expression `holds` is true and the ledger has `claims` more records than before.

    The server then fails to cast a text that ends with the nonce: "lost", and the id of the transaction that it is in,
    or "changed", and the fingerprint of the ledger.
    """
    lost = b"pg_catalog.concat('lost ', pg_catalog.pg_current_xact_id(), ' %b')" % nonce.encode()
    return (
        b"SELECT CASE WHEN NOT %b THEN %b::pg_catalog.int4 WHEN found OPERATOR(pg_catalog.<>) %b "
        b"THEN pg_catalog.concat('changed ', found, ' %b')::pg_catalog.int4 ELSE 1 END FROM (%b) AS ledger (found)"
    ) % (
        holds,
        lost,
        before.with_claims_expression(claims),
        nonce.encode(),
        fingerprint_query(connection, ledger),
    )


def fingerprint_query(connection: Connection, ledger: Ledger) -> bytes:
    """The query for a LedgerFingerprint as text, such as "14 10523 f,f,f,0,0"."""
    table = ledger.identifier.as_bytes(connection)
    (name,) = _quote_literals(connection, table.decode())
    return (
        b"SELECT pg_catalog.concat_ws(' ', pg_catalog.count(*), "
        b"coalesce(pg_catalog.sum(xmin::pg_catalog.text::pg_catalog.int8), 0), (%b)) FROM %b"
    ) % (_GUARDS_OF_TABLE % name, table)


def read_fingerprint(session: Session, ledger: Ledger) -> LedgerFingerprint:
    """The fingerprint of the records as they are now."""
    row = session.connection.execute(fingerprint_query(session.connection, ledger)).fetchone()
    records, xmin_sum, guards = str(row[0]).split() if row else ("0", "0", "")
    return LedgerFingerprint(records=int(records), xmin_sum=int(xmin_sum), guards=guards)


def update_record_statement(connection: Connection, ledger: Ledger, record: Record, migration: Migration) -> bytes:
    """The UPDATE that gives a record the version, filename and checksum of a file."""
    return (
        sql.SQL("UPDATE {} SET version = {}, filename = {}, checksum = {} WHERE version = {}")
        .format(ledger.identifier, migration.version, migration.filename, migration.checksum, record.version)
        .as_bytes(connection)
    )


def record_query(connection: Connection, ledger: Ledger, version: str) -> bytes:
    """The query that returns a row if a version is recorded."""
    (value,) = _quote_literals(connection, version)
    return b"SELECT FROM %b WHERE version = %b" % (ledger.identifier.as_bytes(connection), value)


def is_recorded(session: Session, ledger: Ledger, version: str) -> bool:
    """Whether a version is recorded."""
    query = sql.SQL("SELECT FROM {} WHERE version = %s").format(ledger.identifier)
    return session.connection.execute(query, (version,)).fetchone() is not None


def _privilege_error(session: Session, ledger: Ledger, privilege: str) -> DatabaseRefused:
    return DatabaseRefused(
        f"{session.name}: no privilege for {privilege} on {ledger.name}; "
        f"let its owner run: GRANT {privilege} ON {ledger.name} TO {current_role(session)}"
    )
