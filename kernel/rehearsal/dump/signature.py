"""What a file is, told by its first bytes: dumps, and the other things that people take for dumps.

Sources: pg_backup_archiver.h ("PGDMP"), RFC 1952 (gzip), RFC 8878 (zstd), POSIX pax (tar), and the formats' own pages.
"""

from __future__ import annotations

import codecs

HEAD_BYTES = 1 << 16
TAR_BLOCK_BYTES = 512
TABLE_OF_CONTENTS = "toc.dat"  # the file that an archive of pg_dump cannot be without

_CUSTOM = b"PGDMP"
_COMPRESSED = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))
_TAR = (257, b"ustar")
_TAR_NAME_BYTES = 100
_BASE_BACKUP = ("backup_label", "PG_VERSION", "backup_manifest", "tablespace_map", "base/", "global/", "pg_wal/")
_AGAIN = "dump the database again with pg_dump"
_FOREIGN = (
    (b"BZh", "compressed with bzip2; unpack it first: bunzip2"),
    (b"\xfd7zXZ\0", "compressed with xz; unpack it first: unxz"),
    (b"\x04\x22\x4d\x18", "compressed with lz4; unpack it first: unlz4"),
    (b"PK\x03\x04", "a zip archive; unpack it first: unzip"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it first: 7z x"),
    (b"SQLite format 3\0", f"an SQLite database and no dump of PostgreSQL; {_AGAIN}"),
    (b"-----BEGIN PGP MESSAGE", "encrypted with PGP; decrypt it first: gpg --decrypt"),
    (b"age-encryption.org/", "encrypted with age; decrypt it first: age --decrypt"),
    (b"-- MySQL dump", f"a dump of MySQL; {_AGAIN}"),
    (b"-- MariaDB dump", f"a dump of MariaDB; {_AGAIN}"),
    (b"/*M!999999", f"a dump of MariaDB; {_AGAIN}"),
    *(
        (mark, "text in UTF-16, as PowerShell's > writes it; dump again with pg_dump --file, or convert it with iconv")
        for mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    ),
)
# pg_dumpall begins so with and without --globals-only.
_CLUSTER = b"-- PostgreSQL database cluster dump"
_FIRST_LINES_BYTES = 200


def compression(head: bytes) -> str:
    """What the file is compressed with, gzip or zstd, or ""."""
    return next((name for mark, name in _COMPRESSED if head.startswith(mark)), "")


def archive(head: bytes) -> str:
    """The archive that begins so, custom or tar, or ""; a tar archive may hold anything, see `stranger`."""
    if head.startswith(_CUSTOM):
        return "custom"
    at, mark = _TAR
    return "tar" if head.startswith(mark, at) else ""


def stranger(head: bytes) -> str:
    """What the file is instead of a dump, and the remedy, as the end of a sentence; "" when it may be one."""
    if not head:
        return f"empty; {_AGAIN}"
    for mark, what in _FOREIGN:
        if head.startswith(mark):
            return what
    if archive(head) == "tar":
        return _stranger_in_tar(head)
    if not archive(head) and _CLUSTER in head[:_FIRST_LINES_BYTES]:
        return "written by pg_dumpall, which holds roles and every database; dump the one database with pg_dump"
    if not archive(head) and b"\0" in head:
        return f"neither SQL nor an archive of pg_dump (it has NUL bytes); {_AGAIN}"
    return ""


def _stranger_in_tar(head: bytes) -> str:
    first = head[:_TAR_NAME_BYTES].rstrip(b"\0").decode(errors="replace").removeprefix("./")
    if first == TABLE_OF_CONTENTS:
        return ""
    if first.startswith(_BASE_BACKUP):
        return f"a base backup (pg_basebackup), which is a whole server and no dump; {_AGAIN}"
    if first.endswith("/"):
        return "a tar of a folder; unpack it first (tar xf), and if it holds a toc.dat, give the folder"
    return f"a tar file without {TABLE_OF_CONTENTS}, so none that pg_dump made; {_AGAIN}"
