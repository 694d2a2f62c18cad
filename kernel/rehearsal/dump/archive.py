"""Archives of pg_dump (custom, directory, tar): what is in them, told by a pg_restore without rights.

A crafted archive can make an old pg_restore run code (see reader.warning); so it runs as the account that serves
throwaway servers, and with nothing secret in sight. What it prints is SQL, which is read here and never given to psql.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from kernel.errors import DumpUnreadable
from kernel.rehearsal.dump import header, locale, program, reach, reader, scan, toc, whole
from kernel.rehearsal.dump.dump import Format
from kernel.rehearsal.dump.index import Statement
from kernel.rehearsal.dump.shape import Kind
from kernel.rehearsal.dump.text import Text
from kernel.server import cache
from kernel.server.account import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.rehearsal.dump.dump import Contents, Dump
    from kernel.rehearsal.dump.index import Index
    from kernel.rehearsal.dump.toc import Listing
    from kernel.server.account import Account
    from kernel.server.programs import Programs

_SECONDS = 600.0  # a table of contents with a million entries takes a tenth of it
_AGAIN = "dump or copy it again"
_END_OF_TAR_BYTES = 512  # pg_dump writes two such blocks, and the first of them tells the end


@contextmanager
def opened(dump: Dump, programs: Programs) -> Iterator[Archive]:
    """An archive, checked and held ready for restoring; `programs` are used where they can read it, else others.

    Raises DumpUnreadable when it is cut short or damaged, Unprepared when no pg_restore here reads its version.
    """
    if dump.format is Format.TAR:
        _refuse_cut_tar(dump)
    if dump.format is Format.DIRECTORY:
        whole.check(dump.path)
    head = header.read(dump)
    account = serving(Path("/"))
    chosen = cache.within_reach(reader.of_archive(head, programs, name=str(dump.path)), account)
    with reach.toc(dump, account) as (place, source), tempfile.TemporaryFile(buffering=0) as text:
        listed = _listed(chosen, account, place, source, dump)
        _run(chosen, account, dump, ("--create", "--schema-only", "--file=-", *place), source=source, output=text)
        name = f"{dump.path.name} (its schema)"
        index = scan.read(Text(descriptor=text.fileno(), name=name, size_bytes=os.fstat(text.fileno()).st_size))
        yield Archive(dump=dump, head=head, reader=chosen, account=account, listing=listed, index=index)


def contents(dump: Dump, programs: Programs) -> Contents:
    """What an archive needs and makes. Raises DumpUnreadable, Unprepared."""
    with opened(dump, programs) as archive:
        return archive.contents


class Archive:
    """An archive that pg_restore reads: `index` is of its schema's SQL, valid for as long as it is opened."""

    def __init__(
        self, *, dump: Dump, head: header.Header, reader: Programs, account: Account, listing: Listing, index: Index
    ) -> None:
        self.dump = dump
        self.header = head
        self.reader = reader
        self.account = account
        self.listing = listing
        self.index = index

    @property
    def contents(self) -> Contents:
        """What the archive needs and makes."""
        contents = replace(
            self.index.contents,
            server_version=self.header.server_version,
            dump_version=self.header.dump_version,
            database=self.header.database,
            data_bytes=self._data_bytes(),
            large_objects=self.listing.large_objects,
        )
        for item in self.index.items:
            if isinstance(item, Statement) and item.kind is Kind.DATABASE:
                return locale.of_database(contents, self.index.sql(item))
        return contents

    def _data_bytes(self) -> int:
        """What its rows take unpacked: exact in a tar or a directory, an estimate in a single compressed file."""
        if self.dump.format is Format.DIRECTORY:
            return sum(toc.unpacked_bytes(path) for path in self.listing.row_files(self.dump.path))
        return self.dump.size_bytes if self.dump.format is Format.TAR else toc.estimated_bytes(self.dump.size_bytes)


def _listed(
    chosen: Programs, account: Account, place: tuple[str, ...], source: IO[bytes] | None, dump: Dump
) -> Listing:
    with tempfile.TemporaryFile(buffering=0) as output:
        _run(chosen, account, dump, ("--list", *place), source=source, output=output)
        output.seek(0)
        return toc.Listing(output.read().decode(errors="replace"))


def _run(
    chosen: Programs,
    account: Account,
    dump: Dump,
    arguments: tuple[str, ...],
    *,
    source: IO[bytes] | None,
    output: IO[bytes],
) -> None:
    if source is not None:
        source.seek(0)  # where the one that ran before left it, for a descriptor is shared
    try:
        done = program.run(
            account, chosen.bin / "pg_restore", *arguments, source=source, output=output, seconds=_SECONDS
        )
    except TimeoutError as error:
        raise DumpUnreadable(f"{dump.path}: {error} on its table of contents; {_AGAIN}") from error
    if done.status != 0:
        raise DumpUnreadable(f"{dump.path}: pg_restore {chosen.version} says: {done.last_words}; {_AGAIN}")


def _refuse_cut_tar(dump: Dump) -> None:
    """Raise DumpUnreadable when the tar ends inside of a member: pg_restore can then go round and round for ever."""
    try:
        with dump.path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    if member.offset_data + member.size > size:
                        raise DumpUnreadable(
                            f"{dump.path}: cut short within {member.name!r}, one of its files; {_AGAIN}"
                        )
                if tar.offset + _END_OF_TAR_BYTES > size:
                    raise DumpUnreadable(f"{dump.path}: cut short, for the end of the tar is missing; {_AGAIN}")
    except tarfile.TarError as error:
        raise DumpUnreadable(f"{dump.path}: damaged or cut short ({error}); {_AGAIN}") from error
