"""An archive's table of contents, as pg_restore --list prints it: what to restore of it, and how large its rows are.

A line reads "2743; 0 16581 TABLE DATA shop users app_owner": the entry's number, two OIDs, what it is, whose. Names
come as they are, line breaks replaced, so nothing but the beginning of a line is relied on.
Source: PrintTOCSummary of pg_backup_archiver.c, and "pg_restore" (--use-list) in the PostgreSQL documentation.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from kernel import ledger
from kernel.apply import progress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ENTRY = re.compile(r"(?P<number>\d+); \d+ \d+ (?P<what>.*)")
_LARGE_OBJECTS = ("BLOB ", "BLOBS ", "BLOB METADATA ")
_ROWS = ("TABLE DATA ", "BLOBS ")
_OTHER_ROWS = (
    *("BLOB ", "BLOB METADATA ", "SEQUENCE SET ", "MATERIALIZED VIEW DATA ", "STATISTICS DATA "),
    *(f"{what} - LARGE OBJECT" for what in ("COMMENT", "ACL", "SECURITY LABEL")),
)
_RECORDS = re.compile(rf"TABLE DATA \S+ (?:{ledger.TABLE}|{progress.TABLE}) ")
# gzip keeps the unpacked size in its last four bytes (RFC 1952, ISIZE): enough for rows of less than 4 GB.
_GZIP_SIZE = struct.Struct("<I")
_GZIP_HEADER_BYTES = 64
_GZIP_TURN_BYTES = 1 << 32
# What rows unpack to where nothing tells: the usual figure of pg_dump's zlib on mixed tables.
_UNPACKED = 4


class Listing:
    """The lines that pg_restore --list printed."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()

    def without(self, *beginnings: str, rows: bool = True) -> str:
        """The list for --use-list, less the entries that are one of these, such as "EXTENSION ".

        Without `rows` it has those of the migrations' records only.
        """
        kept = (line for line in self._lines if not self._what(line).startswith(beginnings))
        return "\n".join(line for line in kept if rows or not self._of_rows(line)) + "\n"

    def _of_rows(self, line: str) -> bool:
        what = self._what(line)
        return what.startswith((*_ROWS, *_OTHER_ROWS)) and not _RECORDS.match(what)

    @property
    def large_objects(self) -> bool:
        """Whether there are any."""
        return any(self._what(line).startswith(_LARGE_OBJECTS) for line in self._lines)

    def table(self, name: str) -> str:
        """A table of this name with its schema in front; of several, all of them."""
        found = re.compile(rf"TABLE DATA (\S+) {re.escape(name)} \S+")
        schemas = [match[1] for line in self._lines if (match := found.fullmatch(self._what(line)))]
        return " or ".join(f"{schema}.{name}" for schema in schemas) or name

    def row_files(self, folder: Path) -> Iterator[Path]:
        """The files of a directory archive that hold rows."""
        numbers = {
            match["number"] for line in self._lines if (match := _ENTRY.match(line)) and match["what"].startswith(_ROWS)
        }
        for path in folder.iterdir():
            if path.name.partition(".")[0] in numbers:
                yield path

    def _what(self, line: str) -> str:
        match = _ENTRY.match(line)
        return match["what"] if match else ""


def unpacked_bytes(path: Path) -> int:
    """How many bytes a file of rows holds when it is unpacked: exact for plain ones, and gzip below 4 GB."""
    size = path.stat().st_size
    if path.suffix == ".gz" and size > _GZIP_SIZE.size:
        with path.open("rb") as file:
            file.seek(-_GZIP_SIZE.size, 2)
            (told,) = _GZIP_SIZE.unpack(file.read(_GZIP_SIZE.size))
        # gzip makes larger by a header and a little: what seems to have shrunk more than that has gone round.
        while told + _GZIP_HEADER_BYTES + size // 1000 < size:
            told += _GZIP_TURN_BYTES
        return int(told)
    return size if path.suffix == ".dat" else _UNPACKED * size


def estimated_bytes(archive_bytes: int) -> int:
    """The same for a file whose rows are compressed inside of it."""
    return _UNPACKED * archive_bytes
