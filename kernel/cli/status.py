"""db.status: show which migrations are applied and pending."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.db.connection import open_configured_session
from kernel.errors import Drift
from kernel.migrations.migration import require_migrations
from kernel.operations.drift import trace_drift
from kernel.plan import read_status
from kernel.report.status import status_text

if TYPE_CHECKING:
    from kernel.cli.context import TaskContext
    from kernel.plan import Status


PENDING_EXIT, DRIFT_EXIT = 3, Drift.exit


def run_status(context: TaskContext, *, check: bool) -> int:
    """Print the table; return 0, or with `check` PENDING_EXIT or DRIFT_EXIT. Raises KernelError."""
    migrations = require_migrations(context.settings.migrations_dir)
    with open_configured_session(context.settings, say=context.console.print_line) as session:
        status = read_status(session, migrations)
    status = replace(status, plan=trace_drift(status.plan, context.migrations_location))
    context.print_result(
        lambda: status_text(status.plan, emoji=context.console.emoji), lambda: _status_document(status)
    )
    if not check:
        return 0
    return DRIFT_EXIT if status.plan.drift() else PENDING_EXIT if status.plan.pending else 0


def _status_document(status: Status) -> dict[str, object]:
    from kernel.report.json_documents import status_document  # noqa: PLC0415 - with --json only

    return status_document(status)
