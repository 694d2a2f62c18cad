"""Contents of an archive (custom, directory, tar): its schema's SQL, and its table of contents, both by pg_restore.

A crafted archive can make an old pg_restore run code (see pg_restore_warning), so it runs under the account that serves
throwaway servers, without secrets in its environment. The SQL that it prints is read here and never given to psql.

A line of the table of contents is "2743; 0 16581 TABLE DATA shop users app_owner": the entry's number, two OIDs, type,
schema, name and owner. Names are not quoted, so only the beginning of a line is reliable.
Source: PrintTOCSummary of pg_backup_archiver.c, and "pg_restore" (--use-list) in the PostgreSQL documentation.
"""

from __future__ import annotations

import os
import re
import struct
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from kernel.config.ledger_name import DEFAULT_LEDGER
from kernel.errors import DumpUnreadable
from kernel.postgres.account import server_account
from kernel.postgres.cache import reachable_programs
from kernel.postgres.process import run_client_program
from kernel.rehearsal.dump.archive.access import open_archive_for_account, text_file_for_account
from kernel.rehearsal.dump.archive.complete import check_complete
from kernel.rehearsal.dump.archive.header import ArchiveHeader, read_archive_header
from kernel.rehearsal.dump.common.client_programs import find_pg_restore
from kernel.rehearsal.dump.common.model import DUMP_AGAIN, DumpContents, DumpFormat, migration_tables
from kernel.rehearsal.dump.plain.classify import StatementKind
from kernel.rehearsal.dump.plain.contents import DumpStatement
from kernel.rehearsal.dump.plain.scan import scan_dump
from kernel.rehearsal.dump.plain.text import DumpText

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.config.ledger_name import LedgerName
    from kernel.postgres.account import Account
    from kernel.postgres.programs import Programs
    from kernel.rehearsal.dump.common.model import Dump
    from kernel.rehearsal.dump.plain.contents import DumpIndex


_LISTING_TIMEOUT_SECONDS = 600.0  # a table of contents with a million entries takes a tenth of it
_RECORDS_TIMEOUT_SECONDS = 60.0
_DATABASE_LOCALE = re.compile(rb"\b(LOCALE_PROVIDER|LOCALE|LC_COLLATE|LC_CTYPE) = '?([^' ;]+)")
_TOC_ENTRY = re.compile(r"(?P<number>\d+); \d+ \d+ (?P<what>.*)")
_ROW_ENTRIES = ("TABLE DATA ", "BLOBS ")
_DATA_ENTRIES = (*_ROW_ENTRIES, "SEQUENCE SET ", "MATERIALIZED VIEW DATA ", "STATISTICS DATA ")
ROWS = (  # every entry of data
    *(*_DATA_ENTRIES, "BLOB ", "BLOB METADATA "),
    *(f"{what} - LARGE OBJECT" for what in ("COMMENT", "ACL", "SECURITY LABEL")),
)
# The last four bytes of gzip are the uncompressed size modulo 4 GB (RFC 1952, ISIZE).
_GZIP_SIZE = struct.Struct("<I")
_GZIP_HEADER_BYTES = 64
_GZIP_MODULUS_BYTES = 1 << 32
# An estimate for other compression: usual for pg_dump's zlib on mixed tables.
_COMPRESSION_RATIO = 4


@contextmanager
def open_archive(dump: Dump, programs: Programs, ledger: LedgerName = DEFAULT_LEDGER) -> Iterator[Archive]:
    """Check and open an archive; `programs` are used where they can read it, else another installation.

    Raises DumpUnreadable when it is cut short or damaged, Unprepared when no pg_restore here reads its version.
    """
    check_complete(dump)
    header = read_archive_header(dump)
    account = server_account(Path("/"))
    chosen = reachable_programs(
        find_pg_restore(header.version, header.pg_restore_major, programs, name=str(dump.path)), account
    )
    with (
        open_archive_for_account(dump, account, toc_only=True) as (place, source),
        tempfile.TemporaryFile(buffering=0) as listing,
        tempfile.TemporaryFile(buffering=0) as text,
    ):

        def run(*arguments: str, output: IO[bytes], seconds: float = _LISTING_TIMEOUT_SECONDS) -> None:
            if source is not None:
                source.seek(0)  # the previous run moved the position, which is shared
            try:
                done = run_client_program(
                    account,
                    chosen.bin / "pg_restore",
                    *arguments,
                    *place,
                    source=source,
                    output=output,
                    seconds=seconds,
                )
            except TimeoutError as error:
                raise DumpUnreadable(
                    f"{dump.path}: pg_restore: {error} on its table of contents; {DUMP_AGAIN}"
                ) from error
            if done.exit_status != 0:
                raise DumpUnreadable(f"{dump.path}: pg_restore {chosen.version} says: {done.last_error}; {DUMP_AGAIN}")

        run("--list", "--create", output=listing)
        listing.seek(0)
        listed = ArchiveListing(listing.read().decode(errors="replace"), ledger)
        # Not by --schema-only, which leaves out the owners and privileges of large objects, and the ledger's rows.
        # These cannot be read where only the table of contents was copied, and take long in some archives.
        try:
            with text_file_for_account(listed.select_entries(_DATA_ENTRIES), account) as list_file:
                arguments = ("--create", "--file=-", f"--use-list={list_file}")
                run(*arguments, output=text, seconds=_RECORDS_TIMEOUT_SECONDS)
        except DumpUnreadable:
            text.seek(0)
            text.truncate()
            with text_file_for_account(listed.select_entries(_DATA_ENTRIES, records=False), account) as list_file:
                run("--create", "--file=-", f"--use-list={list_file}", output=text)
        name = f"{dump.path.name} (its schema)"
        size_bytes = os.fstat(text.fileno()).st_size
        index = scan_dump(DumpText(descriptor=text.fileno(), name=name, size_bytes=size_bytes), ledger)
        yield Archive(dump=dump, header=header, reader=chosen, account=account, listing=listed, index=index)


def read_archive_contents(dump: Dump, programs: Programs, ledger: LedgerName = DEFAULT_LEDGER) -> DumpContents:
    """What an archive needs. Raises DumpUnreadable, Unprepared."""
    with open_archive(dump, programs, ledger) as archive:
        return archive.contents


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """An open archive: `reader` are the programs whose pg_restore reads it, `index` that of its schema's SQL."""

    dump: Dump
    header: ArchiveHeader
    reader: Programs
    account: Account
    listing: ArchiveListing
    index: DumpIndex

    @property
    def contents(self) -> DumpContents:
        """What the archive needs."""
        contents = replace(
            self.index.contents,
            server_version=self.header.server_version,
            database=self.header.database,
            data_bytes=self._data_bytes(),
        )
        for item in self.index.items:
            if isinstance(item, DumpStatement) and item.kind is StatementKind.DATABASE:
                return with_database_locale(contents, self.index.sql(item))
        return contents

    def _data_bytes(self) -> int:
        """The size of the rows, uncompressed: exact in a tar or a directory, an estimate in a custom archive."""
        if self.dump.format is DumpFormat.DIRECTORY:
            return sum(uncompressed_bytes(path) for path in self.listing.row_files(self.dump.path))
        return self.dump.size_bytes * (1 if self.dump.format is DumpFormat.TAR else _COMPRESSION_RATIO)


def with_database_locale(contents: DumpContents, sql: bytes) -> DumpContents:
    """The contents with the database's own locale, from the CREATE DATABASE that pg_dump wrote."""
    clauses = {clause.decode(): value.decode() for clause, value in _DATABASE_LOCALE.findall(sql)}
    common = clauses.get("LOCALE", "")
    return replace(
        contents,
        locale_provider=clauses.get("LOCALE_PROVIDER", ""),
        lc_collate=clauses.get("LC_COLLATE", common),
        lc_ctype=clauses.get("LC_CTYPE", common),
    )


class ArchiveListing:
    """The lines that pg_restore --list printed."""

    def __init__(self, text: str, ledger: LedgerName = DEFAULT_LEDGER) -> None:
        self._lines = text.splitlines()
        schema = re.escape(ledger.schema) if ledger.schema else r"\S+"
        tables = "|".join(re.escape(name) for name in migration_tables(ledger))
        self._records = re.compile(rf"TABLE DATA {schema} (?:{tables}) ")

    def select_entries(self, left_out: tuple[str, ...], *, records: bool = True) -> str:
        """The list for --use-list without entries that begin so, such as "EXTENSION ".

        The rows of the tables of migrations stay with `records`.
        """
        described = ((line, self._describe_entry(line)) for line in self._lines)
        kept = (
            line for line, what in described if not what.startswith(left_out) or (records and self._records.match(what))
        )
        return "\n".join(kept) + "\n"

    def qualified_names(self, name: str) -> str:
        """The table of this name with its schema; all of them if there are several."""
        found = re.compile(rf"TABLE DATA (\S+) {re.escape(name)} \S+")
        schemas = [match[1] for line in self._lines if (match := found.fullmatch(self._describe_entry(line)))]
        return " or ".join(f"{schema}.{name}" for schema in schemas) or name

    def row_files(self, folder: Path) -> Iterator[Path]:
        """The files of a directory archive with rows."""
        numbers = {
            match["number"]
            for line in self._lines
            if (match := _TOC_ENTRY.match(line)) and match["what"].startswith(_ROW_ENTRIES)
        }
        for path in folder.iterdir():
            if path.name.partition(".")[0] in numbers:
                yield path

    def _describe_entry(self, line: str) -> str:
        match = _TOC_ENTRY.match(line)
        return match["what"] if match else ""


def uncompressed_bytes(path: Path) -> int:
    """The uncompressed size of a file of rows: exact for uncompressed ones and gzip, else an estimate."""
    size = path.stat().st_size
    if path.suffix == ".gz" and size > _GZIP_SIZE.size:
        with path.open("rb") as file:
            file.seek(-_GZIP_SIZE.size, 2)
            (size_modulo,) = _GZIP_SIZE.unpack(file.read(_GZIP_SIZE.size))
        # gzip adds a header and little more to incompressible data: a smaller size has wrapped around.
        while size_modulo + _GZIP_HEADER_BYTES + size // 1000 < size:
            size_modulo += _GZIP_MODULUS_BYTES
        return int(size_modulo)
    return size if path.suffix == ".dat" else _COMPRESSION_RATIO * size
