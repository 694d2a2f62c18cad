"""What a file asks of the runner: the transaction it runs in, found out before the database is touched.

The rules are those of docs/production.md, "Transactions written in the file".
"""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from kernel.errors import FilesInvalid, Problem
from kernel.files import checksum, directive
from kernel.sql import effect, lexer, secret, tokens
from kernel.sql.effect import Effect
from kernel.sql.part import Kind
from kernel.sql.source import Unlexable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from kernel.sql.part import Part


class Mode(Enum):
    """How a file is run."""

    TRANSACTION = "in one transaction"
    ALONE = "its one statement outside a transaction"
    STEPS = "statement by statement, outside a transaction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A file that can be run: its mode, how many statements it sends, and the BEGIN that opens its transaction.

    A SET TRANSACTION that the file begins with is part of `begin`: behind our claim it would come too late.
    `checksum` is that of the bytes that were read. `parts` are kept for a small file, so that it is read once.
    `plain` tells that the effect of each of its statements is PLAIN.
    """

    mode: Mode
    statements: int
    size_bytes: int
    checksum: str
    parts: tuple[Part, ...] | None = field(default=None, repr=False)
    begin: bytes = b"BEGIN"
    lock_timeout_ms: int | None = None
    plain: bool = False


class Reading(NamedTuple):
    """A file as it is run: its parts, and the checksum of what was read when they are at their end."""

    parts: Iterator[Part]
    checksum: Callable[[], str]


@contextmanager
def reading(script: Script, path: Path) -> Iterator[Reading]:
    """Go through a file's parts, from memory or once more from the disk. Raises OSError, and Unlexable on the way."""
    if script.parts is not None:
        yield Reading(iter(script.parts), lambda: script.checksum)
        return
    with path.open("rb", buffering=0) as file:
        reader = checksum.Reader(file.read)
        yield Reading(lexer.parts(reader.read), reader.digest)


class _Special(NamedTuple):
    """A statement that is more than plain: what it does, where it stands (`at` counts statements from 0)."""

    effect: Effect
    at: int
    line: int
    sql: bytes


def survey(path: Path, name: str, *, keep_bytes: int = 0) -> Script:
    """Read a file to its end and say how it has to be run; `name` is how messages call it.

    The parts of a file of at most `keep_bytes` are kept. Raises FilesInvalid with every problem found, each with its
    line.
    """
    sighted = _Sighted(name, keep_bytes)
    try:
        with path.open("rb", buffering=0) as file:
            reader = checksum.Reader(file.read)
            sighted.read(lexer.parts(reader.read))
    except Unlexable as error:
        problem = Problem(message=error.message, file=name, line=error.line, column=error.column)
        raise FilesInvalid([*sighted.problems, problem]) from error
    except OSError as error:
        raise FilesInvalid([Problem(message=f"cannot be read: {error.strerror}", file=name)]) from error
    directives, problems = directive.read(sighted.head, name)
    mode, begin, refused = _mode(sighted.specials, sighted.statements, no_transaction=directives.no_transaction)
    problems = (
        *problems,
        *sighted.problems,
        *(Problem(message=message, file=name, line=line) for line, message in refused),
    )
    if problems:
        raise FilesInvalid(sorted(problems, key=lambda problem: problem.line or 0))
    return Script(
        mode=mode,
        statements=sighted.statements if begin is None else sighted.statements - 2,
        size_bytes=sighted.size_bytes,
        checksum=reader.digest(),
        parts=tuple(sighted.kept) if sighted.size_bytes <= keep_bytes else None,
        begin=b"; ".join((begin or b"BEGIN", *sighted.characteristics)),
        lock_timeout_ms=directives.lock_timeout_ms,
        plain=not sighted.specials,
    )


class _Sighted:
    """What is seen of a file as it is read. `head` is all that stands ahead of its first statement."""

    def __init__(self, name: str, keep_bytes: int) -> None:
        self._name = name
        self._keep_bytes = keep_bytes
        self.head = b""
        self.specials: list[_Special] = []
        self.characteristics: list[bytes] = []  # the SET TRANSACTION that nothing but BEGIN stands ahead of, if any
        self.problems: list[Problem] = []
        self.statements = 0
        self.size_bytes = 0
        self.kept: list[Part] = []

    def read(self, parts: Iterable[Part]) -> None:
        """Take the parts of the file into account. Raises what reading them raises."""
        # Once around for each statement of the file: what is the same each time is looked up here.
        statement, plain, effect_of = Kind.STATEMENT, Effect.PLAIN, effect.of
        keep, room_bytes = self.kept.append, self._keep_bytes
        just_begun = True  # nothing stands ahead, or the BEGIN of a transaction
        for part in parts:
            kind, text, line, start = part
            if (room_bytes := room_bytes - len(text)) >= 0:
                keep(part)
            if kind is not statement:
                self._beside(part)
                continue
            if start > 1 or just_begun:  # between two statements, a single byte is no comment
                self._comments(text[:start], line)
            if (what := effect_of(text, start)) is plain:
                if just_begun and _sets_transaction(sql := text[start:]):
                    self.characteristics.append(sql.removesuffix(b";"))
                just_begun = False
            else:
                self.specials.append(_Special(what, self.statements, line, text[start:]))
                just_begun = what is Effect.BEGIN
            self.statements += 1
        self.size_bytes = self._keep_bytes - room_bytes

    def _beside(self, part: Part) -> None:
        """Take a part that is no statement into account."""
        if part.kind is Kind.BLANK:
            self._comments(part.text[: part.start], part.line)
            if not self.statements:
                self.head += part.sql

    def _comments(self, comments: bytes, line: int) -> None:
        """Look for directives in the comments ahead of `line`."""
        if not self.statements:
            self.head += comments
        if b"--" in comments:
            first = line - comments.count(b"\n")
            self.problems += directive.foreign(comments, self._name, first)
            if self.statements:
                self.problems += directive.misplaced(comments, self._name, first)


def _mode(
    specials: list[_Special], statements: int, *, no_transaction: bool
) -> tuple[Mode, bytes | None, list[tuple[int, str]]]:
    """The mode, the file's own BEGIN if a pair surrounds it, and (line, message) of what cannot run that way."""
    if no_transaction:
        return Mode.STEPS, None, _open_transactions(specials)
    if not specials:
        return Mode.TRANSACTION, None, []
    control = [one for one in specials if one.effect in _CONTROL]
    outside = [one for one in specials if one.effect is Effect.OUTSIDE]
    if outside and statements == 1:
        return Mode.ALONE, None, []
    refused = [
        (one.line, f"{_words(one)} {one.effect.value}; {_ASK_FOR_STEPS}, or give it a file of its own")
        for one in outside
    ]
    if _surrounds(control, specials, statements):
        return Mode.TRANSACTION, control[0].sql.rstrip(b"; \t\r\n"), refused
    refused += [
        (
            one.line,
            f"{_words(one)} {one.effect.value}, but the file runs in one of ours; take it out, or {_ASK_FOR_STEPS}",
        )
        for one in control
    ]
    return Mode.TRANSACTION, None, sorted(refused)


_CONTROL = (Effect.BEGIN, Effect.COMMIT, Effect.ROLLBACK, Effect.TWO_PHASE)
_ASK_FOR_STEPS = "begin the file with -- migrate: no-transaction"


def _surrounds(control: list[_Special], specials: list[_Special], statements: int) -> bool:
    """Whether one BEGIN … COMMIT is all there is of transaction control, around everything but SETs ahead of it."""
    if [one.effect for one in control] != [Effect.BEGIN, Effect.COMMIT]:
        return False
    begin, commit = control
    ahead = [one for one in specials if one.at < begin.at and one.effect in (Effect.SETTING, Effect.LEXICAL)]
    return len(ahead) == begin.at and commit.at == statements - 1 and not _chains(commit)


def _open_transactions(specials: list[_Special]) -> list[tuple[int, str]]:
    """What of a no-transaction file's own transactions cannot be: begun and not ended, chained, or prepared."""
    opened: _Special | None = None
    refused = []
    for one in specials:
        if one.effect is Effect.BEGIN:
            opened = opened or one
        elif one.effect in (Effect.COMMIT, Effect.ROLLBACK):
            opened = None
            if _chains(one):  # the next run could not go on behind it: there is no BEGIN that it would send again
                refused.append((one.line, f"{_words(one)} begins another transaction; write a BEGIN for that one"))
        elif one.effect is Effect.TWO_PHASE:
            opened = None
            refused.append((one.line, f"{_words(one)} {one.effect.value}, which a migration cannot leave behind"))
    if opened:
        refused.append((opened.line, f"{_words(opened)} begins a transaction that the file does not end; add COMMIT"))
    return refused


def _sets_transaction(sql: bytes) -> bool:
    # Without its semicolon, a comment at its end would swallow what is sent behind it.
    return sql[:3].upper() == b"SET" and sql.endswith(b";") and tokens.words(sql, limit=2) == ("SET", "TRANSACTION")


def _chains(one: _Special) -> bool:
    """Whether a COMMIT or ROLLBACK begins another transaction at once."""
    return ("AND", "CHAIN") in itertools.pairwise(tokens.words(one.sql))


def _words(one: _Special) -> str:
    """The beginning of a statement, for a message."""
    return " ".join(secret.masked(one.sql.decode(errors="replace")).rstrip(";").split()[:4])
