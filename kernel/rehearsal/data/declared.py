"""What migrations say about the data they mean to change, in comments of their own.

    -- rehearse: rows orders=-10, users=+5      as many rows fewer, more; orders=* for any number
    -- rehearse: changes users.status           values of a column; users.* for any column
    -- rehearse: drops orders.legacy_note       a column, or a table, goes with what it holds

They may stand on any line, alone or behind a statement, but not inside a string or a block comment. A rehearsal reads
them; `db.migrate` does not.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from kernel.errors import Problem
from kernel.sql import lexer, tokens
from kernel.sql.part import Kind
from kernel.sql.source import Unlexable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.files.migration import Migration
    from kernel.sql.part import Part

_OURS = re.compile(r"--[ \t]*rehearse[ \t]*:[ \t]*(?P<words>.*)", re.DOTALL)
_COMMENT = re.compile(rb"--[^\r\n]*|/\*")
_PART = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
_NAMES = rf"(?P<name>{_PART}(?:\.{_PART})*)"
_ITEMS = {
    "rows": re.compile(rf"{_NAMES}=(?P<rows>[+-][0-9]{{1,18}}|\*)"),
    "changes": re.compile(rf"{_NAMES}\.(?P<column>\*|{_PART})"),
    "drops": re.compile(_NAMES),
}
_FORMS = {
    "rows": "rows orders=-10, rows orders=+5 or rows orders=*",
    "changes": "changes users.status or changes users.*",
    "drops": "drops orders.legacy_note or drops orders",
}
_BETWEEN = re.compile(r"[ \t]*(?:,[ \t]*|(?=\Z))|[ \t]+")


class Verb(StrEnum):
    """What may happen: to the number of rows, to values, or to all that a column or table holds."""

    ROWS = "rows"
    CHANGES = "changes"
    DROPS = "drops"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """One thing that a file declares; `name` is folded as PostgreSQL does: schema (or none), table, column (or none).

    `rows` is the difference of a ROWS, None for any. The last part of a CHANGES is a column, "*" for all; whether that
    of a DROPS is, the databases tell.
    """

    verb: Verb
    name: tuple[str, ...]
    file: str
    line: int
    rows: int | None = None

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"{self.file}:{self.line}"


def expectations(migrations: Iterable[Migration]) -> tuple[tuple[Expectation, ...], tuple[Problem, ...]]:
    """What the files declare, and what of it cannot be read. Raises OSError.

    A file that cannot be lexed declares nothing from there on: whoever runs it says why.
    """
    found: list[Expectation] = []
    problems: list[Problem] = []
    for migration in migrations:
        with migration.path.open("rb") as file:
            try:
                for part in lexer.parts(file.read):
                    for line, comment in _comments(part):
                        _read(comment, migration.filename, line, found, problems)
            except Unlexable:
                continue
    return tuple(found), tuple(problems)


def _comments(part: Part) -> Iterator[tuple[int, str]]:
    """The (line, text) of the line comments of a part, its strings and block comments left out."""
    if part.kind not in (Kind.STATEMENT, Kind.BLANK) or b"rehearse" not in part.text:
        return
    text = part.text
    first = part.line - text.count(b"\n", 0, part.start)
    ahead = 0
    spans = [(begin, end) for _, begin, end in tokens.scan(text, part.start)] if part.kind is Kind.STATEMENT else []
    for begin, end in [*spans, (len(text), len(text))]:
        at = ahead
        while found := _COMMENT.search(text, at, begin):
            if found[0] == b"/*":
                at = tokens.after_comment(text, found.start())
            else:
                at = found.end()
                yield first + text.count(b"\n", 0, found.start()), found[0].decode(errors="replace")
        ahead = end


def _read(comment: str, file: str, line: int, found: list[Expectation], problems: list[Problem]) -> None:
    ours = _OURS.match(comment)
    if ours is None:
        return
    text = ours["words"].strip()
    verb, _, rest = text.partition(" ")
    if verb not in _ITEMS:
        near = difflib.get_close_matches(verb, _ITEMS, n=1)
        known = f"do you mean {near[0]}" if near else f"write {', '.join(_FORMS.values())}"
        problems.append(
            Problem(message=f"-- rehearse: {verb or '(nothing)'}: no such word; {known}", file=file, line=line)
        )
        return
    rest = rest.strip()
    at = 0
    while item := _ITEMS[verb].match(rest, at):
        between = _BETWEEN.match(rest, item.end())
        if between is None:
            break
        groups = item.groupdict()
        name = _folded(groups["name"]) + ((_folded(groups["column"]) or ("*",)) if "column" in groups else ())
        rows = groups.get("rows")
        found.append(
            Expectation(
                verb=Verb(verb), name=name, file=file, line=line, rows=None if rows in (None, "*") else int(rows)
            )
        )
        at = between.end()
    if at < len(rest) or not rest:
        message = f"-- rehearse: {verb} {rest[at:]}".rstrip() + f": cannot be read; write {_FORMS[verb]}"
        problems.append(Problem(message=message, file=file, line=line))


def _folded(name: str) -> tuple[str, ...]:
    """The parts of a name: those without quotes in lower case, as the server folds them."""
    return tuple(
        part[1:-1].replace('""', '"') if part.startswith('"') else part.lower() for part in re.findall(_PART, name)
    )
