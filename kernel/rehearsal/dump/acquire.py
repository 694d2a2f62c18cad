"""Acquire the dump to restore: a file that the user names, or a dump of production made now."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from psycopg import sql

from kernel.errors import DatabaseUnreachable
from kernel.postgres.process import private_folder
from kernel.postgres.programs import find_programs
from kernel.rehearsal.dump.archive.contents import read_archive_contents
from kernel.rehearsal.dump.common.model import DumpFormat
from kernel.rehearsal.dump.identify import digest_dump, identify_dump
from kernel.rehearsal.dump.plain.scan import open_plain_dump
from kernel.rehearsal.dump.production import export_production, open_production
from kernel.rehearsal.result import DumpSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kernel.config.ledger_name import LedgerName
    from kernel.rehearsal.dump.common.model import Dump, DumpContents
    from kernel.rehearsal.dump.plain.contents import DumpIndex


_FORMAT_NAMES = {
    DumpFormat.PLAIN: "plain dump",
    DumpFormat.CUSTOM: "custom archive",
    DumpFormat.DIRECTORY: "directory archive",
    DumpFormat.TAR: "tar archive",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AcquiredDump:
    """A dump, its contents, and the digest that identifies it; "" for one that will not be seen again.

    `settings` are those of production's database, where production was connected to. `index` is that of a plain dump,
    as long as it is open.
    """

    dump: Dump
    contents: DumpContents
    digest: str
    source: DumpSource
    settings: tuple[tuple[str, str], ...] = ()
    index: DumpIndex | None = field(default=None, repr=False)


@contextmanager
def open_given_dump(
    path: Path, bindir: Path | None, show_progress: Callable[[str], None], *, with_digest: bool, ledger: LedgerName
) -> Iterator[AcquiredDump]:
    """Open a dump; `with_digest` reads all of it, for the digest by which a kept copy is found.

    Raises DumpUnreadable, Unprepared.
    """
    dump = identify_dump(path)
    show_progress(f"{path.name}: reading")
    digest = digest_dump(dump) if with_digest else ""
    kind = _FORMAT_NAMES[dump.format] + (f", {dump.compression}" if dump.compression else "")
    with ExitStack() as stack:
        index = stack.enter_context(open_plain_dump(dump, ledger)) if dump.format is DumpFormat.PLAIN else None
        contents = index.contents if index else read_archive_contents(dump, find_programs(bindir), ledger)
        source = _describe_source(dump, contents, path.name, kind)
        yield AcquiredDump(dump=dump, contents=contents, digest=digest, source=source, index=index)


@contextmanager
def dump_production(
    url: str,
    bindir: Path | None,
    show_progress: Callable[[str], None],
    *,
    jobs: int,
    schema_only: bool,
    ledger: LedgerName,
    schemas: tuple[str, ...] = (),
) -> Iterator[AcquiredDump]:
    """Dump the database at `url`, or these schemas of it; the dump is deleted at the end.

    Raises DatabaseUnreachable, DatabaseRefused, Unprepared, RestoreFailed.
    """
    try:
        with open_production(url) as (_, production):
            pass
    except DatabaseUnreachable as error:
        # libpq names the address, not the setting that holds the URL.
        raise DatabaseUnreachable(f"PROD_DB: {error}", hint=error.hint) from error
    programs = find_programs(bindir, preferred=production.major)
    with private_folder() as folder:
        dump = export_production(
            url,
            folder / "production",
            programs,
            jobs=jobs,
            schema_only=schema_only,
            progress=lambda progress: show_progress(f"dumping {production.name}: {progress}"),
            ledger=ledger,
            schemas=schemas,
        )
        contents = read_archive_contents(dump, programs, ledger)
        source = _describe_source(dump, contents, production.name, "PROD_DB")
        settings = production.settings
        if schemas:
            search_path = ", ".join(sql.Identifier(schema).as_string() for schema in schemas)
            settings = (*settings, ("search_path", search_path))
        yield AcquiredDump(dump=dump, contents=contents, digest="", source=source, settings=settings)


def _describe_source(dump: Dump, contents: DumpContents, name: str, kind: str) -> DumpSource:
    return DumpSource(name=name, kind=kind, size_bytes=dump.size_bytes, server_version=contents.server_version)
