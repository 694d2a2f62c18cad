"""Create, clone and drop databases.

A clone is a copy of files (STRATEGY FILE_COPY, the only way before PostgreSQL 15): with many rows that is several times
faster than a copy through the WAL. It begins and ends with a checkpoint, so that measurements on a fresh clone do not
include earlier writes.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from kernel.db.connection import open_session
from kernel.errors import DatabaseRefused, RestoreFailed
from kernel.rehearsal.result import Restore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.db.connection import Connection, Session
    from kernel.rehearsal.prod_copy.model import CopyRequest, DatabaseLocale, Restorer


FILE_COPY_STRATEGY_SINCE = 150000  # server_version_num; earlier servers always copied files

REFLINKS_SINCE = 180000

# Set on the template database, so that sessions do not change it by accident; clones do not inherit it.
READ_ONLY_SETTING = "default_transaction_read_only"

# A role that may not see sessions of other roles finds NULL in backend_type and client_addr.
_CONNECTIONS_QUERY = """
SELECT format('pid %%s (%%s, %%s)', pid, coalesce(usename, 'a dropped role'),
    coalesce(nullif(application_name, ''), 'unnamed'))
    || CASE WHEN backend_type IS NULL THEN '' ELSE ' from ' || coalesce(host(client_addr), 'this machine') END
FROM pg_stat_activity
WHERE datname = %(name)s
    AND (backend_type IN ('client backend', 'walsender') OR (backend_type IS NULL AND usename IS NOT NULL))
UNION ALL SELECT format('prepared transaction %%L (%%s)', gid, owner) FROM pg_prepared_xacts WHERE database = %(name)s
ORDER BY 1
"""
# A session that was just closed is listed for a moment longer.
_DISCONNECT_GRACE_SECONDS = 2.0
_POLL_SECONDS = 0.01


@contextmanager
def open_admin_session(url: str, *, variable: str) -> Iterator[Session]:
    """A session without time limits, whatever the settings of the role: copying files may take long.

    Raises DatabaseUnreachable, DatabaseRefused.
    """
    with open_session(url, variable=variable) as session:
        session.connection.execute("SET statement_timeout = 0; SET lock_timeout = 0")
        yield session


def database_exists(session: Session, name: str) -> bool:
    """Whether the server has a database of this name."""
    return session.connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).rowcount > 0


def database_size_bytes(session: Session, name: str) -> int:
    """The size of a database on disk."""
    ((size_bytes,),) = session.connection.execute("SELECT pg_database_size(%s)", (name,)).fetchall()
    return int(size_bytes)


def create_empty_database(session: Session, name: str, locale: DatabaseLocale) -> None:
    """Create a database of template0. Raises RestoreFailed when the server does not have the locale."""
    # The server's own locale is one for UTF-8 as a rule, and fits no other encoding; the locale C fits every encoding.
    fallback = "" if locale.encoding.upper() in ("", "UTF8") else "C"
    options = (
        ("ENCODING", locale.encoding),
        ("LC_COLLATE", locale.collate or fallback),
        ("LC_CTYPE", locale.ctype or fallback),
    )
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))
    for option, value in options:
        if value:
            statement += sql.SQL(" {} {}").format(sql.SQL(option), sql.Literal(value))
    try:
        session.connection.execute(statement)
    except psycopg.Error as error:
        raise RestoreFailed(f"{session.name}: {error.diag.message_primary}", hint=error.diag.message_hint) from error


def fill_template_database(url: str, name: str, request: CopyRequest, restore: Restorer, *, variable: str) -> Restore:
    """Restore into the empty database `name` on the server at `url`, then make its sessions read-only by default.

    Raises what `restore` raises; the database is then left as it is.
    """
    began = time.perf_counter()
    warnings = restore(make_conninfo(url, dbname=name))
    with open_admin_session(url, variable=variable) as session:
        for setting, value in request.settings.items():
            warnings += _set_database_setting(session.connection, name, setting, value)
        statement = sql.SQL("ALTER DATABASE {} SET {} = on")
        session.connection.execute(statement.format(sql.Identifier(name), sql.Identifier(READ_ONLY_SETTING)))
        size_bytes = database_size_bytes(session, name)
    return Restore(seconds=time.perf_counter() - began, size_bytes=size_bytes, warnings=warnings)


def clone_database(session: Session, template: str, name: str) -> float:
    """Copy `template` to a new database, without its settings and privileges; return the seconds that it took.

    Raises DatabaseRefused, which names the sessions that are connected to the template.
    """
    require_no_connections(session, template)
    connection = session.connection
    statement = clone_statement(connection, template, name)
    reflinks = _prefer_reflinks(connection)
    began = time.perf_counter()
    try:
        connection.execute(statement)
    except psycopg.errors.OperationalError:
        if not reflinks:
            raise
        connection.execute("SET file_copy_method = copy")
        connection.execute(statement)
    return time.perf_counter() - began


def clone_statement(connection: Connection, template: str, name: str) -> sql.Composed:
    """The statement that copies the files of `template` to a new database of the same owner."""
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
        sql.Identifier(name), sql.Identifier(template), sql.Identifier(_database_owner(connection, template))
    )
    if connection.info.server_version >= FILE_COPY_STRATEGY_SINCE:
        statement += sql.SQL(" STRATEGY file_copy")
    return statement


def _prefer_reflinks(connection: Connection) -> bool:
    """Let the server copy files by reference, where it can: from PostgreSQL 18 on, in a file system with reflinks.

    Whether the file system has them only a copy shows: it fails on macOS and falls back to a copy on Linux, except for
    file systems that refuse the system call.
    """
    if connection.info.server_version < REFLINKS_SINCE:
        return False
    try:
        connection.execute("SET file_copy_method = clone")
    except psycopg.errors.InvalidParameterValue:  # the server's platform cannot
        return False
    return True


def drop_database(session: Session, name: str, *, force: bool) -> None:
    """Drop a database if it exists; `force` ends the sessions that are connected to it.

    Raises DatabaseRefused, which names the sessions that are connected.
    """
    if not force:
        require_no_connections(session, name)
    statement = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name))
    session.connection.execute(statement + sql.SQL(" WITH (FORCE)") if force else statement)


def require_no_connections(session: Session, name: str) -> None:
    """Raise DatabaseRefused, which names the sessions, while any is connected to the database `name`.

    The sessions are not terminated: they belong to other users.
    """
    deadline = time.monotonic() + _DISCONNECT_GRACE_SECONDS
    while connected := [text for (text,) in session.connection.execute(_CONNECTIONS_QUERY, {"name": name})]:
        if time.monotonic() > deadline:
            raise DatabaseRefused(
                f"{name}: other sessions are connected to it: {'; '.join(connected)}; end them, then run this again"
            )
        time.sleep(_POLL_SECONDS)


# CREATE DATABASE … TEMPLATE copies neither the settings of a database nor the privileges on it.
# Source: PostgreSQL documentation, "Template Databases" and CREATE DATABASE, notes.

_PRIVILEGE_KEYWORDS = {name: sql.SQL(name) for name in ("CREATE", "TEMPORARY", "CONNECT")}
_SETTINGS_QUERY = """
SELECT split_part(entry, '=', 1), substr(entry, strpos(entry, '=') + 1), rolname
FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase
    CROSS JOIN unnest(setconfig) WITH ORDINALITY AS settings (entry, place)
    LEFT JOIN pg_roles r ON r.oid = setrole
WHERE datname = %s AND (setrole = 0 OR rolname IS NOT NULL)
ORDER BY setrole, place
"""
_PRIVILEGES_QUERY = """
SELECT privilege_type, is_grantable, rolname
FROM pg_database CROSS JOIN aclexplode(datacl) LEFT JOIN pg_roles r ON r.oid = grantee
WHERE datname = %s AND (grantee = 0 OR rolname IS NOT NULL)
"""


def copy_settings_and_privileges(connection: Connection, template: str, name: str) -> tuple[str, ...]:
    """Give the database `name` the settings and privileges of its template; return a sentence for each failure."""
    failed: list[str] = []
    for setting, value, role in connection.execute(_SETTINGS_QUERY, (template,)).fetchall():
        if setting != READ_ONLY_SETTING:
            failed += _set_database_setting(connection, name, setting, value, role=role)
    return (*failed, *_copy_privileges(connection, template, name))


def _set_database_setting(
    connection: Connection, name: str, setting: str, value: str, *, role: str | None = None
) -> tuple[str, ...]:
    """ALTER DATABASE … SET, or ALTER ROLE … IN DATABASE … SET; return () or a sentence that says why it failed.

    The value is passed by set_config, as the server has stored it: written into the statement, a list such as that of
    search_path would become a single quoted name.
    """
    owner = sql.SQL("DATABASE {}").format(sql.Identifier(name))
    if role is not None:
        owner = sql.SQL("ROLE {} IN DATABASE {}").format(sql.Identifier(role), sql.Identifier(name))
    # A setting of an extension or an application has a dot: two identifiers.
    statement = sql.SQL("ALTER {} SET {} ").format(owner, sql.Identifier(*setting.split(".")))
    try:
        with connection.transaction():
            connection.execute("SELECT set_config(%s, %s, true)", (setting, value))
            connection.execute(statement + sql.SQL("FROM CURRENT"))
    except psycopg.Error:
        # The setting `role`, for example: once it is set, the session may not own the database any more.
        try:
            connection.execute(statement + sql.SQL("= {}").format(sql.Literal(value)))
        except psycopg.Error as error:
            reason = error.diag.message_primary or "refused"
            return (f"the setting {setting} of the database could not be copied: {reason}",)
    return ()


def _copy_privileges(connection: Connection, template: str, name: str) -> tuple[str, ...]:
    privileges = connection.execute(_PRIVILEGES_QUERY, (template,)).fetchall()
    if not privileges:
        return ()  # the defaults, which a new database has as well
    database = sql.Identifier(name)
    for role in (sql.SQL("PUBLIC"), sql.Identifier(_database_owner(connection, name))):
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(database, role))
    failed = []
    for privilege, grantable, role_name in privileges:
        role = sql.SQL("PUBLIC") if role_name is None else sql.Identifier(role_name)
        statement = sql.SQL("GRANT {} ON DATABASE {} TO {}").format(_PRIVILEGE_KEYWORDS[privilege], database, role)
        try:
            connection.execute(statement + sql.SQL(" WITH GRANT OPTION") if grantable else statement)
        except psycopg.Error as error:
            failed.append(f"a privilege on the database could not be copied: {error.diag.message_primary}")
    return tuple(failed)


def _database_owner(connection: Connection, name: str) -> str:
    row = connection.execute("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", (name,)).fetchone()
    return str(row and row[0])
