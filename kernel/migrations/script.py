"""Scripts: the mode in which a migration file runs, and every reason why one cannot run."""

from __future__ import annotations

import codecs
import io
import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from kernel.config.ledger_name import LedgerName
from kernel.errors import FilesInvalid, Problem
from kernel.migrations.directives import (
    Directives,
    may_have_foreign_marks,
    misplaced_directive_problems,
    parse_allows,
    parse_checks,
    parse_directives,
    parse_ignored_drift,
)
from kernel.migrations.migration import HashingReader
from kernel.migrations.transactions import FileMode, RunMode, SpecialStatement, also_on_lines, choose_mode
from kernel.sql.classify import StatementEffect, statement_effect
from kernel.sql.lexer import LexerError, PartKind, advance_column, split_script
from kernel.sql.tokens import first_tokens
from kernel.units import format_quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from kernel.migrations.backfill import Backfill, StatementProblem
    from kernel.migrations.checks import Check
    from kernel.migrations.directives import IgnoreDrift
    from kernel.migrations.foreign import ForeignMark
    from kernel.migrations.ledger_changes import LocatedChange
    from kernel.sql.lexer import Part


_NAMES_PATH = re.compile(rb"search_path|schema", re.IGNORECASE)
PSQL_COMMAND_RULE = "psql-meta-command"
UNWRITTEN = "still as db.new wrote it, without a statement"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptProblem(Problem):
    """A problem that is a rule of the linter as well, and the places that it is about.

    `statements` are numbers from 0; `begin` is the byte offset of the place in the first, if it is inside of it.
    A command of psql is no statement; `lines` are those of all its places.
    """

    rule: str
    statements: tuple[int, ...] = ()
    begin: int = 0
    lines: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnwrittenProblem(Problem):
    """A migration that is still as db.new wrote it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A file that can be run: its mode, the number of statements it sends, and those that begin its transaction.

    A SET TRANSACTION before the first query of the file is part of `begin`: it must precede the claim, a query too.
    `checksum` is that of the bytes that were read. `parts` are kept for a small file, so that it is read only once.
    `all_plain` means that the effect of each statement is PLAIN, `unwritten` that the file has nothing but what db.new
    writes into it. `warnings`, each with its line, and `custom_settings`, the names of those that it may set, are those
    of a file that runs statement by statement. `checks` are the queries that must be true before the file changes
    anything. `backfill` is the statement of a file that runs in batches.
    """

    mode: RunMode
    statement_count: int
    size_bytes: int
    checksum: str
    parts: tuple[Part, ...] | None = field(default=None, repr=False)
    begin: tuple[bytes, ...] = (b"BEGIN",)
    lock_timeout_ms: int | None = None
    all_plain: bool = False
    unwritten: bool = False
    custom_settings: tuple[str, ...] = ()
    warnings: tuple[Problem, ...] = ()
    checks: tuple[Check, ...] = ()
    backfill: Backfill | None = None


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


def parse_script(
    path: Path, name: str, *, keep_bytes: int = 0, ledger: LedgerName | None = None, only_checks: bool = False
) -> Script:
    """Read a whole file and determine its mode; `name` is its name in messages, `ledger` the table it must not change.

    The parts of a file of at most `keep_bytes` are kept. With `only_checks`, as in verify/, every statement is a check.
    Raises FilesInvalid with all problems and their lines.
    """
    scan = _ScriptScan(name, keep_bytes, ledger or LedgerName())
    problems: list[Problem] = []
    checksum = ""
    try:
        with path.open("rb", buffering=0) as file:
            reader = HashingReader(file.read)
            scan.read(reader.read)
        checksum = reader.checksum()
    except LexerError as error:
        problems.append(Problem(message=error.message, file=name, line=error.line, column=error.column))
    except OSError as error:
        raise FilesInvalid([Problem(message=f"cannot be read: {error.strerror}", file=name)]) from error
    # Most files have neither a directive nor a special statement.
    directives, chosen = Directives(), FileMode(RunMode.TRANSACTION)
    if b"migrate" in scan.head.lower():
        directives, directive_problems = parse_directives(scan.head, name)
        problems += directive_problems
    if scan.specials or directives.no_transaction:
        chosen = choose_mode(scan.specials, scan.statement_count, no_transaction=directives.no_transaction)
    problems += scan.problems()
    if checksum:  # of a file that was read to its end
        problems += [
            ScriptProblem(
                message=one.message,
                file=name,
                line=one.line,
                rule=one.rule,
                statements=one.positions,
                begin=one.begin,
            )
            for one in chosen.refusals
        ]
    if problems:
        raise FilesInvalid(sorted(problems, key=lambda problem: (problem.line or 0, problem.column or 0)))
    script = Script(
        mode=chosen.mode,
        statement_count=scan.statement_count - chosen.not_sent,
        size_bytes=scan.size_bytes,
        checksum=checksum,
        parts=tuple(scan.kept_parts) if scan.size_bytes <= keep_bytes else None,
        begin=(chosen.begin_sql or b"BEGIN", *scan.characteristics),
        lock_timeout_ms=directives.lock_timeout_ms,
        all_plain=not scan.specials,
        unwritten=not scan.statement_count and _is_unwritten(scan.head),
    )
    if scan.has_checks or only_checks:
        script = _with_checks(script, path, name, only_checks=only_checks)
    if directives.batch:
        return _in_batches(script, path, name, directives)
    if chosen.mode is not RunMode.NO_TRANSACTION:
        return script
    from kernel.migrations.autocommit import review_statements  # noqa: PLC0415 - for no-transaction files only

    with open_script(script, path) as reading:
        custom_settings, warnings = review_statements(reading.parts)
    return replace(
        script, custom_settings=custom_settings, warnings=tuple(replace(warning, file=name) for warning in warnings)
    )


def read_ignored_drift(path: Path) -> tuple[IgnoreDrift, ...]:
    """The ignore-drift directives of a file. Raises OSError."""
    content = path.read_bytes()
    if b"ignore-drift" not in content:
        return ()
    head = b""
    with suppress(LexerError):
        for part in split_script(io.BytesIO(content).read):
            head += part.text[: part.start] if part.kind is PartKind.STATEMENT else part.sql
            if part.kind is PartKind.STATEMENT:
                break
    return tuple(parse_ignored_drift(head))


def unwritten_problems(script: Script, name: str) -> tuple[UnwrittenProblem, ...]:
    """Return the problem of a migration that is still as db.new wrote it; () for every other one."""
    remedy = "write the migration, or delete the file (inv db.migrate --allow-empty applies it as it is)"
    return (UnwrittenProblem(message=f"{UNWRITTEN}; {remedy}", file=name),) if script.unwritten else ()


def _is_unwritten(comments: bytes) -> bool:
    from kernel.migrations.scaffold_text import is_unwritten  # noqa: PLC0415 - for files without a statement only

    return is_unwritten(comments)


class _ScriptScan:
    """The facts collected while a file is read; `head` is the text before its first statement."""

    def __init__(self, name: str, keep_bytes: int, ledger: LedgerName) -> None:
        self._name = name
        self._keep_bytes = keep_bytes
        self._ledger = ledger
        self._ledger_bytes = ledger.table.replace('"', '""').encode().lower()  # as it stands in SQL, in any capitals
        self.head = b""
        self.specials: list[SpecialStatement] = []
        self.characteristics: list[bytes] = []  # SET TRANSACTION statements before any query
        self.statement_count = 0
        self.size_bytes = 0
        self.kept_parts: list[Part] = []
        self.has_checks = False
        self._misplaced: list[Problem] = []
        self._psql_commands: list[LexerError] = []
        self._foreign_marks: list[ForeignMark] = []
        self._ledger_changes: list[LocatedChange] = []
        self._statements_before_data = 0
        self._names_ledger = False  # in what was read so far
        self._finds_ledger = True  # by a name without a schema

    def read(self, read: Callable[[int], bytes]) -> None:
        """Process the parts of the file. Raises LexerError and the errors of reading."""
        # The loop runs once per statement of the file: look up constants and methods before it.
        statement, plain, effect_of = PartKind.STATEMENT, StatementEffect.PLAIN, statement_effect
        keep, room_bytes, needle = self.kept_parts.append, self._keep_bytes, self._ledger_bytes
        just_begun = True  # at the beginning of the file, or after the BEGIN of a transaction
        for part in split_script(self._reading_for_ledger(read), self._psql_commands.append):
            kind, text, _, start, _ = part
            if (room_bytes := room_bytes - len(text)) >= 0:
                keep(part)
            if kind is not statement:
                self._add_other_part(part)
                continue
            if start > 1 or just_begun:  # a single byte between two statements is not a comment
                self._check_comments(part)
            if (effect := effect_of(text, start)) is not plain:
                self._add_special(effect, part)
            if effect is StatementEffect.BEGIN:
                just_begun = True
            elif just_begun and _sets_transaction(sql := text[start:]):
                self.characteristics.append(sql.removesuffix(b";"))
            elif just_begun:  # SET is no query
                just_begun = first_tokens(text, start, limit=1) == ("SET",)
            if self._names_ledger and needle in text.lower():
                self._check_ledger(part)
            self.statement_count += 1
        self.size_bytes = self._keep_bytes - room_bytes

    def problems(self) -> Iterator[Problem]:
        """Yield the problems of comments, commands of psql and changes of the ledger."""
        effects = {one.position: one.effect for one in self.specials}
        first = int(effects.get(0) is StatementEffect.BEGIN)
        last = self.statement_count - (effects.get(self.statement_count - 1) is StatementEffect.COMMIT)
        if self._foreign_marks:
            from kernel.migrations.foreign import foreign_mark_problems  # noqa: PLC0415 - for few files

            yield from foreign_mark_problems(self._foreign_marks, self._name, first=first, last=last)
        yield from self._misplaced
        yield from _psql_command_problems(self._psql_commands, self._name)
        if self._ledger_changes:
            from kernel.migrations.ledger_changes import ledger_change_problem  # noqa: PLC0415 - for few files

            yield ledger_change_problem(self._ledger_changes, self._ledger, self._name)

    def _reading_for_ledger(self, read: Callable[[int], bytes]) -> Callable[[int], bytes]:
        """Read, and note when the name of the ledger occurs: only then statements are searched for it."""
        needle, end = self._ledger_bytes, b""

        def read_and_look(size: int) -> bytes:
            nonlocal end
            chunk = read(size)
            if not self._names_ledger:
                self._names_ledger = needle in (end + chunk).lower()
                end = chunk[-len(needle) :]
            return chunk

        return read_and_look

    def _add_special(self, effect: StatementEffect, part: Part) -> None:
        sql = b"" if effect is StatementEffect.LARGE_OBJECT else part.sql
        self.specials.append(SpecialStatement(effect, self.statement_count, part.line, sql))
        if effect in (StatementEffect.SETTING, StatementEffect.LOCAL_SEARCH_PATH) and _NAMES_PATH.search(sql):
            self._read_search_path(part.sql)
        if effect is StatementEffect.SCHEMA or (effect is StatementEffect.PROCEDURE and b"schema" in sql.lower()):
            self._check_ledger(part)

    def _read_search_path(self, sql: bytes) -> None:
        from kernel.migrations.ledger_changes import is_found_first, read_search_path  # noqa: PLC0415 - for few files

        if (path := read_search_path(sql)) is not None:
            self._finds_ledger = is_found_first(self._ledger, path)

    def _check_ledger(self, part: Part) -> None:
        from kernel.migrations.ledger_changes import LocatedChange, find_ledger_changes  # noqa: PLC0415 - for few files

        changes = find_ledger_changes(part.sql, self._ledger)
        change = next((one for one in changes if one.qualified or self._finds_ledger), None)
        if change and all(one.statement != self.statement_count for one in self._ledger_changes[-1:]):
            line, column = part.place_of(change.begin)
            self._ledger_changes.append(LocatedChange(change, self.statement_count, line, column))

    def _add_other_part(self, part: Part) -> None:
        """Process a part that is not a statement."""
        if part.kind is PartKind.BLANK:
            self._check_comments(part)
            if not self.statement_count:
                self.head += part.sql
        elif part.kind is PartKind.COPY_END:
            self._statements_before_data = self.statement_count

    def _check_comments(self, part: Part) -> None:
        """Find directives and marks in the comments at the beginning of a part."""
        before, comments, line = self.statement_count, part.text[: part.start], part.line
        if not before:
            self.head += comments
        if part.text.startswith(b"#", part.start):  # the comments of Play evolutions, which are none to the server
            comments += part.sql.partition(b"\n")[0]
        if b"--" not in comments and b"/*" not in comments:
            return
        first = line - comments.count(b"\n")
        mid_line = before != self._statements_before_data
        self.has_checks = self.has_checks or any(parse_checks(comments, first))
        if may_have_foreign_marks(comments):
            from kernel.migrations.foreign import find_foreign_marks  # noqa: PLC0415 - for few files

            self._foreign_marks += find_foreign_marks(
                comments, first, statements_before=before, mid_line=mid_line, statement=part.sql
            )
        if before:
            self._misplaced += misplaced_directive_problems(comments, self._name, first)


def _psql_command_problems(commands: Iterable[LexerError], name: str) -> Iterator[Problem]:
    """Yield one problem for each command of psql, with all its lines."""
    by_command: dict[str, list[LexerError]] = {}
    for one in commands:
        by_command.setdefault(one.command, []).append(one)
    for first, *more in by_command.values():
        yield ScriptProblem(
            message=f"{first.message}{also_on_lines([one.line for one in more])}",
            file=name,
            line=first.line,
            column=first.column,
            rule=PSQL_COMMAND_RULE,
            lines=tuple(one.line for one in (first, *more)),
        )


# SET TRANSACTION, and the same by the names of the settings.
_TRANSACTION_WORDS = {"TRANSACTION", "TRANSACTION_ISOLATION", "TRANSACTION_READ_ONLY", "TRANSACTION_DEFERRABLE"}


def _sets_transaction(sql: bytes) -> bool:
    # Without a semicolon, a comment at its end would also comment out the text sent after it.
    if sql[:3].upper() != b"SET" or not sql.endswith(b";"):
        return False
    words = first_tokens(sql, limit=3)[1:]
    return not _TRANSACTION_WORDS.isdisjoint(words[:2] if words[:1] in (("LOCAL",), ("SESSION",)) else words[:1])


def _with_checks(script: Script, path: Path, name: str, *, only_checks: bool) -> Script:
    """The script with its checks. Raises FilesInvalid with everything that is wrong with them."""
    from kernel.migrations.checks import read_checks  # noqa: PLC0415 - for few files

    with open_script(script, path) as reading:
        checks, problems = read_checks(reading.parts, name, every_statement=only_checks)
    if checks and script.mode is not RunMode.TRANSACTION:
        message = "a check needs one transaction with what relies on it; move it into a file of its own before this one"
        problems += (Problem(message=message, file=name),)
    if problems:
        raise FilesInvalid(problems)
    return replace(script, checks=checks)


def _in_batches(script: Script, path: Path, name: str, directives: Directives) -> Script:
    """The script as a backfill. Raises FilesInvalid with every reason why it is none."""
    from kernel.migrations import backfill as batches  # noqa: PLC0415 - for few files
    from kernel.migrations.batch_statement import read_batch_statement  # noqa: PLC0415 - likewise
    from kernel.migrations.range_safety import RANGE_RULE, range_problems, repeat_problems  # noqa: PLC0415 - likewise

    options, wrong_words = batches.read_options(directives.batch)
    problems = [Problem(message=word.value, file=name, line=word.line) for word in wrong_words]
    line = directives.batch[0].line
    with open_script(script, path) as reading:
        parts = [part for part in reading.parts if part.kind is PartKind.STATEMENT]
    if directives.no_transaction:
        message = "no-transaction and batch= exclude each other; leave no-transaction out"
        problems.append(Problem(message=message, file=name, line=line))
    if script.checks:
        message = "a check needs one transaction with what relies on it; move it into a file of its own before this one"
        problems.append(Problem(message=message, file=name))
    elif len(parts) != 1:
        count = format_quantity(len(parts), "statement")
        message = f"a backfill is one UPDATE, DELETE or INSERT … SELECT, and here {count}; write a file for each"
        problems.append(Problem(message=message, file=name, line=parts[1].line if parts else line))
    elif options:
        (part,) = parts
        read = read_batch_statement(part.sql, options)
        wrong = [read] if isinstance(read, batches.StatementProblem) else list(range_problems(read, options))
        problems += [_statement_problem(part, one, name) for one in wrong]
        if not wrong and not isinstance(read, batches.StatementProblem):
            allowed = any(one.rule == RANGE_RULE and one.reason for one in parse_allows(part.text[: part.start], 1))
            for one in () if allowed else repeat_problems(read):
                place = _statement_problem(part, one, name)
                problems.append(
                    ScriptProblem(
                        message=f"{place.message}; or say why it is safe: -- migrate: allow={RANGE_RULE} reason",
                        file=name,
                        line=place.line,
                        column=place.column,
                        rule=RANGE_RULE,
                        statements=(0,),
                        begin=one.begin,
                    )
                )
            if not problems:
                backfill = batches.Backfill(options=options, statement=read, part=part, allowed=allowed)
                return replace(script, mode=RunMode.BATCHES, backfill=backfill)
    raise FilesInvalid(sorted(problems, key=lambda problem: (problem.line or 0, problem.column or 0)))


def accepted_range_problem(backfill: Backfill, name: str) -> ScriptProblem:
    """The problem of a backfill that its file accepts, whether the text shows it or only a database would."""
    from kernel.migrations.range_safety import RANGE_RULE, repeat_problems  # noqa: PLC0415 - for few files

    begin = next((one.begin for one in repeat_problems(backfill.statement)), 0)
    message = "accepted in the file"
    return ScriptProblem(
        message=message, file=name, line=backfill.part.line, rule=RANGE_RULE, statements=(0,), begin=begin
    )


def _statement_problem(part: Part, problem: StatementProblem, name: str) -> Problem:
    line, column = part.place_of(problem.begin)
    return Problem(message=problem.message, file=name, line=line, column=column)


_READ_BYTES = 4096


def column_at(path: Path, offset: int) -> int:
    """The column, in characters from 1, of a byte of a file. Raises OSError."""
    line = b""
    with path.open("rb") as file:
        while offset and b"\n" not in line:
            size = min(offset, _READ_BYTES)
            offset -= size
            file.seek(offset)
            line = file.read(size) + line
    return advance_column(1, line.removeprefix(codecs.BOM_UTF8))
