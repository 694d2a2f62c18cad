"""A migration file as the linter reads it: its statements, each with the transaction that it runs in."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kernel.errors import FilesInvalid, Problem
from kernel.files import directive, script
from kernel.files.script import Mode
from kernel.rehearsal.static import words
from kernel.sql import effect, lexer
from kernel.sql.effect import Effect
from kernel.sql.part import Kind, Part
from kernel.sql.source import Fault, Unlexable

if TYPE_CHECKING:
    from kernel.files.directive import Allow
    from kernel.files.migration import Migration
    from kernel.rehearsal.static.words import Word

# What is longer is data, and its beginning tells enough.
_READ_BYTES = 1 << 18
_REFUSED = {
    Effect.OUTSIDE: "concurrently-in-transaction",
    Effect.BEGIN: "transaction-in-file",
    Effect.COMMIT: "transaction-in-file",
    Effect.ROLLBACK: "transaction-in-file",
    Effect.TWO_PHASE: "transaction-in-file",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement of a file. `transaction` is None where it runs outside of any, `refused` a rule, or ""."""

    part: Part
    words: tuple[Word, ...] = field(repr=False)
    transaction: int | None
    refused: str = ""
    allows: tuple[Allow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A file. `allows` hold for all of it. `meta_command` is the line of a command of psql, where reading stopped."""

    migration: Migration
    statements: tuple[Statement, ...]
    allows: tuple[Allow, ...] = ()
    no_lock_timeout: bool = False
    meta_command: int | None = None

    def at_line(self, line: int) -> int | None:
        """The index of the last statement that begins on this line or above it."""
        index = bisect_right(self.statements, line, key=lambda one: one.part.line) - 1
        return index if index >= 0 else None


def read(migration: Migration) -> Text:
    """Read a file. Raises FilesInvalid when it cannot be read, or what is wrong with it is no matter of a rule."""
    parts, meta_command = _parts(migration)
    mode, refused, no_lock_timeout = Mode.TRANSACTION, {}, False
    if meta_command is None:
        try:
            surveyed = script.survey(migration.path, migration.filename)
            mode, no_lock_timeout = surveyed.mode, surveyed.lock_timeout_ms == 0
        except FilesInvalid as error:
            refused = _refused(error, parts)
    statements: list[Statement] = []
    head: tuple[Allow, ...] = ()
    transactions = _Transactions(mode)
    line = 1
    for part in parts:
        allows = tuple(directive.allows(part.text[: part.start], line))
        if statements:  # a comment behind a statement, on the line that it ends in, is about that one
            behind = tuple(allow for allow in allows if allow.line == line)
            statements[-1] = replace(statements[-1], allows=statements[-1].allows + behind)
            allows = allows[len(behind) :]
        else:
            head += allows
        line += part.text.count(b"\n")
        if part.kind is Kind.STATEMENT:
            statements.append(
                Statement(
                    part=part,
                    words=words.of(part.sql[:_READ_BYTES]),
                    transaction=transactions.of(part.sql),
                    refused=refused.get(id(part), ""),
                    allows=allows if statements else (),
                )
            )
    return Text(
        migration=migration,
        statements=tuple(statements),
        allows=head,
        no_lock_timeout=no_lock_timeout,
        meta_command=meta_command,
    )


class _Transactions:
    """Counts the transactions of a file, which has one for all of it unless it runs statement by statement."""

    def __init__(self, mode: Mode) -> None:
        self._steps = mode is Mode.STEPS
        self._begun = 0
        self._current = 0 if mode is Mode.TRANSACTION else None

    def of(self, sql: bytes) -> int | None:
        """The transaction of the next statement, None where it has one for itself."""
        found = effect.of(sql)
        if self._steps and found is Effect.BEGIN:
            self._begun += 1
            self._current = self._begun
        its_own = self._current
        if self._steps and found in (Effect.COMMIT, Effect.ROLLBACK):
            self._current = None
        return its_own


def _parts(migration: Migration) -> tuple[list[Part], int | None]:
    """The parts of a file but COPY's data, and the line of the command of psql that they end at, if there is one."""
    found: list[Part] = []
    try:
        with migration.path.open("rb") as file:
            for part in lexer.parts(file.read):
                found.append(_counted(part) if part.kind is Kind.COPY_DATA else part)  # noqa: PERF401 - kept on a fault
    except Unlexable as error:
        if error.fault is Fault.PSQL_COMMAND:
            return found, error.line
        problem = Problem(message=error.message, file=migration.filename, line=error.line, column=error.column)
        raise FilesInvalid([problem]) from error
    except OSError as error:
        problem = Problem(message=f"cannot be read: {error.strerror}", file=migration.filename)
        raise FilesInvalid([problem]) from error
    return found, None


def _counted(part: Part) -> Part:
    """Data of COPY as so many lines, which is all that is needed of them."""
    return part._replace(text=b"\n" * part.text.count(b"\n"))


def _refused(error: FilesInvalid, parts: list[Part]) -> dict[int, str]:
    """The rules of statements that the runner refuses, by the identity of their part.

    Raises FilesInvalid for any other problem.
    """
    lines = {problem.line for problem in error.problems}
    found = {
        id(part): rule
        for part in parts
        if part.kind is Kind.STATEMENT and part.line in lines and (rule := _REFUSED.get(effect.of(part.sql)))
    }
    explained = {part.line for part in parts if id(part) in found}
    if others := [problem for problem in error.problems if problem.line not in explained]:
        raise FilesInvalid(others) from error
    return found
