r"""Whether the files of a directory archive are whole: pg_restore restores the rest of one cut short, and exits 0.

That is so of plain, lz4 and zstd files; of gzip, zlib itself tells, except for an empty file. So: plain rows must end
with the line `\.` that pg_dump wrote behind them; of lz4 and zstd the frames must end, which takes no unpacking, only a
walk from block to block. A plain large object that was cut short cannot be told from a whole one.
Sources: RFC 8878 (zstd), the LZ4 frame format description, and the end of dumpTableData in pg_dump.c.
"""

from __future__ import annotations

import struct
from typing import IO, TYPE_CHECKING

from kernel.errors import DumpUnreadable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_ROWS = "[0-9]*.dat*"
_LARGE_OBJECTS = "blob_*.dat*"
_ENDS = (b"\\.\n\n\n", b";\n\n\n")  # of COPY, of --inserts
_NO_ROWS = b"\n\n"  # what --inserts writes for an empty table
_INSERT = b"INSERT "
_LZ4 = b"\x04\x22\x4d\x18"
_ZSTD = b"\x28\xb5\x2f\xfd"
_WORD = struct.Struct("<I")


class _Cut(Exception):
    """The file ends before the frame does."""


def check(folder: Path) -> None:
    """Raise DumpUnreadable with every file of a directory archive that is cut short, or with one that is no file."""
    try:
        for path in folder.iterdir():
            # It would be read with our rights, wherever a link leads.
            if path.is_symlink() or not path.is_file():
                raise DumpUnreadable(f"{path}: not a file, which pg_dump never puts into an archive; dump it again")
        cut = [path.name for path in sorted(folder.glob(_ROWS)) if not _whole(path, rows=True)]
        cut += [path.name for path in sorted(folder.glob(_LARGE_OBJECTS)) if not _whole(path, rows=False)]
    except OSError as error:
        raise DumpUnreadable(f"{error.filename or folder}: {error.strerror}; dump or copy it again") from error
    if cut:
        raise DumpUnreadable(f"{folder}: cut short: {', '.join(cut)}; dump or copy it again")


def _whole(path: Path, *, rows: bool) -> bool:
    """Whether a file of rows, or of a large object, is complete, as far as can be told."""
    with path.open("rb") as file:
        walk = _WALKS.get(path.suffix)
        if path.stat().st_size == 0:
            return not rows  # an empty large object is an empty file in most formats
        if walk is None:
            return path.suffix != ".dat" or not rows or _ends(file)
        try:
            while magic := file.read(_WORD.size):
                walk(file, magic)
        except _Cut:
            return False
    return True


def _ends(file: IO[bytes]) -> bool:
    begin = file.read(len(_INSERT))
    if begin == _NO_ROWS:
        return True
    copied, inserted = _ENDS
    file.seek(-min(len(copied), file.seek(0, 2)), 2)
    end = file.read()
    return end.endswith(inserted if begin == _INSERT else copied)


def _walk_lz4(file: IO[bytes], magic: bytes) -> None:
    """Go from the frame's first byte behind its magic number to its end. Raises _Cut."""
    if magic != _LZ4:
        raise _Cut
    flags, _block_size = _bytes(file, 2)
    block_checksum = _WORD.size if flags & 0b10000 else 0
    # The size of the content, the number of a dictionary, the header's checksum.
    _bytes(file, (8 if flags & 0b1000 else 0) + (4 if flags & 1 else 0) + 1)
    while size := _WORD.unpack(_bytes(file, _WORD.size))[0]:
        _skip(file, (size & 0x7FFFFFFF) + block_checksum)  # the highest bit: not compressed
    _bytes(file, _WORD.size if flags & 0b100 else 0)


def _walk_zstd(file: IO[bytes], magic: bytes) -> None:
    """Go from the frame's first byte behind its magic number to its end. Raises _Cut."""
    if magic != _ZSTD:
        raise _Cut
    (flags,) = _bytes(file, 1)
    single = bool(flags & 0b100000)
    content = (1 if single else 0, 2, 4, 8)[flags >> 6]
    # The window, the number of a dictionary, the size of the content.
    _bytes(file, (0 if single else 1) + (0, 1, 2, 4)[flags & 0b11] + content)
    last = False
    while not last:
        header = int.from_bytes(_bytes(file, 3), "little")
        last = bool(header & 1)
        repeated = header >> 1 & 0b11 == 1  # one byte stands for the whole block
        _skip(file, 1 if repeated else header >> 3)
    _bytes(file, _WORD.size if flags & 0b100 else 0)


_WALKS: dict[str, Callable[[IO[bytes], bytes], None]] = {".lz4": _walk_lz4, ".zst": _walk_zstd}


def _skip(file: IO[bytes], count: int) -> None:
    """Pass over so many bytes, the last of which must be there."""
    if count:
        file.seek(count - 1, 1)
        _bytes(file, 1)


def _bytes(file: IO[bytes], count: int) -> bytes:
    found = file.read(count)
    if len(found) < count:
        raise _Cut
    return found
