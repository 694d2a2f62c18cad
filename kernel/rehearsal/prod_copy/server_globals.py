"""What the databases of one server share: roles with their memberships and settings, tablespaces.

A migration on one clone changes them for every clone. Roles that it created are dropped before the next clone is made;
other changes cannot be undone, and are detected by a digest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from kernel.db.connection import Connection


_ROLES_QUERY = "SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY rolname"
# Whole rows with their OIDs: the digests that are compared are of one and the same server.
_GLOBALS_DIGEST_QUERY = """
SELECT md5(string_agg(line, E'\\n' ORDER BY line COLLATE "C")) FROM (
    SELECT 'role ' || to_jsonb(r)::text FROM pg_authid r
    UNION ALL SELECT 'member ' || to_jsonb(m)::text FROM pg_auth_members m
    UNION ALL SELECT 'setting ' || to_jsonb(s)::text FROM pg_db_role_setting s
    UNION ALL SELECT 'tablespace ' || to_jsonb(t)::text FROM pg_tablespace t
    UNION ALL SELECT 'comment ' || to_jsonb(d)::text FROM pg_shdescription d
    UNION ALL SELECT 'database ' || datname || ' ' || datdba || ' ' || coalesce(datacl::text, '') FROM pg_database
) AS lines (line)
"""


def list_roles(connection: Connection) -> tuple[str, ...]:
    """The names of all roles except PostgreSQL's predefined ones, sorted."""
    return tuple(name for (name,) in connection.execute(_ROLES_QUERY))


def digest_globals(connection: Connection) -> str:
    """A digest of everything the databases share; needs a superuser, and no clone on the server."""
    row = connection.execute(_GLOBALS_DIGEST_QUERY).fetchone()
    return str(row and row[0])


def drop_other_roles(connection: Connection, known: tuple[str, ...]) -> None:
    """Drop every role that is not `known`, except those that a database still depends on."""
    for name in list_roles(connection):
        if name not in known:
            try:
                connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
            except psycopg.errors.DependentObjectsStillExist:
                continue
