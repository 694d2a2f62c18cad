"""db.migrate: apply pending migrations."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from kernel.apply.executor import WaitLimits
from kernel.cli.context import TaskContext, parse_seconds_flag, parse_version_flag
from kernel.db.connection import open_configured_session
from kernel.errors import Drift
from kernel.migrations.migration import require_migrations
from kernel.migrations.replaced import describe_range
from kernel.migrations.transactions import RunMode
from kernel.operations.migrate import MigrateOptions, MigrateResult, migrate, prepare_migrate, squashes_to_record
from kernel.plan import PlanDrift
from kernel.report.json_documents import migrate_document
from kernel.units import format_quantity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.migrations.migration import Migration
    from kernel.operations.drift import MigrationsLocation
    from kernel.operations.migrate import PendingFile
    from kernel.plan import Status


def run_migrate(
    context: TaskContext,
    *,
    to: str | None,
    dry_run: bool,
    single_transaction: bool,
    allow_out_of_order: bool,
    allow_empty: bool,
    lock_wait: str,
) -> None:
    """Apply pending migrations, or with `dry_run` list them. Raises KernelError."""
    migrations = require_migrations(context.settings.migrations_dir)
    options = MigrateOptions(
        to=parse_version_flag("--to", to),
        allow_out_of_order=allow_out_of_order,
        single_transaction=single_transaction,
        allow_empty=allow_empty,
        waits=wait_limits(context, lock_wait),
    )
    with (
        add_git_evidence(context.migrations_location),
        open_configured_session(context.settings, say=context.console.print_line) as session,
    ):
        if dry_run:
            status, files = prepare_migrate(session, migrations, options)
            for warning in (warning for _, script in files for warning in script.warnings):
                context.console.print_line(f"warning: {warning}")
            recorded = tuple(entry.migration for entry in squashes_to_record(status, options) if entry.migration)
            pending = tuple(migration for migration, _ in files)
            planned = MigrateResult(database=status.database, recorded=recorded, pending=pending)
            context.print_result(
                lambda: "\n".join((*_recorded_lines(recorded, "would be recorded"), _dry_run_text(status, files))),
                lambda: migrate_document(planned),
            )
            return
        result = migrate(session, migrations, options, context.progress.observer(quiet=context.json))
    for applied in result.applied:
        if not applied.statements:
            context.console.print_line(
                f"warning: {applied.migration.filename} holds no statement; it is recorded as applied"
            )
    if result.records_ahead:
        names = ", ".join(record.filename for record in result.records_ahead)
        context.console.print_line(f"warning: the database is ahead of these files: {names}")
    context.print_result(
        lambda: "\n".join((*_recorded_lines(result.recorded, "recorded"), _migrate_text(result))),
        lambda: migrate_document(result),
    )


@contextmanager
def add_git_evidence(location: MigrationsLocation) -> Iterator[None]:
    """Replace a PlanDrift that leaves the block by a Drift with what git knows, after the connection is closed."""
    try:
        yield
    except PlanDrift as error:
        from kernel.operations.drift import trace_drift  # noqa: PLC0415 - only after drift

        problems = trace_drift(error.plan, location).drift(allow_out_of_order=error.allow_out_of_order)
        raise Drift(problems) from error


def wait_limits(context: TaskContext, lock_wait: str) -> WaitLimits:
    """Return the time limits of a run from the settings and --lock-wait. Raises UsageError."""
    return WaitLimits(
        lock_wait_seconds=parse_seconds_flag("--lock-wait", lock_wait),
        lock_timeout_ms=context.settings.lock_timeout_ms,
        lock_retries=context.settings.lock_retries,
        statement_timeout_ms=context.settings.statement_timeout_ms,
    )


def _recorded_lines(squashes: tuple[Migration, ...], verb: str) -> list[str]:
    return [
        f"{squash.filename}: {verb}, not run: the files {describe_range(squash.replaces)} that it replaces are applied"
        for squash in squashes
    ]


def _migrate_text(result: MigrateResult) -> str:
    pending = f"; {len(result.pending)} pending" if result.pending else ""
    if result.applied:
        seconds = sum(applied.seconds for applied in result.applied)
        count = format_quantity(len(result.applied), "migration")
        return f"{count} applied to {result.database} in {seconds:.3f} s{pending}"
    if result.applied_by_others:
        count = f"{result.applied_by_others} applied to {result.database} meanwhile"
        return f"already migrated by another runner: {count}{pending}"
    done = result.total_files - len(result.pending)
    return f"nothing to apply to {result.database}: {done} of {result.total_files} applied"


def _dry_run_text(status: Status, pending: tuple[PendingFile, ...]) -> str:
    if not pending:
        return f"nothing to apply to {status.database}"
    lines = [f"would apply to {status.database}:"]
    for migration, script in pending:
        count = format_quantity(script.statement_count, "statement")
        mode = "" if script.mode is RunMode.TRANSACTION else f", {script.mode.value}"
        lines.append(f"  {migration.filename} ({count}{mode})")
    return "\n".join(lines)
