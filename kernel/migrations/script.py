"""Scripts: the mode in which a migration file runs, and the directives in its comments that select it.

Directives are written in the comments before the first statement:

    -- migrate: no-transaction
    -- migrate: lock_timeout=2s

One directive is allowed above any statement and concerns the linter only:

    -- migrate: allow=drop-column unused since release 7

A directive of another runner is an error: ignoring it would change the effect of the file. The rules for transactions
in a file are in docs/production.md, "Transactions written in the file".
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
from kernel.migrations.replaced import REPLACED_EARLIER, REPLACES, is_replaced_value
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
    (rb"--[ \t]*\+goose[ \t]+Statement(?:Begin|End)\b", "goose", "take it out, statements are split without it"),
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

_TRANSACTION_CONTROL = (
    StatementEffect.BEGIN,
    StatementEffect.COMMIT,
    StatementEffect.ROLLBACK,
    StatementEffect.TWO_PHASE,
)
_NO_TRANSACTION_REMEDY = "begin the file with -- migrate: no-transaction"
_IN_OUR_TRANSACTION = f"but the file runs in one of ours; take it out, or {_NO_TRANSACTION_REMEDY}"

REVERT_FOLDER = "revert"


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


def foreign_directive_problems(comments: bytes, file: str, line: int) -> Iterator[Problem]:
    """Yield a problem, with its remedy, for each directive of another runner in comments that begin at `line`."""
    for directive in _foreign_pattern().finditer(comments):
        _, runner, remedy = _FOREIGN_DIRECTIVES[(directive.lastindex or 1) - 1]
        text = directive[0].decode(errors="replace").strip()
        at = line + comments.count(b"\n", 0, directive.start())
        yield Problem(message=f"{text}: a directive of {runner}; {remedy}", file=file, line=at)


@cache  # compiled for the first file with a comment, not for each command
def _foreign_pattern() -> re.Pattern[bytes]:
    alternatives = rb"|".join(rb"(" + pattern + rb")" for pattern, _, _ in _FOREIGN_DIRECTIVES)
    return re.compile(rb"^[ \t]*(?:" + alternatives + rb")", re.MULTILINE)


class RunMode(Enum):
    """The mode in which a file runs."""

    TRANSACTION = "in one transaction"
    SINGLE_STATEMENT = "its one statement outside a transaction"
    NO_TRANSACTION = "statement by statement, outside a transaction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A file that can be run: its mode, the number of statements it sends, and the BEGIN that opens its transaction.

    A SET TRANSACTION at the beginning of the file is part of `begin_sql`: it must precede the claim, the first query.
    `checksum` is that of the bytes that were read. `parts` are kept for a small file, so that it is read only once.
    `all_plain` means that the effect of each statement is PLAIN.
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
    """A file while it runs: its parts, and the checksum of the bytes read, once the parts are exhausted."""

    parts: Iterator[Part]
    checksum: Callable[[], str]


@contextmanager
def open_script(script: Script, path: Path) -> Iterator[OpenScript]:
    """Open the parts of a file, from memory or read again. Raises OSError; iteration raises LexerError."""
    if script.parts is not None:
        yield OpenScript(iter(script.parts), lambda: script.checksum)
        return
    with path.open("rb", buffering=0) as file:
        reader = HashingReader(file.read)
        yield OpenScript(split_script(reader.read), reader.checksum)


class _SpecialStatement(NamedTuple):
    """A statement whose effect is not PLAIN; `position` counts statements from 0."""

    effect: StatementEffect
    position: int
    line: int
    sql: bytes


def parse_script(path: Path, name: str, *, keep_bytes: int = 0) -> Script:
    """Read a whole file and determine its mode; `name` is its name in messages.

    The parts of a file of at most `keep_bytes` are kept. Raises FilesInvalid with all problems and their lines.
    """
    scan = _ScriptScan(name, keep_bytes)
    try:
        with path.open("rb", buffering=0) as file:
            reader = HashingReader(file.read)
            scan.read(split_script(reader.read))
    except LexerError as error:
        problem = Problem(message=error.message, file=name, line=error.line, column=error.column)
        raise FilesInvalid([*scan.problems, problem]) from error
    except OSError as error:
        raise FilesInvalid([Problem(message=f"cannot be read: {error.strerror}", file=name)]) from error
    directives, problems = parse_directives(scan.head, name)
    mode, begin, refused = _choose_mode(scan.specials, scan.statement_count, no_transaction=directives.no_transaction)
    problems = (
        *problems,
        *scan.problems,
        *(Problem(message=message, file=name, line=line) for line, message in refused),
    )
    if problems:
        raise FilesInvalid(sorted(problems, key=lambda problem: problem.line or 0))
    return Script(
        mode=mode,
        statement_count=scan.statement_count if begin is None else scan.statement_count - 2,
        size_bytes=scan.size_bytes,
        checksum=reader.checksum(),
        parts=tuple(scan.kept_parts) if scan.size_bytes <= keep_bytes else None,
        begin_sql=b"; ".join((begin or b"BEGIN", *scan.characteristics)),
        lock_timeout_ms=directives.lock_timeout_ms,
        all_plain=not scan.specials,
    )


class _ScriptScan:
    """The facts collected while a file is read; `head` is the text before its first statement."""

    def __init__(self, name: str, keep_bytes: int) -> None:
        self._name = name
        self._keep_bytes = keep_bytes
        self.head = b""
        self.specials: list[_SpecialStatement] = []
        self.characteristics: list[bytes] = []  # SET TRANSACTION statements preceded only by BEGIN
        self.problems: list[Problem] = []
        self.statement_count = 0
        self.size_bytes = 0
        self.kept_parts: list[Part] = []

    def read(self, parts: Iterable[Part]) -> None:
        """Process the parts of the file. Raises the errors of iterating over them."""
        # The loop runs once per statement of the file: look up constants and methods before it.
        statement, plain, effect_of = PartKind.STATEMENT, StatementEffect.PLAIN, statement_effect
        keep, room_bytes = self.kept_parts.append, self._keep_bytes
        just_begun = True  # at the beginning of the file, or after the BEGIN of a transaction
        for part in parts:
            kind, text, line, start, _ = part
            if (room_bytes := room_bytes - len(text)) >= 0:
                keep(part)
            if kind is not statement:
                self._add_other_part(part)
                continue
            if start > 1 or just_begun:  # a single byte between two statements is not a comment
                self._check_comments(text[:start], line)
            if (effect := effect_of(text, start)) is plain:
                if just_begun and _sets_transaction(sql := text[start:]):
                    self.characteristics.append(sql.removesuffix(b";"))
                just_begun = False
            else:
                self.specials.append(_SpecialStatement(effect, self.statement_count, line, text[start:]))
                just_begun = effect is StatementEffect.BEGIN
            self.statement_count += 1
        self.size_bytes = self._keep_bytes - room_bytes

    def _add_other_part(self, part: Part) -> None:
        """Process a part that is not a statement."""
        if part.kind is PartKind.BLANK:
            self._check_comments(part.text[: part.start], part.line)
            if not self.statement_count:
                self.head += part.sql

    def _check_comments(self, comments: bytes, line: int) -> None:
        """Find directives in the comments before `line`."""
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
    """Return the mode, the BEGIN of a transaction around the whole file, and (line, message) of refused statements."""
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


def _is_surrounded_by_transaction(
    control: list[_SpecialStatement], specials: list[_SpecialStatement], statements: int
) -> bool:
    """Whether the only transaction control is one BEGIN … COMMIT around all statements except SETs before it."""
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
    """Return (line, message) for each transaction of a no-transaction file that is not ended, chained or prepared."""
    opened: _SpecialStatement | None = None
    refused = []
    for one in specials:
        if one.effect is StatementEffect.BEGIN:
            opened = opened or one
        elif one.effect in (StatementEffect.COMMIT, StatementEffect.ROLLBACK):
            opened = None
            if _is_chained(one):  # a later run could not continue after it: there is no BEGIN to send again
                refused.append(
                    (one.line, f"{_first_words(one)} begins another transaction; write a BEGIN for that one")
                )
        elif one.effect is StatementEffect.TWO_PHASE:
            opened = None
            refused.append((one.line, f"{_first_words(one)} {one.effect.value}, which a migration cannot do"))
    if opened:
        refused.append(
            (opened.line, f"{_first_words(opened)} begins a transaction that the file does not end; add COMMIT")
        )
    return refused


def _sets_transaction(sql: bytes) -> bool:
    # Without a semicolon, a comment at its end would also comment out the text sent after it.
    return sql[:3].upper() == b"SET" and sql.endswith(b";") and first_tokens(sql, limit=2) == ("SET", "TRANSACTION")


def _is_chained(one: _SpecialStatement) -> bool:
    """Whether a COMMIT or ROLLBACK begins another transaction at once."""
    return ("AND", "CHAIN") in itertools.pairwise(first_tokens(one.sql))


def _first_words(one: _SpecialStatement) -> str:
    """Return the first words of a statement, for a message."""
    return " ".join(mask_passwords(one.sql.decode(errors="replace")).rstrip(";").split()[:4])


def parse_revert_script(path: Path, name: str) -> Script:
    """Read a revert file. Raises FilesInvalid, also when it cannot run in the transaction that removes the record."""
    script = parse_script(path, name)
    if script.mode is not RunMode.TRANSACTION:
        message = "it has to run in the transaction that removes the record; write it without CONCURRENTLY"
        raise FilesInvalid([Problem(message=message, file=name)])
    return script


def list_revert_candidates(directory: Path) -> list[str]:
    """Return the names of the revert files of a migrations directory; [] if there are none. Raises FilesInvalid."""
    folder = directory / REVERT_FOLDER
    return list_candidates(folder) if folder.exists() else []


def orphaned_revert_problems(filenames: Iterable[str], migrations: Iterable[str]) -> tuple[Problem, ...]:
    """Return a problem for each revert file that no rollback can use, since no migration has its name."""
    names = set(migrations)
    by_number = {int(parsed[0]): name for name in names if (parsed := parse_filename(name))}
    problems = []
    for filename in filenames:
        if filename in names:
            continue
        version = filename[: len(filename) - len(filename.lstrip("0123456789"))]
        renamed = by_number.get(int(version)) if version else None
        remedy = f"{renamed} would look for its own name: rename it" if renamed else "rename it after the one it undoes"
        message = f"no migration has this name; {remedy}, or remove it"
        problems.append(Problem(message=message, file=f"{REVERT_FOLDER}/{filename}"))
    return tuple(problems)
