"""Acquire the dump to restore, a file that the user names or a dump of production made now; and restore it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel.errors import DatabaseUnreachable, UsageError
from kernel.postgres.process import private_folder
from kernel.postgres.programs import find_programs
from kernel.rehearsal.dump.archive.contents import read_archive_contents
from kernel.rehearsal.dump.archive.restore import restore_archive
from kernel.rehearsal.dump.common.model import DumpFormat
from kernel.rehearsal.dump.identify import digest_dump, identify_dump
from kernel.rehearsal.dump.plain.load import load_plain_dump
from kernel.rehearsal.dump.plain.scan import open_plain_dump
from kernel.rehearsal.dump.production import export_production, open_production
from kernel.rehearsal.result import DumpSource
from kernel.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kernel.postgres.programs import Programs
    from kernel.rehearsal.dump.common.model import Dump, DumpContents, DumpProgress, ProgressCallback, RestoreOutcome
    from kernel.rehearsal.dump.plain.contents import DumpIndex


_FORMAT_NAMES = {
    DumpFormat.PLAIN: "plain dump",
    DumpFormat.CUSTOM: "custom archive",
    DumpFormat.DIRECTORY: "directory archive",
    DumpFormat.TAR: "tar archive",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpRequest:
    """Where to find a dump: in the file or folder `path`, else in the database of `production_url`.

    `with_digest` asks for the digest of a given dump, by which a kept copy of it is found. `bindir` holds the programs
    of PostgreSQL to use. `jobs` and `schema_only` concern a dump of production.
    """

    path: Path | None
    production_url: str | None = field(default=None, repr=False)
    bindir: Path | None = None
    jobs: int = 2
    schema_only: bool = False
    with_digest: bool = True


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
def acquire_dump(request: DumpRequest, show_progress: Callable[[str], None]) -> Iterator[AcquiredDump]:
    """Open the dump to restore; a dump of production is deleted at the end.

    Raises UsageError when the request names no source, DumpUnreadable, Unprepared, and for production
    DatabaseUnreachable and DatabaseRefused.
    """
    if request.path is not None:
        yield from _open_given_dump(request, request.path, show_progress)
    elif request.production_url:
        yield from _dump_production(request, request.production_url, show_progress)
    else:
        raise UsageError("nothing to rehearse on: give a dump with --dump PATH, or set PROD_DB")


def restore_dump(
    acquired: AcquiredDump,
    url: str,
    programs: Programs,
    *,
    jobs: int = 2,
    schema_only: bool = False,
    progress: ProgressCallback | None = None,
) -> RestoreOutcome:
    """Restore the dump into the empty database at `url`: a plain one by our loader, an archive by pg_restore.

    Raises what load_plain_dump and restore_archive raise.
    """
    if acquired.index is None:
        return restore_archive(acquired.dump, url, programs, jobs=jobs, schema_only=schema_only, progress=progress)
    return load_plain_dump(acquired.index, url, jobs=jobs, schema_only=schema_only, progress=progress)


def format_progress(progress: DumpProgress) -> str:
    """One line: percentage, size, and the current activity."""
    if not progress.total_bytes:
        return progress.activity
    percent = min(100, 100 * progress.done_bytes // progress.total_bytes)
    return f"{percent} % of {format_bytes(progress.total_bytes)}: {progress.activity}"


def _open_given_dump(request: DumpRequest, path: Path, show_progress: Callable[[str], None]) -> Iterator[AcquiredDump]:
    dump = identify_dump(path)
    show_progress(f"{path.name}: reading")
    digest = digest_dump(dump) if request.with_digest else ""
    kind = _FORMAT_NAMES[dump.format] + (f", {dump.compression}" if dump.compression else "")
    if dump.format is DumpFormat.PLAIN:
        with open_plain_dump(dump) as index:
            source = _describe_source(dump, index.contents, path.name, kind)
            yield AcquiredDump(dump=dump, contents=index.contents, digest=digest, source=source, index=index)
    else:
        contents = read_archive_contents(dump, find_programs(request.bindir))
        source = _describe_source(dump, contents, path.name, kind)
        yield AcquiredDump(dump=dump, contents=contents, digest=digest, source=source)


def _dump_production(request: DumpRequest, url: str, show_progress: Callable[[str], None]) -> Iterator[AcquiredDump]:
    try:
        with open_production(url) as (_, production):
            pass
    except DatabaseUnreachable as error:
        # libpq names the address, not the setting that holds the URL.
        raise DatabaseUnreachable(f"PROD_DB: {error}", hint=error.hint) from error
    programs = find_programs(request.bindir, preferred=production.major)
    with private_folder() as folder:
        dump = export_production(
            url,
            folder / "production",
            programs,
            jobs=request.jobs,
            schema_only=request.schema_only,
            progress=lambda progress: show_progress(f"dumping {production.name}: {format_progress(progress)}"),
        )
        contents = read_archive_contents(dump, programs)
        yield AcquiredDump(
            dump=dump,
            contents=contents,
            digest="",
            source=_describe_source(dump, contents, production.name, "PROD_DB"),
            settings=production.settings,
        )


def _describe_source(dump: Dump, contents: DumpContents, name: str, kind: str) -> DumpSource:
    return DumpSource(name=name, kind=kind, size_bytes=dump.size_bytes, server_version=contents.server_version)
