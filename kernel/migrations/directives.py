"""Directives of this project in the comments of a migration file.

They are written in the comments before the first statement:

    -- migrate: no-transaction
    -- migrate: lock_timeout=2s

One directive is allowed above any statement and concerns the linter only:

    -- migrate: allow=drop-column unused since release 7
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from kernel.errors import Problem
from kernel.migrations.replaced import REPLACED_EARLIER, REPLACES, is_replaced_value
from kernel.units import parse_milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterator


# -- migrate:up and -- migrate:down are those of dbmate.
_DIRECTIVE = re.compile(rb"^[ \t]*--[ \t]*migrate[ \t]*:(?![ \t]*(?:up|down)\b)(?P<words>[^\r\n]*)", re.MULTILINE)
# What a comment needs to have a mark of another tool, or a near miss of a directive: most are read no further.
_WORTH_A_LOOK = re.compile(
    rb"goose|micrate|\+\w+\s|migrate:[ \t]*(?:up|down)|rambler|!(?:up|down)s"
    rb"|transaction|atlas:|\.sql\s|--!|tern:|drop below|evolve|flyway|liquibase|changeset|txn-mode|@marv|//\s*@"
    rb"|(?:lock[_-]?timeout|allow)\s*="
    rb"|\b(?:ups?|downs?|undo|rollback|revert|reverse|backwards?)\b[^\w;\n]*(?:\w+[^\w;\n]*)?$",
    re.IGNORECASE | re.MULTILINE,
)
_ALLOW = re.compile(r"\s*allow\s*=\s*(?P<rule>[^\s,]*)(?P<reason>.*)", re.DOTALL)


class Directives(NamedTuple):
    """The directives of a file; None for one that it does not contain."""

    no_transaction: bool = False
    lock_timeout_ms: int | None = None


class Allow(NamedTuple):
    """A finding accepted in the file: the id of the rule, and the reason; the linter reports it if either is empty."""

    rule: str
    reason: str
    line: int


def parse_directives(comments: bytes, file: str) -> tuple[Directives, tuple[Problem, ...]]:
    """Return the directives in the comments before the first statement, and their problems."""
    no_transaction = False
    lock_timeout_ms = None
    problems = []
    for line, word in _directive_words(comments):
        name, _, value = word.partition("=")
        if word == "no-transaction":
            no_transaction = True
        elif name == "lock_timeout":
            try:
                lock_timeout_ms = parse_milliseconds(value)
            except ValueError as error:
                problems.append(Problem(message=f"-- migrate: lock_timeout: {error}", file=file, line=line))
        elif name in (REPLACES, REPLACED_EARLIER) and is_replaced_value(value):
            pass  # read with the file's name, by kernel.migrations.replaced
        else:
            known = "the directives are no-transaction, lock_timeout=2s and allow=rule reason"
            problems.append(Problem(message=f"-- migrate: {word}: no such directive; {known}", file=file, line=line))
    return Directives(no_transaction=no_transaction, lock_timeout_ms=lock_timeout_ms), tuple(problems)


def _directive_words(comments: bytes) -> Iterator[tuple[int, str]]:
    for directive in _DIRECTIVE.finditer(comments):
        if _ALLOW.fullmatch(directive["words"].decode()):
            continue
        line = 1 + comments.count(b"\n", 0, directive.start())
        words = directive["words"].decode().replace(",", " ").split()
        for word in words or ["(nothing)"]:
            yield line, word


def parse_allows(comments: bytes, line: int) -> Iterator[Allow]:
    """Yield the allow directives of comments that begin at `line`; each is on a separate line."""
    for directive in _DIRECTIVE.finditer(comments):
        if match := _ALLOW.fullmatch(directive["words"].decode()):
            at = line + comments.count(b"\n", 0, directive.start())
            yield Allow(rule=match["rule"], reason=match["reason"].strip(" ,:\t\r"), line=at)


def misplaced_directive_problems(comments: bytes, file: str, line: int) -> Iterator[Problem]:
    """Yield a problem for each directive in comments after the first statement; the comments begin at `line`."""
    for directive in _DIRECTIVE.finditer(comments):
        if _ALLOW.fullmatch(directive["words"].decode()):
            continue
        at = line + comments.count(b"\n", 0, directive.start())
        yield Problem(message="a directive below the first statement; move it to the top", file=file, line=at)


def may_have_foreign_marks(comments: bytes) -> bool:
    """Whether kernel.migrations.foreign has to look at these comments."""
    return _WORTH_A_LOOK.search(comments) is not None
