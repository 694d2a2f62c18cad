"""The header of an archive: its version, and which database of which server was dumped.

Read here and not by pg_restore, which refuses an archive newer than itself without saying which version reads it.
Source: ReadHead and the K_VERS_... numbers of pg_backup_archiver.c and .h, PostgreSQL 9.6 to 18.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from kernel.errors import DumpUnreadable
from kernel.rehearsal.dump.common.model import DUMP_AGAIN, TOC_FILE_NAME, DumpFormat, read_errors_as_unreadable

if TYPE_CHECKING:
    from kernel.rehearsal.dump.common.model import Dump


# The first major version whose pg_restore reads archives of this version.
PG_RESTORE_MAJORS = {(1, 12): 9, (1, 13): 10, (1, 14): 12, (1, 15): 16, (1, 16): 17}
_OLDEST_VERSION = (1, 12)
_COMPRESSION_AS_BYTE = (1, 15)
_TIMESTAMP_INTEGERS = 7  # struct tm of the moment of the dump, on a clock of unknown time zone
_INTEGER_BYTES = 4
_LONGEST_NAME_BYTES = 1 << 12
_MAGIC = b"PGDMP"
_TAR_BLOCK_BYTES = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveHeader:
    """The header of an archive. `version` is the archive format's, as in (1, 14)."""

    version: tuple[int, int]
    database: str
    server_version: str

    @property
    def pg_restore_major(self) -> int | None:
        """The oldest major version whose pg_restore reads it, None for an archive newer than any known here."""
        return PG_RESTORE_MAJORS.get(max(self.version, _OLDEST_VERSION))


def read_archive_header(dump: Dump) -> ArchiveHeader:
    """Read the header of an archive. Raises DumpUnreadable when it is cut short or damaged."""
    path = dump.path / TOC_FILE_NAME if dump.format is DumpFormat.DIRECTORY else dump.path
    try:
        with read_errors_as_unreadable(path), path.open("rb") as file:
            if dump.format is DumpFormat.TAR:
                file.seek(_TAR_BLOCK_BYTES)  # the table of contents is the first member
            return _read_header(file)
    except EOFError as error:
        raise DumpUnreadable(f"{dump.path}: cut short within its first bytes; {DUMP_AGAIN}") from error
    except ValueError as error:
        raise DumpUnreadable(
            f"{dump.path}: begins like an archive of pg_dump and goes on like none; {DUMP_AGAIN}"
        ) from error


def _read_header(file: IO[bytes]) -> ArchiveHeader:
    """Integers and strings as pg_dump writes them. Raises EOFError, and ValueError when it is none."""
    magic = _read_bytes(file, len(_MAGIC))
    major, minor, _revision, integer_bytes, _offset_bytes, _format = _read_bytes(file, 6)
    if magic != _MAGIC or integer_bytes != _INTEGER_BYTES:
        raise ValueError
    version = (major, minor)
    _read_bytes(file, 1 if version >= _COMPRESSION_AS_BYTE else 1 + _INTEGER_BYTES)
    _read_bytes(file, _TIMESTAMP_INTEGERS * (1 + _INTEGER_BYTES))
    database, server_version = _read_text(file), _read_text(file)
    # Packagers append words.
    return ArchiveHeader(version=version, database=database, server_version=server_version.partition(" ")[0])


def _read_text(file: IO[bytes]) -> str:
    sign, *digits = _read_bytes(file, 1 + _INTEGER_BYTES)
    length = 0 if sign else int.from_bytes(bytes(digits), "little")
    if length > _LONGEST_NAME_BYTES:
        raise ValueError
    return _read_bytes(file, length).decode(errors="replace")


def _read_bytes(file: IO[bytes], count: int) -> bytes:
    content = file.read(count)
    if len(content) < count:
        raise EOFError
    return content
