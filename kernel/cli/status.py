"""db.status."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.db.connection import open_configured_session
from kernel.errors import Drift
from kernel.operations.drift import trace_drift
from kernel.operations.status import read_status, require_migrations
from kernel.report.status import status_text

if TYPE_CHECKING:
    from kernel.cli.context import TaskContext
    from kernel.operations.status import Status


PENDING_EXIT, DRIFT_EXIT = 3, Drift.exit


def run_status(desk: TaskContext, *, check: bool) -> int:
    """Print the table; the exit code is 0, or with `check` PENDING or DRIFT where that is so. Raises KernelError."""
    found = require_migrations(desk.settings.migrations_dir)
    with open_configured_session(desk.settings, say=desk.console.print_line) as session:
        now = read_status(session, found)
    now = replace(now, plan=trace_drift(now.plan, desk.migrations_location))
    desk.print_answer(lambda: status_text(now.plan, emoji=desk.console.emoji), lambda: _status_document(now))
    if not check:
        return 0
    return DRIFT_EXIT if now.plan.drift() else PENDING_EXIT if now.plan.pending else 0


def _status_document(now: Status) -> dict[str, object]:
    from kernel.report.json_documents import status_document  # noqa: PLC0415 - with --json only

    return status_document(now)
