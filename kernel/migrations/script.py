"""Scripts: how a file is run, and the directives in its comments that choose it.

Directives stand in the comments before the first statement:

    -- migrate: no-transaction
    -- migrate: lock_timeout=2s

One may stand above any statement and concerns the linter only:

    -- migrate: allow=drop-column unused since release 7

A directive of another runner is an error: ignored, it would change what the file does. The rules of transactions in a
file are in docs/production.md, "Transactions written in the file".
"""

from __future__ import annotations

import itertools
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from kernel.errors import FilesInvalid, Problem
from kernel.migrations.migration import HashingReader, list_candidates, parse_filename
from kernel.sql.classify import StatementEffect, statement_effect
from kernel.sql.lexer import LexerError, PartKind, split_script
from kernel.sql.passwords import mask_passwords
from kernel.sql.tokens import first_tokens
from kernel.units import parse_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from kernel.sql.lexer import Part


_DIRECTIVE = re.compile(rb"^[ \t]*--[ \t]*migrate[ \t]*:(?!up\b|down\b)(?P<words>[^\r\n]*)", re.MULTILINE)
_ALLOW = re.compile(r"\s*allow\s*=\s*(?P<rule>[^\s,]*)(?P<reason>.*)", re.DOTALL)
_REVERT_REMEDY = "what undoes the migration goes to revert/ under the same name"
_FOREIGN_DIRECTIVES = (
    (rb"--[ \t]*\+goose[ \t]+NO[ \t]+TRANSACTION\b", "goose", "write -- migrate: no-transaction"),
    (rb"--[ \t]*\+goose[ \t]+Statement(?:Begin|End)\b", "goose", "take it out, statements are told apart without it"),
    (rb"--[ \t]*\+goose[ \t]+\w+", "goose", f"take it out; {_REVERT_REMEDY}"),
    (rb"--[ \t]*\+migrate[ \t]+\w+[ \t]+notransaction\b", "sql-migrate", "write -- migrate: no-transaction"),
    (rb"--[ \t]*\+migrate[ \t]+\w+", "sql-migrate", f"take it out; {_REVERT_REMEDY}"),
    (
        rb"--[ \t]*migrate:(?:up|down)[ \t]+transaction:false",
        "dbmate",
        f"write -- migrate: no-transaction; {_REVERT_REMEDY}",
    ),
    (rb"--[ \t]*migrate:(?:up|down)\b", "dbmate", f"take it out; {_REVERT_REMEDY}"),
    (rb"----[ \t]*create above / drop below[ \t]*----", "tern", f"take it out; {_REVERT_REMEDY}"),
    (rb"----[ \t]*tern:[ \t]*disable-tx[ \t]*----", "tern", "write -- migrate: no-transaction"),
    (rb"--[ \t]*no-transaction[ \t]*\r?$", "sqlx", "write -- migrate: no-transaction"),
    (rb"--![ \t]*no-transaction\b", "graphile-migrate", "write -- migrate: no-transaction"),
    (rb"--![ \t]*\w+", "graphile-migrate", "take it out"),
    (rb"--[ \t]*atlas:txmode[ \t]+none\b", "Atlas", "write -- migrate: no-transaction"),
    (rb"--[ \t]*atlas:\w+", "Atlas", "take it out"),
    (rb"--[ \t]*transactional:[ \t]*false\b", "yoyo", "write -- migrate: no-transaction"),
    (rb"--[ \t]*(?:Up|Down) Migration[ \t]*\r?$", "node-pg-migrate", f"take it out; {_REVERT_REMEDY}"),
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


def parse_directives(comments: bytes, file: str) -> tuple[Directives, tuple[Problem, ...]]:
    """The directives in the comments ahead of the first statement, and what is wrong with them."""
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
        else:
            known = "the directives are no-transaction, lock_timeout=2s and allow=rule reason"
            problems.append(Problem(message=f"-- migrate: {word}: no such directive; {known}", file=file, line=line))
    return Directives(no_transaction=no_transaction, lock_timeout_ms=lock_timeout_ms), tuple(problems)


def _directive_words(comments: bytes) -> Iterator[tuple[int, str]]:
    for found in _DIRECTIVE.finditer(comments):
        if _ALLOW.fullmatch(found["words"].decode()):
            continue
        line = 1 + comments.count(b"\n", 0, found.start())
        words = found["words"].decode().replace(",", " ").split()
        for word in words or ["(nothing)"]:
            yield line, word


def parse_allows(comments: bytes, line: int) -> Iterator[Allow]:
    """What comments that begin at `line` accept, each on a line of its own."""
    for found in _DIRECTIVE.finditer(comments):
        if match := _ALLOW.fullmatch(found["words"].decode()):
            at = line + comments.count(b"\n", 0, found.start())
            yield Allow(rule=match["rule"], reason=match["reason"].strip(" ,:\t\r"), line=at)


def misplaced_directive_problems(comments: bytes, file: str, line: int) -> Iterator[Problem]:
    """Directives of ours in comments below the first statement, which begin at `line`."""
    for found in _DIRECTIVE.finditer(comments):
        if _ALLOW.fullmatch(found["words"].decode()):
            continue
        at = line + comments.count(b"\n", 0, found.start())
        yield Problem(message="a directive below the first statement; move it to the top", file=file, line=at)


def foreign_directive_problems(comments: bytes, file: str, line: int) -> Iterator[Problem]:
    """Directives of other runners in comments that begin at `line`, each with what to write here."""
    for found in _foreign_pattern().finditer(comments):
        _, runner, remedy = _FOREIGN_DIRECTIVES[(found.lastindex or 1) - 1]
        text = found[0].decode(errors="replace").strip()
        at = line + comments.count(b"\n", 0, found.start())
        yield Problem(message=f"{text}: a directive of {runner}; {remedy}", file=file, line=at)


@cache  # compiled for the first file with a comment, not for each command
def _foreign_pattern() -> re.Pattern[bytes]:
    alternatives = rb"|".join(rb"(" + pattern + rb")" for pattern, _, _ in _FOREIGN_DIRECTIVES)
    return re.compile(rb"^[ \t]*(?:" + alternatives + rb")", re.MULTILINE)


class RunMode(Enum):
    """How a file is run."""

    TRANSACTION = "in one transaction"
    SINGLE_STATEMENT = "its one statement outside a transaction"
    NO_TRANSACTION = "statement by statement, outside a transaction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A file that can be run: its mode, how many statements it sends, and the BEGIN that opens its transaction.

    A SET TRANSACTION that the file begins with is part of `begin`: behind our claim it would come too late.
    `checksum` is that of the bytes that were read. `parts` are kept for a small file, so that it is read once.
    `plain` tells that the effect of each of its statements is PLAIN.
    """

    mode: RunMode
    statement_count: int
    size_bytes: int
    checksum: str
    parts: tuple[Part, ...] | None = field(default=None, repr=False)
    begin_sql: bytes = b"BEGIN"
    lock_timeout_ms: int | None = None
    all_plain: bool = False


class OpenScript(NamedTuple):
    """A file as it is run: its parts, and the checksum of what was read when they are at their end."""

    parts: Iterator[Part]
    checksum: Callable[[], str]


@contextmanager
def open_script(script: Script, path: Path) -> Iterator[OpenScript]:
    """Go through a file's parts, from memory or once more from the disk. Raises OSError, and Unlexable on the way."""
    if script.parts is not None:
        yield OpenScript(iter(script.parts), lambda: script.checksum)
        return
    with path.open("rb", buffering=0) as file:
        reader = HashingReader(file.read)
        yield OpenScript(split_script(reader.read), reader.checksum)


class _SpecialStatement(NamedTuple):
    """A statement that is more than plain: what it does, where it stands (`at` counts statements from 0)."""

    effect: StatementEffect
    position: int
    line: int
    sql: bytes


def parse_script(path: Path, name: str, *, keep_bytes: int = 0) -> Script:
    """Read a file to its end and say how it has to be run; `name` is how messages call it.

    The parts of a file of at most `keep_bytes` are kept. Raises FilesInvalid with every problem found, each with its
    line.
    """
    sighted = _ScriptScan(name, keep_bytes)
    try:
        with path.open("rb", buffering=0) as file:
            reader = HashingReader(file.read)
            sighted.read(split_script(reader.read))
    except LexerError as error:
        problem = Problem(message=error.message, file=name, line=error.line, column=error.column)
        raise FilesInvalid([*sighted.problems, problem]) from error
    except OSError as error:
        raise FilesInvalid([Problem(message=f"cannot be read: {error.strerror}", file=name)]) from error
    directives, problems = parse_directives(sighted.head, name)
    mode, begin, refused = _choose_mode(
        sighted.specials, sighted.statement_count, no_transaction=directives.no_transaction
    )
    problems = (
        *problems,
        *sighted.problems,
        *(Problem(message=message, file=name, line=line) for line, message in refused),
    )
    if problems:
        raise FilesInvalid(sorted(problems, key=lambda problem: problem.line or 0))
    return Script(
        mode=mode,
        statement_count=sighted.statement_count if begin is None else sighted.statement_count - 2,
        size_bytes=sighted.size_bytes,
        checksum=reader.checksum(),
        parts=tuple(sighted.kept_parts) if sighted.size_bytes <= keep_bytes else None,
        begin_sql=b"; ".join((begin or b"BEGIN", *sighted.characteristics)),
        lock_timeout_ms=directives.lock_timeout_ms,
        all_plain=not sighted.specials,
    )


class _ScriptScan:
    """What is seen of a file as it is read. `head` is all that stands ahead of its first statement."""

    def __init__(self, name: str, keep_bytes: int) -> None:
        self._name = name
        self._keep_bytes = keep_bytes
        self.head = b""
        self.specials: list[_SpecialStatement] = []
        self.characteristics: list[bytes] = []  # the SET TRANSACTION that nothing but BEGIN stands ahead of, if any
        self.problems: list[Problem] = []
        self.statement_count = 0
        self.size_bytes = 0
        self.kept_parts: list[Part] = []

    def read(self, parts: Iterable[Part]) -> None:
        """Take the parts of the file into account. Raises what reading them raises."""
        # Once around for each statement of the file: what is the same each time is looked up here.
        statement, plain, effect_of = PartKind.STATEMENT, StatementEffect.PLAIN, statement_effect
        keep, room_bytes = self.kept_parts.append, self._keep_bytes
        just_begun = True  # nothing stands ahead, or the BEGIN of a transaction
        for part in parts:
            kind, text, line, start = part
            if (room_bytes := room_bytes - len(text)) >= 0:
                keep(part)
            if kind is not statement:
                self._add_other_part(part)
                continue
            if start > 1 or just_begun:  # between two statements, a single byte is no comment
                self._check_comments(text[:start], line)
            if (what := effect_of(text, start)) is plain:
                if just_begun and _sets_transaction(sql := text[start:]):
                    self.characteristics.append(sql.removesuffix(b";"))
                just_begun = False
            else:
                self.specials.append(_SpecialStatement(what, self.statement_count, line, text[start:]))
                just_begun = what is StatementEffect.BEGIN
            self.statement_count += 1
        self.size_bytes = self._keep_bytes - room_bytes

    def _add_other_part(self, part: Part) -> None:
        """Take a part that is no statement into account."""
        if part.kind is PartKind.BLANK:
            self._check_comments(part.text[: part.start], part.line)
            if not self.statement_count:
                self.head += part.sql

    def _check_comments(self, comments: bytes, line: int) -> None:
        """Look for directives in the comments ahead of `line`."""
        if not self.statement_count:
            self.head += comments
        if b"--" in comments:
            first = line - comments.count(b"\n")
            self.problems += foreign_directive_problems(comments, self._name, first)
            if self.statement_count:
                self.problems += misplaced_directive_problems(comments, self._name, first)


def _choose_mode(
    specials: list[_SpecialStatement], statements: int, *, no_transaction: bool
) -> tuple[RunMode, bytes | None, list[tuple[int, str]]]:
    """The mode, the file's own BEGIN if a pair surrounds it, and (line, message) of what cannot run that way."""
    if no_transaction:
        return RunMode.NO_TRANSACTION, None, _refuse_open_transactions(specials)
    if not specials:
        return RunMode.TRANSACTION, None, []
    control = [one for one in specials if one.effect in _TRANSACTION_CONTROL]
    outside = [one for one in specials if one.effect is StatementEffect.OUTSIDE]
    if outside and statements == 1:
        return RunMode.SINGLE_STATEMENT, None, []
    refused = [
        (one.line, f"{_first_words(one)} {one.effect.value}; {_NO_TRANSACTION_REMEDY}, or give it a file of its own")
        for one in outside
    ]
    if _is_surrounded_by_transaction(control, specials, statements):
        return RunMode.TRANSACTION, control[0].sql.rstrip(b"; \t\r\n"), refused
    refused += [
        (
            one.line,
            f"{_first_words(one)} {one.effect.value}, {_IN_OUR_TRANSACTION}",
        )
        for one in control
    ]
    return RunMode.TRANSACTION, None, sorted(refused)


_TRANSACTION_CONTROL = (
    StatementEffect.BEGIN,
    StatementEffect.COMMIT,
    StatementEffect.ROLLBACK,
    StatementEffect.TWO_PHASE,
)
_NO_TRANSACTION_REMEDY = "begin the file with -- migrate: no-transaction"
_IN_OUR_TRANSACTION = f"but the file runs in one of ours; take it out, or {_NO_TRANSACTION_REMEDY}"


def _is_surrounded_by_transaction(
    control: list[_SpecialStatement], specials: list[_SpecialStatement], statements: int
) -> bool:
    """Whether one BEGIN … COMMIT is all there is of transaction control, around everything but SETs ahead of it."""
    if [one.effect for one in control] != [StatementEffect.BEGIN, StatementEffect.COMMIT]:
        return False
    begin, commit = control
    ahead = [
        one
        for one in specials
        if one.position < begin.position and one.effect in (StatementEffect.SETTING, StatementEffect.LEXICAL)
    ]
    return len(ahead) == begin.position and commit.position == statements - 1 and not _is_chained(commit)


def _refuse_open_transactions(specials: list[_SpecialStatement]) -> list[tuple[int, str]]:
    """What of a no-transaction file's own transactions cannot be: begun and not ended, chained, or prepared."""
    opened: _SpecialStatement | None = None
    refused = []
    for one in specials:
        if one.effect is StatementEffect.BEGIN:
            opened = opened or one
        elif one.effect in (StatementEffect.COMMIT, StatementEffect.ROLLBACK):
            opened = None
            if _is_chained(one):  # the next run could not go on behind it: there is no BEGIN that it would send again
                refused.append(
                    (one.line, f"{_first_words(one)} begins another transaction; write a BEGIN for that one")
                )
        elif one.effect is StatementEffect.TWO_PHASE:
            opened = None
            refused.append((one.line, f"{_first_words(one)} {one.effect.value}, which a migration cannot leave behind"))
    if opened:
        refused.append(
            (opened.line, f"{_first_words(opened)} begins a transaction that the file does not end; add COMMIT")
        )
    return refused


def _sets_transaction(sql: bytes) -> bool:
    # Without its semicolon, a comment at its end would swallow what is sent behind it.
    return sql[:3].upper() == b"SET" and sql.endswith(b";") and first_tokens(sql, limit=2) == ("SET", "TRANSACTION")


def _is_chained(one: _SpecialStatement) -> bool:
    """Whether a COMMIT or ROLLBACK begins another transaction at once."""
    return ("AND", "CHAIN") in itertools.pairwise(first_tokens(one.sql))


def _first_words(one: _SpecialStatement) -> str:
    """The beginning of a statement, for a message."""
    return " ".join(mask_passwords(one.sql.decode(errors="replace")).rstrip(";").split()[:4])


REVERT_FOLDER = "revert"


def parse_revert_script(path: Path, name: str) -> Script:
    """Read a revert file to its end. Raises FilesInvalid, also when it cannot run as its record is removed."""
    found = parse_script(path, name)
    if found.mode is not RunMode.TRANSACTION:
        message = "it has to run in the transaction that removes the record; write it without CONCURRENTLY"
        raise FilesInvalid([Problem(message=message, file=name)])
    return found


def list_revert_candidates(directory: Path) -> list[str]:
    """The names of the revert files of a directory of migrations; [] without any. Raises FilesInvalid."""
    folder = directory / REVERT_FOLDER
    return list_candidates(folder) if folder.exists() else []


def orphaned_revert_problems(filenames: Iterable[str], migrations: Iterable[str]) -> tuple[Problem, ...]:
    """The revert files that no rollback would ever find, since no migration has their name."""
    names = set(migrations)
    by_number = {int(parsed[0]): name for name in names if (parsed := parse_filename(name))}
    problems = []
    for filename in filenames:
        if filename in names:
            continue
        version = filename[: len(filename) - len(filename.lstrip("0123456789"))]
        heir = by_number.get(int(version)) if version else None
        remedy = f"{heir} would look for its own name: rename it" if heir else "rename it after the one it undoes"
        message = f"no migration has this name; {remedy}, or remove it"
        problems.append(Problem(message=message, file=f"{REVERT_FOLDER}/{filename}"))
    return tuple(problems)
