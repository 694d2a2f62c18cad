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

from kernel.errors import DatabaseRefused, RestoreFailed
from kernel.rehearsal.golden import carry

if TYPE_CHECKING:
    from kernel.database import Session
    from kernel.rehearsal.golden.wish import Locale

STRATEGY_SINCE = 150000  # server_version_num; before, files were always copied
NAME_BYTES = 63  # NAMEDATALEN - 1

_CONNECTED = """
SELECT format('pid %%s (%%s, %%s) from %%s', pid, usename, coalesce(nullif(application_name, ''), 'unnamed'),
    coalesce(host(client_addr), 'this machine'))
FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend' ORDER BY pid
"""
# A session that has just been closed is still there for a moment.
_LEAVING_SECONDS = 2.0
_POLL_SECONDS = 0.01


def exists(session: Session, name: str) -> bool:
    """Whether there is a database of this name."""
    return session.connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).rowcount > 0


def create_empty(session: Session, name: str, locale: Locale) -> None:
    """An empty database with encoding and locale as they were. Raises RestoreFailed when the server has no such."""
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)) + _options(locale)
    try:
        session.connection.execute(statement)
    except psycopg.Error as error:
        raise RestoreFailed(f"{session.name}: {error.diag.message_primary}", hint=error.diag.message_hint) from error


def create(session: Session, template: str, name: str) -> float:
    """Copy `template` to a new database, without its settings and privileges; the seconds that it took.

    Raises DatabaseRefused, which names who is connected to the template.
    """
    alone(session, template)
    strategy = sql.SQL(" STRATEGY file_copy" if session.connection.info.server_version >= STRATEGY_SINCE else "")
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
        sql.Identifier(name), sql.Identifier(template), sql.Identifier(carry.owner(session.connection, template))
    )
    began = time.perf_counter()
    session.connection.execute(statement + strategy)
    return time.perf_counter() - began


def drop(session: Session, name: str, *, force: bool) -> None:
    """Drop a database if it is there; with `force` whoever is connected to it loses the connection.

    Raises DatabaseRefused, which names who is connected.
    """
    if not force:
        alone(session, name)
    statement = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name))
    session.connection.execute(statement + sql.SQL(" WITH (FORCE)") if force else statement)


def alone(session: Session, name: str) -> None:
    """Raise DatabaseRefused, which names them, while others are connected to the database `name`.

    Nobody is thrown out: what they do there is theirs.
    """
    deadline = time.monotonic() + _LEAVING_SECONDS
    while others := [who for (who,) in session.connection.execute(_CONNECTED, (name,))]:
        if time.monotonic() > deadline:
            raise DatabaseRefused(
                f"{name}: others are connected to it: {'; '.join(others)}; close those connections, then run this again"
            )
        time.sleep(_POLL_SECONDS)


def checkpoint(session: Session) -> bool:
    """Write out what is to be written; False where this role may not."""
    try:
        session.connection.execute("CHECKPOINT")
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def size_bytes(session: Session, name: str) -> int:
    """What a database takes on the disk."""
    row = session.connection.execute("SELECT pg_database_size(%s)", (name,)).fetchone()
    return int(row[0]) if row else 0


def beside(name: str, suffix: str) -> str:
    """The name of a database that belongs to another, within the length of a name; too long ones are cut."""
    room = NAME_BYTES - len(f"_{suffix}".encode())
    return f"{name.encode()[:room].decode(errors='ignore')}_{suffix}"


def _options(locale: Locale) -> sql.Composed:
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
