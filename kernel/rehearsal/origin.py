"""Where the copy comes from: a dump that is given, or one that we make of PROD_DB; read, checked, and known again."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel import units
from kernel.errors import DatabaseUnreachable, UsageError
from kernel.rehearsal import remembered
from kernel.rehearsal.dump import archive, export, scan
from kernel.rehearsal.dump import dump as dumps
from kernel.rehearsal.dump import source as production
from kernel.rehearsal.dump.dump import Format
from kernel.rehearsal.golden import memo, store
from kernel.rehearsal.result import Source
from kernel.server import programs, scratch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernel.rehearsal.dump.dump import Contents, Dump, Progress
    from kernel.rehearsal.dump.index import Index
    from kernel.rehearsal.wish import Telling, Wish

_KINDS = {
    Format.PLAIN: "plain dump",
    Format.CUSTOM: "custom archive",
    Format.DIRECTORY: "directory archive",
    Format.TAR: "tar archive",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A dump, what it holds, and the digest that it is known by; "" for one that will not be seen again.

    `settings` are those of production's database, where production itself could be asked. `index` is that of a plain
    dump, as long as it is open.
    """

    dump: Dump
    contents: Contents
    digest: str
    source: Source
    settings: tuple[tuple[str, str], ...] = ()
    index: Index | None = field(default=None, repr=False)


@contextmanager
def found(wish: Wish, telling: Telling) -> Iterator[Origin]:
    """The dump to restore, for as long as it is needed; one of PROD_DB is gone afterwards.

    Raises UsageError without either, DumpUnreadable, Unprepared, DatabaseUnreachable and DatabaseRefused of PROD_DB.
    """
    if wish.dump is not None:
        yield from _given(wish.dump, wish, telling)
        return
    if not wish.prod_db:
        raise UsageError("nothing to rehearse on: give a dump with --dump PATH, or set PROD_DB")
    yield from _exported(wish.prod_db, wish, telling)


def _exported(url: str, wish: Wish, telling: Telling) -> Iterator[Origin]:
    try:
        with production.opened(url) as (_, its_production):
            pass
    except DatabaseUnreachable as error:
        # libpq says where it went, not which of the URLs sent it there.
        raise DatabaseUnreachable(f"PROD_DB: {error}", hint=error.hint) from error
    chosen = programs.find(wish.bindir, preferred=its_production.major)
    with scratch.folder() as folder:
        dump = export.export(
            url,
            folder / "production",
            chosen,
            jobs=wish.jobs,
            schema_only=wish.schema_only,
            progress=lambda progress: telling.passing(f"dumping {its_production.name}: {told(progress)}"),
        )
        contents = archive.contents(dump, chosen)
        yield Origin(
            dump=dump,
            contents=contents,
            digest="",
            source=_source(dump, contents, its_production.name, "PROD_DB"),
            settings=its_production.settings,
        )


def told(progress: Progress) -> str:
    """A line for progress: how far, and what is under way."""
    if not progress.total_bytes:
        return progress.what
    percent = min(100, 100 * progress.done_bytes // progress.total_bytes)
    return f"{percent} % of {units.size(progress.total_bytes)}: {progress.what}"


def _given(path: Path, wish: Wish, telling: Telling) -> Iterator[Origin]:
    dump = dumps.recognise(path)
    telling.passing(f"{path.name}: reading")
    # What nobody has kept or will keep need not be known again, and reading a dump takes its time.
    looked_for = wish.keep or wish.test_db is not None or store.holds_any()
    digest = memo.digest(path, lambda: dumps.digest(dump)) if looked_for else ""
    kind = _KINDS[dump.format] + (f", {dump.compression}" if dump.compression else "")

    def origin(contents: Contents, index: Index | None = None) -> Origin:
        source = _source(dump, contents, path.name, kind)
        return Origin(dump=dump, contents=contents, digest=digest, source=source, index=index)

    if digest and (known := remembered.read(digest)):
        yield origin(known)
    elif dump.format is Format.PLAIN:
        with scan.opened(dump) as index:
            _remember(digest, index.contents, wish)
            yield origin(index.contents, index)
    else:
        contents = archive.contents(dump, programs.find(wish.bindir))
        _remember(digest, contents, wish)
        yield origin(contents)


def _remember(digest: str, contents: Contents, wish: Wish) -> None:
    if digest and wish.keep:
        remembered.write(digest, contents)


def _source(dump: Dump, contents: Contents, name: str, kind: str) -> Source:
    return Source(name=name, kind=kind, size_bytes=dump.size_bytes, server_version=contents.server_version)
