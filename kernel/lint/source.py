"""A migration file as the linter reads it: its statements, each with the transaction that it runs in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kernel.errors import FilesInvalid, Problem
from kernel.migrations.script import RunMode, parse_allows, parse_script
from kernel.sql.classify import StatementEffect, statement_effect
from kernel.sql.lexer import Fault, LexerError, Part, PartKind, advance_column, split_script
from kernel.sql.reader import read_words

if TYPE_CHECKING:
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Allow
    from kernel.sql.reader import Word


# A longer statement is data, and its beginning is enough.
_MAX_STATEMENT_BYTES = 1 << 18
_ENDING_BYTES = 4096
_ON_CONFLICT = re.compile(rb"\bon\s++conflict\b", re.IGNORECASE)
_RULE_BY_EFFECT = {
    StatementEffect.OUTSIDE: "concurrently-in-transaction",
    StatementEffect.BEGIN: "transaction-in-file",
    StatementEffect.COMMIT: "transaction-in-file",
    StatementEffect.ROLLBACK: "transaction-in-file",
    StatementEffect.TWO_PHASE: "transaction-in-file",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatement:
    """A statement. `transaction` is None if it runs outside of any; `refused_rule` is a rule id or "".

    `column` is that of its first character in the file, from 1.
    """

    part: Part
    column: int
    words: tuple[Word, ...] = field(repr=False)
    transaction: int | None
    refused_rule: str = ""
    allows: tuple[Allow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file. `allows` hold for all of it; `meta_command_line` is that of a psql command, where reading stopped."""

    migration: Migration
    statements: tuple[SourceStatement, ...]
    allows: tuple[Allow, ...] = ()
    no_lock_timeout: bool = False
    meta_command_line: int | None = None


def read_source(migration: Migration) -> SourceFile:
    """Read a file. Raises FilesInvalid if it cannot be read, or has a problem that is not a rule."""
    parts, meta_command = _read_parts(migration)
    mode, refused, no_lock_timeout = RunMode.TRANSACTION, {}, False
    if meta_command is None:
        try:
            script = parse_script(migration.path, migration.filename)
            mode, no_lock_timeout = script.mode, script.lock_timeout_ms == 0
        except FilesInvalid as error:
            refused = _refused_rules(error, parts)
    statements: list[SourceStatement] = []
    head: tuple[Allow, ...] = ()
    transactions = _TransactionCounter(mode)
    line = column = 1
    for part in parts:
        allows = tuple(parse_allows(part.text[: part.start], line))
        if statements:  # a comment on the last line of a statement is about that statement
            trailing = tuple(allow for allow in allows if allow.line == line)
            statements[-1] = replace(statements[-1], allows=statements[-1].allows + trailing)
            allows = allows[len(trailing) :]
        else:
            head += allows
        line += part.text.count(b"\n")
        if part.kind is PartKind.STATEMENT:
            statements.append(
                SourceStatement(
                    part=part,
                    column=advance_column(column, part.text[: part.start]),
                    words=_read_beginning(part.sql),
                    transaction=transactions.next_statement(part.sql),
                    refused_rule=refused.get(id(part), ""),
                    allows=allows if statements else (),
                )
            )
        column = advance_column(column, part.text)
    return SourceFile(
        migration=migration,
        statements=tuple(statements),
        allows=head,
        no_lock_timeout=no_lock_timeout,
        meta_command_line=meta_command,
    )


def _read_beginning(sql: bytes) -> tuple[Word, ...]:
    """The words of a statement; of a long one its beginning, and the ON CONFLICT after its data."""
    words = read_words(sql[:_MAX_STATEMENT_BYTES])
    rest = words[-1].end if words else 0
    if ending := _ON_CONFLICT.search(sql, max(rest, len(sql) - _ENDING_BYTES)):
        words += read_words(ending[0], ending.start())
    return words


class _TransactionCounter:
    """Counts the transactions of a file: one for all of it, unless it runs statement by statement."""

    def __init__(self, mode: RunMode) -> None:
        self._steps = mode is RunMode.NO_TRANSACTION
        self._begun = 0
        self._current = 0 if mode is RunMode.TRANSACTION else None

    def next_statement(self, sql: bytes) -> int | None:
        """The transaction of the next statement, None if it runs in one of its own."""
        effect = statement_effect(sql)
        if self._steps and effect is StatementEffect.BEGIN:
            self._begun += 1
            self._current = self._begun
        current = self._current
        if self._steps and effect in (StatementEffect.COMMIT, StatementEffect.ROLLBACK):
            self._current = None
        return current


def _read_parts(migration: Migration) -> tuple[list[Part], int | None]:
    """The parts of a file, without data of COPY, and the line of the psql command at which they end, if any."""
    found: list[Part] = []
    try:
        with migration.path.open("rb") as file:
            for part in split_script(file.read):
                found.append(_keep_line_count(part) if part.kind is PartKind.COPY_DATA else part)  # noqa: PERF401 - parts before a fault are kept
    except LexerError as error:
        if error.fault is Fault.PSQL_COMMAND:
            return found, error.line
        problem = Problem(message=error.message, file=migration.filename, line=error.line, column=error.column)
        raise FilesInvalid([problem]) from error
    except OSError as error:
        problem = Problem(message=f"cannot be read: {error.strerror}", file=migration.filename)
        raise FilesInvalid([problem]) from error
    return found, None


def _keep_line_count(part: Part) -> Part:
    """Data of COPY as empty lines, so that line numbers stay right."""
    return part._replace(text=b"\n" * part.text.count(b"\n"))


def _refused_rules(error: FilesInvalid, parts: list[Part]) -> dict[int, str]:
    """The rules for statements that the runner refuses, by the identity of their part.

    Raises FilesInvalid for any other problem.
    """
    lines = {problem.line for problem in error.problems}
    found = {
        id(part): rule
        for part in parts
        if part.kind is PartKind.STATEMENT
        and part.line in lines
        and (rule := _RULE_BY_EFFECT.get(statement_effect(part.sql)))
    }
    explained = {part.line for part in parts if id(part) in found}
    if others := [problem for problem in error.problems if problem.line not in explained]:
        raise FilesInvalid(others) from error
    return found
