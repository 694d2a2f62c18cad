"""The ledger: the table schema_migrations and its records.

Source: the specification, "Migration Tracking Table": four columns, exactly these types. The table is found anywhere on
the search path, and from then on written with its schema: a migration may empty search_path, as pg_dump does.
KERNEL_MIGRATIONS_TABLE gives it another name or a fixed schema. A second table is never made because the first is not
found: a search path can change from one run to the next, and every file would run again.
kernel/db/progress_table.py is the table next to it, for files outside of a transaction.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from itertools import starmap
from typing import TYPE_CHECKING, NamedTuple

import psycopg
from psycopg import pq, sql

from kernel.config.ledger_name import DEFAULT_LEDGER, PROGRESS_SUFFIX, LedgerName
from kernel.db.connection import current_role, format_identifier
from kernel.errors import DatabaseRefused, LedgerElsewhere, LedgerShape, Problem, Unrecorded

if TYPE_CHECKING:
    from datetime import datetime

    from kernel.db.connection import Connection, Session
    from kernel.migrations.migration import Migration


# The names of the tables unless KERNEL_MIGRATIONS_TABLE gives others.
LEDGER_TABLE = DEFAULT_LEDGER.table
PROGRESS_TABLE = LEDGER_TABLE + PROGRESS_SUFFIX
_LEDGER_COLUMNS = {
    "version": "character varying(255)",
    "filename": "character varying(255)",
    "applied_at": "timestamp without time zone",
    "checksum": "character varying(64)",
}
# The named table, found on the search path or in its schema; if there is none on the search path, every table with its
# columns in any schema, of its name only where the name is a setting. Always at least one row. No privilege is needed
# to read the catalogs. CASE keeps the columns of all tables from being read when the table is found.
_FIND_LEDGER = """
WITH named AS MATERIALIZED (
  SELECT CASE WHEN %(schema)s::text IS NULL THEN to_regclass(quote_ident(%(table)s))::oid ELSE
    (SELECT c.oid FROM pg_class c WHERE c.relname = %(table)s::name AND c.relnamespace = wanted.oid) END AS oid
  FROM (SELECT (SELECT n.oid FROM pg_namespace n WHERE n.nspname = %(schema)s::name) AS oid) wanted
), candidate AS (
  SELECT oid, true AS is_named FROM named WHERE oid IS NOT NULL
  UNION ALL
  SELECT c.oid, false FROM named, pg_class c
  WHERE c.oid = ANY (CASE WHEN named.oid IS NULL AND %(schema)s::text IS NULL THEN ARRAY(
      SELECT attrelid FROM pg_attribute WHERE attname = ANY (%(columns)s) AND NOT attisdropped
      GROUP BY attrelid HAVING count(*) = %(column_count)s) END)
    AND (%(any_name)s OR c.relname = %(table)s::name) AND c.relkind IN ('r', 'p')
    AND c.relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_')
)
SELECT n.nspname, c.relname, coalesce(is_named, false), c.relkind::text,
  current_schema(), EXISTS (SELECT FROM pg_namespace WHERE nspname = %(schema)s::name),
  has_schema_privilege(coalesce(n.oid, (SELECT oid FROM pg_namespace WHERE nspname = %(schema)s::name)), 'USAGE'),
  CASE WHEN is_named THEN (
    SELECT json_agg(json_build_object('table', r.relname, 'owner', pg_has_role(r.relowner, 'USAGE')) ORDER BY r.relname)
    FROM pg_class r WHERE r.relnamespace = c.relnamespace AND r.relname = ANY (ARRAY[c.relname, %(progress)s::name])
      AND row_security_active(r.oid)) END,
  CASE WHEN is_named THEN coalesce((SELECT json_agg(json_build_object('name', a.attname,
      'type', format_type(a.atttypid, a.atttypmod),
      'required', a.attnotnull, 'filled', a.atthasdef OR a.attidentity <> ''))
    FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]') END,
  EXISTS (SELECT FROM pg_constraint p JOIN pg_attribute a ON a.attrelid = p.conrelid AND p.conkey = ARRAY[a.attnum]
    WHERE p.conrelid = c.oid AND p.contype IN ('p', 'u') AND a.attname = 'version')
FROM (SELECT) one
LEFT JOIN (candidate JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace) ON true
ORDER BY n.nspname, c.relname
"""
# The tables where the ledger is to be and where files without a schema create theirs. The same statement looks for the
# ledger: another runner may have created it, and the first tables, in the meantime.
_USER_TABLES = """
SELECT format('%%I.%%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN (%(schema)s::name, current_schema()) AND c.relkind IN ('r', 'p')
  AND NOT EXISTS (SELECT FROM pg_class l JOIN pg_namespace s ON s.oid = l.relnamespace
    WHERE l.relname = %(table)s::name AND s.nspname = %(schema)s::name)
  AND NOT EXISTS (
    SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY n.nspname, c.relname
"""
_XMIN_BITS = 2**32 - 1  # xmin is an id without its epoch
_NAMES_SHOWN = 5


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
    """The table and its schema, or, when it does not exist yet, the schema to create it in."""

    schema: str
    table: str = DEFAULT_LEDGER.table
    exists: bool

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.table)

    @property
    def name(self) -> str:
        return _qualified_name(self.schema, self.table)

    @property
    def progress_table(self) -> str:
        """The name of the table next to it, for the progress of files outside of a transaction."""
        return self.table + PROGRESS_SUFFIX

    @property
    def progress_name(self) -> str:
        return _qualified_name(self.schema, self.progress_table)

    @property
    def progress_identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.progress_table)


def ledger_name(ledger: Ledger) -> LedgerName:
    """Return the name by which statements of a file are found that change the ledger."""
    return LedgerName(schema=ledger.schema, table=ledger.table)


def find_ledger(session: Session) -> Ledger:
    """Find the table that the session names. Read-only.

    Raises LedgerShape for a table of another shape, LedgerElsewhere for one that the search path does not find,
    DatabaseRefused without a schema or the privilege to use it, and where row security may hide records.
    """
    named = session.migrations_table
    rows = session.connection.execute(
        _FIND_LEDGER,
        {
            "schema": named.schema,
            "table": named.table,
            "progress": named.table + PROGRESS_SUFFIX,
            "columns": list(_LEDGER_COLUMNS),
            "column_count": len(_LEDGER_COLUMNS),
            "any_name": named == DEFAULT_LEDGER,
        },
    ).fetchall()
    schema, _table, is_named, relkind, current, schema_exists, usable, filtered, columns, unique = rows[0]
    if not is_named and schema is not None:
        elsewhere = [(str(row[0]), str(row[1]), bool(row[6])) for row in rows]
        raise _elsewhere_error(session, named.table, elsewhere, current=current)
    if named.schema is not None and not schema_exists:
        raise DatabaseRefused(
            f"{session.name}: there is no schema {(schema := format_identifier(named.schema))}, "
            f"which KERNEL_MIGRATIONS_TABLE names; create it: CREATE SCHEMA {schema}"
        )
    if named.schema is None and schema is None and current is None:
        raise DatabaseRefused(
            f"{session.name}: the search_path names no schema that exists; "
            "create one, or set it: ALTER ROLE … SET search_path = public"
        )
    ledger = Ledger(schema=str(schema or named.schema or current), table=named.table, exists=bool(is_named))
    if usable is False:
        raise DatabaseRefused(
            f"{session.name}: no privilege to use schema {format_identifier(ledger.schema)}; "
            f"let its owner run: {_grant_usage(session, ledger.schema)}"
        )
    if ledger.exists:
        problems = _shape_problems(ledger, str(relkind), columns, unique=bool(unique))
        if problems:
            raise LedgerShape([Problem(message=f"{ledger.name}: {problem}") for problem in problems])
        if filtered:
            raise _row_security_error(session, ledger, filtered)
    return ledger


def _elsewhere_error(
    session: Session, named: str, elsewhere: list[tuple[str, str, bool]], *, current: str | None
) -> LedgerElsewhere:
    """The error for ledgers that are not found: schema, table, and whether this role may use the schema."""
    shown = ", ".join(_qualified_name(schema, table) for schema, table, _ in elsewhere[:_NAMES_SHOWN])
    if more := len(elsewhere) - _NAMES_SHOWN if elsewhere[_NAMES_SHOWN:] else 0:
        shown += f" and {more} more"
    (schema, table, usable), *others = elsewhere
    grant = "" if usable else f"let the owner of the schema run: {_grant_usage(session, schema)}; "
    message = (
        f"{session.name}: the search_path finds no {format_identifier(named)}, but there is {shown}; {grant}"
        f"if {'one of them' if others else 'it'} records these files, "
        f"{'put its schema back on the search_path or ' if table == named else ''}set {_table_setting(schema, table)}; "
        f"if they need a ledger of their own, set {_table_setting(current or 'SCHEMA', named)}"
    )
    return LedgerElsewhere([Problem(message=message)])


def _grant_usage(session: Session, schema: str) -> str:
    return f"GRANT USAGE ON SCHEMA {format_identifier(schema)} TO {current_role(session)}"


def _row_security_error(session: Session, ledger: Ledger, filtered: list[dict[str, object]]) -> DatabaseRefused:
    """The error for tables whose policies may hide rows from this role, or refuse those that it writes."""
    names = [_qualified_name(ledger.schema, str(one["table"])) for one in filtered]
    owns = all(one["owner"] for one in filtered)
    action = "NO FORCE" if owns else "DISABLE"  # an owner is exempt unless it is forced
    commands = "; ".join(f"ALTER TABLE {name} {action} ROW LEVEL SECURITY" for name in names)
    return DatabaseRefused(
        f"{session.name}: row security of {' and '.join(names)} may hide records from role "
        f"{current_role(session)}; "
        f"{'turn it off' if owns else 'run as the owner, or let the owner run'}: {commands}"
    )


def _shape_problems(ledger: Ledger, relkind: str, columns: list[dict[str, object]], *, unique: bool) -> list[str]:
    another = f"name another table for these files: {_table_setting(ledger.schema, 'kernel_migrations')}"
    if relkind not in ("r", "p"):
        return [f"not a table; {another}"]
    alter = f"ALTER TABLE {ledger.name}"
    columns_by_name = {str(column["name"]): column for column in columns}
    absent = [name for name in _LEDGER_COLUMNS if name not in columns_by_name]
    if absent:
        return [f"the table of another tool (no column {', '.join(absent)}), which needs it as it is; {another}"]
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


def unrecorded_tables(session: Session, ledger: Ledger) -> tuple[str, ...]:
    """The tables, quoted and with their schema, of a database whose ledger does not exist; () when it does.

    They are those in the ledger's schema, and in the schema where files create theirs.
    """
    if ledger.exists:
        return ()
    rows = session.connection.execute(_USER_TABLES, {"schema": ledger.schema, "table": ledger.table}).fetchall()
    return tuple(str(row[0]) for row in rows)


def refuse_tables_without_ledger(session: Session, ledger: Ledger) -> None:
    """Raise Unrecorded when the database has tables and no ledger that records their migrations."""
    tables = unrecorded_tables(session, ledger)
    if tables:
        message = (
            f"{session.name}: holds {describe_tables(tables)}, but no {format_identifier(ledger.table)}; "
            "say which files made them: inv db.baseline --to VERSION, or --to 0 if none of the files did"
        )
        raise Unrecorded([Problem(message=message)])


def describe_tables(tables: tuple[str, ...]) -> str:
    """Some tables in words: their number, and the names of the first."""
    if len(tables) == 1:
        return f"the table {tables[0]}"
    return f"{len(tables)} tables ({', '.join(tables[:_NAMES_SHOWN])}{' …' if tables[_NAMES_SHOWN:] else ''})"


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


def _qualified_name(schema: str, table: str) -> str:
    return f"{format_identifier(schema)}.{format_identifier(table)}"


def _table_setting(schema: str, table: str) -> str:
    """The setting that names a table, for a shell or a .env file."""
    return f"KERNEL_MIGRATIONS_TABLE={shlex.quote(_qualified_name(schema, table))}"
