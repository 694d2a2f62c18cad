"""The records of repeatable files: a table next to the ledger, a row for each file that was applied.

It is created when a directory has such files, and never dropped. A row is written in the transaction that runs its
file, and only if it is still as it was when the run was planned: of two runners one applies a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import psycopg
from psycopg import sql

from kernel.db.connection import current_role, format_identifier
from kernel.db.ledger import may_create_in_schema
from kernel.errors import DatabaseRefused

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from kernel.db.connection import Connection, Session
    from kernel.db.ledger import Ledger
    from kernel.migrations.repeatable import CreatedObject


_COLUMNS = {
    "name": "VARCHAR(255) PRIMARY KEY",
    "checksum": "VARCHAR(64) NOT NULL",
    "applied_at": "TIMESTAMP NOT NULL",
}
_PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE")
_INSPECT = """
SELECT c.relkind IN ('r', 'p') AND ARRAY(SELECT attname::text FROM pg_attribute
    WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) @> %(columns)s::text[],
  ARRAY(SELECT privilege FROM unnest(%(privileges)s::text[]) privilege WHERE NOT has_table_privilege(c.oid, privilege))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(table)s
"""
_EXISTS = "SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s"
# A name without a schema may be of any schema: roles differ in their search paths. So all objects of that name are
# counted; `place` makes the name with and without a schema of the search path one object. Overloads are counted too:
# whether a function of the catalog is one of a file is not known from the text of its types.
_ABSENT = """
WITH created AS (
  SELECT *, CASE WHEN schema = ANY (current_schemas(false)::text[] || 'public'::text) THEN '' ELSE schema END AS place
  FROM unnest(%(files)s::text[], %(kinds)s::text[], %(schemas)s::text[], %(objects)s::text[], %(tables)s::text[],
    %(arguments)s::text[]) AS created (file, kind, schema, object, relation, arguments)
), expected AS (
  SELECT named.kind, named.schema, named.object, named.relation, count(DISTINCT (c.place, c.arguments)) AS objects
  FROM (SELECT DISTINCT kind, schema, object, relation FROM created) named
  JOIN created c USING (kind, object, relation) WHERE named.schema IN ('', c.schema)
  GROUP BY 1, 2, 3, 4
), absent AS (
  SELECT * FROM expected e WHERE e.objects > CASE kind
    WHEN 'view' THEN (
      SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relname = e.object AND c.relkind IN ('v', 'm') AND e.schema IN ('', n.nspname))
    WHEN 'trigger' THEN (
      SELECT count(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
      JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE t.tgname = e.object AND c.relname = e.relation AND e.schema IN ('', n.nspname))
    ELSE (
      SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
      WHERE p.proname = e.object AND e.schema IN ('', n.nspname)) END
)
SELECT DISTINCT c.file FROM absent a JOIN created c USING (kind, object, relation) WHERE a.schema IN ('', c.schema)
"""
_COUNTED_KINDS = {"view": "view", "materialized view": "view", "trigger": "trigger"}  # others are in pg_proc
_LONGEST_NAME_BYTES = 63


class RepeatableRecord(NamedTuple):
    """A repeatable file as it was applied last; `applied_at` is UTC without a time zone."""

    name: str
    checksum: str
    applied_at: datetime


def read_repeatable_records(session: Session, ledger: Ledger) -> dict[str, RepeatableRecord] | None:
    """The records by name; {} without the table, None without the privilege. Read-only. Raises DatabaseRefused."""
    known = session.connection.execute(_EXISTS, (ledger.schema, ledger.repeatable_table)).fetchone()
    if known is None:
        return {}
    query = sql.SQL("SELECT name, checksum, applied_at FROM {}").format(ledger.repeatable_identifier)
    try:
        rows = session.connection.execute(query).fetchall()
    except psycopg.errors.UndefinedColumn as error:
        raise _another_table_error(session, ledger) from error
    except psycopg.errors.InsufficientPrivilege:
        return None
    return {row[0]: RepeatableRecord(*row) for row in rows}


def files_of_absent_objects(session: Session, created: Iterable[tuple[str, CreatedObject]]) -> frozenset[str]:
    """The names of the files of which an object is gone; `created` are files and what each has created.

    Of the overloads of a function in several files, all those files.
    """
    rows = [
        (
            file,
            _COUNTED_KINDS.get(one.kind, "function"),
            (one.table or one.name).rpartition(".")[0],
            one.name.rpartition(".")[2],
            one.table.rpartition(".")[2],
            ", ".join(one.arguments),
        )
        for file, one in created
    ]
    if not rows:
        return frozenset()
    keys = ("files", "kinds", "schemas", "objects", "tables", "arguments")
    values = {key: list(column) for key, column in zip(keys, zip(*rows, strict=True), strict=True)}
    return frozenset(str(file) for (file,) in session.connection.execute(_ABSENT, values).fetchall())


def refuse_unusable_repeatable_table(session: Session, ledger: Ledger) -> bool:
    """Raise DatabaseRefused with the remedy when this role cannot create or use the table; whether it exists."""
    if len(ledger.repeatable_table.encode()) > _LONGEST_NAME_BYTES:
        raise DatabaseRefused(
            f"{session.name}: {ledger.name} has a name too long for a table {ledger.repeatable_table} next to it, "
            "which records repeatable files; name a shorter one with KERNEL_MIGRATIONS_TABLE"
        )
    row = session.connection.execute(
        _INSPECT,
        {
            "columns": list(_COLUMNS),
            "privileges": list(_PRIVILEGES),
            "schema": ledger.schema,
            "table": ledger.repeatable_table,
        },
    ).fetchone()
    if row is None:
        if ledger.exists and not may_create_in_schema(session, ledger):
            raise _not_made_error(session, ledger, f"permission denied for schema {format_identifier(ledger.schema)}")
        return False
    is_ours, denied = row
    if not is_ours:
        raise _another_table_error(session, ledger)
    if denied:
        raise _privilege_error(session, ledger, denied)
    return True


def prepare_repeatable_table(session: Session, ledger: Ledger) -> None:
    """Make sure that the table exists and can be used. Raises DatabaseRefused with the remedy."""
    if refuse_unusable_repeatable_table(session, ledger):
        return
    try:
        session.connection.execute(create_repeatable_statement(ledger).encode())
    except psycopg.errors.UniqueViolation:  # of the catalog: without a lock of the session, another runner made it
        return
    except psycopg.DatabaseError as error:
        if session.connection.broken:
            raise
        raise _not_made_error(session, ledger, error.diag.message_primary or str(error)) from error


def create_repeatable_statement(ledger: Ledger) -> str:
    """The statement that creates the table."""
    columns = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
    return f"CREATE TABLE IF NOT EXISTS {ledger.repeatable_name} ({columns})"


def claim_repeatable_statement(
    connection: Connection, ledger: Ledger, name: str, checksum: str, planned: RepeatableRecord | None
) -> bytes:
    """The statement that records a file; it returns the transaction's id, or no row when another runner was first.

    `planned` is its record when the run was planned.
    """
    values = {
        "table": ledger.repeatable_identifier,
        "name": name,
        "checksum": checksum,
        "planned": None if planned is None else planned.applied_at,
    }
    return (
        sql.SQL(
            "INSERT INTO {table} AS known (name, checksum, applied_at) "
            "VALUES ({name}, {checksum}, clock_timestamp() AT TIME ZONE 'UTC') "
            "ON CONFLICT (name) DO UPDATE SET checksum = excluded.checksum, applied_at = excluded.applied_at "
            "WHERE known.applied_at = {planned}::pg_catalog.timestamp RETURNING pg_current_xact_id()"
        )
        .format(**values)
        .as_bytes(connection)
    )


def repeatable_claim_holds(connection: Connection, ledger: Ledger, name: str, checksum: str) -> bytes:
    """The SQL expression for whether a record is as `claim_repeatable_statement` wrote it in the same transaction."""
    return (
        sql.SQL(
            "EXISTS (SELECT FROM {} WHERE name = {} AND checksum = {} "
            "AND xmin = pg_catalog.pg_current_xact_id()::pg_catalog.xid)"
        )
        .format(ledger.repeatable_identifier, name, checksum)
        .as_bytes(connection)
    )


def repeatable_record_query(connection: Connection, ledger: Ledger, name: str, checksum: str) -> bytes:
    """The query that returns a row if a file is recorded with this checksum."""
    return (
        sql.SQL("SELECT FROM {} WHERE name = {} AND checksum = {}")
        .format(ledger.repeatable_identifier, name, checksum)
        .as_bytes(connection)
    )


def delete_repeatable_record(session: Session, ledger: Ledger, name: str) -> bool:
    """Delete the record of a file; whether there was one."""
    query = sql.SQL("DELETE FROM {} WHERE name = %s RETURNING name").format(ledger.repeatable_identifier)
    return session.connection.execute(query, (name,)).fetchone() is not None


def _another_table_error(session: Session, ledger: Ledger) -> DatabaseRefused:
    return DatabaseRefused(
        f"{session.name}: {ledger.repeatable_name} is no table of this runner, which records repeatable files there; "
        "rename it"
    )


def _privilege_error(session: Session, ledger: Ledger, denied: tuple[str, ...]) -> DatabaseRefused:
    return DatabaseRefused(
        f"{session.name}: no privilege for {', '.join(denied)} on {ledger.repeatable_name}, which records repeatable "
        f"files; let its owner run: GRANT {', '.join(_PRIVILEGES)} ON {ledger.repeatable_name} "
        f"TO {current_role(session)}"
    )


def _not_made_error(session: Session, ledger: Ledger, reason: str) -> DatabaseRefused:
    return DatabaseRefused(
        f"{session.name}: {ledger.repeatable_name}, which records repeatable files, cannot be created: {reason}; "
        f"let a role that may run: {create_repeatable_statement(ledger)}; "
        f"GRANT {', '.join(_PRIVILEGES)} ON {ledger.repeatable_name} TO {current_role(session)}"
    )
