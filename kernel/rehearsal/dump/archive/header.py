"""The first bytes of an archive: its version, and what was dumped by what. Read by us, for any version.

pg_restore refuses an archive newer than itself without a word of what would read it.
Source: ReadHead and the K_VERS_… numbers of pg_backup_archiver.c and .h, PostgreSQL 9.6 to 18.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from kernel.errors import DumpUnreadable
from kernel.rehearsal.dump.identify import TAR_BLOCK_BYTES, TOC_FILE_NAME, DumpFormat

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kernel.rehearsal.dump.identify import Dump


# The first major version whose pg_restore reads archives of this version.
PG_RESTORE_MAJORS = {(1, 12): 9, (1, 13): 10, (1, 14): 12, (1, 15): 16, (1, 16): 17}
_OLDEST_VERSION = (1, 12)
_COMPRESSION_AS_BYTE = (1, 15)
_INTEGER_BYTES = 4
_LONGEST_NAME_BYTES = 1 << 12
_MAGIC = b"PGDMP"
_DUMP_AGAIN = "dump or copy it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveHeader:
    """What an archive says of itself. `version` is the archive's own, as in (1, 14).

    `created` is the time on the clock of whoever dumped, as in "2026-01-31 10:00:00": its zone is not told.
    """

    version: tuple[int, int]
    created: str
    database: str
    server_version: str
    dump_version: str

    @property
    def pg_restore_major(self) -> int | None:
        """The oldest major version whose pg_restore reads it, None for an archive newer than any known here."""
        return PG_RESTORE_MAJORS.get(
            self.version, PG_RESTORE_MAJORS[_OLDEST_VERSION] if self.version < _OLDEST_VERSION else None
        )


def read_archive_header(dump: Dump) -> ArchiveHeader:
    """The header of an archive. Raises DumpUnreadable when it is cut short or makes no sense."""
    path = dump.path / TOC_FILE_NAME if dump.format is DumpFormat.DIRECTORY else dump.path
    try:
        with path.open("rb") as file:
            if dump.format is DumpFormat.TAR:
                file.seek(TAR_BLOCK_BYTES)  # the table of contents is the first member
            return _HeaderReader(file, str(dump.path)).header()
    except OSError as error:
        raise DumpUnreadable(f"{path}: {error.strerror}; give a dump that can be read here") from error


class _HeaderReader:
    """Numbers and names, as pg_dump writes them."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file = file
        self._name = name

    def header(self) -> ArchiveHeader:
        magic, major, minor, _revision, integer, _offset, _format = (
            self._bytes(len(_MAGIC)),
            *self._bytes(6),
        )
        if magic != _MAGIC or integer != _INTEGER_BYTES:
            raise self._damaged()
        version = (major, minor)
        if version >= _COMPRESSION_AS_BYTE:
            self._bytes(1)
        else:
            self._integer()
        second, minute, hour, day, month, year, _dst = (self._integer() for _ in range(7))
        return ArchiveHeader(
            version=version,
            # C counts months from 0 and years from 1900.
            created=f"{1900 + year:04}-{month + 1:02}-{day:02} {hour:02}:{minute:02}:{second:02}",
            database=self._text(),
            server_version=self._version(),
            dump_version=self._version(),
        )

    def _version(self) -> str:
        """The number of a version: packagers add words of their own behind it."""
        return self._text().partition(" ")[0]

    def _text(self) -> str:
        length = self._integer()
        if length > _LONGEST_NAME_BYTES:
            raise self._damaged()
        return self._bytes(max(length, 0)).decode(errors="replace")

    def _integer(self) -> int:
        sign, *digits = self._bytes(1 + _INTEGER_BYTES)
        value = int.from_bytes(bytes(digits), "little")
        return -value if sign else value

    def _bytes(self, count: int) -> bytes:
        found = self._file.read(count)
        if len(found) < count:
            raise DumpUnreadable(f"{self._name}: cut short within its first bytes; {_DUMP_AGAIN}")
        return found

    def _damaged(self) -> DumpUnreadable:
        return DumpUnreadable(f"{self._name}: begins like an archive of pg_dump and goes on like none; {_DUMP_AGAIN}")


# Whether the files of a directory archive are whole: pg_restore restores the rest of one cut short, and exits 0.
#
# That is so of plain, lz4 and zstd files; of gzip, zlib itself tells, except for an empty file. So: plain rows must end
# with the line `\.` that pg_dump wrote behind them; of lz4 and zstd the frames must end, which takes no unpacking, only a
# walk from block to block. A plain large object that was cut short cannot be told from a whole one.
# Sources: RFC 8878 (zstd), the LZ4 frame format description, and the end of dumpTableData in pg_dump.c.


_ROW_FILES = "[0-9]*.dat*"
_LARGE_OBJECT_FILES = "blob_*.dat*"
_DATA_ENDS = (b"\\.\n\n\n", b";\n\n\n")  # of COPY, of --inserts
_EMPTY_INSERTS = b"\n\n"  # what --inserts writes for an empty table
_INSERT = b"INSERT "
_LZ4 = b"\x04\x22\x4d\x18"
_ZSTD = b"\x28\xb5\x2f\xfd"
_UINT32 = struct.Struct("<I")


class _Truncated(Exception):
    """The file ends before the frame does."""


def check_directory_complete(folder: Path) -> None:
    """Raise DumpUnreadable with every file of a directory archive that is cut short, or with one that is no file."""
    try:
        for path in folder.iterdir():
            # It would be read with our rights, wherever a link leads.
            if path.is_symlink() or not path.is_file():
                raise DumpUnreadable(f"{path}: not a file, which pg_dump never puts into an archive; dump it again")
        cut = [path.name for path in sorted(folder.glob(_ROW_FILES)) if not _is_complete(path, rows=True)]
        cut += [path.name for path in sorted(folder.glob(_LARGE_OBJECT_FILES)) if not _is_complete(path, rows=False)]
    except OSError as error:
        raise DumpUnreadable(f"{error.filename or folder}: {error.strerror}; dump or copy it again") from error
    if cut:
        raise DumpUnreadable(f"{folder}: cut short: {', '.join(cut)}; dump or copy it again")


def _is_complete(path: Path, *, rows: bool) -> bool:
    """Whether a file of rows, or of a large object, is complete, as far as can be told."""
    with path.open("rb") as file:
        walk = _FRAME_WALKERS.get(path.suffix)
        if path.stat().st_size == 0:
            return not rows  # an empty large object is an empty file in most formats
        if walk is None:
            return path.suffix != ".dat" or not rows or _ends_complete(file)
        try:
            while magic := file.read(_UINT32.size):
                walk(file, magic)
        except _Truncated:
            return False
    return True


def _ends_complete(file: IO[bytes]) -> bool:
    begin = file.read(len(_INSERT))
    if begin == _EMPTY_INSERTS:
        return True
    copied, inserted = _DATA_ENDS
    file.seek(-min(len(copied), file.seek(0, 2)), 2)
    end = file.read()
    return end.endswith(inserted if begin == _INSERT else copied)


def _walk_lz4(file: IO[bytes], magic: bytes) -> None:
    """Go from the frame's first byte behind its magic number to its end. Raises _Cut."""
    if magic != _LZ4:
        raise _Truncated
    flags, _block_size = _read_exactly(file, 2)
    block_checksum = _UINT32.size if flags & 0b10000 else 0
    # The size of the content, the number of a dictionary, the header's checksum.
    _read_exactly(file, (8 if flags & 0b1000 else 0) + (4 if flags & 1 else 0) + 1)
    while size := _UINT32.unpack(_read_exactly(file, _UINT32.size))[0]:
        _skip_bytes(file, (size & 0x7FFFFFFF) + block_checksum)  # the highest bit: not compressed
    _read_exactly(file, _UINT32.size if flags & 0b100 else 0)


def _walk_zstd(file: IO[bytes], magic: bytes) -> None:
    """Go from the frame's first byte behind its magic number to its end. Raises _Cut."""
    if magic != _ZSTD:
        raise _Truncated
    (flags,) = _read_exactly(file, 1)
    single = bool(flags & 0b100000)
    content = (1 if single else 0, 2, 4, 8)[flags >> 6]
    # The window, the number of a dictionary, the size of the content.
    _read_exactly(file, (0 if single else 1) + (0, 1, 2, 4)[flags & 0b11] + content)
    last = False
    while not last:
        header = int.from_bytes(_read_exactly(file, 3), "little")
        last = bool(header & 1)
        repeated = header >> 1 & 0b11 == 1  # one byte stands for the whole block
        _skip_bytes(file, 1 if repeated else header >> 3)
    _read_exactly(file, _UINT32.size if flags & 0b100 else 0)


_FRAME_WALKERS: dict[str, Callable[[IO[bytes], bytes], None]] = {".lz4": _walk_lz4, ".zst": _walk_zstd}


def _skip_bytes(file: IO[bytes], count: int) -> None:
    """Pass over so many bytes, the last of which must be there."""
    if count:
        file.seek(count - 1, 1)
        _read_exactly(file, 1)


def _read_exactly(file: IO[bytes], count: int) -> bytes:
    found = file.read(count)
    if len(found) < count:
        raise _Truncated
    return found
