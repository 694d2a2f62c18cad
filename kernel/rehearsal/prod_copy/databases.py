"""Databases made from others: an empty one for the golden copy, clones of it, and an end to them.

A clone is a copy of files (STRATEGY FILE_COPY, the only way before PostgreSQL 15): where many rows are, that is several
times faster than copying through the log. It begins and ends with a checkpoint, so that what is measured on a fresh
clone does not pay for what was written before.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from kernel.errors import DatabaseRefused, RestoreFailed
from kernel.rehearsal.prod_copy.model import open_admin_session
from kernel.rehearsal.result import Restore

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.db.connection import Connection, Session
    from kernel.rehearsal.prod_copy.model import CopyRequest, DatabaseLocale, Restorer


# What CREATE DATABASE … TEMPLATE leaves behind: the settings of a database and the privileges on it.
#
# Source: PostgreSQL documentation, "Template Databases" and CREATE DATABASE, notes.


# The golden copy's own, which keeps it as it is.
READ_ONLY_SETTING = "default_transaction_read_only"

_PRIVILEGE_KEYWORDS = {name: sql.SQL(name) for name in ("CREATE", "TEMPORARY", "CONNECT")}
_SETTINGS_QUERY = """
SELECT split_part(one, '=', 1), substr(one, strpos(one, '=') + 1), rolname
FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase
    CROSS JOIN unnest(setconfig) WITH ORDINALITY AS entry (one, place)
    LEFT JOIN pg_roles r ON r.oid = setrole
WHERE datname = %s AND (setrole = 0 OR rolname IS NOT NULL)
ORDER BY setrole, place
"""
_PRIVILEGES_QUERY = """
SELECT privilege_type, is_grantable, rolname
FROM pg_database CROSS JOIN aclexplode(datacl) LEFT JOIN pg_roles r ON r.oid = grantee
WHERE datname = %s AND (grantee = 0 OR rolname IS NOT NULL)
"""


def database_owner(connection: Connection, name: str) -> str:
    """The name of a database's owner."""
    row = connection.execute("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", (name,)).fetchone()
    return str(row and row[0])


def copy_settings_and_privileges(connection: Connection, template: str, name: str) -> tuple[str, ...]:
    """Give the database `name` the settings and privileges of its template; what could not be given, in sentences."""
    failed: list[str] = []
    for setting, value, role in connection.execute(_SETTINGS_QUERY, (template,)).fetchall():
        if setting != READ_ONLY_SETTING:
            failed += set_database_setting(connection, name, setting, value, role=role)
    return (*failed, *_copy_privileges(connection, template, name))


def set_database_setting(
    connection: Connection, name: str, setting: str, value: str, *, role: str | None = None
) -> tuple[str, ...]:
    """Make `value` a database's own setting, for one role or all; () or the sentence why it could not be done.

    The value goes through the session, as the server has stored it: written into the statement, a list such as
    search_path would come out as a single name in quotes.
    """
    database = sql.Identifier(name)
    whose = sql.SQL("DATABASE {}").format(database)
    if role is not None:
        whose = sql.SQL("ROLE {} IN DATABASE {}").format(sql.Identifier(role), database)
    statement = sql.SQL("ALTER {} SET {} ").format(whose, _setting_identifier(setting))
    try:
        with connection.transaction():
            connection.execute("SELECT set_config(%s, %s, true)", (setting, value))
            connection.execute(statement + sql.SQL("FROM CURRENT"))
    except psycopg.Error:
        # Such as the setting `role`: with it set, we may no longer own the database.
        try:
            connection.execute(statement + sql.SQL("= {}").format(sql.Literal(value)))
        except psycopg.Error as error:
            reason = error.diag.message_primary or "refused"
            return (f"the setting {setting} of the database could not be copied: {reason}",)
    return ()


def _setting_identifier(setting: str) -> sql.Composed:
    """A setting's name; one with a dot, of an extension or an application, is two names."""
    return sql.SQL(".").join(sql.Identifier(part) for part in setting.split("."))


def _copy_privileges(connection: Connection, template: str, name: str) -> tuple[str, ...]:
    granted = connection.execute(_PRIVILEGES_QUERY, (template,)).fetchall()
    if not granted:
        return ()  # the defaults, which a new database has as well
    database = sql.Identifier(name)
    failed = []
    everybody = [sql.SQL("PUBLIC"), sql.Identifier(database_owner(connection, name))]
    for role in everybody:
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(database, role))
    for privilege, grantable, role in granted:
        statement = sql.SQL("GRANT {} ON DATABASE {} TO {}").format(
            _PRIVILEGE_KEYWORDS[privilege], database, sql.SQL("PUBLIC") if role is None else sql.Identifier(role)
        )
        try:
            connection.execute(statement + sql.SQL(" WITH GRANT OPTION") if grantable else statement)
        except psycopg.Error as error:
            failed.append(f"a privilege on the database could not be copied: {error.diag.message_primary}")
    return tuple(failed)


FILE_COPY_STRATEGY_SINCE = 150000  # server_version_num; before, files were always copied

_CONNECTIONS_QUERY = """
SELECT format('pid %%s (%%s, %%s) from %%s', pid, usename, coalesce(nullif(application_name, ''), 'unnamed'),
    coalesce(host(client_addr), 'this machine'))
FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend' ORDER BY pid
"""
# A session that has just been closed is still there for a moment.
_DISCONNECT_GRACE_SECONDS = 2.0
_POLL_SECONDS = 0.01


def database_exists(session: Session, name: str) -> bool:
    """Whether there is a database of this name."""
    return session.connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).rowcount > 0


def create_empty_database(session: Session, name: str, locale: DatabaseLocale) -> None:
    """An empty database with encoding and locale as they were. Raises RestoreFailed when the server has no such."""
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)) + _locale_clauses(locale)
    try:
        session.connection.execute(statement)
    except psycopg.Error as error:
        raise RestoreFailed(f"{session.name}: {error.diag.message_primary}", hint=error.diag.message_hint) from error


def clone_database(session: Session, template: str, name: str) -> float:
    """Copy `template` to a new database, without its settings and privileges; the seconds that it took.

    Raises DatabaseRefused, which names who is connected to the template.
    """
    require_no_connections(session, template)
    strategy = sql.SQL(
        " STRATEGY file_copy" if session.connection.info.server_version >= FILE_COPY_STRATEGY_SINCE else ""
    )
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
        sql.Identifier(name), sql.Identifier(template), sql.Identifier(database_owner(session.connection, template))
    )
    began = time.perf_counter()
    session.connection.execute(statement + strategy)
    return time.perf_counter() - began


def drop_database(session: Session, name: str, *, force: bool) -> None:
    """Drop a database if it is there; with `force` whoever is connected to it loses the connection.

    Raises DatabaseRefused, which names who is connected.
    """
    if not force:
        require_no_connections(session, name)
    statement = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name))
    session.connection.execute(statement + sql.SQL(" WITH (FORCE)") if force else statement)


def require_no_connections(session: Session, name: str) -> None:
    """Raise DatabaseRefused, which names them, while others are connected to the database `name`.

    Nobody is thrown out: what they do there is theirs.
    """
    deadline = time.monotonic() + _DISCONNECT_GRACE_SECONDS
    while others := [who for (who,) in session.connection.execute(_CONNECTIONS_QUERY, (name,))]:
        if time.monotonic() > deadline:
            raise DatabaseRefused(
                f"{name}: others are connected to it: {'; '.join(others)}; close those connections, then run this again"
            )
        time.sleep(_POLL_SECONDS)


def request_checkpoint(session: Session) -> bool:
    """Write out what is to be written; False where this role may not."""
    try:
        session.connection.execute("CHECKPOINT")
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def database_size_bytes(session: Session, name: str) -> int:
    """What a database takes on the disk."""
    row = session.connection.execute("SELECT pg_database_size(%s)", (name,)).fetchone()
    return int(row[0]) if row else 0


def _locale_clauses(locale: DatabaseLocale) -> sql.Composed:
    """The clauses of CREATE DATABASE; the provider and its locale since PostgreSQL 15 (builtin: 17).

    Servers speak UTF-8 as a rule, and their locale fits no other encoding; the locale C fits every one.
    """
    fallback = "" if locale.encoding.upper() in ("", "UTF8") else "C"
    given = (
        ("ENCODING", locale.encoding),
        ("LC_COLLATE", locale.collate or fallback),
        ("LC_CTYPE", locale.ctype or fallback),
        ("LOCALE_PROVIDER", locale.provider),
        ("ICU_LOCALE" if locale.provider == "icu" else "BUILTIN_LOCALE", locale.name),
    )
    return sql.Composed(
        [sql.SQL(" {} {}").format(sql.SQL(clause), sql.Literal(value)) for clause, value in given if value]
    )


# Make a golden copy: an empty database, filled by whoever knows the dump, then sealed.


def create_template_database(
    url: str, name: str, wish: CopyRequest, restore: Restorer, *, variable: str, begun: Callable[[Session], None]
) -> Restore:
    """Make the database `name` on the server of `url` a golden copy; `begun` is told once it exists.

    Sealed means that its sessions are read-only unless they ask otherwise. Raises RestoreFailed and what `restore`
    raises; the database is then left as it is.
    """
    began = time.perf_counter()
    with open_admin_session(url, variable=variable) as session:
        create_empty_database(session, name, wish.locale)
        begun(session)
    warnings = restore(make_conninfo(url, dbname=name))
    with open_admin_session(url, variable=variable) as session:
        for setting, value in wish.settings.items():
            warnings += set_database_setting(session.connection, name, setting, value)
        seal = sql.SQL("ALTER DATABASE {} SET {} = on").format(sql.Identifier(name), sql.Identifier(READ_ONLY_SETTING))
        session.connection.execute(seal)
        size = database_size_bytes(session, name)
    return Restore(seconds=time.perf_counter() - began, size_bytes=size, warnings=warnings)
