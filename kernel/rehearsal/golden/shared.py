"""What the databases of one server have in common: roles, their memberships and settings, tablespaces.

A migration that runs on a clone changes them for all clones. Roles that it made are dropped before the next clone is
made; other changes cannot be undone, and are told apart by a digest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from kernel.database import Connection

_ROLES = "SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY rolname"
# Rows as they are, OIDs and all: the server stays the same from first to last.
_DIGEST = """
SELECT md5(string_agg(line, E'\\n' ORDER BY line COLLATE "C")) FROM (
    SELECT 'role ' || to_jsonb(r)::text FROM pg_authid r
    UNION ALL SELECT 'member ' || to_jsonb(m)::text FROM pg_auth_members m
    UNION ALL SELECT 'setting ' || to_jsonb(s)::text FROM pg_db_role_setting s
    UNION ALL SELECT 'tablespace ' || to_jsonb(t)::text FROM pg_tablespace t
    UNION ALL SELECT 'comment ' || to_jsonb(d)::text FROM pg_shdescription d
    UNION ALL SELECT 'database ' || datname || ' ' || datdba || ' ' || coalesce(datacl::text, '') FROM pg_database
) AS lines (line)
"""


def roles(connection: Connection) -> tuple[str, ...]:
    """Every role but PostgreSQL's own, by name."""
    return tuple(name for (name,) in connection.execute(_ROLES))


def digest(connection: Connection) -> str:
    """The same while nothing that is shared has changed, for a superuser, with no clone there."""
    row = connection.execute(_DIGEST).fetchone()
    return str(row and row[0])


def drop_other_roles(connection: Connection, known: tuple[str, ...]) -> tuple[str, ...]:
    """Drop every role but these; the names of those that had to stay because a database has something of theirs."""
    left = []
    for name in roles(connection):
        if name not in known:
            try:
                connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
            except psycopg.errors.DependentObjectsStillExist:
                left.append(name)
    return tuple(left)
