"""Roles: the one that loads a dump and can do nothing to the machine, and those that the dump's objects need.

A dump is code. Functions in defaults, triggers, expressions of indexes and CHECK constraints, and DO blocks run while
it loads, and their text does not show what they do. So all statements of the dump run on connections that logged in as
a role created for this one load. It is no superuser and no member of any role, and owns only the database; so COPY with
a program or a file, pg_read_file, lo_export, functions in C or in an untrusted language, CREATE SUBSCRIPTION, and SET
ROLE or SESSION AUTHORIZATION are refused by the server, and there is no superuser to return to with RESET. BYPASSRLS
only lets it load tables whose row security applies to their owner.

A superuser's connection runs what such a role may not, and only statements that plain.classify matched as a whole:
extensions, before the dump has created anything that their scripts could call, and the rows of tables that those
scripts created; then, when no code of the dump will run any more, ownership, privileges and comments. Owners come late
because a function or view can run with the rights of its owner, who in most dumps is a superuser. Then the role is
dropped, and what it still owns goes to the user of the URL, as if psql had loaded the dump. Event triggers are created
last: dropping the role would fire them, with a superuser's rights. See disable_external for the time after the load.

This does not limit the dump's use of processor, memory and disk, nor connections that an installed extension (dblink)
opens for ordinary roles.
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
PREDEFINED_PREFIX = "pg_"  # PostgreSQL's roles, which cannot be created; a server older than the dump's may lack some
_MISSING_ROLES = (
    "SELECT name FROM unnest(%s::text[]) AS name WHERE name NOT IN (SELECT rolname FROM pg_roles) ORDER BY name"
)
_MAY_CREATE_ROLES = "SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadingRole:
    """`url` logs in as the role `name`, which loads. With `has_superuser` the session is a superuser's and assists."""

    url: str = field(repr=False)
    name: str
    has_superuser: bool


@contextmanager
def acquire_loading_role(session: Session) -> Iterator[LoadingRole]:
    """Provide the role for one load of the session's database: a new one if its user is a superuser, else that user.

    Raises DatabaseRefused when the user is no superuser but may run programs or read files on the server.
    """
    ((user, is_superuser, dangerous),) = session.connection.execute(
        "SELECT current_user::text, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),"
        " ARRAY(SELECT rolname::text FROM pg_roles"
        " WHERE rolname = ANY(%s) AND pg_has_role(current_user, oid, 'MEMBER'))",
        (list(_SERVER_ACCESS_ROLES),),
    ).fetchall()
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
    # The server gets the verifier and not the password, as its log may contain every statement.
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    ((name, owner),) = connection.execute(
        "SELECT datname::text, pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()"
    ).fetchall()
    change_owner = sql.SQL("ALTER DATABASE {} OWNER TO {}")
    connection.execute(
        sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS PASSWORD {}").format(
            sql.Identifier(role), verifier.decode()
        )
    )
    try:
        connection.execute(change_owner.format(sql.Identifier(name), sql.Identifier(role)))
        yield LoadingRole(url=make_conninfo(url, user=role, password=password), name=role, has_superuser=True)
    finally:
        if not connection.closed:
            connection.execute(change_owner.format(sql.Identifier(name), sql.Identifier(owner)))
            connection.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(sql.Identifier(role)))
            connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def grant_foreign_data_wrappers(superuser: Connection, role: str) -> None:
    """Let the role use the wrappers that a superuser created with extensions; dropping the role revokes this."""
    for (name,) in superuser.execute("SELECT fdwname::text FROM pg_foreign_data_wrapper").fetchall():
        grant = sql.SQL("GRANT USAGE ON FOREIGN DATA WRAPPER {} TO {}")
        superuser.execute(grant.format(sql.Identifier(name), sql.Identifier(role)))


def find_missing_roles(connection: Connection, names: Iterable[str]) -> tuple[str, ...]:
    """The `names` that are no role of the server, in alphabetical order."""
    return tuple(name for (name,) in connection.execute(_MISSING_ROLES, (list(names),)).fetchall())


def create_missing_roles(url: str, names: Iterable[str]) -> tuple[str, ...]:
    """Create the missing roles of `names`, NOLOGIN and without privileges; returns their names.

    A dump of one database refers to roles and does not create them. Predefined roles are skipped. Raises
    DatabaseUnreachable, and DatabaseRefused with all missing roles when the user may not create roles.
    """
    with open_session(url) as session:
        connection = session.connection
        wanted = [name for name in find_missing_roles(connection, names) if not name.startswith(PREDEFINED_PREFIX)]
        if not wanted:
            return ()
        if connection.execute(_MAY_CREATE_ROLES).fetchone() != (True,):
            raise DatabaseRefused(
                f"{session.name}: roles that the dump needs are missing; {create_role_statements(wanted)}"
            )
        for name in wanted:
            try:
                connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name)))
            except psycopg.errors.DuplicateObject:
                continue  # another rehearsal created it a moment ago
        return tuple(wanted)


def grant_create(url: str, role: str) -> None:
    """Let a role of the dump create schemas, and tables in the schema public, as the owner of a database may.

    A dump of one database names neither its owner nor the privileges on it.
    Raises DatabaseUnreachable, DatabaseRefused.
    """
    with open_session(url) as session:
        connection, grantee = session.connection, sql.Identifier(role)
        database = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("GRANT CREATE, TEMPORARY ON DATABASE {} TO {}").format(database, grantee))
        if connection.execute("SELECT FROM pg_namespace WHERE nspname = 'public'").rowcount:
            connection.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA public TO {}").format(grantee))


def create_role_statements(names: Iterable[str]) -> str:
    """The statements that create the roles, for a message."""
    return " ".join(sql.SQL("CREATE ROLE {} NOLOGIN;").format(sql.Identifier(name)).as_string() for name in names)
