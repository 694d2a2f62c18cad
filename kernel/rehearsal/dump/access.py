"""What pg_dump would be refused at the source: everything at once, where pg_dump stops at the first table.

It needs USAGE on schemas, SELECT on every table (it locks them, without their rows too) and on every sequence and large
object, and no row security that hides rows.
Sources: PostgreSQL documentation, "pg_dump" and "Row Security Policies"; getTables and dumpTableData of pg_dump.c.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from psycopg import sql

from kernel.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.database import Connection
    from kernel.rehearsal.dump.source import Production

_NAMED = 5
_ALL_READ_FROM = 14  # the first major version with pg_read_all_data
# What an extension made is not dumped, but for the tables that it asks to have dumped.
_DUMPED = """
WITH configured AS (SELECT unnest(extconfig) AS oid FROM pg_extension), dumped AS (
    SELECT c.oid, c.relkind, c.relname, c.relnamespace, n.nspname
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't'
      AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
      AND (c.oid IN (SELECT oid FROM configured) OR NOT EXISTS (
          SELECT FROM pg_depend d
          WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))
)
"""
_SCHEMAS = (
    _DUMPED
    + """
SELECT DISTINCT nspname::text FROM dumped WHERE NOT has_schema_privilege(relnamespace, 'USAGE') ORDER BY 1
"""
)
_UNREADABLE = (
    _DUMPED
    + """
SELECT nspname::text, relname::text, relkind = 'S' FROM dumped
WHERE NOT CASE WHEN relkind = 'S' THEN has_sequence_privilege(oid, 'SELECT') ELSE has_table_privilege(oid, 'SELECT') END
ORDER BY 1, 2
"""
)
_HIDDEN = (
    _DUMPED
    + """
SELECT nspname::text, relname::text FROM dumped WHERE relkind IN ('r', 'p') AND row_security_active(oid) ORDER BY 1, 2
"""
)
_LARGE_OBJECTS = """
SELECT count(*), min(oid)::text FROM pg_largeobject_metadata
WHERE NOT pg_has_role(lomowner, 'USAGE') AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
  AND NOT EXISTS (
      SELECT FROM aclexplode(lomacl) WHERE privilege_type = 'SELECT'
      AND (grantee = 0 OR pg_has_role(grantee, 'USAGE')))
"""


def refusals(connection: Connection, production: Production) -> tuple[Problem, ...]:
    """Everything that pg_dump would be refused, each with the statement that mends it; () when it may read all."""
    return tuple(
        Problem(message=f"{production.name}: {sentence}")
        for sentence in (
            *_unreadable(connection, production),
            *_hidden(connection, production),
            *_large(connection, production),
        )
    )


def _unreadable(connection: Connection, production: Production) -> Iterator[str]:
    user = sql.Identifier(production.user)
    kinds: defaultdict[tuple[str, bool], list[str]] = defaultdict(list)
    for schema, name, sequence in connection.execute(_UNREADABLE).fetchall():
        kinds[schema, sequence].append(name)
    schemas = [schema for (schema,) in connection.execute(_SCHEMAS).fetchall()]
    if len({*schemas, *(schema for schema, _ in kinds)}) > 1 and production.major >= _ALL_READ_FROM:
        count = sum(map(len, kinds.values()))
        grant = sql.SQL("GRANT pg_read_all_data TO {}").format(user)
        named = _listed([f"{schema}.{name}" for (schema, _), names in kinds.items() for name in names] or schemas)
        yield f"{production.user} may not read {count} tables and sequences ({named}); as a superuser: {_text(grant)}"
        return
    for schema in schemas:
        grant = sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), user)
        yield f"{production.user} may not enter the schema {schema}; as its owner: {_text(grant)}"
    for (schema, sequence), names in kinds.items():
        what = sql.SQL("SEQUENCES" if sequence else "TABLES")
        grant = sql.SQL("GRANT SELECT ON ALL {} IN SCHEMA {} TO {}").format(what, sql.Identifier(schema), user)
        named = _listed([f"{schema}.{name}" for name in names])
        yield f"{production.user} may not read {named}; as their owner: {_text(grant)}"


def _hidden(connection: Connection, production: Production) -> Iterator[str]:
    hidden = [f"{schema}.{name}" for schema, name in connection.execute(_HIDDEN).fetchall()]
    if hidden:
        alter = sql.SQL("ALTER ROLE {} BYPASSRLS").format(sql.Identifier(production.user))
        yield (
            f"row security hides rows of {_listed(hidden)} from {production.user}, and a copy without them "
            f"proves nothing; as a superuser: {_text(alter)}"
        )


def _large(connection: Connection, production: Production) -> Iterator[str]:
    row = connection.execute(_LARGE_OBJECTS).fetchone()
    if row and row[0]:
        grant = sql.SQL("GRANT SELECT ON LARGE OBJECT {} TO {}").format(
            sql.SQL(row[1]), sql.Identifier(production.user)
        )
        yield f"{production.user} may not read {row[0]} large objects; for each of them, as its owner: {_text(grant)}"


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _text(statement: sql.Composed) -> str:
    return statement.as_string()
