"""The queries that production runs, from its pg_stat_statements: there each stands once, with $1 in place of values.

Only read, in a READ ONLY transaction. Source: PostgreSQL documentation, "pg_stat_statements".
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from psycopg import sql
from psycopg.conninfo import make_conninfo

from kernel import database
from kernel.errors import DatabaseRefused
from kernel.rehearsal.queries.query import Query, is_query

if TYPE_CHECKING:
    from kernel.database import Connection

EXTENSION = "pg_stat_statements"
_NAME = "inv db.snapshot-test: reading queries"
_MOST = 1000
_HIDDEN = "<insufficient privilege>"
_LIMITS = "SET LOCAL statement_timeout = '30s'; SET LOCAL lock_timeout = '5s'"
_SCHEMA = "SELECT nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = %s"
_STATEMENTS = """
SELECT coalesce(queryid::text, '?'), query, sum(calls)::bigint FROM {}
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND query IS NOT NULL
GROUP BY 1, 2 ORDER BY 3 DESC, 1
"""


def of_production(url: str) -> tuple[Query, ...]:
    """The queries that were called most often in the database at `url`, at most a thousand.

    Raises DatabaseRefused where the extension is missing, or hides queries; DatabaseUnreachable.
    """
    with database.session(make_conninfo(url, application_name=_NAME), variable="PROD_DB") as session:
        connection = session.connection
        with connection.transaction():
            connection.execute("SET TRANSACTION READ ONLY")
            connection.execute(_LIMITS)
            rows = connection.execute(sql.SQL(_STATEMENTS).format(_view(connection, session.name))).fetchall()
    if any(text == _HIDDEN for _, text, _ in rows):
        raise DatabaseRefused(
            f"{session.name}: {EXTENSION} hides the queries of others; as a superuser: GRANT pg_read_all_stats TO the "
            "user of PROD_DB"
        )
    found = (Query(name=f"query {number}", text=text) for number, text, _ in rows if is_query(text.encode()))
    return tuple(itertools.islice(found, _MOST))


def _view(connection: Connection, name: str) -> sql.Identifier:
    row = connection.execute(_SCHEMA, (EXTENSION,)).fetchone()
    if row is None:
        raise DatabaseRefused(
            f"{name}: {EXTENSION} is not there; CREATE EXTENSION {EXTENSION} (with shared_preload_libraries), or give "
            "the queries in a file: --queries FILE"
        )
    return sql.Identifier(row[0], EXTENSION)
