"""The copy of a dump: check that the server has everything a restore needs, restore, disable external access."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.errors import RestoreFailed, ServerFailed, Unprepared
from kernel.postgres.programs import find_programs
from kernel.rehearsal.dump import (
    DumpRequest,
    acquire_dump,
    check_target_server,
    create_missing_roles,
    describe_differences,
    disable_external_access,
    estimate_needed_bytes,
    format_progress,
    inspect_target_server,
    restore_dump,
    unavailable_locales,
)
from kernel.rehearsal.prod_copy import CopyRequest, DatabaseLocale, open_copy
from kernel.rehearsal.prod_copy.store import open_store, store_has_entries
from kernel.rehearsal.prod_copy.test_db import check_test_db
from kernel.units import format_quantity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from kernel.postgres.programs import Programs
    from kernel.rehearsal.dump import AcquiredDump, DumpContents, DumpProgress, RestoreOutcome
    from kernel.rehearsal.prod_copy import ProdCopy
    from kernel.rehearsal.prod_copy.store import RemovedEntries
    from kernel.rehearsal.request import RehearsalRequest, Reporter


_MAX_NAMED_LOSSES = 12  # the rest is counted
_UNKNOWN_FREE_BYTES = 1 << 62  # a user's server does not show its free disk space


def check_copy_target(request: RehearsalRequest, reporter: Reporter) -> None:
    """Raise what speaks against TEST_DB, such as that it is production, before a long dump is made for it."""
    if request.target.test_db is not None:
        check_test_db(request.target, reporter.print_line)


def acquire_requested_dump(request: RehearsalRequest, reporter: Reporter) -> AbstractContextManager[AcquiredDump]:
    """The dump to restore, given or made of PROD_DB. Raises like acquire_dump."""
    target = request.target
    dump_request = DumpRequest(
        path=request.dump,
        production_url=request.prod_db,
        bindir=request.bindir,
        jobs=request.jobs,
        schema_only=request.schema_only,
        # Reading a whole dump for its digest takes time; only a copy that is kept, now or before, needs it.
        with_digest=target.keep or target.test_db is not None or store_has_entries(),
    )
    return acquire_dump(dump_request, reporter.show_progress)


@contextmanager
def open_restored_copy(dump: AcquiredDump, request: RehearsalRequest, reporter: Reporter) -> Iterator[ProdCopy]:
    """The copy of a dump, kept from an earlier rehearsal or restored now; dropped after the block unless it is kept.

    Raises Unprepared with everything that the server lacks, RestoreFailed when objects or rows of the dump could not
    be restored, and what open_copy raises.
    """
    contents = dump.contents
    programs = find_programs(request.bindir, preferred=contents.server_major or None)
    if request.target.keep and not dump.digest:
        reporter.print_line(
            "the copy is not kept: PROD_DB is dumped again each time; dump it to a file and give that as --dump"
        )
    copy_request = CopyRequest(
        target=request.target,
        digest=dump.digest,
        name=dump.source.name,
        schema_only=request.schema_only,
        locale=_copy_locale(contents, local=request.target.test_db is None),
        settings=dict(contents.settings) | dict(dump.settings),
        programs=programs,
        room_bytes=estimate_needed_bytes(contents, dump.dump, schema_only=request.schema_only),
        print_line=reporter.print_line,
    )
    restorer = _DumpRestorer(dump=dump, request=request, reporter=reporter, programs=programs)
    with open_copy(copy_request, restore=restorer.restore) as copy:
        yield copy


def forget_kept_copies() -> RemovedEntries:
    """Remove every kept copy that is not in use. Raises ServerFailed."""
    try:
        return open_store().remove_unused()
    except OSError as error:
        raise ServerFailed(f"the folder of the kept copies cannot be opened: {error}") from error


def _copy_locale(contents: DumpContents, *, local: bool) -> DatabaseLocale:
    """The locale of the copy: on a local server production's, if it is libc's and installed; else the server's own.

    The preflight checks report what is missing; a user's server may not have the locale.
    """
    is_libc = contents.locale_provider in ("", "libc")
    if not local or not is_libc or unavailable_locales(contents.collations):
        return DatabaseLocale(encoding=contents.encoding)
    return DatabaseLocale(encoding=contents.encoding, collate=contents.lc_collate, ctype=contents.lc_ctype)


@dataclass(frozen=True, slots=True, kw_only=True)
class _DumpRestorer:
    """Restores a dump into an empty database."""

    dump: AcquiredDump
    request: RehearsalRequest
    reporter: Reporter
    programs: Programs

    def restore(self, url: str) -> tuple[str, ...]:
        """Restore the dump into the database at `url`; return the warnings. Raises Unprepared, RestoreFailed."""
        contents, schema_only = self.dump.contents, self.request.schema_only
        local = self.request.target.test_db is None
        server = inspect_target_server(url, contents, is_throwaway=local)
        free_bytes = shutil.disk_usage(tempfile.gettempdir()).free if local else _UNKNOWN_FREE_BYTES
        if problems := check_target_server(contents, self.dump.dump, server, free_bytes, schema_only=schema_only):
            raise Unprepared(problems)
        create_missing_roles(url, contents.roles)
        outcome = restore_dump(
            self.dump,
            url,
            self.programs,
            jobs=self.request.jobs,
            schema_only=schema_only,
            progress=self._show_progress,
        )
        if outcome.lost:
            raise self._restore_error(outcome)
        return (*describe_differences(contents, server), *outcome.harmless, *disable_external_access(url))

    def _show_progress(self, progress: DumpProgress) -> None:
        self.reporter.show_progress(f"restoring: {format_progress(progress)}")

    def _restore_error(self, outcome: RestoreOutcome) -> RestoreFailed:
        lost = [str(problem) for problem in outcome.lost]
        more = len(lost) - _MAX_NAMED_LOSSES
        lines = [
            f"{self.dump.source.name}: {format_quantity(len(lost), 'thing')} could not be restored:",
            *lost[:_MAX_NAMED_LOSSES],
            *([f"and {more} more"] if more > 0 else []),
        ]
        hint = "a rehearsal without them proves nothing: fix what the messages name, or dump again"
        return RestoreFailed("\n".join(lines), hint=hint)
