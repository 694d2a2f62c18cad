"""Find and read the ledger of another migration tool; nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from kernel.config.ledger_name import parse_ledger_name
from kernel.db.connection import current_role, format_identifier
from kernel.errors import DatabaseRefused, UsageError
from kernel.migrations.tool_records import LEDGER_FORMATS

if TYPE_CHECKING:
    from kernel.db.connection import Session
    from kernel.migrations.tool_records import LedgerFormat, ToolRecord


# The tables of a name with their columns, in any schema that is not the system's; those on the search path first.
_TABLES = """
SELECT n.nspname, c.relname, ARRAY(
    SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = %(table)s::name AND (%(schema)s::text IS NULL OR n.nspname = %(schema)s::name)
  AND c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY array_position(current_schemas(false), n.nspname), n.nspname
"""
_OWN_COLUMNS = frozenset({"version", "filename", "applied_at", "checksum"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolLedger:
    """The ledger of another tool: its table, quoted and with its schema, and its records, the oldest first."""

    format: LedgerFormat
    name: str
    records: tuple[ToolRecord, ...]


def read_tool_ledger(session: Session, tool: str, *, table: str = "") -> ToolLedger:
    """Read the ledger of a tool: the table of its default name, or `table`.

    Raises UsageError for an unknown tool, without such a table, for one of another tool, and for several;
    DatabaseRefused without the privilege to read it.
    """
    known = next((one for one in LEDGER_FORMATS.values() if tool in (one.name, *one.adopted_as)), None)
    if known is None:
        raise UsageError(f"--from {tool}: no such tool; the tools are {', '.join(LEDGER_FORMATS)}")
    schema, name = _find_table(session, known, table)
    shown = f"{format_identifier(schema)}.{format_identifier(name)}"
    query = sql.SQL("SELECT to_jsonb(t) FROM {} AS t").format(sql.Identifier(schema, name))
    try:
        with session.connection.transaction():
            # Policies then refuse the query, instead of hiding records, whose files would be pending.
            session.connection.execute("SET TRANSACTION READ ONLY; SET LOCAL row_security = off")
            rows = [row[0] for row in session.connection.execute(query).fetchall()]
    except psycopg.errors.InsufficientPrivilege as error:
        role = current_role(session)
        raise DatabaseRefused(
            f"{session.name}: {shown} cannot be read ({error.diag.message_primary}); run as its owner, or let it run: "
            f"GRANT USAGE ON SCHEMA {format_identifier(schema)} TO {role}; GRANT SELECT ON {shown} TO {role}"
        ) from error
    try:
        records = tuple(known.read(rows))
    except (ValueError, TypeError) as error:
        raise UsageError(f"{session.name}: {shown} has a record that {known.name} does not write: {error}") from error
    return ToolLedger(format=known, name=shown, records=records)


def _find_table(session: Session, known: LedgerFormat, table: str) -> tuple[str, str]:
    """The schema and the name of the table. Raises UsageError."""
    try:
        named = parse_ledger_name(table) if table else None
    except ValueError as error:
        raise UsageError(f"--ledger {table}: {error}") from error
    schema, name = (named.schema, named.table) if named else (known.schema or None, known.table)
    found = session.connection.execute(_TABLES, {"table": name, "schema": schema}).fetchall()
    tables = [(str(row[0]), str(row[1]), frozenset(row[2])) for row in found]
    fitting = [(where, what) for where, what, columns in tables if _tool_of(where, what, columns) is known]
    if not fitting and table and len(tables) == 1 and known.columns <= tables[0][2]:
        fitting = [tables[0][:2]]
    if len(fitting) == 1:
        return fitting[0]
    shown = f"{format_identifier(schema)}.{format_identifier(name)}" if schema else format_identifier(name)
    if fitting:
        names = ", ".join(f"{format_identifier(where)}.{format_identifier(what)}" for where, what in fitting)
        raise UsageError(f"{session.name}: several ledgers of {known.name}: {names}; name one with --ledger")
    if not tables:
        raise UsageError(
            f"{session.name}: no table {shown}, the ledger of {known.name}; "
            "where it has another name, give it: --ledger SCHEMA.TABLE"
        )
    where, what, columns = tables[0]
    other = _tool_of(where, what, columns)
    remedy = f"it is one of {other.name}: --from {other.name}" if other else "name another table with --ledger"
    if other is None and columns >= _OWN_COLUMNS:
        remedy = "it is the one of these files; name the other with --ledger"
    found_name = f"{format_identifier(where)}.{format_identifier(what)}"
    lacking = ", ".join(sorted(known.columns - columns))
    shown = f"no ledger of {known.name}{f' (no column {lacking})' if lacking else ''}"
    raise UsageError(f"{session.name}: {found_name} is {shown}; {remedy}")


def _tool_of(schema: str, table: str, columns: frozenset[str]) -> LedgerFormat | None:
    """The tool whose ledger a table is: of those with its columns, the one with its schema, or with most columns."""
    if columns >= _OWN_COLUMNS:
        return None
    fitting = [
        one
        for one in LEDGER_FORMATS.values()
        if one.columns <= columns and one.table == table and one.schema in ("", schema)
    ]
    return max(fitting, key=lambda one: (bool(one.schema), len(one.columns)), default=None)
