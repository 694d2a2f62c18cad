"""Translate one migration of another tool: the up part as a migration, the down part as its revert file."""

from __future__ import annotations

import io
import re
import unicodedata
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kernel.errors import FilesInvalid, Problem
from kernel.migrations.migration import format_version
from kernel.migrations.paired_files import parse_revert_script
from kernel.migrations.scaffold import words_in_snake_case
from kernel.migrations.script import parse_script
from kernel.migrations.tool_files import name_direction, split_parts
from kernel.migrations.tool_formats import PLACEHOLDER
from kernel.sql.classify import StatementEffect, statement_effect
from kernel.sql.lexer import LexerError, PartKind, split_script

if TYPE_CHECKING:
    from pathlib import Path

    from kernel.migrations.tool_files import Part, SourceParts, ToolSource
    from kernel.migrations.tool_formats import ToolFormat


_FILENAME_BYTES = 255  # the limit of common file systems, and of schema_migrations.filename
_DIRECTIVE = b"-- migrate: no-transaction\n"
# The word changes the lock only, and a revert file runs in the transaction that removes the record.
_CONCURRENTLY = re.compile(rb"((?:create\s+(?:unique\s+)?|drop\s+)index)\s+concurrently\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptedFile:
    """A migration to write: its `sources`, relative to their directory, and the content of the files.

    `revert` is None without a down part. `no_transaction` says that it has the directive; `notes` are lines for the
    user about what is not as in the source.
    """

    sources: tuple[str, ...]
    filename: str
    content: bytes = field(repr=False)
    revert: bytes | None = field(repr=False)
    no_transaction: bool
    notes: tuple[str, ...]


class Translator:
    """Translate one migration; `problems` are collected, with the lines of the source."""

    def __init__(self, tool: ToolFormat, directory: Path, source: ToolSource, number: int, scratch: Path) -> None:
        self._tool = tool
        self._directory = directory
        self._source = source
        self._scratch = scratch / "script.sql"
        self._version = format_version(number)
        self._notes: list[str] = []
        self.problems: list[Problem] = []

    def translate(self) -> AdoptedFile:
        source = self._source
        slug = _description(source.name["description"])
        title = slug.replace("_", " ").capitalize()
        filename = f"{self._version}_{slug}"[: _FILENAME_BYTES - len(".sql")].rstrip("_") + ".sql"
        parts = self._read_parts(source.up, name_direction(source.name))
        up, down, down_file = parts.up, parts.down, source.up
        if source.down:
            down, down_file = self._read_parts(source.down, "down").down, source.down
        head = f"-- Migration: {self._version} - {title}\n-- Description: adopted from {self._tool.name}: {source.up}\n"
        content, no_transaction = self._migration(head.encode(), up)
        revert = self._revert(f"-- Revert: {self._version} - {title}\n\n".encode(), down, down_file)
        return AdoptedFile(
            sources=(source.up, source.down) if source.down else (source.up,),
            filename=filename,
            content=content,
            revert=revert,
            no_transaction=no_transaction,
            notes=tuple(dict.fromkeys(self._notes)),
        )

    def _read_parts(self, path: str, direction: str) -> SourceParts:
        tool, no_transaction = self._tool, False
        config = f"{path}{tool.config_suffix}"
        if tool.config_suffix and (self._directory / config).is_file():
            tool, no_transaction = self._read_config(tool, self._read(config), config)
        parts = split_parts(tool, self._read(path), path, direction=direction)
        for part in (parts.up, parts.down):
            part.no_transaction = part.no_transaction or no_transaction
        self.problems += parts.problems
        return parts

    def _read(self, path: str) -> bytes:
        try:
            return (self._directory / path).read_bytes()
        except OSError as error:
            self.problems.append(Problem(message=f"cannot be read: {error.strerror}", file=path))
            return b""

    def _read_config(self, tool: ToolFormat, content: bytes, file: str) -> tuple[ToolFormat, bool]:
        """Read Flyway's configuration of one script: the format without placeholders, and whether it runs outside."""
        no_transaction = False
        for number, line in enumerate(content.decode(errors="replace").splitlines(), start=1):
            key, _, value = (word.strip() for word in line.partition("="))
            match key.removeprefix("flyway.").lower(), value.lower():
                case ("" | "executeintransaction", "" | "true") | ("encoding", "utf-8"):
                    pass
                case ("executeintransaction", "false"):
                    no_transaction = True
                case ("placeholderreplacement", "false"):
                    tool = replace(tool, rules=tuple(rule for rule in tool.rules if rule.pattern is not PLACEHOLDER))
                case (name, _) if not name.startswith("#"):
                    message = f"{line.strip()}: a setting of {tool.name} that no migration has; take it out"
                    self.problems.append(Problem(message=message, file=file, line=number))
        return tool, no_transaction

    def _migration(self, head: bytes, part: Part) -> tuple[bytes, bool]:
        """Return the content, and whether it has the directive: when the tool said so, or its statements need it."""
        text = _text(part)
        if index := _line_of_setting(text):
            line = part.lines[index - 1][0]
            self._notes.append(f"line {line} changes a setting of the session, which lasts for this file only")
        plain, outside = head + b"\n" + text, head + _DIRECTIVE + b"\n" + text
        if part.no_transaction:
            self.problems += self._check(outside, part)
            return outside, True
        if not self._check(plain, part):
            return plain, False
        # What remains with the directive is wrong for other reasons.
        self.problems += self._check(outside, part)
        self._notes.append("runs outside a transaction, as its statements need it")
        return outside, True

    def _revert(self, head: bytes, part: Part, file: str) -> bytes | None:
        text, lines = _text(part), part.lines
        try:
            pieces = list(split_script(io.BytesIO(text).read))
        except LexerError:
            self.problems += self._check(head + text, part, file=file, revert=True)
            return None
        if not any(piece.kind is PartKind.STATEMENT for piece in pieces):
            if text.strip():
                self._notes.append("no revert file: the down part has no statement")
            return None
        for index, piece in enumerate(pieces):
            if piece.kind is not PartKind.STATEMENT or statement_effect(piece.text, piece.start) is not (
                StatementEffect.OUTSIDE
            ):
                continue
            if not _CONCURRENTLY.match(piece.sql):
                message = "cannot run in the transaction that removes the record; take it out of the down part"
                self.problems.append(Problem(message=message, file=file, line=lines[piece.line - 1][0]))
                return None
            pieces[index] = piece._replace(text=piece.text[: piece.start] + _CONCURRENTLY.sub(rb"\1", piece.sql, 1))
            self._notes.append("its revert file is without CONCURRENTLY, as it runs in a transaction")
        content = head + b"".join(piece.text for piece in pieces)
        self.problems += self._check(content, part, file=file, revert=True)
        return content

    def _check(self, content: bytes, part: Part, *, file: str = "", revert: bool = False) -> list[Problem]:
        """Parse a file as db.migrate or db.rollback would; its problems have the lines of the source."""
        file = file or self._source.up
        header_lines = content.count(b"\n") - sum(line.count(b"\n") for _, line in part.lines)
        self._scratch.write_bytes(content)
        try:
            (parse_revert_script if revert else parse_script)(self._scratch, file)
        except FilesInvalid as error:
            return [self._at_source(problem, part, header_lines) for problem in error.problems]
        return []

    def _at_source(self, problem: Problem, part: Part, header_lines: int) -> Problem:
        """The problem with the line of the source instead of the line in the file that would be written."""
        index = (problem.line or 0) - header_lines - 1
        line = part.lines[index][0] if 0 <= index < len(part.lines) else None
        return replace(problem, line=line, column=problem.column if line else None)


def _line_of_setting(text: bytes) -> int:
    """The line of the first statement that changes a setting for the session, 0 for none."""
    with suppress(LexerError):  # reported when the whole file is checked
        for part in split_script(io.BytesIO(text).read):
            effect = statement_effect(part.text, part.start) if part.kind is PartKind.STATEMENT else None
            if effect in (StatementEffect.SETTING, StatementEffect.LEXICAL):
                return part.line
    return 0


def _text(part: Part) -> bytes:
    """The text of a part without blank lines around it, ending in a newline."""
    while part.lines and not part.lines[0][1].strip():
        part.lines.pop(0)
    while part.lines and not part.lines[-1][1].strip():
        part.lines.pop()
    text = b"".join(line for _, line in part.lines)
    if text and not text.endswith(b"\n"):
        number, line = part.lines[-1]
        part.lines[-1] = (number, line + b"\n")
        text += b"\n"
    return text


def _description(words: str) -> str:
    """The description of a migration from the name that another tool's file has."""
    plain = unicodedata.normalize("NFKD", words).encode("ascii", "ignore").decode()
    return words_in_snake_case(plain) or "migration"
