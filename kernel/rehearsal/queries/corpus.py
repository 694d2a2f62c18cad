"""Read the application's queries, from a file or from production's pg_stat_statements.

A query is a statement that PREPARE accepts: SELECT, VALUES, INSERT, UPDATE, DELETE, MERGE, with $1 for parameters.
Sources: PostgreSQL documentation, "PREPARE" and "pg_stat_statements".
"""

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
    from kernel.db.connection import Connection


_PREPARABLE_KEYWORDS = frozenset({"SELECT", "VALUES", "TABLE", "WITH", "INSERT", "UPDATE", "DELETE", "MERGE", "("})
_READING_KEYWORDS = frozenset({"SELECT", "VALUES", "TABLE", "WITH", "("})
_WRITING_KEYWORDS = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "INTO", "SHARE"})
_MAX_SHOWN_CHARACTERS = 160

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationQuery:
    """One statement without its semicolon; `name` says where it was read, as in queries.sql:12."""

    name: str
    text: str

    def __str__(self) -> str:
        """The name and the start of the text on one line, with passwords masked."""
        words = " ".join(mask_passwords(self.text).split())
        shown = words if len(words) <= _MAX_SHOWN_CHARACTERS else words[: _MAX_SHOWN_CHARACTERS - 1] + "…"
        return f"{self.name}: {shown}"


def read_queries(source: str, prod_db: str | None) -> tuple[ApplicationQuery, ...]:
    """The queries of a file, or with pg_stat_statements those that the database at `prod_db` runs most often.

    Raises FilesInvalid; UsageError without PROD_DB; DatabaseRefused and DatabaseUnreachable of PROD_DB.
    """
    if source != STATISTICS_EXTENSION:
        return read_query_file(Path(source))
    if not prod_db:
        raise UsageError(f"--queries {source}: they are read from production; set PROD_DB, or give a file")
    return read_production_queries(prod_db)


def read_query_file(path: Path) -> tuple[ApplicationQuery, ...]:
    """The queries of a file, in order.

    Raises FilesInvalid with every problem: an unreadable or empty file, statements that cannot be prepared.
    """
    problems: list[Problem] = []
    queries: list[ApplicationQuery] = []
    try:
        with path.open("rb", buffering=0) as file:
            for part in split_script(file.read):
                if part.kind is not PartKind.STATEMENT:
                    continue  # the data of a COPY, which is refused
                if is_preparable(part.sql):
                    text = part.sql.decode().removesuffix(";")
                    queries.append(ApplicationQuery(name=f"{path.name}:{part.line}", text=text))
                else:
                    word = " ".join(first_tokens(part.sql, limit=1))
                    message = f"{word} is no query that can be prepared; take it out"
                    problems.append(Problem(message=message, file=path.name, line=part.line))
    except LexerError as error:
        problems.append(Problem(message=error.message, file=path.name, line=error.line, column=error.column))
    except OSError as error:
        problems.append(Problem(message=f"cannot be read: {error.strerror}", file=path.name))
    if not (queries or problems):
        problems.append(
            Problem(message="holds no query; write SQL statements, each with its semicolon", file=path.name)
        )
    if problems:
        raise FilesInvalid(problems)
    return tuple(queries)


def is_preparable(statement: bytes) -> bool:
    """Whether PREPARE accepts a statement, judged by its first word."""
    return not _PREPARABLE_KEYWORDS.isdisjoint(first_tokens(statement, limit=1))


def only_reads(statement: str) -> bool:
    """Whether a statement contains no word that writes or locks rows, so that it may be executed."""
    words = first_tokens(statement.encode())
    return not _READING_KEYWORDS.isdisjoint(words[:1]) and _WRITING_KEYWORDS.isdisjoint(words)


def read_production_queries(url: str) -> tuple[ApplicationQuery, ...]:
    """The most frequently called queries of the database at `url`, at most 1000, read in a READ ONLY transaction.

    Raises DatabaseRefused where the extension is missing, or hides queries; DatabaseUnreachable.
    """
    with open_session(make_conninfo(url, application_name=_APPLICATION_NAME), variable="PROD_DB") as session:
        connection = session.connection
        with connection.transaction():
            connection.execute("SET TRANSACTION READ ONLY")
            connection.execute(_SET_TIMEOUTS)
            view = _statistics_view(connection, session.name)
            rows = connection.execute(sql.SQL(_STATISTICS_QUERY).format(view)).fetchall()
    if any(text == _HIDDEN_QUERY_TEXT for _, text, _ in rows):
        raise DatabaseRefused(
            f"{session.name}: {STATISTICS_EXTENSION} hides the queries of others; as a superuser: "
            "GRANT pg_read_all_stats TO the user of PROD_DB"
        )
    queries = (
        ApplicationQuery(name=f"query {number}", text=text) for number, text, _ in rows if is_preparable(text.encode())
    )
    return tuple(itertools.islice(queries, _MAX_QUERIES))


def _statistics_view(connection: Connection, name: str) -> sql.Identifier:
    row = connection.execute(_EXTENSION_SCHEMA_QUERY, (STATISTICS_EXTENSION,)).fetchone()
    if row is None:
        raise DatabaseRefused(
            f"{name}: {STATISTICS_EXTENSION} is not there; CREATE EXTENSION {STATISTICS_EXTENSION} "
            "(with shared_preload_libraries), or give the queries in a file: --queries FILE"
        )
    return sql.Identifier(row[0], STATISTICS_EXTENSION)
