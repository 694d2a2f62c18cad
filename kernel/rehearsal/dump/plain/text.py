"""The text of a plain dump, decompressed: read at any offset by several threads, and streamed without its rows."""

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
from kernel.rehearsal.dump.common.model import read_errors_as_unreadable
from kernel.units import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.rehearsal.dump.common.model import Dump


_FIRST_WINDOW_BYTES = 1 << 16  # a search begins small, since most tables are, and doubles
_MAX_WINDOW_BYTES = 1 << 22
_END_OF_DATA = b"\\."
_LINE_ENDS = (b"\n", b"\r\n", b"")
_CHUNK_BYTES = 1 << 16
_HEAD_BYTES = 1 << 16
# With the newline before it, so that the search begins with a literal and not at every line.
_COPY_LINE = re.compile(rb"\nCOPY [^\n]* FROM stdin;\r?(?=\n|\Z)")
# pg_dump -C writes it after CREATE DATABASE, and again after that database's settings.
_CONNECT = re.compile(rb"\nCREATE DATABASE [^;]*;.*?(?P<line>\n\\connect [^\n]*)(?=\n)", re.DOTALL)
_MAX_CONNECT_LINES = 2
# The lexer refuses the markers of a merge conflict, which a migration never contains; the rows of a dump may.
_CONFLICT_MARKERS = ((b"\n<<<<<<< ", b"\n<<<<<<_ "), (b"\n>>>>>>> ", b"\n>>>>>>_ "))
_NON_ASCII_AS_LETTERS = bytes(byte if byte < 0x80 else ord("x") for byte in range(256))  # noqa: PLR2004 - end of ASCII
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpText:
    """An open file: `name` for messages, `size_bytes` decompressed.

    It is read by offset and not mapped: truncating a mapped file would end this process with SIGBUS.
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
        return b"".join(pieces)

    def pieces(self, offset: int, length: int, size: int) -> Iterator[bytes]:
        """The bytes from `offset` on, `length` of them, in pieces of `size`."""
        end = min(offset + length, self.size_bytes)
        for begin in range(offset, end, size):
            yield self.read(begin, min(size, end - begin))

    def line_numbers(self, offsets: Sequence[int]) -> Iterator[int]:
        """The line of each of these offsets, which ascend, counting from 1; reads the file once."""
        line, before = 1, 0
        for offset in offsets:
            line += sum(piece.count(b"\n") for piece in self.pieces(before, offset - before, _MAX_WINDOW_BYTES))
            before = offset
            yield line

    def describe_location(self, offset: int) -> str:
        """The location of a byte for the beginning of a message: name, line, byte (counting from 0)."""
        return f"{self.name}:{next(self.line_numbers((offset,)))} (byte {format_count(offset)})"

    def find_end_of_data(self, begin: int) -> int | None:
        r"""The offset of the line `\.` that ends the COPY data from `begin` on; None when there is none.

        Raises DumpUnreadable for a NUL byte, which no row can contain.
        """
        if self._is_end_of_data(begin):
            return begin
        offset, size = begin, _FIRST_WINDOW_BYTES
        while offset < self.size_bytes:
            window = self.read(offset, size)
            at = -1
            while (at := window.find(b"\n" + _END_OF_DATA, at + 1)) >= 0:
                if self._is_end_of_data(offset + at + 1):
                    self._refuse_nul(window[:at], offset)
                    return offset + at + 1
            self._refuse_nul(window, offset)
            # The line may cross the end of the window: the next one begins that much earlier.
            offset += max(1, len(window) - len(_END_OF_DATA))
            if offset + len(_END_OF_DATA) >= self.size_bytes:
                return None
            size = min(2 * size, _MAX_WINDOW_BYTES)
        return None

    def _is_end_of_data(self, offset: int) -> bool:
        r"""Whether the line `\.` begins at `offset`."""
        line = self.read(offset, len(_END_OF_DATA) + 2)
        rest = line[len(_END_OF_DATA) :]
        return line.startswith(_END_OF_DATA) and (rest in _LINE_ENDS or rest.startswith(_LINE_ENDS[:-1]))

    def _refuse_nul(self, window: bytes, offset: int) -> None:
        if (nul := window.find(0)) >= 0:
            raise DumpUnreadable(
                f"{self.describe_location(offset + nul)}: a NUL byte, which no dump has; dump it again"
            )


@contextmanager
def open_dump_text(dump: Dump) -> Iterator[DumpText]:
    """Open the text of a plain dump; a compressed one is first decompressed into a private file without a name.

    It is read twice, at any offset and by several threads, which a compressed stream does not allow.
    Raises DumpUnreadable.
    """
    with (
        read_errors_as_unreadable(dump.path),
        dump.path.open("rb", buffering=0) as file,
        tempfile.TemporaryFile(buffering=0) as spool,
    ):
        source: IO[bytes] = file
        if dump.compression:
            _decompress_to_spool(source, spool, dump)
            source = spool
        size_bytes = os.fstat(source.fileno()).st_size
        yield DumpText(descriptor=source.fileno(), name=dump.path.name, size_bytes=size_bytes)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedBytes:
    r"""A part of the dump that the stream leaves out: rows (`is_rows`), or a line `\connect`."""

    stream_offset: int
    dump_offset: int
    length: int
    is_rows: bool


class SqlStream:
    r"""The SQL of a dump as a stream for the lexer, without its rows and the `\connect` of pg_dump -C.

    Rows are nine tenths of a dump, and the line that ends them is found faster than the lexer reads them. The stream
    leaves out what follows a line `COPY ... FROM stdin;` up to the line `\.`. That is a guess, as such lines can be in
    a string: the caller compares `skipped`, which grows during reading, with the COPY statements that the lexer finds.
    `skips_rows` turns the guess off. `opaque` replaces every byte from 0x80 by a letter: the lexer then needs to know
    nothing of the encoding.
    """

    def __init__(self, text: DumpText, *, skips_rows: bool, opaque: bool) -> None:
        self.skipped: list[SkippedBytes] = []
        self.opaque = opaque
        self._text = text
        self._skips_rows = skips_rows
        # The lexer would remove a byte order mark, and the offsets would be wrong.
        self._begin = self._offset = len(_BYTE_ORDER_MARK) if text.read(0, 3) == _BYTE_ORDER_MARK else 0
        self._sent = 0
        self._connect_lines = _find_connect_lines(text.read(0, _HEAD_BYTES))

    def read(self, _size: int) -> bytes:
        """The next piece, of a size of its own, empty at the end."""
        piece = self._next()
        self._sent += len(piece)
        for marker, replacement in _CONFLICT_MARKERS:
            piece = piece.replace(marker, replacement)
        return piece.translate(_NON_ASCII_AS_LETTERS) if self.opaque else piece

    def dump_offset(self, stream_offset: int) -> int:
        """The offset in the dump of a byte of the stream; where something was left out, the offset after that."""
        before = bisect.bisect_right(self.skipped, stream_offset, key=lambda skipped: skipped.stream_offset)
        if before == 0:
            return self._begin + stream_offset
        last = self.skipped[before - 1]
        return last.dump_offset + last.length + stream_offset - last.stream_offset

    def _next(self) -> bytes:
        if self._connect_lines and self._offset == self._connect_lines[0][0]:
            self._skip(*self._connect_lines.pop(0), is_rows=False, stream_offset=self._sent)
        begin, length = self._offset, _CHUNK_BYTES
        if self._connect_lines:
            length = min(length, self._connect_lines[0][0] - begin)
        piece = self._text.read(begin, length)
        if begin + len(piece) < self._text.size_bytes:
            # Without the last newline: _COPY_LINE needs it at the beginning of the next piece.
            piece = piece[: max(piece.rfind(b"\n"), 0)] or piece
        self._offset = begin + len(piece)
        if self._skips_rows and (match := _COPY_LINE.search(piece)):
            rows = begin + match.end() + 1
            end = self._text.find_end_of_data(rows)
            if end is None:
                self._skips_rows = False  # cut short, or no COPY: the lexer reports it
                return piece
            piece = piece[: match.end()] + b"\n"
            self._skip(rows, end, is_rows=True, stream_offset=self._sent + len(piece))
        return piece

    def _skip(self, begin: int, end: int, *, is_rows: bool, stream_offset: int) -> None:
        self.skipped.append(
            SkippedBytes(stream_offset=stream_offset, dump_offset=begin, length=end - begin, is_rows=is_rows)
        )
        self._offset = end


def _find_connect_lines(head: bytes) -> list[tuple[int, int]]:
    r"""Begin and end of pg_dump's own `\connect` lines, without their line ends."""
    first = _CONNECT.search(head)
    if not first:
        return []
    line = re.compile(re.escape(first["line"]) + rb"(?=\n)")
    return [(found.start() + 1, found.end()) for found in line.finditer(head, first.start("line"))][:_MAX_CONNECT_LINES]
