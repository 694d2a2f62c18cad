"""The bytes of a plain dump, unpacked, and readable at any place by any number of threads at once."""

from __future__ import annotations

import bisect
import os
import re
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from kernel.errors import DumpUnreadable
from kernel.rehearsal.dump.common.decompress import decompress_stream
from kernel.units import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.rehearsal.dump.common.model import Dump


_FIRST_WINDOW_BYTES = 1 << 16  # a search begins small, since most tables are, and doubles
_MAX_WINDOW_BYTES = 1 << 22
_END_OF_DATA = b"\\."
_SAMPLE_BYTES = 1 << 14
_RARE_BYTES = 1 << 10  # one in so many
_LINE_ENDS = (b"\n", b"\r\n", b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpText:
    """A file that is open: `name` for messages, `size_bytes` unpacked.

    It is read by position and not mapped: a mapped file that somebody cuts off would end our process.
    """

    descriptor: int
    name: str
    size_bytes: int

    def read(self, offset: int, length: int) -> bytes:
        """The bytes from `offset` on, fewer only at the end. Raises DumpUnreadable when the file has shrunk."""
        wanted = min(length, self.size_bytes - offset)
        pieces = []
        while wanted > 0:
            piece = os.pread(self.descriptor, wanted, offset)
            if not piece:
                raise DumpUnreadable(f"{self.name}: it became shorter while it was read; wait until it is complete")
            pieces.append(piece)
            offset += len(piece)
            wanted -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def pieces(self, offset: int, length: int, size: int) -> Iterator[bytes]:
        """The bytes from `offset` on, `length` of them, in pieces of `size`."""
        end = min(offset + length, self.size_bytes)
        for begin in range(offset, end, size):
            yield self.read(begin, min(size, end - begin))

    def line_number(self, offset: int) -> int:
        """The line that the byte at `offset` stands in, counting from 1."""
        return next(self.line_numbers((offset,)))

    def line_numbers(self, offsets: Sequence[int]) -> Iterator[int]:
        """The line of each of these offsets, which ascend; the file is gone through once."""
        line, before = 1, 0
        for offset in offsets:
            line += sum(piece.count(b"\n") for piece in self.pieces(before, offset - before, _MAX_WINDOW_BYTES))
            before = offset
            yield line

    def describe_location(self, offset: int) -> str:
        """Where the byte at `offset` is, as messages begin: name, line, byte (which counts from 0)."""
        return f"{self.name}:{self.line_number(offset)} (byte {format_count(offset)})"

    def find_end_of_data(self, begin: int) -> int | None:
        r"""Where the line `\.` begins that ends the COPY data beginning at `begin`; None when there is none.

        Searched for as bytes, not line by line: the newline before it belongs to the data. Raises DumpUnreadable for a
        NUL byte, which no row can hold.
        """
        if self._is_end_of_data(begin):
            return begin
        position, size = begin, _FIRST_WINDOW_BYTES
        while position < self.size_bytes:
            window = self.read(position, size)
            for found in _find_end_candidates(window):
                if self._is_end_of_data(position + found):
                    self._refuse_nul(window[:found], position)
                    return position + found
            self._refuse_nul(window, position)
            # The end may lie across the edge: the next window begins so much earlier.
            position += max(1, len(window) - len(_END_OF_DATA))
            if position + len(_END_OF_DATA) >= self.size_bytes:
                return None
            size = min(2 * size, _MAX_WINDOW_BYTES)
        return None

    def _is_end_of_data(self, at: int) -> bool:
        r"""Whether the line `\.` begins at `at`."""
        line = self.read(at, len(_END_OF_DATA) + 2)
        behind = line[len(_END_OF_DATA) :]
        return line.startswith(_END_OF_DATA) and (behind in _LINE_ENDS or behind.startswith(_LINE_ENDS[:-1]))

    def _refuse_nul(self, window: bytes, position: int) -> None:
        if (nul := window.find(0)) >= 0:
            raise DumpUnreadable(
                f"{self.describe_location(position + nul)}: a NUL byte, which no dump has; dump it again"
            )


def _find_end_candidates(window: bytes) -> Iterator[int]:
    r"""Where `\.` begins a line in the window, the first line excepted.

    One byte is searched for ten times as fast as three, if it is rare; in rows with many NULLs it is not.
    """
    if window.count(b"\\", 0, _SAMPLE_BYTES) * _RARE_BYTES <= _SAMPLE_BYTES:
        found = -1
        while (found := window.find(b"\\", found + 1)) >= 0:
            if window[found + 1 : found + 2] == b"." and window[found - 1 : found] == b"\n":
                yield found
    else:
        found = -1
        while (found := window.find(b"\n" + _END_OF_DATA, found + 1)) >= 0:
            yield found + 1


@contextmanager
def open_dump_text(dump: Dump) -> Iterator[DumpText]:
    """The text of a plain dump. A compressed one is unpacked first, into a private file that has no name.

    It is read twice, by several connections and from places all over it, which no compressed stream allows.
    Raises DumpUnreadable.
    """
    name = dump.path.name
    try:
        with dump.path.open("rb", buffering=0) as file, tempfile.TemporaryFile(buffering=0) as spool:
            source: IO[bytes] = file
            if dump.compression:
                _decompress_to_spool(source, spool, dump)
                source = spool
            size_bytes = os.fstat(source.fileno()).st_size
            yield DumpText(descriptor=source.fileno(), name=name, size_bytes=size_bytes)
    except OSError as error:
        raise DumpUnreadable(f"{dump.path}: {error.strerror or error}; give a dump that can be read here") from error


def _decompress_to_spool(source: IO[bytes], spool: IO[bytes], dump: Dump) -> None:
    for piece in decompress_stream(source.read, dump.compression, dump.path.name):
        try:
            rest = memoryview(piece)
            while rest:
                rest = rest[spool.write(rest) :]
        except OSError as error:
            raise DumpUnreadable(
                f"{dump.path}: no room to unpack it in {tempfile.gettempdir()} ({error.strerror}); "
                "free some there, or set TMPDIR to a folder on a larger disk"
            ) from error


# The SQL of a dump as a stream for the lexer, without the rows that stand in it.
#
# Rows are nine tenths of a dump, and searching for the line that ends them is ten times as fast as reading them. The
# stream leaves out what follows a line `COPY … FROM stdin;` up to the line `\.`. That is a guess: such lines can stand
# inside of a string too. The lexer is the judge of it, for it sees every other byte and says where it found a COPY.


_CHUNK_BYTES = 1 << 16
# The line before is part of it: a literal beginning is searched for at the speed of memory.
_COPY_LINE = re.compile(rb"\nCOPY [^\n]* FROM stdin;\r?(?=\n|\Z)")
# pg_dump -C writes it behind CREATE DATABASE, and once more behind that database's settings. A copy goes into a
# database that is there.
_CONNECT = re.compile(rb"\nCREATE DATABASE [^;]*;.*?(?P<line>\n\\connect [^\n]*)(?=\n)", re.DOTALL)
_MAX_CONNECT_LINES = 2
_HEAD_BYTES = 1 << 16
# The lexer refuses the marks of a merge conflict, which a migration cannot mean; the rows of a dump may hold them.
_CONFLICT_MARKERS = ((b"\n<<<<<<< ", b"\n<<<<<<_ "), (b"\n>>>>>>> ", b"\n>>>>>>_ "))
_NON_ASCII_AS_LETTERS = bytes(byte if byte < 0x80 else ord("x") for byte in range(256))  # noqa: PLR2004 - where ASCII ends


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedBytes:
    """What was left out: `at` in the stream, `offset` and `length` in the dump, rows or else the line of psql's."""

    stream_offset: int
    dump_offset: int
    length: int
    is_rows: bool


class SqlStream:
    r"""The stream; `cuts` grows as it is read. With `skipping` off it is the dump itself, but for \connect.

    `opaque` makes every byte from 0x80 a letter, which is all that the lexer needs to know of an encoding.
    """

    def __init__(self, text: DumpText, *, skipping: bool, opaque: bool) -> None:
        self.skipped: list[SkippedBytes] = []
        self._text = text
        self._skipping = skipping
        self.opaque = opaque
        # Past a byte order mark, which the lexer would take off without telling.
        self._begin = self._offset = 3 if text.read(0, 3) == b"\xef\xbb\xbf" else 0
        self._sent = 0
        self._connect_lines = _find_connect_lines(text.read(0, _HEAD_BYTES))

    def read(self, _size: int) -> bytes:
        """The next piece, empty at the end; as a file's read, but of its own size."""
        piece = self._next()
        self._sent += len(piece)
        for mark, harmless in _CONFLICT_MARKERS:
            piece = piece.replace(mark, harmless)
        return piece.translate(_NON_ASCII_AS_LETTERS) if self.opaque else piece

    def dump_offset(self, at: int) -> int:
        """Where in the dump the byte `at` of the stream is; of a place where something was left out, behind that."""
        before = bisect.bisect_right(self.skipped, at, key=lambda cut: cut.stream_offset)
        if before == 0:
            return self._begin + at
        last = self.skipped[before - 1]
        return last.dump_offset + last.length + at - last.stream_offset

    def _next(self) -> bytes:
        begin, length = self._offset, _CHUNK_BYTES
        if self._connect_lines and begin == self._connect_lines[0][0]:
            self._skip(*self._connect_lines.pop(0), rows=False, sent=self._sent)
            begin = self._offset
        if self._connect_lines:
            length = min(length, self._connect_lines[0][0] - begin)
        piece = self._text.read(begin, length)
        if begin + len(piece) < self._text.size_bytes:
            # Up to the last line's end, which is left for the next piece: there a COPY may follow it.
            piece = piece[: max(piece.rfind(b"\n"), 0)] or piece
        self._offset = begin + len(piece)
        if self._skipping and (match := _COPY_LINE.search(piece)):
            data = begin + match.end() + 1
            end = self._text.find_end_of_data(data)
            if end is None:
                self._skipping = False  # cut short, or no COPY at all: the lexer will tell
                return piece
            piece = piece[: match.end()] + b"\n"
            self._skip(data, end, rows=True, sent=self._sent + len(piece))
        return piece

    def _skip(self, begin: int, end: int, *, rows: bool, sent: int) -> None:
        self.skipped.append(SkippedBytes(stream_offset=sent, dump_offset=begin, length=end - begin, is_rows=rows))
        self._offset = end


def _find_connect_lines(head: bytes) -> list[tuple[int, int]]:
    r"""Where the lines `\connect` begin and end, without their line ends, that are pg_dump's own."""
    first = _CONNECT.search(head)
    if not first:
        return []
    line = re.compile(re.escape(first["line"]) + rb"(?=\n)")
    return [(found.start() + 1, found.end()) for found in line.finditer(head, first.start("line"))][:_MAX_CONNECT_LINES]
