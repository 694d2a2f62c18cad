"""A statement that pieces are cut out of: between two words, without the comments that stand around them."""

from __future__ import annotations

import io
import re
from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel.lint.actions import read_actions
from kernel.migrations.script import parse_directives
from kernel.rehearsal.suggest.model import quote_name
from kernel.sql.classify import StatementEffect, statement_effect
from kernel.sql.lexer import PartKind, split_script
from kernel.sql.reader import END_KEY, Word, WordReader, read_words
from kernel.sql.tokens import BackslashOutsideQuotes, UnclosedToken, scan_tokens

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from kernel.lint.action import Action
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Directives
    from kernel.sql.lexer import Part


_NOT_A_COLUMN_AFTER = (":", "AS", ".")


class StatementText:
    """The words of a statement, each with the stretch of text that it is."""

    def __init__(self, sql: bytes) -> None:
        self.sql = sql
        self.words = read_words(sql)
        spans = _token_spans(sql)
        begins = [begin for begin, _ in spans]
        # A word begins where its token does; a string's `begin` is that of its content. It ends where the last token
        # ahead of the next word does: a doubled quote makes one word of two tokens.
        first = [bisect_right(begins, word.begin) - 1 for word in self.words]
        behind = [*first[1:], bisect_right(begins, len(sql))] if first else []
        self._spans = [(spans[one][0], spans[other - 1][1]) for one, other in zip(first, behind, strict=True)]

    def reader(self) -> WordReader:
        """A reader at the first word; its `at` is what the methods here count by."""
        return WordReader(self.words)

    @property
    def end(self) -> int:
        """The number of words, the semicolon not counted."""
        return len(self.words) - (bool(self.words) and self.words[-1].key == ";")

    def text(self, begin: int = 0, end: int | None = None, replaced: Mapping[int, str] | None = None) -> str:
        """The text from the word `begin` to the one ahead of `end`; `replaced` are words to write otherwise."""
        end = self.end if end is None else end
        if begin >= end:
            return ""
        found, at = [], self._spans[begin][0]
        for place, new in sorted((replaced or {}).items()):
            if begin <= place < end:
                found += [self.sql[at : self._spans[place][0]], new.encode()]
                at = self._spans[place][1]
        return b"".join([*found, self.sql[at : self._spans[end - 1][1]]]).decode()

    def column_words(
        self, among: Collection[str], begin: int = 0, end: int | None = None
    ) -> Iterator[tuple[int, Word]]:
        """The words that name one of the columns `among`: no function, no type, no part of a longer name."""
        end = self.end if end is None else end
        for place in range(begin, end):
            word = self.words[place]
            ahead = self.words[place - 1].key if place else ""
            after = self.words[place + 1].key if place + 1 < len(self.words) else ""
            if word.is_name and word.text in among and after not in ("(", ".") and ahead not in _NOT_A_COLUMN_AFTER:
                yield place, word


def _token_spans(sql: bytes) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    with suppress(
        UnclosedToken, BackslashOutsideQuotes
    ):  # as the words do, which end where nothing more can be told apart
        for _, begin, end in scan_tokens(sql, 0):
            found.append((begin, end))
    return found


# A migration file as units that can be put apart: a statement, what stands ahead of it, the data behind it.


_NUMBER_COMMENT = re.compile(rb"[ \t]*--[ \t]*Migration:[ \t]*[0-9]+")
_MAX_NAME_PARTS = 2  # schema and name
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementUnit:
    """A statement of a file.

    `sql` has its semicolon, `ahead` are the comments above it, `behind` is the data of COPY, or a comment on its last
    line. `line` counts from 1. `acts` are what it does, as the rules see it.
    """

    sql: bytes
    line: int
    effect: StatementEffect
    actions: tuple[Action, ...]
    leading: bytes = b""
    trailing: bytes = b""

    @property
    def text(self) -> str:
        """The whole of it, as it stands in the file, without blank lines around it."""
        body = self.sql.rstrip()
        closing = b"" if body.endswith(b";") or not body else b"\n;"  # behind a comment it would be one
        return b"".join((self.leading, body, closing, self.trailing)).decode().strip("\r\n") + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationUnits:
    """A file. `head` are the comments ahead of its first statement, without directives for the runner.

    `transaction` tells that the file writes the BEGIN and COMMIT around it itself; they are no units.
    """

    version: str
    filename: str
    units: tuple[StatementUnit, ...]
    directives: Directives
    has_own_transaction: bool = False

    def unit_index_at(self, line: int | None) -> int | None:
        """The place of the unit that a line belongs to; None for a finding about the whole file."""
        if line is None:
            return None
        place = bisect_right(self.units, line, key=lambda one: one.line) - 1
        return place if place >= 0 else None

    def names_in(self, places: Iterable[int]) -> Iterator[str]:
        """The names in the units at these places that may be relations', to ask the database about."""
        for place in places:
            yield from _quoted_names(self.units[place].sql)


def split_into_units(migration: Migration, content: bytes) -> MigrationUnits:
    """A file's units. Its content has been read by the runner before: what cannot be lexed raises Unlexable."""
    content = content.removeprefix(_BYTE_ORDER_MARK)
    units: list[StatementUnit] = []
    head = b""
    for part in split_script(io.BytesIO(content).read):
        if part.kind is PartKind.STATEMENT:
            behind, ahead = _split_comments(part, first=not units)
            if units:
                units[-1] = replace(units[-1], trailing=units[-1].trailing + behind)
            else:
                head, ahead = ahead, _without_directives(ahead)
            units.append(_statement_unit(part, ahead))
        elif units:
            units[-1] = replace(units[-1], trailing=units[-1].trailing + part.text)
        else:
            head += part.text
    directives, _ = parse_directives(head, migration.filename)
    own = [one.effect for one in units] and (units[0].effect, units[-1].effect) == (
        StatementEffect.BEGIN,
        StatementEffect.COMMIT,
    )
    if own:
        units[1:2] = [replace(unit, leading=units[0].leading + unit.leading) for unit in units[1:2]]
        units = units[1:-1]
    return MigrationUnits(
        version=migration.version,
        filename=migration.filename,
        units=tuple(units),
        directives=directives,
        has_own_transaction=bool(own),
    )


def _statement_unit(part: Part, ahead: bytes) -> StatementUnit:
    return StatementUnit(
        sql=part.sql,
        line=part.line,
        effect=statement_effect(part.sql),
        actions=tuple(read_actions(read_words(part.sql))),
        leading=ahead,
    )


def _split_comments(part: Part, *, first: bool) -> tuple[bytes, bytes]:
    """What belongs to the statement before, a comment on its last line; and what stands ahead of this one."""
    before = part.text[: part.start]
    line, newline, rest = before.partition(b"\n")
    if first or not newline or not line.strip().startswith(b"--"):
        return b"", before
    return line, newline + rest


def _without_directives(comments: bytes) -> bytes:
    """Comments without the lines that tell the runner how to run the file: each new file has its own."""
    return b"".join(line for line in comments.splitlines(keepends=True) if not _is_directive(line))


def _is_directive(line: bytes) -> bool:
    """Whether a line is a directive of the runner's, or the one that says the number of the file."""
    if _NUMBER_COMMENT.match(line):
        return True
    found, problems = parse_directives(line, "")
    return bool(problems) or found.no_transaction or found.lock_timeout_ms is not None


def _quoted_names(sql: bytes) -> Iterator[str]:
    """Every name in a statement, qualified or not and always quoted; which are those of relations, the database knows.

    A longer chain than schema and name is none of them.
    """
    chain: list[str] = []
    previous = ""
    for word in (*read_words(sql), Word(END_KEY, "", 0)):
        if chain and word.key != "." and previous != ".":
            if len(chain) <= _MAX_NAME_PARTS:
                yield ".".join(chain)
            chain = []
        if word.is_name:
            chain.append(quote_name(word.text))
        previous = word.key
