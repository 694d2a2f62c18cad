"""What CREATE DATABASE … TEMPLATE leaves behind: the settings of a database and the privileges on it.

Source: PostgreSQL documentation, "Template Databases" and CREATE DATABASE, notes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from kernel.database import Connection

# The golden copy's own, which keeps it as it is.
READ_ONLY = "default_transaction_read_only"

_GRANTS = {name: sql.SQL(name) for name in ("CREATE", "TEMPORARY", "CONNECT")}
_SETTINGS = """
SELECT split_part(one, '=', 1), substr(one, strpos(one, '=') + 1), rolname
FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase
    CROSS JOIN unnest(setconfig) WITH ORDINALITY AS entry (one, place)
    LEFT JOIN pg_roles r ON r.oid = setrole
WHERE datname = %s AND (setrole = 0 OR rolname IS NOT NULL)
ORDER BY setrole, place
"""
_PRIVILEGES = """
SELECT privilege_type, is_grantable, rolname
FROM pg_database CROSS JOIN aclexplode(datacl) LEFT JOIN pg_roles r ON r.oid = grantee
WHERE datname = %s AND (grantee = 0 OR rolname IS NOT NULL)
"""


def owner(connection: Connection, name: str) -> str:
    """The name of a database's owner."""
    row = connection.execute("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", (name,)).fetchone()
    return str(row and row[0])


def over(connection: Connection, template: str, name: str) -> tuple[str, ...]:
    """Give the database `name` the settings and privileges of its template; what could not be given, in sentences."""
    failed: list[str] = []
    for setting, value, role in connection.execute(_SETTINGS, (template,)).fetchall():
        if setting != READ_ONLY:
            failed += setting_of(connection, name, setting, value, role=role)
    return (*failed, *_privileges(connection, template, name))


def setting_of(
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
    statement = sql.SQL("ALTER {} SET {} ").format(whose, _parameter(setting))
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


def _parameter(setting: str) -> sql.Composed:
    """A setting's name; one with a dot, of an extension or an application, is two names."""
    return sql.SQL(".").join(sql.Identifier(part) for part in setting.split("."))


def _privileges(connection: Connection, template: str, name: str) -> tuple[str, ...]:
    granted = connection.execute(_PRIVILEGES, (template,)).fetchall()
    if not granted:
        return ()  # the defaults, which a new database has as well
    database = sql.Identifier(name)
    failed = []
    everybody = [sql.SQL("PUBLIC"), sql.Identifier(owner(connection, name))]
    for role in everybody:
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(database, role))
    for privilege, grantable, role in granted:
        statement = sql.SQL("GRANT {} ON DATABASE {} TO {}").format(
            _GRANTS[privilege], database, sql.SQL("PUBLIC") if role is None else sql.Identifier(role)
        )
        try:
            connection.execute(statement + sql.SQL(" WITH GRANT OPTION") if grantable else statement)
        except psycopg.Error as error:
            failed.append(f"a privilege on the database could not be copied: {error.diag.message_primary}")
    return tuple(failed)
