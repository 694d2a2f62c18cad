"""db.migrate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.apply.executor import WaitLimits
from kernel.cli.context import TaskContext, parse_seconds_flag, parse_version_flag
from kernel.db.connection import open_configured_session
from kernel.migrations.script import RunMode
from kernel.operations.drift import add_git_evidence
from kernel.operations.migrate import MigrateOptions, migrate, prepare_migrate
from kernel.operations.status import require_migrations
from kernel.report.progress import progress_observer

if TYPE_CHECKING:
    from kernel.operations.migrate import MigrateResult, PendingFile
    from kernel.operations.status import Status


def run_migrate(
    desk: TaskContext,
    *,
    to: str | None,
    dry_run: bool,
    single_transaction: bool,
    allow_out_of_order: bool,
    lock_wait: str,
) -> None:
    """Apply what is pending, or say what would be applied. Raises KernelError."""
    found = require_migrations(desk.settings.migrations_dir)
    wish = MigrateOptions(
        to=parse_version_flag("--to", to),
        allow_out_of_order=allow_out_of_order,
        single_transaction=single_transaction,
        waits=wait_limits(desk, lock_wait),
    )
    with (
        add_git_evidence(desk.migrations_location),
        open_configured_session(desk.settings, say=desk.console.print_line) as session,
    ):
        if dry_run:
            now, todo = prepare_migrate(session, found, wish)
            desk.print_answer(lambda: _dry_run_text(now, todo), lambda: _dry_run_document(todo))
            return
        outcome = migrate(session, found, wish, progress_observer(desk.console, quiet=desk.json))
    for one in outcome.applied:
        if not one.statements:
            desk.console.print_line(f"warning: {one.migration.filename} holds no statement; it is recorded as applied")
    if outcome.records_ahead:
        names = ", ".join(record.filename for record in outcome.records_ahead)
        desk.console.print_line(f"warning: the database is ahead of these files: {names}")
    desk.print_answer(lambda: _migrate_text(outcome), lambda: _migrate_document(outcome))


def wait_limits(desk: TaskContext, lock_wait: str) -> WaitLimits:
    """How long a run waits, by the settings and --lock-wait. Raises UsageError."""
    return WaitLimits(
        lock_wait_seconds=parse_seconds_flag("--lock-wait", lock_wait),
        lock_timeout_ms=desk.settings.lock_timeout_ms,
        lock_retries=desk.settings.lock_retries,
        statement_timeout_ms=desk.settings.statement_timeout_ms,
    )


def _migrate_text(outcome: MigrateResult) -> str:
    pending = f"; {len(outcome.pending)} pending" if outcome.pending else ""
    if outcome.applied:
        seconds_taken = sum(one.seconds for one in outcome.applied)
        count = f"{len(outcome.applied)} migration{'' if len(outcome.applied) == 1 else 's'}"
        return f"{count} applied to {outcome.database} in {seconds_taken:.3f} s{pending}"
    if outcome.applied_by_others:
        return f"already migrated by another runner: {outcome.applied_by_others} applied to {outcome.database} meanwhile{pending}"
    return f"nothing to apply to {outcome.database}: {outcome.total_files - len(outcome.pending)} of {outcome.total_files} applied"


def _migrate_document(outcome: MigrateResult) -> dict[str, object]:
    from kernel.report.json_documents import migrate_document  # noqa: PLC0415 - with --json only

    return migrate_document(outcome)


def _dry_run_text(now: Status, todo: tuple[PendingFile, ...]) -> str:
    if not todo:
        return f"nothing to apply to {now.database}"
    lines = [f"would apply to {now.database}:"]
    for migration, script in todo:
        count = f"{script.statement_count} statement{'' if script.statement_count == 1 else 's'}"
        how = "" if script.mode is RunMode.TRANSACTION else f", {script.mode.value}"
        lines.append(f"  {migration.filename} ({count}{how})")
    return "\n".join(lines)


def _dry_run_document(todo: tuple[PendingFile, ...]) -> dict[str, object]:
    from kernel.report.json_documents import file_documents  # noqa: PLC0415 - with --json only

    return {"applied": [], "failed": None, "pending": file_documents(migration for migration, _ in todo)}
