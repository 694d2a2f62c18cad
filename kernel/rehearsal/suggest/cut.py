"""A statement that pieces are cut out of: between two words, without the comments that stand around them."""

from __future__ import annotations

from bisect import bisect_right
from contextlib import suppress
from typing import TYPE_CHECKING

from kernel.rehearsal.static import words
from kernel.rehearsal.static.words import Reader
from kernel.sql import tokens
from kernel.sql.tokens import Backslash, Open

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from kernel.rehearsal.static.words import Word

_AFTER_A_TYPE = (":", "AS", ".")


class Cut:
    """The words of a statement, each with the stretch of text that it is."""

    def __init__(self, sql: bytes) -> None:
        self.sql = sql
        self.words = words.of(sql)
        spans = _tokens(sql)
        begins = [begin for begin, _ in spans]
        # A word begins where its token does; a string's `begin` is that of its content. It ends where the last token
        # ahead of the next word does: a doubled quote makes one word of two tokens.
        first = [bisect_right(begins, word.begin) - 1 for word in self.words]
        behind = [*first[1:], bisect_right(begins, len(sql))] if first else []
        self._spans = [(spans[one][0], spans[other - 1][1]) for one, other in zip(first, behind, strict=True)]

    def reader(self) -> Reader:
        """A reader at the first word; its `at` is what the methods here count by."""
        return Reader(self.words)

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

    def columns(self, among: Collection[str], begin: int = 0, end: int | None = None) -> Iterator[tuple[int, Word]]:
        """The words that name one of the columns `among`: no function, no type, no part of a longer name."""
        end = self.end if end is None else end
        for place in range(begin, end):
            word = self.words[place]
            ahead = self.words[place - 1].key if place else ""
            after = self.words[place + 1].key if place + 1 < len(self.words) else ""
            if word.named and word.text in among and after not in ("(", ".") and ahead not in _AFTER_A_TYPE:
                yield place, word


def _tokens(sql: bytes) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    with suppress(Open, Backslash):  # as the words do, which end where nothing more can be told apart
        for _, begin, end in tokens.scan(sql, 0):
            found.append((begin, end))
    return found
