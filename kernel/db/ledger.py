"""Find the ledger, the table schema_migrations, and check its shape.

Source: the specification, "Migration Tracking Table": four columns, exactly these types. The table is found anywhere on
the search path, and from then on written with its schema: a migration may empty search_path, as pg_dump does.
KERNEL_MIGRATIONS_TABLE gives it another name or a fixed schema. A second table is never made because the first is not
found: a search path can change from one run to the next, and every file would run again.
kernel/db/records.py reads and writes its records. The table next to it, for files outside of a transaction, is that of
kernel/db/progress_table.py.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from kernel.config.ledger_name import (
    DEFAULT_LEDGER,
    PROGRESS_SUFFIX,
    REPEATABLE_SUFFIX,
    TABLE_SUFFIXES,
    LedgerName,
)
from kernel.db.connection import current_role, format_identifier
from kernel.errors import DatabaseRefused, LedgerElsewhere, LedgerShape, Problem

if TYPE_CHECKING:
    from kernel.db.connection import Session


# The names of the tables unless KERNEL_MIGRATIONS_TABLE gives others.
LEDGER_TABLE = DEFAULT_LEDGER.table
PROGRESS_TABLE = LEDGER_TABLE + PROGRESS_SUFFIX
_COLUMN_TYPES = {
    "version": "character varying(255)",
    "filename": "character varying(255)",
    "applied_at": "timestamp without time zone",
    "checksum": "character varying(64)",
}
# The OIDs of the tables, views and indexes that have these columns, with the parameters of the query.
TABLES_WITH_COLUMNS = """SELECT attrelid FROM pg_attribute WHERE attname = ANY (%(columns)s) AND NOT attisdropped
      GROUP BY attrelid HAVING count(*) = %(column_count)s"""
LEDGER_COLUMNS = {"columns": list(_COLUMN_TYPES), "column_count": len(_COLUMN_TYPES)}
# The named table, found on the search path or in its schema; if there is none on the search path, every table with its
# columns in any schema, of its name only where the name is a setting. Always at least one row. No privilege is needed
# to read the catalogs. CASE keeps the columns of all tables from being read when the table is found.
_FIND_LEDGER = f"""
WITH named AS MATERIALIZED (
  SELECT CASE WHEN %(schema)s::text IS NULL THEN to_regclass(quote_ident(%(table)s))::oid ELSE
    (SELECT c.oid FROM pg_class c WHERE c.relname = %(table)s::name AND c.relnamespace = wanted.oid) END AS oid
  FROM (SELECT (SELECT n.oid FROM pg_namespace n WHERE n.nspname = %(schema)s::name) AS oid) wanted
), candidate AS (
  SELECT oid, true AS is_named FROM named WHERE oid IS NOT NULL
  UNION ALL
  SELECT c.oid, false FROM named, pg_class c
  WHERE c.oid = ANY (CASE WHEN named.oid IS NULL AND %(schema)s::text IS NULL THEN ARRAY(
      {TABLES_WITH_COLUMNS}) END)
    AND (%(any_name)s OR c.relname = %(table)s::name) AND c.relkind IN ('r', 'p')
    AND c.relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_')
)
SELECT n.nspname, c.relname, coalesce(is_named, false), c.relkind::text,
  current_schema(),
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
"""  # noqa: S608 - of constants
# current_schemas() leaves out the schemas that the role may not use.
_CLOSED_SCHEMA = """
SELECT nspname FROM pg_namespace JOIN unnest(string_to_array(current_setting('search_path'), ',')) WITH ORDINALITY
  AS path (name, place) ON nspname = trim(both ' "' from name)
WHERE NOT has_schema_privilege(pg_namespace.oid, 'USAGE') ORDER BY place LIMIT 1
"""
# Whether there is anything to find: in a schema that is named, or else in a database, whose own objects all have such
# OIDs; and whether any table is in that schema, or in the one where files create theirs. It takes a tenth of the time
# of the query above, which counts where many tenants get their first ledgers. No catalog is read as a whole, which
# would take long in a database of many schemas: the relations of a schema are those that depend on it.
_LOOK = """
SELECT current_schema(), n.oid IS NOT NULL, has_schema_privilege(n.oid, 'USAGE'),
  CASE WHEN %(schema)s::name IS NULL THEN EXISTS (SELECT FROM pg_class WHERE oid >= 16384)
    ELSE EXISTS (SELECT FROM pg_class c WHERE c.relname = %(table)s::name AND c.relnamespace = n.oid) END,
  EXISTS (SELECT FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass AND classid = 'pg_class'::regclass
    AND refobjid IN (n.oid, to_regnamespace(quote_ident(current_schema()))::oid))
FROM (SELECT) one LEFT JOIN pg_namespace n ON n.nspname = %(schema)s::name
"""
_NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The table and its schema, or, when it does not exist yet, the schema to create it in.

    `among_tables` is False where it is known that no table is there, nor in the schema where files create theirs.
    """

    schema: str
    table: str = DEFAULT_LEDGER.table
    exists: bool
    among_tables: bool = True

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

    @property
    def repeatable_table(self) -> str:
        """The name of the table next to it, for the records of repeatable files."""
        return self.table + REPEATABLE_SUFFIX

    @property
    def repeatable_name(self) -> str:
        return _qualified_name(self.schema, self.repeatable_table)

    @property
    def repeatable_identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.repeatable_table)

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of all tables of the runner, in the same schema."""
        return tuple(self.table + suffix for suffix in TABLE_SUFFIXES)


def ledger_name(ledger: Ledger) -> LedgerName:
    """Return the name by which statements of a file are found that change the ledger."""
    return LedgerName(schema=ledger.schema, table=ledger.table)


def find_ledger(session: Session) -> Ledger:
    """Find the table that the session names. Read-only.

    Raises LedgerShape for a table of another shape, LedgerElsewhere for one that the search path does not find,
    DatabaseRefused without a schema or the privilege to use it, and where row security may hide records.
    """
    named = session.migrations_table
    if (absent := _look_for_ledger(session, named)) is not None:
        return absent
    rows = session.connection.execute(
        _FIND_LEDGER,
        {
            "schema": named.schema,
            "table": named.table,
            "progress": named.table + PROGRESS_SUFFIX,
            "any_name": named == DEFAULT_LEDGER,
            **LEDGER_COLUMNS,
        },
    ).fetchall()
    schema, _table, is_named, relkind, current, usable, filtered, columns, unique = rows[0]
    if named.schema is None and current is None and (closed := _closed_schema(session)):
        raise _usage_error(session, closed)
    if not is_named and schema is not None:
        elsewhere = [(str(row[0]), str(row[1]), bool(row[5])) for row in rows]
        raise _elsewhere_error(session, named.table, elsewhere, current=current)
    if named.schema is None and schema is None and current is None:
        raise DatabaseRefused(
            f"{session.name}: the search_path names no schema that exists; "
            "create one, or set it: ALTER ROLE … SET search_path = public"
        )
    ledger = Ledger(schema=str(schema or named.schema or current), table=named.table, exists=bool(is_named))
    if usable is False:
        raise _usage_error(session, ledger.schema)
    if ledger.exists:
        problems = _shape_problems(ledger, str(relkind), columns, unique=bool(unique))
        if problems:
            raise LedgerShape([Problem(message=f"{ledger.name}: {problem}") for problem in problems])
        if filtered:
            raise _row_security_error(session, ledger, filtered)
    return ledger


def _look_for_ledger(session: Session, named: LedgerName) -> Ledger | None:
    """The ledger to create, where a look tells that there is none; None where it has to be searched.

    Raises DatabaseRefused without the schema that is named, or the privilege to use it.
    """
    query = session.connection.execute(_LOOK, {"schema": named.schema, "table": named.table})
    ((current, exists, usable, is_possible, among_tables),) = query.fetchall()
    if named.schema is not None and not exists:
        raise DatabaseRefused(
            f"{session.name}: there is no schema {(name := format_identifier(named.schema))}, "
            f"which KERNEL_MIGRATIONS_TABLE names; create it: CREATE SCHEMA {name}"
        )
    if named.schema is not None and not usable:
        raise _usage_error(session, named.schema)
    schema = named.schema or current
    if is_possible or schema is None:
        return None
    return Ledger(schema=schema, table=named.table, exists=False, among_tables=among_tables)


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
        f"{'put its schema back on the search_path or ' if table == named else ''}set {table_setting(schema, table)}; "
        f"if they need a ledger of their own, set {table_setting(current or 'SCHEMA', named)}; "
        "then, where its schema has tables already, begin with: inv db.baseline --to 0"
    )
    return LedgerElsewhere([Problem(message=message)])


def _closed_schema(session: Session) -> str | None:
    """The first schema of the search path that exists, and that the role may not use."""
    row = session.connection.execute(_CLOSED_SCHEMA).fetchone()
    return str(row[0]) if row else None


def _usage_error(session: Session, schema: str) -> DatabaseRefused:
    return DatabaseRefused(
        f"{session.name}: no privilege to use schema {format_identifier(schema)}; "
        f"let its owner run: {_grant_usage(session, schema)}"
    )


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
    another = f"name another table for these files: {table_setting(ledger.schema, 'kernel_migrations')}"
    if relkind not in ("r", "p"):
        return [f"not a table; {another}"]
    alter = f"ALTER TABLE {ledger.name}"
    columns_by_name = {str(column["name"]): column for column in columns}
    absent = [name for name in _COLUMN_TYPES if name not in columns_by_name]
    if absent:
        return [f"the table of another tool (no column {', '.join(absent)}), which needs it as it is; {another}"]
    problems = []
    for name, kind in _COLUMN_TYPES.items():
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


def refuse_missing_create(session: Session, ledger: Ledger) -> None:
    """Raise DatabaseRefused when the table does not exist and the role may not create it."""
    if not ledger.exists and not may_create_in_schema(session, ledger):
        raise create_privilege_error(session, ledger)


def may_create_in_schema(session: Session, ledger: Ledger) -> bool:
    """Whether the role may create a table in the ledger's schema."""
    row = session.connection.execute("SELECT has_schema_privilege(%s, 'CREATE')", (ledger.schema,)).fetchone()
    return bool(row and row[0])


def create_privilege_error(session: Session, ledger: Ledger) -> DatabaseRefused:
    """The error for a role that may not create the table."""
    return DatabaseRefused(
        f"{session.name}: no privilege to create {ledger.name}; "
        f"let its owner run: GRANT CREATE ON SCHEMA {format_identifier(ledger.schema)} TO {current_role(session)}"
    )


def _qualified_name(schema: str, table: str) -> str:
    return f"{format_identifier(schema)}.{format_identifier(table)}"


def table_setting(schema: str, table: str) -> str:
    """The setting that names a table, for a shell or a .env file."""
    return f"KERNEL_MIGRATIONS_TABLE={shlex.quote(_qualified_name(schema, table))}"
