r"""The SQL of a dump as a stream for the lexer, without the rows that stand in it.

Rows are nine tenths of a dump, and searching for the line that ends them is ten times as fast as reading them. The
stream leaves out what follows a line `COPY … FROM stdin;` up to the line `\.`. That is a guess: such lines can stand
inside of a string too. The lexer is the judge of it, for it sees every other byte and says where it found a COPY.
"""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernel.rehearsal.dump.text import Text

_CHUNK_BYTES = 1 << 16
# The line before is part of it: a literal beginning is searched for at the speed of memory.
_COPY = re.compile(rb"\nCOPY [^\n]* FROM stdin;\r?(?=\n|\Z)")
# pg_dump -C writes it behind CREATE DATABASE, and once more behind that database's settings. A copy goes into a
# database that is there.
_CONNECT = re.compile(rb"\nCREATE DATABASE [^;]*;.*?(?P<line>\n\\connect [^\n]*)(?=\n)", re.DOTALL)
_CONNECTS = 2
_HEAD_BYTES = 1 << 16
# The lexer refuses the marks of a merge conflict, which a migration cannot mean; the rows of a dump may hold them.
_CONFLICT = ((b"\n<<<<<<< ", b"\n<<<<<<_ "), (b"\n>>>>>>> ", b"\n>>>>>>_ "))
_LETTERS = bytes(byte if byte < 0x80 else ord("x") for byte in range(256))  # noqa: PLR2004 - where ASCII ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What was left out: `at` in the stream, `offset` and `length` in the dump, rows or else the line of psql's."""

    at: int
    offset: int
    length: int
    rows: bool


class Stream:
    r"""The stream; `cuts` grows as it is read. With `skipping` off it is the dump itself, but for \connect.

    `opaque` makes every byte from 0x80 a letter, which is all that the lexer needs to know of an encoding.
    """

    def __init__(self, text: Text, *, skipping: bool, opaque: bool) -> None:
        self.cuts: list[Cut] = []
        self._text = text
        self._skipping = skipping
        self.opaque = opaque
        # Past a byte order mark, which the lexer would take off without telling.
        self._begin = self._offset = 3 if text.read(0, 3) == b"\xef\xbb\xbf" else 0
        self._sent = 0
        self._connects = _connects(text.read(0, _HEAD_BYTES))

    def read(self, _size: int) -> bytes:
        """The next piece, empty at the end; as a file's read, but of its own size."""
        piece = self._next()
        self._sent += len(piece)
        for mark, harmless in _CONFLICT:
            piece = piece.replace(mark, harmless)
        return piece.translate(_LETTERS) if self.opaque else piece

    def offset(self, at: int) -> int:
        """Where in the dump the byte `at` of the stream is; of a place where something was left out, behind that."""
        before = bisect.bisect_right(self.cuts, at, key=lambda cut: cut.at)
        if before == 0:
            return self._begin + at
        last = self.cuts[before - 1]
        return last.offset + last.length + at - last.at

    def _next(self) -> bytes:
        begin, length = self._offset, _CHUNK_BYTES
        if self._connects and begin == self._connects[0][0]:
            self._cut(*self._connects.pop(0), rows=False, sent=self._sent)
            begin = self._offset
        if self._connects:
            length = min(length, self._connects[0][0] - begin)
        piece = self._text.read(begin, length)
        if begin + len(piece) < self._text.size_bytes:
            # Up to the last line's end, which is left for the next piece: there a COPY may follow it.
            piece = piece[: max(piece.rfind(b"\n"), 0)] or piece
        self._offset = begin + len(piece)
        if self._skipping and (match := _COPY.search(piece)):
            data = begin + match.end() + 1
            end = self._text.end_of_data(data)
            if end is None:
                self._skipping = False  # cut short, or no COPY at all: the lexer will tell
                return piece
            piece = piece[: match.end()] + b"\n"
            self._cut(data, end, rows=True, sent=self._sent + len(piece))
        return piece

    def _cut(self, begin: int, end: int, *, rows: bool, sent: int) -> None:
        self.cuts.append(Cut(at=sent, offset=begin, length=end - begin, rows=rows))
        self._offset = end


def _connects(head: bytes) -> list[tuple[int, int]]:
    r"""Where the lines `\connect` begin and end, without their line ends, that are pg_dump's own."""
    first = _CONNECT.search(head)
    if not first:
        return []
    line = re.compile(re.escape(first["line"]) + rb"(?=\n)")
    return [(found.start() + 1, found.end()) for found in line.finditer(head, first.start("line"))][:_CONNECTS]
