"""Where the application's queries come from: what --queries names."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from psycopg import sql
from psycopg.conninfo import make_conninfo

from kernel.db.connection import open_session
from kernel.errors import DatabaseRefused, FilesInvalid, Problem, UsageError
from kernel.sql.lexer import LexerError, PartKind, split_script
from kernel.sql.passwords import mask_passwords
from kernel.sql.tokens import first_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.db.connection import Connection


# A query of the application, and reading queries from a file: SQL statements, with $1 for what is filled in later.
#
# Only what PREPARE takes is a query: SELECT, VALUES, INSERT, UPDATE, DELETE, MERGE (PostgreSQL documentation, PREPARE).


_PREPARABLE_KEYWORDS = frozenset({"SELECT", "VALUES", "TABLE", "WITH", "INSERT", "UPDATE", "DELETE", "MERGE", "("})
_READING_KEYWORDS = frozenset({"SELECT", "VALUES", "TABLE", "WITH", "("})
_WRITING_KEYWORDS = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "INTO", "SHARE"})
_MAX_SHOWN_CHARACTERS = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationQuery:
    """One statement without its semicolon; `name` is where it comes from, as in queries.sql:12."""

    name: str
    text: str

    def __str__(self) -> str:
        """The name, and the beginning of the text on one line, passwords masked."""
        words = " ".join(mask_passwords(self.text).split())
        return (
            f"{self.name}: {words if len(words) <= _MAX_SHOWN_CHARACTERS else words[: _MAX_SHOWN_CHARACTERS - 1] + '…'}"
        )


def read_query_file(path: Path) -> tuple[ApplicationQuery, ...]:
    """The queries of a file, in their order.

    Raises FilesInvalid with everything that is wrong with it: unreadable, without queries, or holding what is no query.
    """
    problems: list[Problem] = []
    found: list[ApplicationQuery] = []
    try:
        with path.open("rb", buffering=0) as file:
            for line, sql in _split_statements(file.read):
                if is_preparable(sql):
                    found.append(ApplicationQuery(name=f"{path.name}:{line}", text=sql.decode().removesuffix(";")))
                    continue
                word = " ".join(first_tokens(sql, limit=1))
                message = f"{word} is no query that can be prepared; take it out"
                problems.append(Problem(message=message, file=path.name, line=line))
    except LexerError as error:
        problems.append(Problem(message=error.message, file=path.name, line=error.line, column=error.column))
    except OSError as error:
        problems.append(Problem(message=f"cannot be read: {error.strerror}", file=path.name))
    if not (found or problems):
        problems.append(
            Problem(message="holds no query; write SQL statements, each with its semicolon", file=path.name)
        )
    if problems:
        raise FilesInvalid(problems)
    return tuple(found)


def is_preparable(sql: bytes) -> bool:
    """Whether PREPARE takes a statement, as far as its first word tells."""
    return not _PREPARABLE_KEYWORDS.isdisjoint(first_tokens(sql, limit=1))


def only_reads(sql: str) -> bool:
    """Whether a query may be executed: one that says nowhere that it writes or locks rows."""
    words = first_tokens(sql.encode())
    return not _READING_KEYWORDS.isdisjoint(words[:1]) and _WRITING_KEYWORDS.isdisjoint(words)


def _split_statements(read: Callable[[int], bytes]) -> Iterator[tuple[int, bytes]]:
    """(line, text) of each statement; the data of a COPY, which is refused, are passed over."""
    return ((part.line, part.sql) for part in split_script(read) if part.kind is PartKind.STATEMENT)


# The queries that production runs, from its pg_stat_statements: there each stands once, with $1 in place of values.
#
# Only read, in a READ ONLY transaction. Source: PostgreSQL documentation, "pg_stat_statements".


STATISTICS_EXTENSION = "pg_stat_statements"
_APPLICATION_NAME = "inv db.snapshot-test: reading queries"
_MAX_QUERIES = 1000
_HIDDEN_QUERY_TEXT = "<insufficient privilege>"
_SET_TIMEOUTS = "SET LOCAL statement_timeout = '30s'; SET LOCAL lock_timeout = '5s'"
_EXTENSION_SCHEMA_QUERY = (
    "SELECT nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = %s"
)
_STATISTICS_QUERY = """
SELECT coalesce(queryid::text, '?'), query, sum(calls)::bigint FROM {}
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND query IS NOT NULL
GROUP BY 1, 2 ORDER BY 3 DESC, 1
"""


def read_production_queries(url: str) -> tuple[ApplicationQuery, ...]:
    """The queries that were called most often in the database at `url`, at most a thousand.

    Raises DatabaseRefused where the extension is missing, or hides queries; DatabaseUnreachable.
    """
    with open_session(make_conninfo(url, application_name=_APPLICATION_NAME), variable="PROD_DB") as session:
        connection = session.connection
        with connection.transaction():
            connection.execute("SET TRANSACTION READ ONLY")
            connection.execute(_SET_TIMEOUTS)
            rows = connection.execute(
                sql.SQL(_STATISTICS_QUERY).format(_statistics_view(connection, session.name))
            ).fetchall()
    if any(text == _HIDDEN_QUERY_TEXT for _, text, _ in rows):
        raise DatabaseRefused(
            f"{session.name}: {STATISTICS_EXTENSION} hides the queries of others; as a superuser: "
            "GRANT pg_read_all_stats TO the user of PROD_DB"
        )
    found = (
        ApplicationQuery(name=f"query {number}", text=text) for number, text, _ in rows if is_preparable(text.encode())
    )
    return tuple(itertools.islice(found, _MAX_QUERIES))


def _statistics_view(connection: Connection, name: str) -> sql.Identifier:
    row = connection.execute(_EXTENSION_SCHEMA_QUERY, (STATISTICS_EXTENSION,)).fetchone()
    if row is None:
        raise DatabaseRefused(
            f"{name}: {STATISTICS_EXTENSION} is not there; CREATE EXTENSION {STATISTICS_EXTENSION} "
            "(with shared_preload_libraries), or give the queries in a file: --queries FILE"
        )
    return sql.Identifier(row[0], STATISTICS_EXTENSION)


def read_queries(asked: str, prod_db: str | None) -> tuple[ApplicationQuery, ...]:
    """The queries of a file, or with pg_stat_statements those that the database at `prod_db` runs most often.

    Raises FilesInvalid; UsageError without PROD_DB; DatabaseRefused and DatabaseUnreachable of PROD_DB.
    """
    if asked != STATISTICS_EXTENSION:
        return read_query_file(Path(asked))
    if not prod_db:
        raise UsageError(f"--queries {asked}: they are read from production; set PROD_DB, or give a file")
    return read_production_queries(prod_db)
