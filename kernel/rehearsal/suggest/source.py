"""A migration file as statements that can be moved to other files, each with its comments and data."""

from __future__ import annotations

import io
import re
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel.lint.actions import read_actions
from kernel.migrations.directives import parse_directives
from kernel.rehearsal.suggest.model import read_quoted_name
from kernel.sql.classify import StatementEffect, statement_effect
from kernel.sql.lexer import PartKind, split_script
from kernel.sql.reader import WordReader, read_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.lint.action import Action
    from kernel.migrations.directives import Directives
    from kernel.migrations.migration import Migration
    from kernel.sql.lexer import Part


_NUMBER_COMMENT = re.compile(rb"[ \t]*--[ \t]*Migration:[ \t]*[0-9]+")
_MAX_NAME_PARTS = 2  # schema and name


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementUnit:
    """A statement of a file with what belongs to it.

    `leading` are the comments above it; `trailing` is the data of COPY, or a comment on its last line.
    """

    part: Part
    leading: bytes
    trailing: bytes = b""

    @property
    def sql(self) -> bytes:
        """The statement with its semicolon."""
        return self.part.sql

    @property
    def effect(self) -> StatementEffect:
        return statement_effect(self.sql)

    @property
    def actions(self) -> tuple[Action, ...]:
        """The linter's reading of it."""
        return tuple(read_actions(read_words(self.sql)))

    @property
    def text(self) -> str:
        """All of it as it stands in the file, without blank lines around it."""
        body = self.sql.rstrip()
        closing = b"" if body.endswith(b";") or not body else b"\n;"  # after a line comment it would be part of that
        return b"".join((self.leading, body, closing, self.trailing)).decode().strip("\r\n") + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationUnits:
    """A file. The first unit's comments come without directives for the runner.

    `has_own_transaction` is true of a file that writes BEGIN and COMMIT around everything; they are not units.
    """

    version: str
    filename: str
    units: tuple[StatementUnit, ...]
    directives: Directives
    has_own_transaction: bool = False

    def unit_index_at(self, offset: int | None) -> int | None:
        """The index of the unit that a byte of the file belongs to; None for a finding about the whole file."""
        if offset is None:
            return None
        index = bisect_right(self.units, offset, key=lambda unit: unit.part.offset) - 1
        return index if index >= 0 else None

    def names_in(self, indexes: Iterable[int]) -> Iterator[str]:
        """All names in these units, quoted, as candidates for names of relations."""
        for index in indexes:
            reader = WordReader(read_words(self.units[index].sql))
            while reader.key:
                begin = reader.index
                name = read_quoted_name(reader)
                if name and (reader.index - begin + 1) // 2 <= _MAX_NAME_PARTS:
                    yield name
                elif not name:
                    reader.index += 1


def split_into_units(migration: Migration, content: bytes) -> MigrationUnits:
    """Split a file that the runner has read before. Raises LexerError."""
    units: list[StatementUnit] = []
    head = b""
    for part in split_script(io.BytesIO(content).read):
        if part.kind is PartKind.STATEMENT:
            trailing, leading = _split_comments(part, first=not units)
            if units:
                units[-1] = replace(units[-1], trailing=units[-1].trailing + trailing)
            else:
                head, leading = leading, _without_directives(leading)
            units.append(StatementUnit(part=part, leading=leading))
        elif units:
            units[-1] = replace(units[-1], trailing=units[-1].trailing + part.text)
        else:
            head += part.text
    directives, _ = parse_directives(head, migration.filename)
    effects = [unit.effect for unit in units]
    has_own_transaction = effects[:1] == [StatementEffect.BEGIN] and effects[-1:] == [StatementEffect.COMMIT]
    if has_own_transaction:
        units[1:2] = [replace(unit, leading=units[0].leading + unit.leading) for unit in units[1:2]]
        units = units[1:-1]
    return MigrationUnits(
        version=migration.version,
        filename=migration.filename,
        units=tuple(units),
        directives=directives,
        has_own_transaction=has_own_transaction,
    )


def _split_comments(part: Part, *, first: bool) -> tuple[bytes, bytes]:
    """A comment on the last line of the previous statement, and the comments above this one."""
    before = part.text[: part.start]
    line, newline, rest = before.partition(b"\n")
    if first or not newline or not line.strip().startswith(b"--"):
        return b"", before
    return line, newline + rest


def _without_directives(comments: bytes) -> bytes:
    """Comments without lines for the runner, and without the migration's number: each new file has its own."""
    return b"".join(line for line in comments.splitlines(keepends=True) if not _is_directive(line))


def _is_directive(line: bytes) -> bool:
    if _NUMBER_COMMENT.match(line):
        return True
    directives, problems = parse_directives(line, "")
    return bool(problems) or directives.no_transaction or directives.lock_timeout_ms is not None
