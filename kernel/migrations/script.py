"""Scripts: the mode in which a migration file runs, and every reason why one cannot run."""

from __future__ import annotations

import codecs
import re
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from kernel.config.ledger_name import LedgerName
from kernel.errors import FilesInvalid, Problem
from kernel.migrations.directives import (
    Directives,
    may_have_foreign_marks,
    misplaced_directive_problems,
    parse_directives,
)
from kernel.migrations.migration import HashingReader, list_candidates, parse_filename
from kernel.migrations.transactions import FileMode, RunMode, SpecialStatement, also_on_lines, choose_mode
from kernel.sql.classify import StatementEffect, statement_effect
from kernel.sql.lexer import LexerError, PartKind, advance_column, split_script
from kernel.sql.tokens import first_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from kernel.migrations.autocommit import SessionObject
    from kernel.migrations.foreign import ForeignMark
    from kernel.migrations.ledger_changes import LocatedChange
    from kernel.sql.lexer import Part


REVERT_FOLDER = "revert"
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
    """A file that can be run: its mode, the number of statements it sends, and the BEGIN that opens its transaction.

    A SET TRANSACTION at the beginning of the file is part of `begin_sql`: it must precede the claim, the first query.
    `checksum` is that of the bytes that were read. `parts` are kept for a small file, so that it is read only once.
    `all_plain` means that the effect of each statement is PLAIN, `unwritten` that the file has nothing but what db.new
    writes into it. `session_objects` and `warnings`, each with its line, are those of a file that runs statement by
    statement.
    """

    mode: RunMode
    statement_count: int
    size_bytes: int
    checksum: str
    parts: tuple[Part, ...] | None = field(default=None, repr=False)
    begin_sql: bytes = b"BEGIN"
    lock_timeout_ms: int | None = None
    all_plain: bool = False
    unwritten: bool = False
    session_objects: tuple[SessionObject, ...] = ()
    warnings: tuple[Problem, ...] = ()


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


def parse_script(path: Path, name: str, *, keep_bytes: int = 0, ledger: LedgerName | None = None) -> Script:
    """Read a whole file and determine its mode; `name` is its name in messages, `ledger` the table it must not change.

    The parts of a file of at most `keep_bytes` are kept. Raises FilesInvalid with all problems and their lines.
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
    if b"migrate" in scan.head:
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
        begin_sql=b"; ".join((chosen.begin_sql or b"BEGIN", *scan.characteristics)),
        lock_timeout_ms=directives.lock_timeout_ms,
        all_plain=not scan.specials,
        unwritten=not scan.statement_count and _is_unwritten(scan.head),
    )
    if chosen.mode is not RunMode.NO_TRANSACTION:
        return script
    from kernel.migrations.autocommit import review_statements  # noqa: PLC0415 - for no-transaction files only

    with open_script(script, path) as reading:
        session_objects, warnings = review_statements(reading.parts)
    return replace(
        script, session_objects=session_objects, warnings=tuple(replace(warning, file=name) for warning in warnings)
    )


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
        self.characteristics: list[bytes] = []  # SET TRANSACTION statements preceded only by BEGIN
        self.statement_count = 0
        self.size_bytes = 0
        self.kept_parts: list[Part] = []
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
            if (effect := effect_of(text, start)) is plain:
                if just_begun and _sets_transaction(sql := text[start:]):
                    self.characteristics.append(sql.removesuffix(b";"))
                just_begun = False
            else:
                self._add_special(effect, part)
                just_begun = effect is StatementEffect.BEGIN
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


def _sets_transaction(sql: bytes) -> bool:
    # Without a semicolon, a comment at its end would also comment out the text sent after it.
    return sql[:3].upper() == b"SET" and sql.endswith(b";") and first_tokens(sql, limit=2) == ("SET", "TRANSACTION")


def parse_revert_script(path: Path, name: str, *, ledger: LedgerName | None = None) -> Script:
    """Read a revert file. Raises FilesInvalid, also when it cannot run in the transaction that removes the record."""
    script = parse_script(path, name, ledger=ledger)
    message = ""
    if script.mode is not RunMode.TRANSACTION:
        message = (
            "it has to run in the transaction that removes the record; "
            "write it without CONCURRENTLY and without -- migrate: no-transaction"
        )
    elif script.unwritten:
        message = f"{UNWRITTEN}, and would undo nothing; write what undoes the migration, or say why nothing has to be"
    if message:
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
