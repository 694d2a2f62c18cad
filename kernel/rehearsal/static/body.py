"""Statements inside of bodies: those of a DO block, which run now, and those that EXECUTE puts together."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.rehearsal.static import statement, words
from kernel.rehearsal.static.words import STRING, Reader, Word

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# What a statement of PL/pgSQL can stand behind.
_AHEAD = frozenset({";", "BEGIN", "THEN", "ELSE", "LOOP"})
_PLACEHOLDER = re.compile(r"%(?:[0-9]+\$)?[-0-9]*[IsL]")
# What stands for a name that only the run knows. No table of a person is called that.
UNKNOWN = "unknown__name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    """A statement of a body. `executed` is where its EXECUTE begins, None of one that is written out.

    One that EXECUTE takes from a variable has no words.
    """

    words: tuple[Word, ...]
    executed: int | None = None

    @property
    def changes_schema(self) -> bool:
        """Whether it is DDL; TRUNCATE, which functions may well do, is none here."""
        return bool(self.words) and self.words[0].key in statement.SCHEMA_CHANGES - {"TRUNCATE"}


def inner(body: Word) -> Iterator[Inner]:
    """The statements of a body, a string whose content is PL/pgSQL or SQL, that the rules know."""
    reader = Reader(words.of(body.text.encode(), body.begin))
    fresh = True
    while reader.key:
        if fresh and reader.key in statement.COMMANDS:
            yield Inner(words=reader.until(";"))
        elif fresh and reader.key == "EXECUTE":
            begin = reader.begin
            yield from _executed(reader.until(";")[1:], begin)
        else:
            fresh = reader.key in _AHEAD
            reader.at += 1


def _executed(expression: Sequence[Word], begin: int) -> Iterator[Inner]:
    """What EXECUTE runs: its strings, with a name that says nothing in place of what only the run knows."""
    reader = Reader(expression)
    reader.take("(")
    formatted = reader.take("FORMAT", "(")
    pieces: list[str] = []
    for word in expression[reader.at :] if formatted else Reader(expression).until("USING", "INTO"):
        if word.key == STRING:
            pieces.append(word.text)
        elif word.named and not formatted and word.key not in ("QUOTE_IDENT", "QUOTE_LITERAL", "FORMAT"):
            pieces.append(UNKNOWN)
        if formatted and pieces:
            break
    if not any(piece != UNKNOWN for piece in pieces):
        yield Inner(words=(), executed=begin)
        return
    text = _PLACEHOLDER.sub(UNKNOWN, "".join(pieces))
    whole = Reader(words.of(text.encode()))
    while whole.key:
        if found := whole.until(";"):
            yield Inner(words=tuple(word._replace(begin=begin) for word in found), executed=begin)
        whole.take(";")
