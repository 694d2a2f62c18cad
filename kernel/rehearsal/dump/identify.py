"""What a file is, told by its first bytes: dumps, and the other things that people take for dumps.

Sources: pg_backup_archiver.h ("PGDMP"), RFC 1952 (gzip), RFC 8878 (zstd), POSIX pax (tar), and the formats' own pages.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from kernel.errors import DumpUnreadable
from kernel.rehearsal.dump.decompress import decompress_stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernel.errors import Problem


HEAD_BYTES = 1 << 16
TAR_BLOCK_BYTES = 512
TOC_FILE_NAME = "toc.dat"  # the file that an archive of pg_dump cannot be without

_CUSTOM_MAGIC = b"PGDMP"
_COMPRESSION_MAGIC = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))
_TAR_MAGIC = (257, b"ustar")
_TAR_NAME_BYTES = 100
_BASE_BACKUP_NAMES = ("backup_label", "PG_VERSION", "backup_manifest", "tablespace_map", "base/", "global/", "pg_wal/")
_DUMP_AGAIN = "dump the database again with pg_dump"
_FOREIGN_MAGIC = (
    (b"BZh", "compressed with bzip2; unpack it first: bunzip2"),
    (b"\xfd7zXZ\0", "compressed with xz; unpack it first: unxz"),
    (b"\x04\x22\x4d\x18", "compressed with lz4; unpack it first: unlz4"),
    (b"PK\x03\x04", "a zip archive; unpack it first: unzip"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it first: 7z x"),
    (b"SQLite format 3\0", f"an SQLite database and no dump of PostgreSQL; {_DUMP_AGAIN}"),
    (b"-----BEGIN PGP MESSAGE", "encrypted with PGP; decrypt it first: gpg --decrypt"),
    (b"age-encryption.org/", "encrypted with age; decrypt it first: age --decrypt"),
    (b"-- MySQL dump", f"a dump of MySQL; {_DUMP_AGAIN}"),
    (b"-- MariaDB dump", f"a dump of MariaDB; {_DUMP_AGAIN}"),
    (b"/*M!999999", f"a dump of MariaDB; {_DUMP_AGAIN}"),
    *(
        (mark, "text in UTF-16, as PowerShell's > writes it; dump again with pg_dump --file, or convert it with iconv")
        for mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    ),
)
# pg_dumpall begins so with and without --globals-only.
_PG_DUMPALL_HEADER = b"-- PostgreSQL database cluster dump"
_FIRST_LINES_BYTES = 200


def detect_compression(head: bytes) -> str:
    """What the file is compressed with, gzip or zstd, or ""."""
    return next((name for mark, name in _COMPRESSION_MAGIC if head.startswith(mark)), "")


def detect_archive_format(head: bytes) -> str:
    """The archive that begins so, custom or tar, or ""; a tar archive may hold anything, see `stranger`."""
    if head.startswith(_CUSTOM_MAGIC):
        return "custom"
    at, mark = _TAR_MAGIC
    return "tar" if head.startswith(mark, at) else ""


def describe_foreign_file(head: bytes) -> str:
    """What the file is instead of a dump, and the remedy, as the end of a sentence; "" when it may be one."""
    if not head:
        return f"empty; {_DUMP_AGAIN}"
    for mark, what in _FOREIGN_MAGIC:
        if head.startswith(mark):
            return what
    if detect_archive_format(head) == "tar":
        return _describe_foreign_tar(head)
    if not detect_archive_format(head) and _PG_DUMPALL_HEADER in head[:_FIRST_LINES_BYTES]:
        return "written by pg_dumpall, which holds roles and every database; dump the one database with pg_dump"
    if not detect_archive_format(head) and b"\0" in head:
        return f"neither SQL nor an archive of pg_dump (it has NUL bytes); {_DUMP_AGAIN}"
    return ""


def _describe_foreign_tar(head: bytes) -> str:
    first = head[:_TAR_NAME_BYTES].rstrip(b"\0").decode(errors="replace").removeprefix("./")
    if first == TOC_FILE_NAME:
        return ""
    if first.startswith(_BASE_BACKUP_NAMES):
        return f"a base backup (pg_basebackup), which is a whole server and no dump; {_DUMP_AGAIN}"
    if first.endswith("/"):
        return "a tar of a folder; unpack it first (tar xf), and if it holds a toc.dat, give the folder"
    return f"a tar file without {TOC_FILE_NAME}, so none that pg_dump made; {_DUMP_AGAIN}"


# What a dump is, what it holds, and what became of restoring it: the values that plain dumps and archives share.


class DumpFormat(StrEnum):
    """The formats of pg_dump, by the names of its --format; a plain dump is SQL, the others are for pg_restore."""

    PLAIN = "plain"
    CUSTOM = "custom"
    DIRECTORY = "directory"
    TAR = "tar"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dump:
    """A dump that was recognised. `compression` is "", gzip or zstd, and only plain dumps have one.

    What pg_dump compresses inside of an archive is pg_restore's business. `size_bytes` is its size on disk.
    """

    path: Path
    format: DumpFormat
    compression: str = ""
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Collation:
    """A locale that a dump needs, and whose it is: libc, icu or builtin."""

    locale: str
    provider: str = "libc"


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpContents:
    """What a dump needs and makes, read before anything is restored; "" and () where it does not tell.

    Versions are as in "15.18". `settings` are the (name, value) pairs of ALTER DATABASE … SET. `roles` own something
    or are granted something. `data_bytes` is what the rows take in the dump, unpacked where that is known.
    `locale_provider`, `locale` (of icu or builtin), `lc_collate` and `lc_ctype` are the database's own.
    """

    server_version: str = ""
    dump_version: str = ""
    database: str = ""
    encoding: str = ""
    locale_provider: str = ""
    locale: str = ""
    lc_collate: str = ""
    lc_ctype: str = ""
    extensions: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    collations: tuple[Collation, ...] = ()
    languages: tuple[str, ...] = ()
    tablespaces: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    publications: tuple[str, ...] = ()
    subscriptions: tuple[str, ...] = ()
    foreign_servers: tuple[str, ...] = ()
    event_triggers: tuple[str, ...] = ()
    tables: int = 0
    data_bytes: int = 0
    large_objects: bool = False

    @property
    def server_major(self) -> int:
        """The major version of the server that was dumped, 0 where the dump does not tell."""
        return major_version(self.server_version)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreOutcome:
    """What became of a restore: `bytes` of the dump read, and what the server would not take.

    `harmless` are sentences about what a copy can do without: owners, comments on extensions. `lost` is what is
    missing from it: a table, rows, an index, a constraint, each with the server's message.
    """

    read_bytes: int
    seconds: float
    harmless: tuple[str, ...] = ()
    lost: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpProgress:
    """How far a restore is, by the bytes of the dump; `what` it is busy with, in a few words."""

    done_bytes: int
    total_bytes: int
    activity: str


ProgressCallback = Callable[[DumpProgress], None]
"""Who is told of progress; called from one thread at a time."""

_DIGITS = re.compile(r"[0-9]+")


def major_version(version: str) -> int:
    """The major version in "15.18", "18beta1" or "" (0)."""
    found = _DIGITS.match(version)
    return int(found[0]) if found else 0


def identify_dump(path: Path) -> Dump:
    """What kind of dump `path` is, judged by its first bytes and never by its name.

    Raises DumpUnreadable, which names what else it is and says what to do.
    """
    try:
        if path.is_dir():
            return _identify_directory(path)
        # A pipe would give its bytes only once, and they are read several times.
        if not path.is_file():
            what = "not a file" if path.exists() else "no such file"
            raise DumpUnreadable(f"{path}: {what}; give a dump that pg_dump wrote, a file or a folder")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            size_bytes = os.fstat(file.fileno()).st_size
            compression = detect_compression(head)
            if compression:
                file.seek(0)
                head = _read_head(decompress_stream(file.read, compression, str(path)))
    except OSError as error:
        raise _unreadable_error(path, error) from error
    if what := describe_foreign_file(head):
        raise DumpUnreadable(f"{path}: {f'{compression} of something that is ' if compression else ''}{what}")
    kind = DumpFormat(detect_archive_format(head) or DumpFormat.PLAIN)
    if compression and kind is not DumpFormat.PLAIN:
        tool = {"gzip": "gunzip", "zstd": "unzstd"}[compression]
        raise DumpUnreadable(f"{path}: an archive of pg_dump, compressed once more; unpack it first: {tool} --keep")
    # Programs of another account start in another folder.
    return Dump(path=path.absolute(), format=kind, compression=compression, size_bytes=size_bytes)


def digest_dump(dump: Dump) -> str:
    """SHA-256 of the dump, 64 hex digits: of a file's bytes; of a directory's names and bytes in order.

    Raises DumpUnreadable when it cannot be read.
    """
    try:
        if dump.format is not DumpFormat.DIRECTORY:
            with dump.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        whole = hashlib.sha256()
        for part in _directory_files(dump.path):
            with part.open("rb") as file:
                # Its length goes before each name and each file's hash has one length: nothing can pose as another.
                name = os.fsencode(part.name)
                whole.update(len(name).to_bytes(8, "big") + name + hashlib.file_digest(file, "sha256").digest())
        return whole.hexdigest()
    except OSError as error:
        raise _unreadable_error(dump.path, error) from error


def _identify_directory(path: Path) -> Dump:
    if not (path / TOC_FILE_NAME).is_file():
        if (path / "PG_VERSION").exists() or (path / "backup_manifest").exists():
            raise DumpUnreadable(
                f"{path}: the data of a server (pg_basebackup), not a dump; dump the database with pg_dump"
            )
        raise DumpUnreadable(f"{path}: a folder without {TOC_FILE_NAME}, so none that pg_dump --format=directory wrote")
    size_bytes = sum(part.stat().st_size for part in _directory_files(path))
    return Dump(path=path.absolute(), format=DumpFormat.DIRECTORY, size_bytes=size_bytes)


def _directory_files(folder: Path) -> list[Path]:
    """The files of a directory archive in the order of their names; it has no folders inside."""
    return sorted((part for part in folder.iterdir() if part.is_file()), key=lambda part: os.fsencode(part.name))


def _read_head(pieces: Iterator[bytes]) -> bytes:
    head = b""
    while len(head) < HEAD_BYTES and (piece := next(pieces, b"")):
        head += piece
    return head[:HEAD_BYTES]


def _unreadable_error(path: Path, error: OSError) -> DumpUnreadable:
    return DumpUnreadable(f"{path}: {error.strerror or error}; give a dump that can be read here")
