"""The first bytes of an archive: its version, and what was dumped by what. Read by us, for any version.

pg_restore refuses an archive newer than itself without a word of what would read it.
Source: ReadHead and the K_VERS_… numbers of pg_backup_archiver.c and .h, PostgreSQL 9.6 to 18.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from kernel.errors import DumpUnreadable
from kernel.rehearsal.dump import signature
from kernel.rehearsal.dump.dump import Format

if TYPE_CHECKING:
    from kernel.rehearsal.dump.dump import Dump

# The first major version whose pg_restore reads archives of this version.
READERS = {(1, 12): 9, (1, 13): 10, (1, 14): 12, (1, 15): 16, (1, 16): 17}
_OLDEST = (1, 12)
_COMPRESSION_AS_BYTE = (1, 15)
_INTEGER_BYTES = 4
_LONGEST_NAME_BYTES = 1 << 12
_MAGIC = b"PGDMP"
_AGAIN = "dump or copy it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What an archive says of itself. `version` is the archive's own, as in (1, 14).

    `created` is the time on the clock of whoever dumped, as in "2026-01-31 10:00:00": its zone is not told.
    """

    version: tuple[int, int]
    created: str
    database: str
    server_version: str
    dump_version: str

    @property
    def reader(self) -> int | None:
        """The oldest major version whose pg_restore reads it, None for an archive newer than any known here."""
        return READERS.get(self.version, READERS[_OLDEST] if self.version < _OLDEST else None)


def read(dump: Dump) -> Header:
    """The header of an archive. Raises DumpUnreadable when it is cut short or makes no sense."""
    path = dump.path / signature.TABLE_OF_CONTENTS if dump.format is Format.DIRECTORY else dump.path
    try:
        with path.open("rb") as file:
            if dump.format is Format.TAR:
                file.seek(signature.TAR_BLOCK_BYTES)  # the table of contents is the first member
            return _Reader(file, str(dump.path)).header()
    except OSError as error:
        raise DumpUnreadable(f"{path}: {error.strerror}; give a dump that can be read here") from error


class _Reader:
    """Numbers and names, as pg_dump writes them."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file = file
        self._name = name

    def header(self) -> Header:
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
        return Header(
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
            raise DumpUnreadable(f"{self._name}: cut short within its first bytes; {_AGAIN}")
        return found

    def _damaged(self) -> DumpUnreadable:
        return DumpUnreadable(f"{self._name}: begins like an archive of pg_dump and goes on like none; {_AGAIN}")
