"""Where the copy comes from: a dump that is given, or one that we make of PROD_DB; read, checked, and known again."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from kernel.errors import DatabaseUnreachable, UsageError
from kernel.postgres.account import current_account, open_private_file
from kernel.postgres.cache import cache_folder
from kernel.postgres.file_lock import exclusive_file_lock
from kernel.postgres.process import private_folder
from kernel.postgres.programs import find_programs
from kernel.rehearsal.dump.archive.contents import read_archive_contents
from kernel.rehearsal.dump.identify import Collation, DumpContents, DumpFormat, digest_dump, identify_dump
from kernel.rehearsal.dump.plain.scan import open_plain_dump
from kernel.rehearsal.dump.production import export_production, open_production
from kernel.rehearsal.prod_copy.store import store_has_entries
from kernel.rehearsal.result import DumpSource
from kernel.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kernel.rehearsal.dump.identify import Dump, DumpProgress
    from kernel.rehearsal.dump.plain.contents import DumpIndex
    from kernel.rehearsal.request import RehearsalRequest, Reporter


# What the digest of a big file was when it was last read: a second rehearsal need not read the dump again.
#
# A file counts as the same when its path, inode, size and times are; for a folder, when that holds for each of its
# files. The change time is among them, which nobody can set back as one can the modification time.


DIGESTS_FILE = "digests.json"
MAX_DIGESTS = 200  # dumps that are remembered; the oldest are forgotten first

# Within a tick of the file system's clock a file can change without a trace in its times.
SETTLED_SECONDS = 2.0


def cached_digest(path: Path, compute: Callable[[], str], *, folder: Path | None = None) -> str:
    """The digest of the dump at `path`, from memory or by `compute`. Whatever is wrong with the memory costs time only.

    `folder` is where the memory lies, the cache by default. Raises what `compute` raises.
    """
    memory = (folder or cache_folder()) / DIGESTS_FILE
    name = os.fsdecode(path.resolve())
    before = _fingerprint(path)
    known = _read_digests(memory).get(name)
    if known and known[0] == before:
        return known[1]
    found = compute()
    if before and _fingerprint(path) == before:
        _write_digest(memory, name, before, found)
    return found


def _fingerprint(path: Path) -> str:
    """What changes when a byte of the dump does; "" when it cannot be read, or was written to just now."""
    digest = hashlib.sha256()
    newest = 0.0
    try:
        for file in _files_to_stat(path):
            status = file.stat()
            newest = max(newest, status.st_mtime, status.st_ctime)
            identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            digest.update(f"{file.relative_to(path)} {identity}\n".encode(errors="surrogateescape"))
    except OSError:
        return ""
    return digest.hexdigest() if newest < time.time() - SETTLED_SECONDS else ""


def _files_to_stat(path: Path) -> list[Path]:
    return [path, *sorted(path.rglob("*"))] if path.is_dir() else [path]


def _read_digests(memory: Path) -> dict[str, tuple[str, str]]:
    """What is remembered, oldest first: path -> (fingerprint, digest); {} when it is unreadable."""
    try:
        held = json.loads(memory.read_text(encoding="utf-8", errors="surrogateescape"))
        return {str(name): (str(fingerprint), str(found)) for name, (fingerprint, found) in held.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write_digest(memory: Path, name: str, fingerprint: str, found: str) -> None:
    """Add one; whoever reads meanwhile sees the whole of the old or of the new memory."""
    with suppress(OSError):
        current_account().make_folders(memory.parent)
        with exclusive_file_lock(memory.with_suffix(".lock")):
            held = _read_digests(memory)
            held.pop(name, None)
            held[name] = (fingerprint, found)
            new = memory.with_suffix(".new")
            with os.fdopen(open_private_file(new, os.O_WRONLY | os.O_TRUNC), "w", encoding="utf-8") as file:
                json.dump(dict(list(held.items())[-MAX_DIGESTS:]), file)
            new.replace(memory)


# What a kept dump holds, so that the next rehearsal of it need not read it again.


_CONTENTS_FORMAT = 2  # raised when Contents has other fields, or their meaning changes


def read_cached_contents(digest: str) -> DumpContents | None:
    """The contents of the dump with this digest, None when they are not known. Whatever is wrong costs time only."""
    try:
        held = json.loads(_contents_path(digest).read_text(encoding="utf-8"))
        collations = tuple(Collation(**one) for one in held.pop("collations"))
        settings = tuple((name, value) for name, value in held.pop("settings"))
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in held.items()
        }
        return DumpContents(**plain, collations=collations, settings=settings)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def write_cached_contents(digest: str, contents: DumpContents) -> None:
    """Remember them, for nobody else to read."""
    path = _contents_path(digest)
    with suppress(OSError):
        current_account().make_folders(path.parent)
        new = path.with_suffix(".new")
        with os.fdopen(open_private_file(new, os.O_WRONLY | os.O_TRUNC), "w", encoding="utf-8") as file:
            json.dump(asdict(contents), file)
        new.replace(path)


def forget_cached_contents() -> None:
    """Forget all of them."""
    for path in _contents_folder().glob("*.json"):
        with suppress(OSError):
            path.unlink()


def _contents_folder() -> Path:
    return cache_folder() / "dumps"


def _contents_path(digest: str) -> Path:
    return _contents_folder() / f"{digest}-{_CONTENTS_FORMAT}.json"


_FORMAT_NAMES = {
    DumpFormat.PLAIN: "plain dump",
    DumpFormat.CUSTOM: "custom archive",
    DumpFormat.DIRECTORY: "directory archive",
    DumpFormat.TAR: "tar archive",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AcquiredDump:
    """A dump, what it holds, and the digest that it is known by; "" for one that will not be seen again.

    `settings` are those of production's database, where production itself could be asked. `index` is that of a plain
    dump, as long as it is open.
    """

    dump: Dump
    contents: DumpContents
    digest: str
    source: DumpSource
    settings: tuple[tuple[str, str], ...] = ()
    index: DumpIndex | None = field(default=None, repr=False)


@contextmanager
def acquire_dump(wish: RehearsalRequest, telling: Reporter) -> Iterator[AcquiredDump]:
    """The dump to restore, for as long as it is needed; one of PROD_DB is gone afterwards.

    Raises UsageError without either, DumpUnreadable, Unprepared, DatabaseUnreachable and DatabaseRefused of PROD_DB.
    """
    if wish.dump is not None:
        yield from _identify_given_dump(wish.dump, wish, telling)
        return
    if not wish.prod_db:
        raise UsageError("nothing to rehearse on: give a dump with --dump PATH, or set PROD_DB")
    yield from _dump_production(wish.prod_db, wish, telling)


def _dump_production(url: str, wish: RehearsalRequest, telling: Reporter) -> Iterator[AcquiredDump]:
    try:
        with open_production(url) as (_, production):
            pass
    except DatabaseUnreachable as error:
        # libpq says where it went, not which of the URLs sent it there.
        raise DatabaseUnreachable(f"PROD_DB: {error}", hint=error.hint) from error
    chosen = find_programs(wish.bindir, preferred=production.major)
    with private_folder() as folder:
        dump = export_production(
            url,
            folder / "production",
            chosen,
            jobs=wish.jobs,
            schema_only=wish.schema_only,
            progress=lambda progress: telling.show_progress(f"dumping {production.name}: {format_progress(progress)}"),
        )
        contents = read_archive_contents(dump, chosen)
        yield AcquiredDump(
            dump=dump,
            contents=contents,
            digest="",
            source=_describe_source(dump, contents, production.name, "PROD_DB"),
            settings=production.settings,
        )


def format_progress(progress: DumpProgress) -> str:
    """A line for progress: how far, and what is under way."""
    if not progress.total_bytes:
        return progress.activity
    percent = min(100, 100 * progress.done_bytes // progress.total_bytes)
    return f"{percent} % of {format_bytes(progress.total_bytes)}: {progress.activity}"


def _identify_given_dump(path: Path, wish: RehearsalRequest, telling: Reporter) -> Iterator[AcquiredDump]:
    dump = identify_dump(path)
    telling.show_progress(f"{path.name}: reading")
    # What nobody has kept or will keep need not be known again, and reading a dump takes its time.
    looked_for = wish.keep or wish.test_db is not None or store_has_entries()
    digest = cached_digest(path, lambda: digest_dump(dump)) if looked_for else ""
    kind = _FORMAT_NAMES[dump.format] + (f", {dump.compression}" if dump.compression else "")

    def origin(contents: DumpContents, index: DumpIndex | None = None) -> AcquiredDump:
        source = _describe_source(dump, contents, path.name, kind)
        return AcquiredDump(dump=dump, contents=contents, digest=digest, source=source, index=index)

    if digest and (known := read_cached_contents(digest)):
        yield origin(known)
    elif dump.format is DumpFormat.PLAIN:
        with open_plain_dump(dump) as index:
            _cache_contents_if_kept(digest, index.contents, wish)
            yield origin(index.contents, index)
    else:
        contents = read_archive_contents(dump, find_programs(wish.bindir))
        _cache_contents_if_kept(digest, contents, wish)
        yield origin(contents)


def _cache_contents_if_kept(digest: str, contents: DumpContents, wish: RehearsalRequest) -> None:
    if digest and wish.keep:
        write_cached_contents(digest, contents)


def _describe_source(dump: Dump, contents: DumpContents, name: str, kind: str) -> DumpSource:
    return DumpSource(name=name, kind=kind, size_bytes=dump.size_bytes, server_version=contents.server_version)
