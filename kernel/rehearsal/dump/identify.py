"""Identify a dump, or a file that is mistaken for one, by its first bytes.

Sources: pg_backup_archiver.h ("PGDMP"), RFC 1952 (gzip), RFC 8878 (zstd), POSIX pax (tar), and the formats' own pages.
"""

from __future__ import annotations

import codecs
import hashlib
import os
from typing import TYPE_CHECKING

from kernel.errors import DumpUnreadable
from kernel.rehearsal.dump.common.decompress import COMPRESSIONS, decompress_stream, detect_compression
from kernel.rehearsal.dump.common.model import TOC_FILE_NAME, Dump, DumpFormat, read_errors_as_unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_HEAD_BYTES = 1 << 16
_CUSTOM_MAGIC = b"PGDMP"
_TAR_MAGIC = (257, b"ustar")
_TAR_NAME_BYTES = 100
_BASE_BACKUP_NAMES = ("backup_label", "PG_VERSION", "backup_manifest", "tablespace_map", "base/", "global/", "pg_wal/")
_DUMP_DATABASE_AGAIN = "dump the database again with pg_dump"
_FOREIGN_MAGIC = (
    (b"BZh", "compressed with bzip2; unpack it first: bunzip2"),
    (b"\xfd7zXZ\0", "compressed with xz; unpack it first: unxz"),
    (b"\x04\x22\x4d\x18", "compressed with lz4; unpack it first: unlz4"),
    (b"PK\x03\x04", "a zip archive; unpack it first: unzip"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it first: 7z x"),
    (b"SQLite format 3\0", f"an SQLite database and no dump of PostgreSQL; {_DUMP_DATABASE_AGAIN}"),
    (b"-----BEGIN PGP MESSAGE", "encrypted with PGP; decrypt it first: gpg --decrypt"),
    (b"age-encryption.org/", "encrypted with age; decrypt it first: age --decrypt"),
    (b"-- MySQL dump", f"a dump of MySQL; {_DUMP_DATABASE_AGAIN}"),
    (b"-- MariaDB dump", f"a dump of MariaDB; {_DUMP_DATABASE_AGAIN}"),
    (b"/*M!999999", f"a dump of MariaDB; {_DUMP_DATABASE_AGAIN}"),
    *(
        (mark, "text in UTF-16, as PowerShell's > writes it; dump again with pg_dump --file, or convert it with iconv")
        for mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    ),
)
# pg_dumpall begins so with and without --globals-only.
_PG_DUMPALL_HEADER = b"-- PostgreSQL database cluster dump"
_FIRST_LINES_BYTES = 200


def identify_dump(path: Path) -> Dump:
    """Identify the dump at `path` by its first bytes, never by its name.

    Raises DumpUnreadable, which says what the file is instead, and the remedy.
    """
    with read_errors_as_unreadable(path):
        if path.is_dir():
            return _identify_directory(path)
        # A pipe gives its bytes only once, and they are read several times.
        if not path.is_file():
            what = "not a file" if path.exists() else "no such file"
            raise DumpUnreadable(f"{path}: {what}; give a dump that pg_dump wrote, a file or a folder")
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            size_bytes = os.fstat(file.fileno()).st_size
            compression = detect_compression(head)
            if compression:
                file.seek(0)
                head = _read_head(decompress_stream(file.read, compression, str(path)))
    if what := _describe_foreign_file(head):
        raise DumpUnreadable(f"{path}: {f'{compression} of something that is ' if compression else ''}{what}")
    kind = _detect_format(head)
    if compression and kind is not DumpFormat.PLAIN:
        tool = COMPRESSIONS[compression].unpack_command
        raise DumpUnreadable(f"{path}: an archive of pg_dump, compressed once more; unpack it first: {tool} --keep")
    # Absolute: programs of another account start in another folder.
    return Dump(path=path.absolute(), format=kind, compression=compression, size_bytes=size_bytes)


def digest_dump(dump: Dump) -> str:
    """SHA-256 of the dump, 64 hex digits: of a file's bytes; of a directory's names and bytes in order.

    Raises DumpUnreadable when it cannot be read.
    """
    with read_errors_as_unreadable(dump.path):
        if dump.format is not DumpFormat.DIRECTORY:
            with dump.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        whole = hashlib.sha256()
        for part in _directory_files(dump.path):
            with part.open("rb") as file:
                # The length before each name makes the digest unambiguous.
                name = os.fsencode(part.name)
                whole.update(len(name).to_bytes(8, "big") + name + hashlib.file_digest(file, "sha256").digest())
        return whole.hexdigest()


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
    while len(head) < _HEAD_BYTES and (piece := next(pieces, b"")):
        head += piece
    return head[:_HEAD_BYTES]


def _detect_format(head: bytes) -> DumpFormat:
    """The format by the first bytes; a tar may hold something else than a dump, and plain is everything else."""
    if head.startswith(_CUSTOM_MAGIC):
        return DumpFormat.CUSTOM
    at, mark = _TAR_MAGIC
    return DumpFormat.TAR if head.startswith(mark, at) else DumpFormat.PLAIN


def _describe_foreign_file(head: bytes) -> str:
    """What the file is instead of a dump, and the remedy, for the end of a sentence; "" when it may be a dump."""
    if not head:
        return f"empty; {_DUMP_DATABASE_AGAIN}"
    if known := next((what for mark, what in _FOREIGN_MAGIC if head.startswith(mark)), ""):
        return known
    kind = _detect_format(head)
    if kind is DumpFormat.TAR:
        return _describe_foreign_tar(head)
    if kind is DumpFormat.PLAIN and _PG_DUMPALL_HEADER in head[:_FIRST_LINES_BYTES]:
        return "written by pg_dumpall, which holds roles and every database; dump the one database with pg_dump"
    if kind is DumpFormat.PLAIN and b"\0" in head:
        return f"neither SQL nor an archive of pg_dump (it has NUL bytes); {_DUMP_DATABASE_AGAIN}"
    return ""


def _describe_foreign_tar(head: bytes) -> str:
    first = head[:_TAR_NAME_BYTES].rstrip(b"\0").decode(errors="replace").removeprefix("./")
    if first == TOC_FILE_NAME:
        return ""
    if first.startswith(_BASE_BACKUP_NAMES):
        return f"a base backup (pg_basebackup), which is a whole server and no dump; {_DUMP_DATABASE_AGAIN}"
    if first.endswith("/"):
        return "a tar of a folder; unpack it first (tar xf), and if it holds a toc.dat, give the folder"
    return f"a tar file without {TOC_FILE_NAME}, so none that pg_dump made; {_DUMP_DATABASE_AGAIN}"
