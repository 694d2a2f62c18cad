"""Directives: comments ahead of the first statement that say how a file is to be run.

    -- migrate: no-transaction
    -- migrate: lock_timeout=2s

One may stand above any statement and is for the linter alone; the runner passes it over:

    -- migrate: allow=drop-column nobody reads it since release 7

A directive of another runner is never passed over in silence: it would change what the file does.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from kernel import duration
from kernel.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

_OURS = re.compile(rb"^[ \t]*--[ \t]*migrate[ \t]*:(?!up\b|down\b)(?P<words>[^\r\n]*)", re.MULTILINE)
_ALLOW = re.compile(r"\s*allow\s*=\s*(?P<rule>[^\s,]*)(?P<reason>.*)", re.DOTALL)
_UNDO = "what undoes the migration goes to revert/ under the same name"
_OTHERS = (
    (rb"--[ \t]*\+goose[ \t]+NO[ \t]+TRANSACTION\b", "goose", "write -- migrate: no-transaction"),
    (rb"--[ \t]*\+goose[ \t]+Statement(?:Begin|End)\b", "goose", "take it out, statements are told apart without it"),
    (rb"--[ \t]*\+goose[ \t]+\w+", "goose", f"take it out; {_UNDO}"),
    (rb"--[ \t]*\+migrate[ \t]+\w+[ \t]+notransaction\b", "sql-migrate", "write -- migrate: no-transaction"),
    (rb"--[ \t]*\+migrate[ \t]+\w+", "sql-migrate", f"take it out; {_UNDO}"),
    (
        rb"--[ \t]*migrate:(?:up|down)[ \t]+transaction:false",
        "dbmate",
        f"write -- migrate: no-transaction; {_UNDO}",
    ),
    (rb"--[ \t]*migrate:(?:up|down)\b", "dbmate", f"take it out; {_UNDO}"),
    (rb"----[ \t]*create above / drop below[ \t]*----", "tern", f"take it out; {_UNDO}"),
    (rb"----[ \t]*tern:[ \t]*disable-tx[ \t]*----", "tern", "write -- migrate: no-transaction"),
    (rb"--[ \t]*no-transaction[ \t]*\r?$", "sqlx", "write -- migrate: no-transaction"),
    (rb"--![ \t]*no-transaction\b", "graphile-migrate", "write -- migrate: no-transaction"),
    (rb"--![ \t]*\w+", "graphile-migrate", "take it out"),
    (rb"--[ \t]*atlas:txmode[ \t]+none\b", "Atlas", "write -- migrate: no-transaction"),
    (rb"--[ \t]*atlas:\w+", "Atlas", "take it out"),
    (rb"--[ \t]*transactional:[ \t]*false\b", "yoyo", "write -- migrate: no-transaction"),
    (rb"--[ \t]*(?:Up|Down) Migration[ \t]*\r?$", "node-pg-migrate", f"take it out; {_UNDO}"),
)


class Directives(NamedTuple):
    """What the file asks for; None where it is silent."""

    no_transaction: bool = False
    lock_timeout_ms: int | None = None


class Allow(NamedTuple):
    """A hazard accepted knowingly: the id of a rule, and why. Either may be missing, "", which the linter refuses."""

    rule: str
    reason: str
    line: int


def read(comments: bytes, file: str) -> tuple[Directives, tuple[Problem, ...]]:
    """The directives in the comments ahead of the first statement, and what is wrong with them."""
    no_transaction = False
    lock_timeout_ms = None
    problems = []
    for line, word in _words(comments):
        name, _, value = word.partition("=")
        if word == "no-transaction":
            no_transaction = True
        elif name == "lock_timeout":
            try:
                lock_timeout_ms = duration.milliseconds(value)
            except ValueError as error:
                problems.append(Problem(message=f"-- migrate: lock_timeout: {error}", file=file, line=line))
        else:
            known = "the directives are no-transaction, lock_timeout=2s and allow=rule reason"
            problems.append(Problem(message=f"-- migrate: {word}: no such directive; {known}", file=file, line=line))
    return Directives(no_transaction=no_transaction, lock_timeout_ms=lock_timeout_ms), tuple(problems)


def _words(comments: bytes) -> Iterator[tuple[int, str]]:
    for found in _OURS.finditer(comments):
        if _ALLOW.fullmatch(found["words"].decode()):
            continue
        line = 1 + comments.count(b"\n", 0, found.start())
        words = found["words"].decode().replace(",", " ").split()
        for word in words or ["(nothing)"]:
            yield line, word


def allows(comments: bytes, line: int) -> Iterator[Allow]:
    """What comments that begin at `line` accept, each on a line of its own."""
    for found in _OURS.finditer(comments):
        if match := _ALLOW.fullmatch(found["words"].decode()):
            at = line + comments.count(b"\n", 0, found.start())
            yield Allow(rule=match["rule"], reason=match["reason"].strip(" ,:\t\r"), line=at)


def misplaced(comments: bytes, file: str, line: int) -> Iterator[Problem]:
    """Directives of ours in comments below the first statement, which begin at `line`."""
    for found in _OURS.finditer(comments):
        if _ALLOW.fullmatch(found["words"].decode()):
            continue
        at = line + comments.count(b"\n", 0, found.start())
        yield Problem(message="a directive below the first statement; move it to the top", file=file, line=at)


def foreign(comments: bytes, file: str, line: int) -> Iterator[Problem]:
    """Directives of other runners in comments that begin at `line`, each with what to write here."""
    for found in _foreign().finditer(comments):
        _, runner, remedy = _OTHERS[(found.lastindex or 1) - 1]
        text = found[0].decode(errors="replace").strip()
        at = line + comments.count(b"\n", 0, found.start())
        yield Problem(message=f"{text}: a directive of {runner}; {remedy}", file=file, line=at)


@cache  # compiled for the first file with a comment, not for each command
def _foreign() -> re.Pattern[bytes]:
    alternatives = rb"|".join(rb"(" + pattern + rb")" for pattern, _, _ in _OTHERS)
    return re.compile(rb"^[ \t]*(?:" + alternatives + rb")", re.MULTILINE)
