"""The files of another migration tool: list a directory's migrations in the tool's order, and split their parts."""

from __future__ import annotations

import codecs
import io
import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.errors import Problem, UsageError
from kernel.migrations.tool_formats import TOOLS, Mark
from kernel.sql.lexer import LexerError, PartKind, split_script
from kernel.units import format_quantity

if TYPE_CHECKING:
    import re

    from kernel.migrations.tool_formats import LineRule, SortKey, ToolFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSource:
    """The files of one migration, as paths below the directory; `down` is the file of the down part, if separate."""

    name: re.Match[str]
    up: str
    down: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolListing:
    """The migrations of a directory in the order they run in; `unread` are *.sql files that the tool does not read."""

    sources: tuple[ToolSource, ...]
    problems: tuple[Problem, ...]
    unread: tuple[str, ...]


def list_sources(tool: ToolFormat, directory: Path) -> ToolListing:
    """List the migrations in the tool's order. Raises UsageError for a directory without any."""
    names: dict[SortKey, list[tuple[re.Match[str], str]]] = defaultdict(list)
    problems: list[Problem] = []
    unread: list[str] = []
    for path in _list_files(directory, recursive=tool.recursive):
        filename = path.rpartition("/")[2]
        if refused := next((why for pattern, why in tool.refused_names if pattern.fullmatch(filename)), None):
            problems.append(Problem(message=refused, file=path))
        elif not filename.isprintable():
            problems.append(Problem(message="a name with a control character; rename it", file=ascii(path)))
        elif name := tool.filename.fullmatch(filename):
            names[(tool.identity or tool.order)(name)].append((name, path))
        elif filename.lower().endswith(".sql"):
            unread.append(path)
    sources = []
    for same in names.values():
        source, unpaired = _pair_files(tool, same)
        problems += unpaired
        sources += [source] if source else []
    if not (sources or problems):
        raise UsageError(f"{directory}: no migration of {tool.name}; name the directory that holds its files")
    sources.sort(key=lambda one: tool.order(one.name))
    return ToolListing(sources=tuple(sources), problems=tuple(problems), unread=tuple(unread))


def _pair_files(tool: ToolFormat, same: list[tuple[re.Match[str], str]]) -> tuple[ToolSource | None, list[Problem]]:
    """Return the migration that the files of one version are, and the problems of those that are too many."""
    by_direction: dict[str, tuple[re.Match[str], str]] = {}
    problems = []
    for name, path in same:
        first = by_direction.setdefault(name_direction(name), (name, path))[1]
        if first != path:
            problems.append(Problem(message=f"the version of {first} too; {tool.name} runs only one", file=path))
    whole, up, down = (by_direction.get(key) for key in ("", "up", "down"))
    if whole and (up or down):
        problems.append(Problem(message="a migration of one file, which has a file for a part too", file=whole[1]))
    if down and not up:
        problems.append(Problem(message="undoes a migration that is not there", file=down[1]))
    if (one := whole or up) is None:
        return None, problems
    return ToolSource(name=one[0], up=one[1], down=down[1] if down else ""), problems


def name_direction(name: re.Match[str]) -> str:
    """The part that a name says: "up", "down", or "" for a file with both."""
    letter = name.groupdict().get("direction") or ""
    return {"V": "up", "U": "down"}.get(letter, letter)


def _list_files(directory: Path, *, recursive: bool) -> list[str]:
    """List the files, without hidden ones, as paths below the directory. Raises UsageError."""

    def fail(error: OSError) -> None:
        raise UsageError(f"{error.filename}: cannot be listed ({error.strerror})") from error

    found = []
    for folder, folders, files in os.walk(directory, onerror=fail):
        folders[:] = sorted(name for name in folders if recursive and not name.startswith("."))
        inside = Path(folder).relative_to(directory)
        found += [(inside / name).as_posix() for name in files if not name.startswith(".")]
    return sorted(found)


@dataclass(slots=True)
class Part:
    """The up or the down part of a file: its lines with their numbers in the source, which count from 1."""

    lines: list[tuple[int, bytes]] = field(default_factory=list)
    no_transaction: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceParts:
    """The parts of a source file, and the problems that keep it from being carried over."""

    up: Part
    down: Part
    problems: tuple[Problem, ...]


def split_parts(tool: ToolFormat, content: bytes, file: str, *, direction: str = "") -> SourceParts:
    """Split a file into its parts; `direction` "up" or "down" is what its name says. `file` is its name in problems."""
    return _PartReader(tool, file, direction).read(content)


class _PartReader:
    """The state while the lines of a file are read."""

    def __init__(self, tool: ToolFormat, file: str, direction: str) -> None:
        self._tool = tool
        self._file = file
        self._up, self._down = Part(), Part()
        self._before = Part()  # lines before the first mark
        self._seen: set[Mark] = set()
        self._statement_line: int | None = None
        self._statement_index = 0  # in the lines of the part
        self._problems: list[Problem] = []
        self._refused: dict[LineRule, list[tuple[int, str]]] = {}
        # A file that is one part as a whole has no marks: a comment of it that looks like one is a comment.
        marks = (Mark.UP, Mark.DOWN) if direction else ()
        self._rules = tuple(rule for rule in tool.rules if rule.mark not in marks)
        self._needs_mark = not (direction or tool.starts_up)
        self._part = self._before if self._needs_mark else self._down if direction == "down" else self._up

    def read(self, content: bytes) -> SourceParts:
        for number, line in enumerate(io.BytesIO(content.removeprefix(codecs.BOM_UTF8)), start=1):
            rule, match = self._find_rule(line.rstrip(b"\r\n"))
            if rule is None or match is None:
                self._part.lines.append((number, line))
            else:
                self._apply(rule, match, number)
        self._finish()
        return SourceParts(up=self._up, down=self._down, problems=tuple(self._problems))

    def _find_rule(self, line: bytes) -> tuple[LineRule | None, re.Match[bytes] | None]:
        for rule in self._rules:
            if match := rule.pattern.search(line):
                return rule, match
        return None, None

    def _apply(self, rule: LineRule, match: re.Match[bytes], number: int) -> None:
        match rule.mark:
            case Mark.UP | Mark.DOWN as mark:
                self._begin_part(mark, match, number)
            case Mark.STATEMENT_BEGIN:
                self._statement_line, self._statement_index = number, len(self._part.lines)
            case Mark.STATEMENT_END:
                if self._statement_line is None:
                    self._refuse(f"{_shown(match)}: ends no statement", number)
                elif _is_unterminated(self._part.lines[self._statement_index :]):
                    self._part.lines.append((number, b";\n"))
                self._statement_line = None
            case Mark.NO_TRANSACTION:
                self._part.no_transaction = True
            case Mark.NO_TRANSACTION_FILE:
                self._up.no_transaction = self._down.no_transaction = True
            case Mark.REFUSED:
                self._refused.setdefault(rule, []).append((number, _shown(match)))

    def _begin_part(self, mark: Mark, match: re.Match[bytes], number: int) -> None:
        if mark in self._seen and not self._tool.parts_repeat:
            self._refuse(f"{_shown(match)}: a second mark of this part; {self._tool.name} reads only one", number)
        self._seen.add(mark)
        self._part = self._up if mark is Mark.UP else self._down
        for option in (match.groupdict().get("options") or b"").split():
            if option == self._tool.no_transaction:
                self._part.no_transaction = True
            elif option not in self._tool.transaction:
                self._refuse(f"{_shown(match)}: {self._tool.name} has no such option; take it out", number)

    def _finish(self) -> None:
        name = self._tool.name
        for rule, places in self._refused.items():
            (number, shown), more = places[0], len(places) - 1
            also = f" (and in {format_quantity(more, 'more line')})" if more else ""
            self._refuse(f"{shown}: {rule.message}{also}", number)
        if self._statement_line is not None:
            self._refuse("this statement has no end mark", self._statement_line)
        if not self._needs_mark:
            return
        if self._tool.marks_optional and not self._seen:
            self._up = self._before
            return
        if Mark.UP not in self._seen:
            others = _tools_with_marks_in(self._before, besides=self._tool)
            remedy = f"; its marks are those of --from {others[0]}" if others else f"; is it a file of {name}?"
            self._refuse(f"no mark of the up part{remedy}", 1)
            return
        for number, line in self._before.lines:
            if (text := line.strip()) and not text.startswith(b"--"):
                message = f"stands before the first mark, where {name} does not run it; move it, or remove it"
                self._refuse(message, number)
                return
        self._up.lines[:0] = self._before.lines

    def _refuse(self, message: str, line: int) -> None:
        self._problems.append(Problem(message=message, file=self._file, line=line))


def _is_unterminated(lines: list[tuple[int, bytes]]) -> bool:
    """Whether lines between the marks of a statement end without a semicolon, which the tool does not need there."""
    try:
        parts = [*split_script(io.BytesIO(b"".join(line for _, line in lines)).read)]
    except LexerError:
        return False  # reported when the whole file is read
    statements = [part for part in parts if part.kind is PartKind.STATEMENT]
    return bool(statements) and not statements[-1].text.endswith(b";")


def _shown(match: re.Match[bytes]) -> str:
    """The text that a rule matched, for a message."""
    return match[0].decode(errors="replace").strip()


def _tools_with_marks_in(part: Part, *, besides: ToolFormat) -> list[str]:
    """The names of other tools of which the lines have a mark of the up part."""
    rules = [(tool, rule) for tool in TOOLS.values() if tool is not besides for rule in tool.rules]
    return [
        tool.name
        for tool, rule in rules
        if rule.mark is Mark.UP and any(rule.pattern.search(line.rstrip(b"\r\n")) for _, line in part.lines)
    ]
