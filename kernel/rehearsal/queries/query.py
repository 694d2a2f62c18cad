"""A query of the application, and reading queries from a file: SQL statements, with $1 for what is filled in later.

Only what PREPARE takes is a query (PostgreSQL documentation, "PREPARE"): SELECT, VALUES, INSERT, UPDATE, DELETE, MERGE.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.errors import FilesInvalid, Problem
from kernel.sql import lexer, secret, tokens
from kernel.sql.part import Kind
from kernel.sql.source import Unlexable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_QUERIES = frozenset({"SELECT", "VALUES", "TABLE", "WITH", "INSERT", "UPDATE", "DELETE", "MERGE", "("})
_READING = frozenset({"SELECT", "VALUES", "TABLE", "WITH", "("})
_WRITING = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "INTO", "SHARE"})
_SHOWN_CHARACTERS = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One statement without its semicolon; `name` is where it comes from, as in queries.sql:12."""

    name: str
    text: str

    def __str__(self) -> str:
        """The name, and the beginning of the text on one line, passwords masked."""
        words = " ".join(secret.masked(self.text).split())
        return f"{self.name}: {words if len(words) <= _SHOWN_CHARACTERS else words[: _SHOWN_CHARACTERS - 1] + '…'}"


def of_file(path: Path) -> tuple[Query, ...]:
    """The queries of a file, in their order.

    Raises FilesInvalid with everything that is wrong with it: unreadable, without queries, or holding what is no query.
    """
    problems: list[Problem] = []
    found: list[Query] = []
    try:
        with path.open("rb", buffering=0) as file:
            for line, sql in _statements(file.read):
                if is_query(sql):
                    found.append(Query(name=f"{path.name}:{line}", text=sql.decode().removesuffix(";")))
                    continue
                word = " ".join(tokens.words(sql, limit=1))
                message = f"{word} is no query that can be prepared; take it out"
                problems.append(Problem(message=message, file=path.name, line=line))
    except Unlexable as error:
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


def is_query(sql: bytes) -> bool:
    """Whether PREPARE takes a statement, as far as its first word tells."""
    return not _QUERIES.isdisjoint(tokens.words(sql, limit=1))


def only_reads(sql: str) -> bool:
    """Whether a query may be executed: one that says nowhere that it writes or locks rows."""
    words = tokens.words(sql.encode())
    return not _READING.isdisjoint(words[:1]) and _WRITING.isdisjoint(words)


def _statements(read: Callable[[int], bytes]) -> Iterator[tuple[int, bytes]]:
    """(line, text) of each statement; the data of a COPY, which is refused, are passed over."""
    return ((part.line, part.sql) for part in lexer.parts(read) if part.kind is Kind.STATEMENT)
