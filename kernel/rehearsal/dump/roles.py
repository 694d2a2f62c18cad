"""The roles that a dump speaks of, made bare where they are missing: names that can own and be granted, and log in not.

A dump of one database has none of them: they belong to the whole server. Roles named pg_… are PostgreSQL's own, and a
server that is older than the dump's may lack some.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from kernel import database
from kernel.errors import DatabaseRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

PREDEFINED = "pg_"  # a name that begins so cannot be created
_MISSING = "SELECT name FROM unnest(%s::text[]) AS name WHERE name NOT IN (SELECT rolname FROM pg_roles) ORDER BY name"
_MAY = "SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user"


def missing(connection: database.Connection, names: Iterable[str]) -> tuple[str, ...]:
    """Those of `names` that the server has no role of, in alphabetical order."""
    return tuple(name for (name,) in connection.execute(_MISSING, (list(names),)).fetchall())


def create(url: str, names: Iterable[str]) -> tuple[str, ...]:
    """Make the missing ones of `names`, NOLOGIN and without any right; returns those made.

    PostgreSQL's own are passed over. Raises DatabaseUnreachable, and DatabaseRefused when the user may not create
    roles, with all that are missing.
    """
    with database.session(url) as session:
        connection = session.connection
        wanted = [name for name in missing(connection, names) if not name.startswith(PREDEFINED)]
        if not wanted:
            return ()
        row = connection.execute(_MAY).fetchone()
        if not (row and row[0]):
            raise DatabaseRefused(f"{session.name}: roles that the dump needs are missing; {remedy(wanted)}")
        for name in wanted:
            try:
                connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name)))
            except psycopg.errors.DuplicateObject:
                continue  # another rehearsal made it a moment ago
        return tuple(wanted)


def remedy(names: Iterable[str]) -> str:
    """The statements that somebody who may create roles runs."""
    return " ".join(sql.SQL("CREATE ROLE {} NOLOGIN;").format(sql.Identifier(name)).as_string() for name in names)
