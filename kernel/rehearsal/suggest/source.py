"""A migration file as units that can be put apart: a statement, what stands ahead of it, the data behind it."""

from __future__ import annotations

import io
import re
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel.files import directive
from kernel.rehearsal.static import statement, words
from kernel.rehearsal.suggest import names
from kernel.sql import effect, lexer
from kernel.sql.effect import Effect
from kernel.sql.part import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.files.directive import Directives
    from kernel.files.migration import Migration
    from kernel.rehearsal.static.act import Act
    from kernel.sql.part import Part

_NUMBER = re.compile(rb"[ \t]*--[ \t]*Migration:[ \t]*[0-9]+")
_PARTS = 2  # schema and name
_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A statement of a file.

    `sql` has its semicolon, `ahead` are the comments above it, `behind` is the data of COPY, or a comment on its last
    line. `line` counts from 1. `acts` are what it does, as the rules see it.
    """

    sql: bytes
    line: int
    effect: Effect
    acts: tuple[Act, ...]
    ahead: bytes = b""
    behind: bytes = b""

    @property
    def text(self) -> str:
        """The whole of it, as it stands in the file, without blank lines around it."""
        body = self.sql.rstrip()
        closing = b"" if body.endswith(b";") or not body else b"\n;"  # behind a comment it would be one
        return b"".join((self.ahead, body, closing, self.behind)).decode().strip("\r\n") + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file. `head` are the comments ahead of its first statement, without directives for the runner.

    `transaction` tells that the file writes the BEGIN and COMMIT around it itself; they are no units.
    """

    version: str
    filename: str
    units: tuple[Unit, ...]
    directives: Directives
    transaction: bool = False

    def at(self, line: int | None) -> int | None:
        """The place of the unit that a line belongs to; None for a finding about the whole file."""
        if line is None:
            return None
        place = bisect_right(self.units, line, key=lambda one: one.line) - 1
        return place if place >= 0 else None

    def written(self, places: Iterable[int]) -> Iterator[str]:
        """The names in the units at these places that may be relations', to ask the database about."""
        for place in places:
            yield from _names(self.units[place].sql)


def of(migration: Migration, content: bytes) -> Source:
    """A file's units. Its content has been read by the runner before: what cannot be lexed raises Unlexable."""
    content = content.removeprefix(_MARK)
    units: list[Unit] = []
    head = b""
    for part in lexer.parts(io.BytesIO(content).read):
        if part.kind is Kind.STATEMENT:
            behind, ahead = _divided(part, first=not units)
            if units:
                units[-1] = replace(units[-1], behind=units[-1].behind + behind)
            else:
                head, ahead = ahead, _without_directives(ahead)
            units.append(_unit(part, ahead))
        elif units:
            units[-1] = replace(units[-1], behind=units[-1].behind + part.text)
        else:
            head += part.text
    directives, _ = directive.read(head, migration.filename)
    own = [one.effect for one in units] and (units[0].effect, units[-1].effect) == (Effect.BEGIN, Effect.COMMIT)
    if own:
        units[1:2] = [replace(unit, ahead=units[0].ahead + unit.ahead) for unit in units[1:2]]
        units = units[1:-1]
    return Source(
        version=migration.version,
        filename=migration.filename,
        units=tuple(units),
        directives=directives,
        transaction=bool(own),
    )


def _unit(part: Part, ahead: bytes) -> Unit:
    return Unit(
        sql=part.sql,
        line=part.line,
        effect=effect.of(part.sql),
        acts=tuple(statement.acts(words.of(part.sql))),
        ahead=ahead,
    )


def _divided(part: Part, *, first: bool) -> tuple[bytes, bytes]:
    """What belongs to the statement before, a comment on its last line; and what stands ahead of this one."""
    before = part.text[: part.start]
    line, newline, rest = before.partition(b"\n")
    if first or not newline or not line.strip().startswith(b"--"):
        return b"", before
    return line, newline + rest


def _without_directives(comments: bytes) -> bytes:
    """Comments without the lines that tell the runner how to run the file: each new file has its own."""
    return b"".join(line for line in comments.splitlines(keepends=True) if not _directs(line))


def _directs(line: bytes) -> bool:
    """Whether a line is a directive of the runner's, or the one that says the number of the file."""
    if _NUMBER.match(line):
        return True
    found, problems = directive.read(line, "")
    return bool(problems) or found.no_transaction or found.lock_timeout_ms is not None


def _names(sql: bytes) -> Iterator[str]:
    """Every name in a statement, qualified or not and always quoted; which are those of relations, the database knows.

    A longer chain than schema and name is none of them.
    """
    chain: list[str] = []
    previous = ""
    for word in (*words.of(sql), words.Word(words.END, "", 0)):
        if chain and word.key != "." and previous != ".":
            if len(chain) <= _PARTS:
                yield ".".join(chain)
            chain = []
        if word.named:
            chain.append(names.quoted(word.text))
        previous = word.key
