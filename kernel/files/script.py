"""What a file asks of the runner: the transaction it runs in, found out before the database is touched.

The rules are those of docs/production.md, "Transactions written in the file".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from kernel.errors import FilesInvalid, Problem
from kernel.files import directive
from kernel.sql import effect, lexer
from kernel.sql.effect import Effect
from kernel.sql.part import Kind
from kernel.sql.source import Unlexable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Mode(Enum):
    """How a file is run."""

    TRANSACTION = "in one transaction"
    ALONE = "its one statement outside a transaction"
    STEPS = "statement by statement, outside a transaction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A file that can be run: its mode, how many statements it sends, and the BEGIN that opens its transaction."""

    mode: Mode
    statements: int
    size_bytes: int
    begin: bytes = b"BEGIN"
    lock_timeout_ms: int | None = None


@dataclass(frozen=True, slots=True)
class _Special:
    """A statement that is more than plain: what it does, where it stands (`index` counts statements from 0)."""

    effect: Effect
    index: int
    line: int
    sql: bytes


def survey(path: Path, name: str) -> Script:
    """Read a file to its end and say how it has to be run; `name` is how messages call it.

    Raises FilesInvalid with every problem found, each with its line.
    """
    problems: list[Problem] = []
    specials: list[_Special] = []
    directives = directive.Directives()
    statements = size_bytes = 0
    first = True
    line = 1
    try:
        with path.open("rb", buffering=0) as file:
            for part in lexer.parts(file.read):
                if first:
                    directives, found = directive.read(part.text[: part.start], name)
                    problems += found
                if part.kind in (Kind.STATEMENT, Kind.BLANK) and b"--" in (comments := part.text[: part.start]):
                    problems += _comments(comments, name, line, first=first)
                if part.kind is Kind.STATEMENT:
                    if (special := effect.of(part.sql)) is not Effect.PLAIN:
                        specials.append(_Special(special, statements, part.line, part.sql))
                    statements += 1
                first = first and part.kind is Kind.BLANK
                line += part.text.count(b"\n")
                size_bytes += len(part.text)
    except Unlexable as error:
        problems.append(Problem(message=error.message, file=name, line=error.line, column=error.column))
        raise FilesInvalid(problems) from error
    except OSError as error:
        raise FilesInvalid([Problem(message=f"cannot be read: {error.strerror}", file=name)]) from error
    mode, begin, refused = _mode(specials, statements, no_transaction=directives.no_transaction)
    problems += [Problem(message=message, file=name, line=at) for at, message in refused]
    if problems:
        raise FilesInvalid(problems)
    return Script(
        mode=mode,
        statements=statements if begin is None else statements - 2,
        size_bytes=size_bytes,
        begin=begin or b"BEGIN",
        lock_timeout_ms=directives.lock_timeout_ms,
    )


def _comments(comments: bytes, name: str, line: int, *, first: bool) -> Iterator[Problem]:
    yield from directive.foreign(comments, name, line)
    if not first:
        yield from directive.misplaced(comments, name, line)


def _mode(
    specials: list[_Special], statements: int, *, no_transaction: bool
) -> tuple[Mode, bytes | None, list[tuple[int, str]]]:
    """The mode, the file's own BEGIN if a pair surrounds it, and (line, message) of what cannot run that way."""
    if no_transaction:
        return Mode.STEPS, None, _open_transactions(specials)
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
    ahead = [one for one in specials if one.index < begin.index and one.effect in (Effect.SETTING, Effect.LEXICAL)]
    return len(ahead) == begin.index and commit.index == statements - 1 and b"CHAIN" not in commit.sql.upper()


def _open_transactions(specials: list[_Special]) -> list[tuple[int, str]]:
    """What of a no-transaction file's own transactions cannot be: begun and not ended, or prepared."""
    opened: _Special | None = None
    refused = []
    for one in specials:
        if one.effect is Effect.BEGIN:
            opened = opened or one
        elif one.effect in (Effect.COMMIT, Effect.ROLLBACK):
            opened = None
        elif one.effect is Effect.TWO_PHASE:
            refused.append((one.line, f"{_words(one)} {one.effect.value}, which a migration cannot leave behind"))
    if opened:
        refused.append((opened.line, f"{_words(opened)} begins a transaction that the file does not end; add COMMIT"))
    return refused


def _words(one: _Special) -> str:
    """The beginning of a statement, for a message."""
    return " ".join(one.sql.decode(errors="replace").rstrip(";").split()[:4])
