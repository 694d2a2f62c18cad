"""The golden copy of a dump: what stands in its way is told at once, then it is restored and made harmless."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kernel.errors import RestoreFailed, Unprepared
from kernel.postgres.programs import find_programs
from kernel.rehearsal.dump import (
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
from kernel.rehearsal.prod_copy.copy import open_copy
from kernel.rehearsal.prod_copy.model import CopyRequest, DatabaseLocale
from kernel.rehearsal.prod_copy.test_db import check_test_db
from kernel.units import format_quantity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.errors import Problem
    from kernel.postgres.programs import Programs
    from kernel.rehearsal.dump import AcquiredDump, DumpContents, DumpProgress, RestoreOutcome, TargetServer
    from kernel.rehearsal.prod_copy.copy import ProdCopy
    from kernel.rehearsal.request import RehearsalRequest, Reporter


_MAX_NAMED_LOSSES = 12  # losses that are named; the rest is counted


def check_copy_target(wish: RehearsalRequest) -> None:
    """Raise what speaks against TEST_DB, such as that it is production; before hours go into a dump for it."""
    if wish.test_db is not None:
        asked = CopyRequest(
            digest="", name="", test_db=wish.test_db, allow_overwrite=wish.allow_overwrite, protected=wish.protected
        )
        check_test_db(wish.test_db, asked)


@contextmanager
def open_restored_copy(origin: AcquiredDump, wish: RehearsalRequest, telling: Reporter) -> Iterator[ProdCopy]:
    """The golden copy, kept from before or restored now, and gone afterwards unless it is kept.

    Raises Unprepared with everything that a restore would lack here, RestoreFailed when something of the dump is
    missing from the copy, and what golden.opened raises.
    """
    contents = origin.contents
    chosen = find_programs(wish.bindir, preferred=contents.server_major or None)
    needed_bytes = estimate_needed_bytes(contents, origin.dump, schema_only=wish.schema_only)
    unknown = not origin.digest  # nobody will see this dump again: no copy, kept or left over, is one of it
    if unknown and wish.keep:
        telling.print_line(
            "the copy is not kept: PROD_DB is dumped anew each time; dump it to a file and give that as --dump"
        )
    wanted = CopyRequest(
        digest=secrets.token_hex(16) if unknown and wish.test_db else origin.digest,
        name=origin.source.name,
        programs=chosen,
        schema_only=wish.schema_only,
        room_bytes=needed_bytes,
        keep=wish.keep and not unknown,
        locale=_copy_locale(contents, ours=wish.test_db is None and not unavailable_locales(contents.collations)),
        settings=dict(contents.settings) | dict(origin.settings),
        test_db=wish.test_db,
        allow_overwrite=wish.allow_overwrite,
        protected=wish.protected,
        print_line=telling.print_line,
        store_folder=wish.store_folder,
    )
    filling = _DumpRestorer(origin, wish, telling, chosen)
    with open_copy(wanted, restore=filling.restore) as copy:
        yield copy


def _copy_locale(contents: DumpContents, *, ours: bool) -> DatabaseLocale:
    """The locale of the copy: production's where it is libc's and was made available, else the server's own.

    Another provider's is left to preflight to ask for; a server of somebody else's may not know it.
    """
    if not ours or contents.locale_provider not in ("", "libc"):
        return DatabaseLocale(encoding=contents.encoding)
    return DatabaseLocale(encoding=contents.encoding, collate=contents.lc_collate, ctype=contents.lc_ctype)


class _DumpRestorer:
    """Fills the empty database that the golden copy is to be."""

    def __init__(
        self,
        origin: AcquiredDump,
        wish: RehearsalRequest,
        telling: Reporter,
        chosen: Programs,
    ) -> None:
        self._origin = origin
        self._request = wish
        self._reporter = telling
        self._programs = chosen

    def restore(self, url: str) -> tuple[str, ...]:
        """Restore the dump at `url`; what is to be said of the copy. Raises Unprepared, RestoreFailed."""
        contents = self._origin.contents
        target = inspect_target_server(url, contents, is_throwaway=self._request.test_db is None)
        if problems := self._missing_prerequisites(target):
            raise Unprepared(problems)
        create_missing_roles(url, contents.roles)
        restored = restore_dump(
            self._origin,
            url,
            self._programs,
            jobs=self._request.jobs,
            schema_only=self._request.schema_only,
            progress=self._show_progress,
        )
        if restored.lost:
            raise _restore_error(self._origin, restored)
        return (*describe_differences(contents, target), *restored.harmless, *disable_external_access(url))

    def _missing_prerequisites(self, target: TargetServer) -> tuple[Problem, ...]:
        # How much room a server has that is not ours, nobody tells.
        free_bytes = shutil.disk_usage(tempfile.gettempdir()).free if self._request.test_db is None else 1 << 62
        return check_target_server(
            self._origin.contents, self._origin.dump, target, free_bytes, schema_only=self._request.schema_only
        )

    def _show_progress(self, progress: DumpProgress) -> None:
        self._reporter.show_progress(f"restoring: {format_progress(progress)}")


def _restore_error(origin: AcquiredDump, restored: RestoreOutcome) -> RestoreFailed:
    named = [str(problem) for problem in restored.lost[:_MAX_NAMED_LOSSES]]
    more = len(restored.lost) - len(named)
    lines = [f"{origin.source.name}: {format_quantity(len(restored.lost), 'thing')} could not be restored:", *named]
    return RestoreFailed(
        "\n".join([*lines, *([f"and {more} more"] if more > 0 else [])]),
        hint="a copy without them proves nothing: mend what the messages name, or dump again",
    )
