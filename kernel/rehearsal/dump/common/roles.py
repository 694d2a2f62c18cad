"""As whom a dump is loaded: a role that can do nothing to the machine, whatever the dump makes it run.

A dump is code. Functions in defaults, triggers, expressions of indexes and CHECK constraints, and DO blocks run while
it loads, and no reading of their text tells what they do. What holds is this: all of the dump's statements run on
connections that logged in as a role made for this one load. It is no superuser and no member of any role, it owns the
database and nothing else; so COPY with a program or a file, pg_read_file, lo_export, functions in C or in an untrusted
language, CREATE SUBSCRIPTION, and SET ROLE or SESSION AUTHORIZATION to anybody are refused by the server, and there is
no superuser to go back to with RESET. BYPASSRLS lets it load tables whose owner row security binds, and no more.

A superuser's connection does what such a role may not, and only statements that shape matched whole: extensions, while
nothing of the dump's own is there that their scripts could call, and the rows of tables that those scripts made; then,
when nothing of the dump will run any more, ownership, privileges and comments. Owners come late because a function or
view runs with the rights of its owner, who in most dumps is a superuser. Then the role is dropped, and what it still
owns goes to the user of the URL, as if psql had loaded the dump. Event triggers are the very last: dropping the role
would fire them, with a superuser's rights. Afterwards triggers and functions run as whoever fires them, and that is
another module's care.

It does not keep the dump's functions from using processor, memory and disk, nor an extension that is installed (dblink)
from opening connections where it demands no superuser.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from kernel.db.connection import Connection, open_session
from kernel.errors import DatabaseRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.db.connection import Session


_SERVER_ACCESS_ROLES = ("pg_execute_server_program", "pg_read_server_files", "pg_write_server_files")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadingRole:
    """`url` logs in as `role`, which loads; with `assisted` the session is a superuser's, and does what it may not."""

    url: str = field(repr=False)
    name: str
    has_superuser: bool


@contextmanager
def acquire_loading_role(session: Session) -> Iterator[LoadingRole]:
    """A role for one load of the session's database: a new one where its user is a superuser, else that user itself.

    Raises DatabaseRefused when the user is no superuser but may run programs all the same.
    """
    row = session.connection.execute(
        "SELECT current_user::text, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),"
        " ARRAY(SELECT rolname::text FROM pg_roles"
        " WHERE rolname = ANY(%s) AND pg_has_role(current_user, oid, 'MEMBER'))",
        (list(_SERVER_ACCESS_ROLES),),
    ).fetchone()
    user, is_superuser, dangerous = row or ("", False, [])
    if is_superuser:
        with _temporary_role(session.connection, session.url) as made:
            yield made
        return
    if dangerous:
        raise DatabaseRefused(
            f"{session.name}: {user} is a member of {', '.join(dangerous)}, with which a dump could run programs "
            "or read files on the server; give the URL of another user that owns the database"
        )
    yield LoadingRole(url=session.url, name=user, has_superuser=False)


@contextmanager
def _temporary_role(connection: Connection, url: str) -> Iterator[LoadingRole]:
    role = f"aibos_loading_{secrets.token_hex(8)}"
    password = secrets.token_urlsafe(24)
    # Only its verifier goes to the server, whose log may keep every statement.
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    row = connection.execute(
        "SELECT datname::text, pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()"
    ).fetchone()
    name, owner = row or ("", "")
    own = sql.SQL("ALTER DATABASE {} OWNER TO {}")
    connection.execute(
        sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS PASSWORD {}").format(
            sql.Identifier(role), verifier.decode()
        )
    )
    try:
        connection.execute(own.format(sql.Identifier(name), sql.Identifier(role)))
        yield LoadingRole(url=make_conninfo(url, user=role, password=password), name=role, has_superuser=True)
    finally:
        if not connection.closed:
            connection.execute(own.format(sql.Identifier(name), sql.Identifier(owner)))
            connection.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(sql.Identifier(role)))
            connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def grant_foreign_data_wrappers(superuser: Connection, role: str) -> None:
    """Let the role use the wrappers that a superuser created with extensions; dropping the role revokes this."""
    for (name,) in superuser.execute("SELECT fdwname::text FROM pg_foreign_data_wrapper").fetchall():
        grant = sql.SQL("GRANT USAGE ON FOREIGN DATA WRAPPER {} TO {}")
        superuser.execute(grant.format(sql.Identifier(name), sql.Identifier(role)))


# The roles that a dump speaks of, made bare where they are missing: names that can own and be granted, and log in not.
#
# A dump of one database has none of them: they belong to the whole server. Roles named pg_… are PostgreSQL's own, and a
# server that is older than the dump's may lack some.


PREDEFINED_PREFIX = "pg_"  # a name that begins so cannot be created
_MISSING_ROLES = (
    "SELECT name FROM unnest(%s::text[]) AS name WHERE name NOT IN (SELECT rolname FROM pg_roles) ORDER BY name"
)
_MAY_CREATE_ROLES = "SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user"


def find_missing_roles(connection: Connection, names: Iterable[str]) -> tuple[str, ...]:
    """Those of `names` that the server has no role of, in alphabetical order."""
    return tuple(name for (name,) in connection.execute(_MISSING_ROLES, (list(names),)).fetchall())


def create_missing_roles(url: str, names: Iterable[str]) -> tuple[str, ...]:
    """Make the missing ones of `names`, NOLOGIN and without any right; returns those made.

    PostgreSQL's own are passed over. Raises DatabaseUnreachable, and DatabaseRefused when the user may not create
    roles, with all that are missing.
    """
    with open_session(url) as session:
        connection = session.connection
        wanted = [name for name in find_missing_roles(connection, names) if not name.startswith(PREDEFINED_PREFIX)]
        if not wanted:
            return ()
        row = connection.execute(_MAY_CREATE_ROLES).fetchone()
        if not (row and row[0]):
            raise DatabaseRefused(
                f"{session.name}: roles that the dump needs are missing; {create_role_statements(wanted)}"
            )
        for name in wanted:
            try:
                connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name)))
            except psycopg.errors.DuplicateObject:
                continue  # another rehearsal made it a moment ago
        return tuple(wanted)


def create_role_statements(names: Iterable[str]) -> str:
    """The statements that somebody who may create roles runs."""
    return " ".join(sql.SQL("CREATE ROLE {} NOLOGIN;").format(sql.Identifier(name)).as_string() for name in names)
