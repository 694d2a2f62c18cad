"""db.status: the table of migrations, compared with the records; with --check, an exit code for scripts."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.cli.context import parse_phase_flag, parse_seconds_flag
from kernel.db.connection import open_configured_session
from kernel.db.progress_table import hidden_progress_warning
from kernel.errors import DatabaseUnreachable, Drift, FilesInvalid, UsageError
from kernel.migrations.migration import require_migrations
from kernel.migrations.phases import Phase
from kernel.plan import read_status
from kernel.report.json_documents import status_document
from kernel.report.status import status_text
from kernel.units import format_quantity

if TYPE_CHECKING:
    from kernel.cli.context import TaskContext
    from kernel.db.connection import Session
    from kernel.errors import KernelError
    from kernel.migrations.migration import Migration
    from kernel.plan import Status


PENDING_EXIT, DRIFT_EXIT = 3, Drift.exit
_PROBLEMS_SHOWN = 5
_POLL_SECONDS = 0.5


def run_status(context: TaskContext, *, check: bool, long: bool, wait: str, phase: str = "") -> int:
    """Print the table; return 0, or with `check` PENDING_EXIT or DRIFT_EXIT. Raises KernelError.

    `wait` is how long to wait for the server, in seconds, and with `check` for pending files to be applied; `phase` is
    the phase of the files that `check` is about, "" for both.
    """
    if phase and not check:
        raise UsageError("--phase says which pending files --check is about; add --check")
    chosen = parse_phase_flag(phase)
    migrations = require_migrations(context.settings.migrations_dir)
    wait_seconds = parse_seconds_flag("--wait", wait)
    if check and wait_seconds:
        status, refusals = _wait_until_applied(context, migrations, wait_seconds, chosen)
    else:
        with open_configured_session(
            context.settings, say=context.console.print_line, wait_seconds=wait_seconds
        ) as session:
            status = _read_status(session, migrations)
            refusals = _find_refusals(session, status)
            if status.plan.pending and (hidden := hidden_progress_warning(session, status.ledger)):
                context.console.print_line(f"warning: {hidden}")
    if not context.json:  # the document names it
        context.console.print_line(f"database: {status.database}")
    for error in refusals:
        _warn_of_refusal(context, error)
    if status.plan.drift():
        from kernel.operations.drift import trace_drift  # noqa: PLC0415 - only after drift

        status = replace(status, plan=trace_drift(status.plan, context.migrations_location))
    context.print_result(
        lambda: status_text(
            status.plan,
            emoji=context.console.emoji,
            database=status.database if long else "",
            repeatable=status.repeatable,
        ),
        lambda: status_document(status),
    )
    return _check_exit(status, refusals, chosen) if check else 0


def _read_status(session: Session, migrations: tuple[Migration, ...]) -> Status:
    status = read_status(session, migrations)
    if any(entry.partial for entry in status.plan.entries):
        from kernel.operations.migrate import with_resume_problems  # noqa: PLC0415 - only with a partial file

        return with_resume_problems(session, status)
    return status


def _check_exit(status: Status, refusals: tuple[KernelError, ...], phase: Phase | None) -> int:
    """The exit code of --check."""
    if status.plan.drift() or any(isinstance(error, Drift) for error in refusals):
        return DRIFT_EXIT
    return PENDING_EXIT if _pending_files(status, phase) else 0


def _pending_files(status: Status, phase: Phase | None) -> tuple[Migration, ...]:
    """The pending files of a phase; repeatable files are applied in the first one."""
    repeatable = () if phase is Phase.AFTER else status.pending_repeatable
    return (*status.plan.pending_in(phase), *repeatable)


def _wait_until_applied(
    context: TaskContext, migrations: tuple[Migration, ...], wait_seconds: float, phase: Phase | None
) -> tuple[Status, tuple[KernelError, ...]]:
    """The status once nothing is pending, or there is drift, or the time is over; the server may start meanwhile.

    Raises DatabaseUnreachable when it could not be reached until the end, and at once what waiting does not change.
    """
    deadline = time.monotonic() + wait_seconds
    print_line = context.console.print_line
    last: tuple[Status, tuple[KernelError, ...]] | None = None

    def seconds_left() -> float:
        return wait_seconds if wait_seconds < 0 else max(0.0, deadline - time.monotonic())

    while True:
        opened = False
        try:
            with open_configured_session(context.settings, say=print_line, wait_seconds=seconds_left()) as session:
                opened = True
                while True:
                    status = _read_status(session, migrations)
                    waits = last is not None
                    last = status, _find_refusals(session, status)
                    if _check_exit(*last, phase) != PENDING_EXIT or not seconds_left():
                        return last
                    if not waits:
                        print_line(
                            f"waiting: {format_quantity(len(_pending_files(status, phase)), 'migration')} pending"
                        )
                    time.sleep(min(_POLL_SECONDS, abs(seconds_left())))
        except DatabaseUnreachable:
            if last is None or (seconds_left() and not opened):
                raise
            if not seconds_left():
                return last


def _find_refusals(session: Session, status: Status) -> tuple[KernelError, ...]:
    """The errors with which db.migrate would stop, those of drift apart, which the table shows."""
    if not _pending_files(status, None) and not status.plan.unrecorded_squashes:
        return ()
    from kernel.operations.migrate import migrate_refusals  # noqa: PLC0415 - only with something to apply

    return migrate_refusals(session, status)


def _warn_of_refusal(context: TaskContext, error: KernelError) -> None:
    if not isinstance(error, FilesInvalid):
        context.console.print_line(f"warning: inv db.migrate will refuse this database: {error}")
        return
    for problem in error.problems[:_PROBLEMS_SHOWN]:
        context.console.print_line(f"warning: inv db.migrate will refuse this file: {problem}")
    if more := len(error.problems[_PROBLEMS_SHOWN:]):
        context.console.print_line(f"warning: {format_quantity(more, 'more problem')} of files: inv db.verify")
