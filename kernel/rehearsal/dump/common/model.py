"""Values that plain dumps and archives share: the dump, its contents, and the outcome of a restore."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from kernel.config.ledger_name import TABLE_SUFFIXES
from kernel.errors import DumpUnreadable
from kernel.units import format_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from kernel.config.ledger_name import LedgerName
    from kernel.errors import Problem


DUMP_AGAIN = "dump or copy it again"
TOC_FILE_NAME = "toc.dat"  # every directory and tar archive of pg_dump has this file
_DIGITS = re.compile(r"[0-9]+")


@contextmanager
def read_errors_as_unreadable(path: Path) -> Iterator[None]:
    """Replace an OSError of the block by a DumpUnreadable."""
    try:
        yield
    except OSError as error:
        raise DumpUnreadable(f"{path}: {error.strerror or error}; give a dump that can be read here") from error


def migration_tables(ledger: LedgerName) -> tuple[str, ...]:
    """The names of the ledger and of the tables next to it.

    Their rows are restored with --schema-only too: without them, every migration of the schema would be pending.
    """
    return tuple(ledger.table + suffix for suffix in TABLE_SUFFIXES)


class DumpFormat(StrEnum):
    """The formats of pg_dump, by the names of its --format; a plain dump is SQL, the others are for pg_restore."""

    PLAIN = "plain"
    CUSTOM = "custom"
    DIRECTORY = "directory"
    TAR = "tar"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dump:
    """A recognised dump. `compression` is "", gzip or zstd, and only plain dumps have one.

    pg_restore handles the compression inside of an archive. `size_bytes` is its size on disk.
    """

    path: Path
    format: DumpFormat
    compression: str = ""
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Collation:
    """A locale that a dump needs, and its provider: libc, icu or builtin."""

    locale: str
    provider: str = "libc"


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpContents:
    """What a dump needs, read before anything is restored; "" and () where the dump does not say.

    Versions, of the server and of its pg_dump, are as in "15.18". `settings` are the (name, value) pairs of ALTER
    DATABASE ... SET. `roles` own or are granted something. `data_bytes` is the size of the rows in the dump,
    uncompressed where that is known. `locale_provider`, `lc_collate` and `lc_ctype` are the database's. `table_names`
    are those of its CREATE TABLE, without schemas. `applied_versions` are those in the ledger's rows, None when these
    cannot be read before a restore.
    """

    server_version: str = ""
    client_version: str = ""
    database: str = ""
    encoding: str = ""
    locale_provider: str = ""
    lc_collate: str = ""
    lc_ctype: str = ""
    extensions: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    collations: tuple[Collation, ...] = ()
    tablespaces: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    data_bytes: int = 0
    table_names: frozenset[str] = frozenset()
    applied_versions: frozenset[int] | None = None

    @property
    def server_major(self) -> int:
        """The major version of the dumped server ("18beta1" is 18), 0 where the dump does not say."""
        found = _DIGITS.match(self.server_version)
        return int(found[0]) if found else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreOutcome:
    """What the server refused of a dump.

    `harmless` are sentences about what a copy can do without: comments on extensions, privileges. `lost` is what is
    missing from the copy: a table, rows, an index, a constraint, each with the server's message.
    """

    harmless: tuple[str, ...] = ()
    lost: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpProgress:
    """Progress of a dump or restore in bytes, and the current activity in a few words."""

    done_bytes: int
    total_bytes: int
    activity: str

    def __str__(self) -> str:
        if not self.total_bytes:
            return self.activity
        percent = min(100, 100 * self.done_bytes // self.total_bytes)
        return f"{percent} % of {format_bytes(self.total_bytes)}: {self.activity}"


ProgressCallback = Callable[[DumpProgress], None]
"""Receives progress; called from one thread at a time."""
