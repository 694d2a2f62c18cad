"""What PostgreSQL's programs need to connect as we did: in their environment, and never on their command line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from psycopg import pq
from psycopg.conninfo import make_conninfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kernel.database import Connection

# Where libpq looks for certificates and keys that the connection string does not name.
_HOME = "HOME"
# The server that answered us, of several that a string may name; the password that it took, wherever that came from.
_REACHED = ("host", "hostaddr", "port", "dbname", "user", "password")
# Told by us in their own places.
_OURS = frozenset({"options", "application_name", "client_encoding", "target_session_attrs", "passfile", "service"})


def environment(connection: Connection, options: Mapping[str, str], *, name: str) -> dict[str, str]:
    """PG* variables that lead a program to the server and database of `connection`, which is open.

    `options` are settings of its session, from the start of the session on; `name` is its application_name.
    The user's own options stay in force. The password is among them: it is for a child's environment only.
    """
    info = connection.pgconn.info
    found: dict[str, str] = {}
    for option in info:
        keyword = option.keyword.decode()
        if option.envvar and option.val and option.val != option.compiled and keyword not in _OURS:
            found[option.envvar.decode()] = option.val.decode()
    for keyword in _REACHED:
        variable = f"PG{'DATABASE' if keyword == 'dbname' else keyword.upper()}"
        found.pop(variable, None)
        if value := _reached(connection, keyword):
            found[variable] = value
    told = next((option.val.decode() for option in info if option.keyword == b"options" and option.val), "")
    # Backslash and blank are the two characters that mean something there.
    ours = (f"-c {key}={_escaped(value)}" for key, value in options.items())
    found |= {"PGOPTIONS": " ".join(filter(None, (told, *ours))), "PGAPPNAME": name, "PGCLIENTENCODING": "UTF8"}
    if home := os.environ.get(_HOME):
        found[_HOME] = home
    return found


def plain(connection: Connection) -> str:
    """The connection string for a command line: the database, and what has no variable, such as keepalives."""
    told = {
        option.keyword.decode(): option.val.decode()
        for option in connection.pgconn.info
        if option.val and not option.envvar and option.dispchar == b""  # with a mark, it is secret or not for people
    }
    return make_conninfo("", dbname=connection.info.dbname, **told)


def _reached(connection: Connection, keyword: str) -> str:
    info = connection.info
    if keyword == "port":
        return str(info.port)
    if keyword == "hostaddr":
        # Of a socket there is none.
        return "" if info.host.startswith(("/", "@")) else info.hostaddr if pq.version() >= _HOSTADDR_FROM else ""
    value: str = getattr(info, keyword)
    return value


_HOSTADDR_FROM = 120000


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")
