"""What two databases on two servers hold: schema, rows, sequences, large objects; and what belongs to a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from kernel.db.ledger import find_ledger
from kernel.schema import diff_schemas, read_schema
from kernel.units import format_quantity

if TYPE_CHECKING:
    from kernel.db.connection import Connection, Session


# Roles, their memberships and settings, tablespaces, databases and settings of the server: pg_dump leaves them out.
_GLOBALS = """
SELECT 'role ' || rolname, (to_jsonb(r) - 'oid')::text FROM pg_authid r WHERE rolname NOT LIKE 'pg\\_%'
UNION ALL
SELECT format('membership of role %s in role %s', m.rolname, g.rolname),
  (to_jsonb(a) - '{oid,roleid,member,grantor}'::text[])::text
FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member JOIN pg_roles g ON g.oid = a.roleid
UNION ALL
SELECT 'settings of role ' || r.rolname, s.setconfig::text
FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole WHERE s.setdatabase = 0
UNION ALL
SELECT 'tablespace ' || spcname, (to_jsonb(t) - 'oid')::text FROM pg_tablespace t
UNION ALL
SELECT 'comment on role ' || rolname, shobj_description(oid, 'pg_authid') FROM pg_roles
WHERE shobj_description(oid, 'pg_authid') IS NOT NULL
UNION ALL
SELECT 'database ' || datname, '' FROM pg_database
UNION ALL
SELECT 'setting of the server ' || name, setting FROM pg_file_settings WHERE sourcefile LIKE '%postgresql.auto.conf'
"""
_PARAMETER_PRIVILEGES = "SELECT 'privileges on parameter ' || parname, paracl::text FROM pg_parameter_acl"
_PARAMETER_PRIVILEGES_SINCE = 150000
# pg_roles and not pg_authid: passwords do not go into a file. The names are those of _GLOBALS.
_ROLE_STATEMENTS = """
SELECT 1, format('DO $role$ BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %%L) '
    'THEN CREATE ROLE %%s; END IF; END $role$;', rolname, concat_ws(' ', quote_ident(rolname),
    CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN NOT rolinherit THEN 'NOINHERIT' END,
    CASE WHEN rolcreaterole THEN 'CREATEROLE' END, CASE WHEN rolcreatedb THEN 'CREATEDB' END,
    CASE WHEN rolcanlogin THEN 'LOGIN' END, CASE WHEN rolreplication THEN 'REPLICATION' END,
    CASE WHEN rolbypassrls THEN 'BYPASSRLS' END, 'CONNECTION LIMIT ' || nullif(rolconnlimit, -1),
    'VALID UNTIL ' || quote_literal(rolvaliduntil)))
FROM pg_roles WHERE 'role ' || rolname = ANY(%(names)s)
UNION ALL
SELECT 2, format('GRANT %%I TO %%I%%s;', g.rolname, m.rolname, CASE WHEN a.admin_option THEN ' WITH ADMIN OPTION' END)
FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member JOIN pg_roles g ON g.oid = a.roleid
WHERE format('membership of role %%s in role %%s', m.rolname, g.rolname) = ANY(%(names)s)
ORDER BY 1, 2
"""
_TABLES = """
SELECT n.nspname::text, c.relname::text, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm', 'S') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
  AND (c.relkind <> 'm' OR c.relispopulated)
ORDER BY 1, 2
"""
_LARGE_OBJECTS = """
SELECT count(DISTINCT loid), md5(string_agg(concat_ws(' ', loid, pageno, md5(data)), ',' ORDER BY loid, pageno))
FROM pg_largeobject
"""
_SEQUENCE = "S"
Content = dict[str, tuple[object, ...]]


def read_globals(connection: Connection) -> dict[str, str]:
    """What a server has outside of its databases, each with its attributes as text."""
    rows = connection.execute(_GLOBALS).fetchall()
    if connection.info.server_version >= _PARAMETER_PRIVILEGES_SINCE:
        rows += connection.execute(_PARAMETER_PRIVILEGES).fetchall()
    return {str(name): str(attributes) for name, attributes in rows}


def role_statements(connection: Connection, names: list[str]) -> list[str]:
    """The statements that make the roles and memberships with these names, as read_globals writes them."""
    return [str(statement) for _, statement in connection.execute(_ROLE_STATEMENTS, {"names": names}).fetchall()]


def ledger_tables(session: Session) -> list[str]:
    """The quoted names of the runner's own tables."""
    ledger = find_ledger(session)
    tables = ledger.tables
    return [sql.Identifier(ledger.schema, table).as_string(session.connection) for table in tables]


def count_rows(session: Session) -> int:
    """The number of rows in all tables, without those of the ledger."""
    contents = _read_content(session)
    return sum(int(str(value[0])) for name, value in contents.items() if name.startswith("table "))


def differences(original: Session, squashed: Session) -> list[str]:
    """Lines about what differs between two databases, schema first; [] when they are equal."""
    lines = list(diff_schemas(read_schema(original), read_schema(squashed), oids=False))
    made, made_again = read_globals(original.connection), read_globals(squashed.connection)
    lines += [
        f"{name}: made or changed by the older files"
        for name in sorted(made.keys() | made_again.keys())
        if made.get(name) != made_again.get(name)
    ]
    before, after = _read_content(original), _read_content(squashed)
    lines += [
        f"{name}: {_describe(before.get(name))} before, {_describe(after.get(name))} after"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    return lines


def _describe(content: tuple[object, ...] | None) -> str:
    if content is None:
        return "absent"
    return format_quantity(content[0], "row") if isinstance(content[0], int) else f"at {content[1]}"


def _read_content(session: Session) -> Content:
    """For each table (rows, digest), each sequence ("", last value, is called), and large objects (count, digest)."""
    content: Content = {}
    connection, left_out = session.connection, ledger_tables(session)
    for schema, name, kind in connection.execute(_TABLES).fetchall():
        table = sql.Identifier(schema, name)
        if table.as_string(connection) in left_out:
            continue
        if kind == _SEQUENCE:
            query = sql.SQL("SELECT '', last_value, is_called FROM {}").format(table)
            label = "sequence"
        else:
            # The order of the rows is no part of the content; equal rows have equal digests.
            query = sql.SQL(
                "SELECT count(*), md5(string_agg(digest, '' ORDER BY digest)) "
                "FROM (SELECT md5(row(r.*)::text) AS digest FROM ONLY {} AS r) AS digests"
            ).format(table)
            label = "table"
        ((*values,),) = connection.execute(query).fetchall()
        content[f"{label} {table.as_string(connection)}"] = tuple(values)
    ((*values,),) = connection.execute(_LARGE_OBJECTS).fetchall()
    content["large objects"] = tuple(values)
    return content
