"""db.status and db.verify: compare the files with the records."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.db.connection import open_configured_session
from kernel.db.ledger import refuse_tables_without_ledger
from kernel.errors import Drift, EnvironmentFailed, FilesInvalid, Unrecorded
from kernel.migrations.migration import require_migrations
from kernel.plan import read_status
from kernel.report.json_documents import status_document, verify_document
from kernel.report.status import ahead_warning, problem_lines, status_text
from kernel.units import format_quantity

if TYPE_CHECKING:
    from kernel.cli.context import TaskContext
    from kernel.db.connection import Session
    from kernel.operations.verify import FilesCheck, RecordsCheck
    from kernel.plan import Status


PENDING_EXIT, DRIFT_EXIT = 3, Drift.exit


def run_status(context: TaskContext, *, check: bool) -> int:
    """Print the table; return 0, or with `check` PENDING_EXIT or DRIFT_EXIT. Raises KernelError."""
    migrations = require_migrations(context.settings.migrations_dir)
    with open_configured_session(context.settings, say=context.console.print_line) as session:
        status = read_status(session, migrations)
        refusal = _find_refusal(session, status)
    if not context.json:  # the document names it
        context.console.print_line(f"database: {status.database}")
    if refusal:
        context.console.print_line(f"warning: inv db.migrate will refuse this database: {refusal}")
    if status.plan.drift():
        from kernel.operations.drift import trace_drift  # noqa: PLC0415 - only after drift

        status = replace(status, plan=trace_drift(status.plan, context.migrations_location))
    context.print_result(lambda: status_text(status.plan, emoji=context.console.emoji), lambda: status_document(status))
    if not check:
        return 0
    return DRIFT_EXIT if refusal or status.plan.drift() else PENDING_EXIT if status.plan.pending else 0


def _find_refusal(session: Session, status: Status) -> Unrecorded | None:
    """The error with which db.migrate refuses a database that has tables and no ledger."""
    try:
        if status.plan.pending:
            refuse_tables_without_ledger(session, status.ledger)
    except Unrecorded as error:
        return error
    return None


def run_verify(context: TaskContext, *, offline: bool) -> int:
    """Print every problem, or one line that says what was checked; return the exit code. Raises KernelError.

    Problems of the files are reported even when the database cannot be reached.
    """
    from kernel.operations.verify import check_files, check_records  # noqa: PLC0415 - db.status starts without it

    files = check_files(context.settings.migrations_dir, context.settings.migrations_table)
    records = None
    try:
        if not offline:
            with open_configured_session(context.settings, say=context.console.print_line) as session:
                records = check_records(session, files, context.migrations_location)
                files = files.without_applied_empty(records.plan)
    except EnvironmentFailed as error:
        if not files.problems:
            raise
        context.console.print_line(f"warning: not compared with the database: {error}")
    context.print_result(lambda: _verify_text(files, records), lambda: verify_document(files, records))
    if files.problems:
        return FilesInvalid.exit
    return Drift.exit if records and records.problems else 0


def _verify_text(files: FilesCheck, records: RecordsCheck | None) -> str:
    problems = (*files.problems, *(records.problems if records else ()))
    if problems:
        lines = [line for problem in problems for line in problem_lines(problem)]
        return "\n".join([*lines, f"{format_quantity(len(problems), 'problem')} found"])
    read = f"{format_quantity(files.total, 'migration')} and {format_quantity(files.reverts, 'revert file')} read"
    compared = "not compared with a database"
    if records and records.plan:
        compared = f"compared with {format_quantity(records.plan.applied_count, 'record')} of {records.database}"
    gaps = f" (no file has {', '.join(files.gaps)})" if files.gaps else ""
    text = f"{read}, {compared}: nothing is wrong{gaps}"
    if records and records.plan and records.plan.records_ahead:
        text += f"\n{ahead_warning(records.plan)}"
    return text
