"""The bytes of a plain dump, unpacked, and readable at any place by any number of threads at once."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from kernel import units
from kernel.errors import DumpUnreadable
from kernel.rehearsal.dump import unpack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.rehearsal.dump.dump import Dump

_FIRST_BYTES = 1 << 16  # a search begins small, since most tables are, and doubles
_MOST_BYTES = 1 << 22
_END_OF_DATA = b"\\."
_SAMPLE_BYTES = 1 << 14
_RARE_BYTES = 1 << 10  # one in so many
_AFTER_END = (b"\n", b"\r\n", b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
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

    def line(self, offset: int) -> int:
        """The line that the byte at `offset` stands in, counting from 1."""
        return next(self.lines((offset,)))

    def lines(self, offsets: Sequence[int]) -> Iterator[int]:
        """The line of each of these offsets, which ascend; the file is gone through once."""
        line, before = 1, 0
        for offset in offsets:
            line += sum(piece.count(b"\n") for piece in self.pieces(before, offset - before, _MOST_BYTES))
            before = offset
            yield line

    def place(self, offset: int) -> str:
        """Where the byte at `offset` is, as messages begin: name, line, byte (which counts from 0)."""
        return f"{self.name}:{self.line(offset)} (byte {units.count(offset)})"

    def end_of_data(self, begin: int) -> int | None:
        r"""Where the line `\.` begins that ends the COPY data beginning at `begin`; None when there is none.

        Searched for as bytes, not line by line: the newline before it belongs to the data. Raises DumpUnreadable for a
        NUL byte, which no row can hold.
        """
        if self._ends(begin):
            return begin
        position, size = begin, _FIRST_BYTES
        while position < self.size_bytes:
            window = self.read(position, size)
            for found in _backslashed(window):
                if self._ends(position + found):
                    self._refuse_nul(window[:found], position)
                    return position + found
            self._refuse_nul(window, position)
            # The end may lie across the edge: the next window begins so much earlier.
            position += max(1, len(window) - len(_END_OF_DATA))
            if position + len(_END_OF_DATA) >= self.size_bytes:
                return None
            size = min(2 * size, _MOST_BYTES)
        return None

    def _ends(self, at: int) -> bool:
        r"""Whether the line `\.` begins at `at`."""
        line = self.read(at, len(_END_OF_DATA) + 2)
        behind = line[len(_END_OF_DATA) :]
        return line.startswith(_END_OF_DATA) and (behind in _AFTER_END or behind.startswith(_AFTER_END[:-1]))

    def _refuse_nul(self, window: bytes, position: int) -> None:
        if (nul := window.find(0)) >= 0:
            raise DumpUnreadable(f"{self.place(position + nul)}: a NUL byte, which no dump has; dump it again")


def _backslashed(window: bytes) -> Iterator[int]:
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
def opened(dump: Dump) -> Iterator[Text]:
    """The text of a plain dump. A compressed one is unpacked first, into a private file that has no name.

    It is read twice, by several connections and from places all over it, which no compressed stream allows.
    Raises DumpUnreadable.
    """
    name = dump.path.name
    try:
        with dump.path.open("rb", buffering=0) as file, tempfile.TemporaryFile(buffering=0) as spool:
            source: IO[bytes] = file
            if dump.compression:
                _unpack(source, spool, dump)
                source = spool
            size_bytes = os.fstat(source.fileno()).st_size
            yield Text(descriptor=source.fileno(), name=name, size_bytes=size_bytes)
    except OSError as error:
        raise DumpUnreadable(f"{dump.path}: {error.strerror or error}; give a dump that can be read here") from error


def _unpack(source: IO[bytes], spool: IO[bytes], dump: Dump) -> None:
    for piece in unpack.unpacked(source.read, dump.compression, dump.path.name):
        try:
            rest = memoryview(piece)
            while rest:
                rest = rest[spool.write(rest) :]
        except OSError as error:
            raise DumpUnreadable(
                f"{dump.path}: no room to unpack it in {tempfile.gettempdir()} ({error.strerror}); "
                "free some there, or set TMPDIR to a folder on a larger disk"
            ) from error
