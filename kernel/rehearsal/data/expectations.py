"""Declarations of data changes, in comments of a migration file, and the tables that they name.

    -- rehearse: rows orders=-10, users=+5      so many rows fewer, more; orders=* for any number
    -- rehearse: changes users.status           values of a column; users.* for any column
    -- rehearse: drops orders.legacy_note       a column, or a table, is dropped with its data

They may stand on any line, alone or after a statement, but not inside a string or a block comment. A rehearsal reads
them; `db.migrate` does not.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from kernel.errors import Problem
from kernel.sql.lexer import LexerError, PartKind, split_script
from kernel.sql.tokens import end_of_comment, scan_tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from kernel.migrations.migration import Migration
    from kernel.rehearsal.data.tables import TablePair
    from kernel.sql.lexer import Part


_DECLARATION = re.compile(r"--[ \t]*rehearse[ \t]*:[ \t]*(?P<words>.*)", re.DOTALL)
_COMMENT_START = re.compile(rb"--[^\r\n]*|/\*")
_NAME_PART = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
_QUALIFIED_NAME = rf"(?P<name>{_NAME_PART}(?:\.{_NAME_PART})*)"
_ITEM_PATTERNS = {
    "rows": re.compile(rf"{_QUALIFIED_NAME}=(?P<rows>[+-][0-9]{{1,18}}|\*)"),
    "changes": re.compile(rf"{_QUALIFIED_NAME}\.(?P<column>\*|{_NAME_PART})"),
    "drops": re.compile(_QUALIFIED_NAME),
}
_EXAMPLES = {
    "rows": "rows orders=-10, rows orders=+5 or rows orders=*",
    "changes": "changes users.status or changes users.*",
    "drops": "drops orders.legacy_note or drops orders",
}
_SEPARATOR = re.compile(r"[ \t]*(?:,[ \t]*|(?=\Z))|[ \t]+")


class ExpectationKind(StrEnum):
    """The declared change: of the number of rows, of values, or the loss of a column's or table's data."""

    ROWS = "rows"
    CHANGES = "changes"
    DROPS = "drops"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """One declaration; `name` is folded as PostgreSQL does: schema (or none), table, column (or none).

    `row_difference` is for ROWS, None for any. The last part of a CHANGES name is a column, "*" for all; that of a
    DROPS name may be a column or a table.
    """

    kind: ExpectationKind
    name: tuple[str, ...]
    file: str
    line: int
    row_difference: int | None = None

    @property
    def possible_tables(self) -> frozenset[str]:
        """The names, without schema, of the tables that it may mean: the last part of DROPS may be a column."""
        parts = {ExpectationKind.ROWS: self.name[-1:], ExpectationKind.CHANGES: self.name[-2:-1]}
        return frozenset(parts.get(self.kind, self.name[-2:]))

    @property
    def location(self) -> str:
        """File and line, for messages."""
        return f"{self.file}:{self.line}"


def read_expectations(migrations: Iterable[Migration]) -> tuple[tuple[Expectation, ...], tuple[Problem, ...]]:
    """The declarations of the files, and the problems of those that cannot be read. Raises OSError.

    A file that cannot be lexed declares nothing after that place; running it reports the error.
    """
    found: list[Expectation] = []
    problems: list[Problem] = []
    for migration in migrations:
        with migration.path.open("rb") as file:
            try:
                for part in split_script(file.read):
                    for line, comment in _line_comments(part):
                        _parse_declaration(comment, migration.filename, line, found, problems)
            except LexerError:
                continue
    return tuple(found), tuple(problems)


def _line_comments(part: Part) -> Iterator[tuple[int, str]]:
    """The (line, text) of the line comments of a part, its strings and block comments left out."""
    if part.kind not in (PartKind.STATEMENT, PartKind.BLANK) or b"rehearse" not in part.text:
        return
    text = part.text
    first = part.line - text.count(b"\n", 0, part.start)
    ahead = 0
    spans = [(begin, end) for _, begin, end in scan_tokens(text, part.start)] if part.kind is PartKind.STATEMENT else []
    for begin, end in [*spans, (len(text), len(text))]:
        at = ahead
        while found := _COMMENT_START.search(text, at, begin):
            if found[0] == b"/*":
                at = end_of_comment(text, found.start())
            else:
                at = found.end()
                yield first + text.count(b"\n", 0, found.start()), found[0].decode(errors="replace")
        ahead = end


def _parse_declaration(comment: str, file: str, line: int, found: list[Expectation], problems: list[Problem]) -> None:
    declaration = _DECLARATION.match(comment)
    if declaration is None:
        return
    text = declaration["words"].strip()
    verb, _, rest = text.partition(" ")
    if verb not in _ITEM_PATTERNS:
        near = difflib.get_close_matches(verb, _ITEM_PATTERNS, n=1)
        known = f"do you mean {near[0]}" if near else f"write {', '.join(_EXAMPLES.values())}"
        problems.append(
            Problem(message=f"-- rehearse: {verb or '(nothing)'}: no such word; {known}", file=file, line=line)
        )
        return
    rest = rest.strip()
    at = 0
    while item := _ITEM_PATTERNS[verb].match(rest, at):
        between = _SEPARATOR.match(rest, item.end())
        if between is None:
            break
        groups = item.groupdict()
        name = _fold_name_parts(groups["name"]) + (
            (_fold_name_parts(groups["column"]) or ("*",)) if "column" in groups else ()
        )
        rows = groups.get("rows")
        found.append(
            Expectation(
                kind=ExpectationKind(verb),
                name=name,
                file=file,
                line=line,
                row_difference=None if rows in (None, "*") else int(rows),
            )
        )
        at = between.end()
    if at < len(rest) or not rest:
        message = f"-- rehearse: {verb} {rest[at:]}".rstrip() + f": cannot be read; write {_EXAMPLES[verb]}"
        problems.append(Problem(message=message, file=file, line=line))


def _fold_name_parts(name: str) -> tuple[str, ...]:
    """The parts of a name, unquoted ones in lower case, as the server folds them."""
    return tuple(
        part[1:-1].replace('""', '"') if part.startswith('"') else part.lower() for part in re.findall(_NAME_PART, name)
    )


ALL_COLUMNS = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableExpectations:
    """The declarations of one table: of its rows, and the names of columns, "" for the table itself."""

    row_expectations: tuple[Expectation, ...] = ()
    changed_columns: frozenset[str] = frozenset()
    dropped_columns: frozenset[str] = frozenset()

    def may_change(self, *columns: str) -> bool:
        """Whether the values of a column with one of these names may change."""
        return ALL_COLUMNS in self.changed_columns or not self.changed_columns.isdisjoint(columns)

    def expected_rows(self, *, added: bool) -> int | None:
        """How many rows are declared to be added or removed (negative); None without a declared number."""
        counts = [
            one.row_difference
            for one in self.row_expectations
            if one.row_difference is not None and (one.row_difference > 0) is added
        ]
        return sum(counts) if counts else None

    @property
    def any_row_count(self) -> bool:
        """Whether any number of rows may be added and removed."""
        return any(one.row_difference is None for one in self.row_expectations)


def resolve_expectations(
    expectations: Iterable[Expectation], tables: Sequence[TablePair], path: Sequence[str]
) -> tuple[Mapping[int, TableExpectations], tuple[Problem, ...]]:
    """The declarations by the index of their table in `tables`, and problems for unknown tables and columns.

    `path` are the schemas searched for unqualified names; a table elsewhere is found where its name is unique.
    """
    names = _index_by_name(tables)
    gathered: dict[int, list[tuple[Expectation, str]]] = {}
    problems = []
    for one in expectations:
        target = _resolve_target(one, tables, names, path)
        if isinstance(target, Problem):
            problems.append(target)
        else:
            gathered.setdefault(target[0], []).append((one, target[1]))
    return {place: _group_by_kind(items) for place, items in gathered.items()}, tuple(problems)


def _group_by_kind(items: list[tuple[Expectation, str]]) -> TableExpectations:
    return TableExpectations(
        row_expectations=tuple(one for one, _ in items if one.kind is ExpectationKind.ROWS),
        changed_columns=frozenset(column for one, column in items if one.kind is ExpectationKind.CHANGES),
        dropped_columns=frozenset(column for one, column in items if one.kind is ExpectationKind.DROPS),
    )


def _index_by_name(tables: Sequence[TablePair]) -> dict[tuple[str, str], int]:
    """The index of the table for each name that it or a partition has on either side, production's names first."""
    names: dict[tuple[str, str], int] = {}
    for after in (False, True):
        for place, table in enumerate(tables):
            side = table.after if after else table.before
            for relation in (side.head, *side.leaves) if side else ():
                names.setdefault((relation.schema, relation.name), place)
    return names


def _resolve_target(
    one: Expectation, tables: Sequence[TablePair], names: Mapping[tuple[str, str], int], path: Sequence[str]
) -> tuple[int, str] | Problem:
    """The index of the table, and the column that an expectation names, "" for none."""
    tries = {
        ExpectationKind.ROWS: ((one.name, ""),),
        ExpectationKind.CHANGES: ((one.name[:-1], one.name[-1]),),
        ExpectationKind.DROPS: ((one.name, ""), (one.name[:-1], one.name[-1])),
    }[one.kind]
    for parts, column in tries:
        place = _find_table_index(parts, names, path)
        if place is None:
            continue
        known = _column_names(tables[place])
        if column in ("", ALL_COLUMNS) or column in known:
            return place, column
        return _unknown_name(one, f"no column {column} in {'.'.join(parts)}", column, known)
    return unknown_table_problem(one, {name for _, name in names})


def _find_table_index(parts: tuple[str, ...], names: Mapping[tuple[str, str], int], path: Sequence[str]) -> int | None:
    if len(parts) == 2:  # noqa: PLR2004 - schema and name
        return names.get((parts[0], parts[1]))
    if len(parts) != 1:
        return None
    for schema in path:
        if (schema, parts[0]) in names:
            return names[schema, parts[0]]
    elsewhere = {place for (_, name), place in names.items() if name == parts[0]}
    return elsewhere.pop() if len(elsewhere) == 1 else None


def _column_names(table: TablePair) -> set[str]:
    return {one.name for side in (table.before, table.after) if side for one in side.head.columns}


def unknown_table_problem(one: Expectation, known: Iterable[str]) -> Problem:
    """The problem of a declaration that names none of the tables `known`."""
    parts = one.name[:-1] if one.kind is ExpectationKind.CHANGES else one.name
    return _unknown_name(one, f"no table {'.'.join(parts)}", parts[-1], known)


def _unknown_name(one: Expectation, what: str, wrong: str, known: Iterable[str]) -> Problem:
    near = difflib.get_close_matches(wrong, sorted(known), n=1)
    remedy = f"do you mean {near[0]}" if near else "correct the declaration, or take it out"
    return Problem(message=f"-- rehearse: {one.kind}: {what}; {remedy}", file=one.file, line=one.line)
