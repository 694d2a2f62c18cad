"""The copy of a dump: check that the server has everything a restore needs, restore, disable external access."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from kernel.errors import RestoreFailed, ServerFailed, Unprepared, UsageError
from kernel.postgres.programs import find_programs
from kernel.rehearsal.dump.acquire import dump_production, open_given_dump
from kernel.rehearsal.dump.archive.restore import restore_archive
from kernel.rehearsal.dump.common.roles import create_missing_roles, grant_create
from kernel.rehearsal.dump.disable_external import disable_external_access
from kernel.rehearsal.dump.plain.load import load_plain_dump
from kernel.rehearsal.dump.preflight import (
    check_target_server,
    describe_differences,
    estimate_needed_bytes,
    inspect_target_server,
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
    from kernel.rehearsal.dump.acquire import AcquiredDump
    from kernel.rehearsal.dump.common.model import DumpContents, DumpProgress
    from kernel.rehearsal.prod_copy import ProdCopy
    from kernel.rehearsal.prod_copy.store import RemovedEntries
    from kernel.rehearsal.request import RehearsalRequest, Reporter


_WITHOUT_ROWS = (
    "--schema-only: no rows were restored, so nothing was rehearsed that depends on rows, as times and losses do"
)
_MAX_NAMED_LOSSES = 12  # the rest is counted
_UNKNOWN_FREE_BYTES = 1 << 62  # a user's server does not show its free disk space


def acquire_requested_dump(request: RehearsalRequest, reporter: Reporter) -> AbstractContextManager[AcquiredDump]:
    """The dump to restore, given or made of PROD_DB after TEST_DB was checked, as that takes long.

    Raises UsageError when the request names neither; the context raises DumpUnreadable and EnvironmentFailed.
    """
    target = request.target
    if request.dump is not None:
        # Only a copy that is kept, now or before, needs the digest.
        with_digest = target.keep or target.test_db is not None or store_has_entries()
        return open_given_dump(
            request.dump,
            request.bindir,
            reporter.show_progress,
            with_digest=with_digest,
            ledger=request.migrations_table,
        )
    if not request.prod_db:
        raise UsageError("nothing to rehearse on: give a dump with --dump PATH, or set PROD_DB")
    if target.test_db is not None:
        check_test_db(target, reporter.print_line)
    return dump_production(
        request.prod_db,
        request.bindir,
        reporter.show_progress,
        jobs=request.jobs,
        schema_only=request.schema_only,
        ledger=request.migrations_table,
        schemas=request.schemas,
    )


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
        ledger=request.migrations_table,
        role=request.role,
        locale=_copy_locale(contents, local=request.target.test_db is None),
        settings=dict(contents.settings) | dict(dump.settings),
        programs=programs,
        room_bytes=estimate_needed_bytes(contents, dump.dump, schema_only=request.schema_only),
        print_line=reporter.print_line,
    )
    with open_copy(copy_request, restore=partial(_restore, dump, request, reporter, programs)) as copy:
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


def _restore(
    dump: AcquiredDump, request: RehearsalRequest, reporter: Reporter, programs: Programs, url: str
) -> tuple[str, ...]:
    """Restore the dump into the empty database at `url`; return the warnings. Raises Unprepared, RestoreFailed."""
    contents, schema_only, jobs = dump.contents, request.schema_only, request.jobs
    local = request.target.test_db is None
    server = inspect_target_server(url, contents, is_throwaway=local)
    free_bytes = shutil.disk_usage(tempfile.gettempdir()).free if local else _UNKNOWN_FREE_BYTES
    if problems := check_target_server(contents, dump.dump, server, free_bytes, schema_only=schema_only):
        raise Unprepared(problems)
    create_missing_roles(url, contents.roles)

    def show(progress: DumpProgress) -> None:
        reporter.show_progress(f"restoring: {progress}")

    if dump.index is not None:
        outcome = load_plain_dump(dump.index, url, jobs=jobs, schema_only=schema_only, progress=show)
    else:
        outcome = restore_archive(
            dump.dump,
            url,
            programs,
            jobs=jobs,
            schema_only=schema_only,
            progress=show,
            ledger=request.migrations_table,
        )
    if outcome.lost:
        raise _restore_error(dump.source.name, [str(problem) for problem in outcome.lost])
    if request.role:
        grant_create(url, request.role)
    without_rows = [_WITHOUT_ROWS] if schema_only else []
    return (*without_rows, *describe_differences(contents, server), *outcome.harmless, *disable_external_access(url))


def _restore_error(name: str, lost: list[str]) -> RestoreFailed:
    more = len(lost) - _MAX_NAMED_LOSSES
    lines = [
        f"{name}: {format_quantity(len(lost), 'thing')} could not be restored:",
        *lost[:_MAX_NAMED_LOSSES],
        *([f"and {more} more"] if more > 0 else []),
    ]
    hint = "a rehearsal without them proves nothing: fix what the messages name, or dump again"
    return RestoreFailed("\n".join(lines), hint=hint)
