"""db.baseline and db.repair: records made by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.apply.events import WaitingForLock
from kernel.cli.context import TaskContext, parse_seconds_flag
from kernel.db.connection import open_configured_session
from kernel.errors import UsageError
from kernel.operations.baseline import record_baseline, repair_record
from kernel.operations.status import require_migrations
from kernel.report.json_documents import file_documents
from kernel.report.progress import progress_observer

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.db.advisory_lock import LockHolder


_LOCK_WAIT_SECONDS = "60"


def run_baseline(desk: TaskContext, *, to: str, yes: bool) -> None:
    """Record files as applied without running them. Raises KernelError."""
    if not to:
        raise UsageError("db.baseline: say up to which version the database was made by the files: --to 009")
    desk.require_confirmation("db.baseline", yes=yes)
    found = require_migrations(desk.settings.migrations_dir)
    with open_configured_session(desk.settings, say=desk.console.print_line) as session:
        done = record_baseline(
            session,
            found,
            to=to,
            lock_wait_seconds=parse_seconds_flag("--lock-wait", _LOCK_WAIT_SECONDS),
            waiting=_show_waiting(desk),
        )
    desk.print_answer(
        lambda: "\n".join(f"{one.filename}: recorded as applied, not run" for one in done.recorded),
        lambda: {"database": done.database, "recorded": file_documents(done.recorded)},
    )


def run_repair(desk: TaskContext, *, accept: str, yes: bool) -> None:
    """Accept a file that was changed on purpose. Raises KernelError."""
    if not accept:
        raise UsageError("db.repair: say which version to accept as its file is now: --accept 009")
    desk.require_confirmation("db.repair", yes=yes)
    found = require_migrations(desk.settings.migrations_dir)
    with open_configured_session(desk.settings, say=desk.console.print_line) as session:
        done = repair_record(
            session,
            found,
            accept=accept,
            lock_wait_seconds=parse_seconds_flag("--lock-wait", _LOCK_WAIT_SECONDS),
            waiting=_show_waiting(desk),
        )
    desk.print_answer(
        lambda: f"{done.migration.filename}: accepted as it is; the record was that of {done.previous_record.filename}",
        lambda: {
            "database": done.database,
            "accepted": {
                "version": done.migration.version,
                "filename": done.migration.filename,
                "checksum": done.migration.checksum,
            },
            "before": {
                "version": done.previous_record.version,
                "filename": done.previous_record.filename,
                "checksum": done.previous_record.checksum,
            },
        },
    )


def _show_waiting(desk: TaskContext) -> Callable[[LockHolder], None]:
    show = progress_observer(desk.console)
    return lambda holder: show(WaitingForLock(holder=holder))
