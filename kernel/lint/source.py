"""A migration file as the linter reads it: its statements, each with the transaction that it runs in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kernel.errors import FilesInvalid, Problem
from kernel.migrations.directives import parse_allows
from kernel.migrations.script import ScriptProblem, accepted_range_problem, parse_script
from kernel.migrations.transactions import RunMode
from kernel.sql.classify import StatementEffect, statement_effect
from kernel.sql.lexer import LexerError, Part, PartKind, advance_column, split_script
from kernel.sql.reader import read_words

if TYPE_CHECKING:
    from kernel.config.ledger_name import LedgerName
    from kernel.migrations.directives import Allow
    from kernel.migrations.migration import Migration
    from kernel.sql.reader import Word


# A longer statement is data, and its beginning is enough.
_MAX_STATEMENT_BYTES = 1 << 18
_ENDING_BYTES = 4096
_ON_CONFLICT = re.compile(rb"\bon\s++conflict\b", re.IGNORECASE)


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
    refused_begin: int = 0
    allows: tuple[Allow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file. `allows` hold for all of it; `psql_command_lines` are those of commands of psql.

    With `in_batches` its statement runs in ranges of a key.
    """

    migration: Migration
    statements: tuple[SourceStatement, ...]
    allows: tuple[Allow, ...] = ()
    no_lock_timeout: bool = False
    in_batches: bool = False
    psql_command_lines: tuple[int, ...] = ()


def read_source(migration: Migration, ledger: LedgerName | None = None) -> SourceFile:
    """Read a file. Raises FilesInvalid if it cannot be read, or has a problem that is not a rule."""
    parts = _read_parts(migration)
    mode, refused, no_lock_timeout = RunMode.TRANSACTION, list[ScriptProblem](), False
    try:
        script = parse_script(migration.path, migration.filename, ledger=ledger)
        mode, no_lock_timeout = script.mode, script.lock_timeout_ms == 0
        if script.backfill and script.backfill.allowed:  # a finding that the file accepts
            refused = [accepted_range_problem(script.backfill, migration.filename)]
    except FilesInvalid as error:
        refused = _rules_in(error)
    refusals = {number: problem for problem in refused for number in problem.statements}
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
                    refused_rule=refusal.rule if (refusal := refusals.get(len(statements))) else "",
                    refused_begin=refusal.begin if refusal else 0,
                    allows=allows if statements else (),
                )
            )
        column = advance_column(column, part.text)
    return SourceFile(
        migration=migration,
        statements=tuple(statements),
        allows=head,
        no_lock_timeout=no_lock_timeout,
        in_batches=mode is RunMode.BATCHES,
        psql_command_lines=tuple(line for problem in refused for line in problem.lines),
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


def _read_parts(migration: Migration) -> list[Part]:
    """The parts of a file, without data of COPY. Commands of psql, which parse_script reports, are left out."""
    try:
        with migration.path.open("rb") as file:
            parts = split_script(file.read, on_psql_command=lambda _: None)
            return [_keep_line_count(part) if part.kind is PartKind.COPY_DATA else part for part in parts]
    except LexerError as error:
        problem = Problem(message=error.message, file=migration.filename, line=error.line, column=error.column)
        raise FilesInvalid([problem]) from error
    except OSError as error:
        problem = Problem(message=f"cannot be read: {error.strerror}", file=migration.filename)
        raise FilesInvalid([problem]) from error


def _keep_line_count(part: Part) -> Part:
    """Data of COPY as empty lines, so that line numbers stay right."""
    return part._replace(text=b"\n" * part.text.count(b"\n"))


def _rules_in(error: FilesInvalid) -> list[ScriptProblem]:
    """The problems that are rules. Raises FilesInvalid if there is another one."""
    rules = [problem for problem in error.problems if isinstance(problem, ScriptProblem)]
    if len(rules) < len(error.problems):
        raise FilesInvalid([problem for problem in error.problems if not isinstance(problem, ScriptProblem)]) from error
    return rules
