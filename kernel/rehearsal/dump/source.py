"""Production as the source of a dump: what it is, asked in a session that cannot write."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql
from psycopg.conninfo import make_conninfo

from kernel import database
from kernel.errors import DatabaseRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.database import Connection

VARIABLE = "PROD_DB"
NAME = "inv db.snapshot-test: copying production"
# The session cannot write even if it wanted to, and waits for nobody for long.
READ_ONLY = {"default_transaction_read_only": "on"}
_LOCK_TIMEOUT_MS = 5_000

_FACTS = """
SELECT current_setting('server_version'), current_setting('server_version_num')::int / 10000,
    pg_is_in_recovery(), current_database()::text, current_user::text, pg_encoding_to_char(encoding),
    pg_database_size(oid), current_setting('TimeZone')
FROM pg_database WHERE datname = current_database()
"""
# Settings of the database for every role (ALTER DATABASE … SET): each is "name=value".
_SETTINGS = """
SELECT unnest(setconfig) FROM pg_db_role_setting
WHERE setrole = 0 AND setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Production:
    """What production is: `name` is host:port/dbname, `version` as in "15.18", `size_bytes` its size on disk there.

    `settings` are the (name, value) pairs of ALTER DATABASE … SET, and the TimeZone in force.
    """

    name: str
    database: str
    user: str
    version: str
    major: int
    standby: bool
    encoding: str
    size_bytes: int
    settings: tuple[tuple[str, str], ...]


@contextmanager
def opened(url: str) -> Iterator[tuple[Connection, Production]]:
    """A session that cannot write, and what it reached.

    Raises DatabaseUnreachable, and DatabaseRefused for a pooler, which does not carry what pg_dump needs.
    """
    with database.session(make_conninfo(url, application_name=NAME), variable=VARIABLE) as session:
        if session.pooled:
            raise DatabaseRefused(
                f"{session.name}: a pooler, and pg_dump needs sessions of its own (a snapshot that several share, and "
                f"settings); give {VARIABLE} the URL of the server itself"
            )
        connection = session.connection
        connection.execute("SET default_transaction_read_only = on")
        connection.execute(sql.SQL("SET lock_timeout = {}").format(_LOCK_TIMEOUT_MS))
        yield connection, _production(connection, session.name)


def _production(connection: Connection, name: str) -> Production:
    row = connection.execute(_FACTS).fetchone()
    if row is None:
        raise DatabaseRefused(f"{name}: does not know the database that we are in")
    version, major, standby, database_name, user, encoding, size_bytes, zone = row
    told = [setting.partition("=") for (setting,) in connection.execute(_SETTINGS).fetchall()]
    settings = {"TimeZone": zone} | {key: value for key, _, value in told}
    return Production(
        name=name,
        database=database_name,
        user=user,
        version=version.partition(" ")[0],
        major=major,
        standby=standby,
        encoding=encoding,
        size_bytes=size_bytes,
        settings=tuple(settings.items()),
    )
