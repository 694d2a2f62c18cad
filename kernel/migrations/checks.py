"""Checks of data: a SELECT whose row begins with true.

At the top of a migration, before it changes anything, under a directive that says what must hold:

    -- migrate: check every order has a total
    SELECT count(*) = 0, (array_agg(id))[1:10] FROM orders WHERE total IS NULL;

And as the statements of a file of the same name in verify/, which run after the migration, before it commits, and again
with db.verify --run. There the directive may be left out. The statement returns one row; its first column says whether
the check holds, the others are keys of the rows that violate it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.errors import Problem
from kernel.migrations.directives import parse_checks
from kernel.sql.classify import StatementEffect, statement_effect
from kernel.sql.lexer import PartKind
from kernel.sql.tokens import first_tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kernel.sql.lexer import Part


_QUERY_WORDS = ("SELECT", "WITH", "VALUES", "TABLE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A check: what must hold, and the byte offset of its statement in the file."""

    message: str
    offset: int


def read_checks(
    parts: Iterable[Part], name: str, *, every_statement: bool = False
) -> tuple[tuple[Check, ...], tuple[Problem, ...]]:
    """The checks among the parts of a file, and everything that is wrong with them.

    With `every_statement`, as in verify/, each statement is one, with a directive or without.
    """
    checks: list[Check] = []
    found: list[tuple[int, str]] = []
    at_top = True
    for part in parts:
        comments = part.text[: part.start] if part.kind is PartKind.STATEMENT else part.text
        directives = tuple(parse_checks(comments, part.line - part.text.count(b"\n", 0, part.start)))
        if part.kind is not PartKind.STATEMENT:
            found += [(line, "a check without a statement; write its SELECT below it") for line, _ in directives]
        elif directives or every_statement:
            message = directives[0][1] if directives else f"the query on line {part.line}"
            checks.append(Check(message=message, offset=part.offset))
            found += _problems(part, directives, is_first=at_top or every_statement)
        else:
            at_top = at_top and _opens_transaction(part)
    return tuple(checks), tuple(Problem(message=message, file=name, line=line) for line, message in found)


def _problems(part: Part, directives: Sequence[tuple[int, str]], *, is_first: bool) -> Iterator[tuple[int, str]]:
    """(line, message) of everything that is wrong with the check of a statement."""
    for number, (line, message) in enumerate(directives):
        if not message:
            yield line, "-- migrate: check: the message is missing; write after it what must hold"
        if number:
            yield line, "two checks above one statement; write a SELECT for each"
        elif not is_first:
            yield line, "a check below another statement; move it to the top of the file, or to a file in verify/"
    if not _is_query(part.sql):
        yield part.line, "not a query; a check is a SELECT of one row whose first column is true or false"


def _opens_transaction(part: Part) -> bool:
    is_begin = statement_effect(part.text, part.start) is StatementEffect.BEGIN
    return is_begin or first_tokens(part.text, part.start, limit=2) == ("SET", "TRANSACTION")


def _is_query(sql: bytes) -> bool:
    tokens = [token for token in first_tokens(sql) if token != "("]  # noqa: S105 - a token of SQL
    return bool(tokens) and tokens[0] in _QUERY_WORDS and "INTO" not in tokens
