"""What a dump is, what it holds, and what became of restoring it: the values that plain dumps and archives share."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from kernel.errors import DumpUnreadable
from kernel.rehearsal.dump import signature, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernel.errors import Problem


class Format(StrEnum):
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
    format: Format
    compression: str = ""
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Collation:
    """A locale that a dump needs, and whose it is: libc, icu or builtin."""

    locale: str
    provider: str = "libc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
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
        return major(self.server_version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What became of a restore: `bytes` of the dump read, and what the server would not take.

    `harmless` are sentences about what a copy can do without: owners, comments on extensions. `lost` is what is
    missing from it: a table, rows, an index, a constraint, each with the server's message.
    """

    bytes: int
    seconds: float
    harmless: tuple[str, ...] = ()
    lost: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a restore is, by the bytes of the dump; `what` it is busy with, in a few words."""

    done_bytes: int
    total_bytes: int
    what: str


Report = Callable[[Progress], None]
"""Who is told of progress; called from one thread at a time."""

_DIGITS = re.compile(r"[0-9]+")


def major(version: str) -> int:
    """The major version in "15.18", "18beta1" or "" (0)."""
    found = _DIGITS.match(version)
    return int(found[0]) if found else 0


def recognise(path: Path) -> Dump:
    """What kind of dump `path` is, judged by its first bytes and never by its name.

    Raises DumpUnreadable, which names what else it is and says what to do.
    """
    try:
        if path.is_dir():
            return _folder(path)
        # A pipe would give its bytes only once, and they are read several times.
        if not path.is_file():
            what = "not a file" if path.exists() else "no such file"
            raise DumpUnreadable(f"{path}: {what}; give a dump that pg_dump wrote, a file or a folder")
        with path.open("rb") as file:
            head = file.read(signature.HEAD_BYTES)
            size_bytes = os.fstat(file.fileno()).st_size
            compression = signature.compression(head)
            if compression:
                file.seek(0)
                head = _beginning(unpack.unpacked(file.read, compression, str(path)))
    except OSError as error:
        raise _unreadable(path, error) from error
    if what := signature.stranger(head):
        raise DumpUnreadable(f"{path}: {f'{compression} of something that is ' if compression else ''}{what}")
    kind = Format(signature.archive(head) or Format.PLAIN)
    if compression and kind is not Format.PLAIN:
        tool = {"gzip": "gunzip", "zstd": "unzstd"}[compression]
        raise DumpUnreadable(f"{path}: an archive of pg_dump, compressed once more; unpack it first: {tool} --keep")
    # Programs of another account start in another folder.
    return Dump(path=path.absolute(), format=kind, compression=compression, size_bytes=size_bytes)


def digest(dump: Dump) -> str:
    """SHA-256 of the dump, 64 hex digits: of a file's bytes; of a directory's names and bytes in order.

    Raises DumpUnreadable when it cannot be read.
    """
    try:
        if dump.format is not Format.DIRECTORY:
            with dump.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        whole = hashlib.sha256()
        for part in _files(dump.path):
            with part.open("rb") as file:
                # Its length goes before each name and each file's hash has one length: nothing can pose as another.
                name = os.fsencode(part.name)
                whole.update(len(name).to_bytes(8, "big") + name + hashlib.file_digest(file, "sha256").digest())
        return whole.hexdigest()
    except OSError as error:
        raise _unreadable(dump.path, error) from error


def _folder(path: Path) -> Dump:
    if not (path / signature.TABLE_OF_CONTENTS).is_file():
        if (path / "PG_VERSION").exists() or (path / "backup_manifest").exists():
            raise DumpUnreadable(
                f"{path}: the data of a server (pg_basebackup), not a dump; dump the database with pg_dump"
            )
        raise DumpUnreadable(
            f"{path}: a folder without {signature.TABLE_OF_CONTENTS}, so none that pg_dump --format=directory wrote"
        )
    size_bytes = sum(part.stat().st_size for part in _files(path))
    return Dump(path=path.absolute(), format=Format.DIRECTORY, size_bytes=size_bytes)


def _files(folder: Path) -> list[Path]:
    """The files of a directory archive in the order of their names; it has no folders inside."""
    return sorted((part for part in folder.iterdir() if part.is_file()), key=lambda part: os.fsencode(part.name))


def _beginning(pieces: Iterator[bytes]) -> bytes:
    head = b""
    while len(head) < signature.HEAD_BYTES and (piece := next(pieces, b"")):
        head += piece
    return head[: signature.HEAD_BYTES]


def _unreadable(path: Path, error: OSError) -> DumpUnreadable:
    return DumpUnreadable(f"{path}: {error.strerror or error}; give a dump that can be read here")
