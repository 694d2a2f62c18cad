"""Directives of this project in the comments of a migration file.

They are written in the comments before the first statement:

    -- migrate: no-transaction
    -- migrate: lock_timeout=2s
    -- migrate: phase=after
    -- migrate: batch=10000 by=orders.id pause=100ms

One is allowed above any statement and concerns the linter only, and one above a SELECT at the top of the file:

    -- migrate: allow=drop-column unused since release 7
    -- migrate: check every order has a total

One accepts differences between the live catalog and the files, and has a reason too:

    -- migrate: ignore-drift=public.scratch_* tables of the analysts
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
_KEYS = rb"(?:phase|after|batch|by|pause|lag|lock[_-]?timeout|allow|ignore[_-]?drift|replaces|replaced[_-]?earlier)"
# A comment line that begins with migrate: in any form, and goes on with a directive; prose does not, which may begin
# with "Migrate: check".
_NEAR_MISS = re.compile(
    rb"(?:^|\r|\*/)[^\w\n]*migrate(?:[ \t]*:|(?=[ \t]+(?:no[_-]transaction\b|" + _KEYS + rb"=)))(?P<words>[ \t]*"
    rb"(?:no[_-]?transaction\b|(?-i:(?<=migrate: )check\b)|" + _KEYS + rb"[ \t]*=|[^\r\n]*[ \t,]" + _KEYS + rb"=)"
    rb"[^\r\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
# The near misses and the block comments that kernel.migrations.foreign reads.
_FOUND_AS_FOREIGN = re.compile(
    rb"[ \t]*(?:(?:lock[_-]?timeout|allow)[ \t]*=[ \t]*[^\s;]|no[_-]?transaction[^\w;]*$)", re.IGNORECASE
)
_BLOCK_OF_ONE_LINE = re.compile(rb"^[ \t]*/\*[\s*]*((?!--)[^*\s][^*\n]*?)[\s*]*\*/[ \t\r]*$", re.MULTILINE)
# What a comment needs to have a mark of another tool, or a near miss of a directive: most are read no further.
_WORTH_A_LOOK = re.compile(
    rb"goose|micrate|\+\w+\s|migrate:[ \t]*(?:up|down)|rambler|!(?:up|down)s"
    rb"|transaction|atlas:|\.sql\s|--!|tern:|drop below|evolve|flyway|liquibase|changeset|txn-mode|@marv|//\s*@"
    rb"|(?:lock[_-]?timeout|allow)\s*="
    rb"|\b(?:ups?|upgrade|(?:sql[ \t_-]?)?down(?:migration)?s?|downgrade|undo|roll[ \t_-]?back|revert|reverse"
    rb"|backwards?)\b[^\w;\n]*(?:\w+[^\w;\n]+){0,7}\w*$",
    re.IGNORECASE | re.MULTILINE,
)
_CHECK = re.compile(r"\s*check(?:\s+(?P<message>.*))?", re.DOTALL)
_IGNORE_DRIFT = re.compile(r"\s*ignore-drift\s*=\s*(?P<pattern>[^\s,]*)(?P<reason>.*)", re.DOTALL)
_ALLOW = re.compile(r"\s*allow\s*=\s*(?P<rule>[^\s,]*)(?P<reason>.*)", re.DOTALL)


BATCH_WORDS = ("batch", "by", "pause", "lag")


class BatchWord(NamedTuple):
    """A word of the directive of a backfill as it is written, and its line."""

    name: str
    value: str
    line: int


class Directives(NamedTuple):
    """The directives of a file; None for one that it does not contain.

    `batch` are the words of a backfill, which kernel.migrations.backfill reads.
    """

    no_transaction: bool = False
    lock_timeout_ms: int | None = None
    batch: tuple[BatchWord, ...] = ()


PHASE, AFTER = "phase", "after"
_PHASES = ("before", "after")


class IgnoreDrift(NamedTuple):
    """Objects whose differences from the files are accepted: a name or pattern, and the reason."""

    pattern: str
    reason: str
    line: int


class Allow(NamedTuple):
    """A finding accepted in the file: the id of the rule, and the reason; the linter reports it if either is empty."""

    rule: str
    reason: str
    line: int


def parse_directives(comments: bytes, file: str) -> tuple[Directives, tuple[Problem, ...]]:
    """Return the directives in the comments before the first statement, and their problems."""
    no_transaction = False
    lock_timeout_ms = None
    batch: list[BatchWord] = []
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
        elif name in BATCH_WORDS:
            batch.append(BatchWord(name, value, line))
        elif problem := _word_problem(word, file):
            problems.append(Problem(message=f"-- migrate: {word}: {problem}", file=file, line=line))
    problems += (*_phase_problems(comments, file), *_ignore_drift_problems(comments, file))
    problems += _near_miss_problems(comments, file, 1)
    directives = Directives(no_transaction=no_transaction, lock_timeout_ms=lock_timeout_ms, batch=tuple(batch))
    return directives, tuple(problems)


def _near_miss_problems(comments: bytes, file: str, line: int) -> Iterator[Problem]:
    """A problem for each line that is a directive but for its form; the comments begin at `line`."""
    if b"migrate" not in comments.lower():
        return
    read = {directive.start("words") for directive in _DIRECTIVE.finditer(comments)}
    for near in _NEAR_MISS.finditer(comments):
        if near.start("words") in read or _is_found_as_foreign(near):
            continue
        text = near[0].decode(errors="replace").removeprefix("*/").strip()
        message = (
            f"{text}: not read as a directive; a directive is a comment of its own that begins with "
            "-- migrate: in lower case"
        )
        at = line + comments.count(b"\n", 0, near.start("words"))
        yield Problem(message=message, file=file, line=at)


def _is_found_as_foreign(near: re.Match[bytes]) -> bool:
    """Whether kernel.migrations.foreign reports a near miss, so that it is not reported twice."""
    comments, begin = near.string, near.start("words")
    if not may_have_foreign_marks(comments):
        return False
    is_known = _FOUND_AS_FOREIGN.match(near["words"]) is not None
    if any(block.start(1) < begin <= block.end(1) for block in _BLOCK_OF_ONE_LINE.finditer(comments)):
        return is_known or b"migrate" in near[0][: begin - near.start()]
    return is_known and near[0].lstrip().startswith(b"--")


def _phase_problems(comments: bytes, file: str) -> Iterator[Problem]:
    """A problem for a second phase; each value is checked with the other words."""
    given = [(line, word) for line, word in _directive_words(comments) if word.partition("=")[0] == PHASE]
    for line, word in given[1:]:
        yield Problem(message=f"-- migrate: {word}: a second phase; remove one", file=file, line=line)


def _ignore_drift_problems(comments: bytes, file: str) -> Iterator[Problem]:
    for one in parse_ignored_drift(comments):
        if not one.pattern or not one.reason:
            message = (
                "-- migrate: ignore-drift needs a name and a reason, such as ignore-drift=app.scratch_* of analysts"
            )
            yield Problem(message=message, file=file, line=one.line)


def _word_problem(word: str, file: str) -> str:
    """What is wrong with a word that has no value in Directives; "" for one that another module reads."""
    name, _, value = word.partition("=")
    is_repeatable = file.startswith("repeatable/")
    if name in (REPLACES, REPLACED_EARLIER) and is_replaced_value(value):
        return ""  # read with the file's name, by kernel.migrations.replaced
    if name == PHASE and not is_repeatable:  # read with the file's name, by kernel.migrations.phases
        return "" if value in _PHASES else "the phases are phase=before and phase=after"
    if name == PHASE:
        return "repeatable files run when no file of phase before is pending; write it into a numbered migration"
    if name == AFTER:  # read with the other files, by kernel.migrations.repeatable
        return "" if is_repeatable else "only for the order of files in repeatable/; numbered ones run by their numbers"
    return (
        "no such directive; the directives are no-transaction, lock_timeout=2s, phase=after, batch=10000 by=table.key, "
        "allow=rule reason, check message and ignore-drift=name reason"
    )


def parse_phase(comments: bytes) -> str:
    """The value of the phase directive in the comments before the first statement; "" without one."""
    values = [word.partition("=")[2] for _, word in _directive_words(comments) if word.partition("=")[0] == PHASE]
    return values[-1] if values else ""


def parse_after(comments: bytes) -> Iterator[tuple[int, str]]:
    """Yield line and value of each after directive in the comments before the first statement of a repeatable file."""
    for line, word in _directive_words(comments):
        name, _, value = word.partition("=")
        if name == AFTER:
            yield line, value


def _directive_words(comments: bytes) -> Iterator[tuple[int, str]]:
    for directive in _DIRECTIVE.finditer(comments):
        if _is_about_statement(words := directive["words"].decode()) or _IGNORE_DRIFT.fullmatch(words):
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


def parse_checks(comments: bytes, line: int) -> Iterator[tuple[int, str]]:
    """Yield line and message of each check directive of comments that begin at `line`."""
    if b"check" not in comments:
        return
    for directive in _DIRECTIVE.finditer(comments):
        if match := _CHECK.fullmatch(directive["words"].decode()):
            yield line + comments.count(b"\n", 0, directive.start()), (match["message"] or "").strip()


def parse_ignored_drift(comments: bytes) -> Iterator[IgnoreDrift]:
    """Yield the ignore-drift directives of the comments before the first statement; each is on a separate line."""
    for directive in _DIRECTIVE.finditer(comments):
        if match := _IGNORE_DRIFT.fullmatch(directive["words"].decode(errors="replace")):
            at = 1 + comments.count(b"\n", 0, directive.start())
            yield IgnoreDrift(pattern=match["pattern"], reason=match["reason"].strip(" ,:\t\r"), line=at)


def _is_about_statement(words: str) -> bool:
    """Whether a directive is about the statement below it, and not about the file."""
    return bool(_ALLOW.fullmatch(words) or _CHECK.fullmatch(words))


def misplaced_directive_problems(comments: bytes, file: str, line: int) -> Iterator[Problem]:
    """Yield a problem for each directive in comments after the first statement; the comments begin at `line`."""
    for directive in _DIRECTIVE.finditer(comments):
        if _is_about_statement(directive["words"].decode()):
            continue
        at = line + comments.count(b"\n", 0, directive.start())
        yield Problem(message="a directive below the first statement; move it to the top", file=file, line=at)
    yield from _near_miss_problems(comments, file, line)


def may_have_foreign_marks(comments: bytes) -> bool:
    """Whether kernel.migrations.foreign has to look at these comments."""
    return _WORTH_A_LOOK.search(comments) is not None
