"""db.migrate: apply pending migrations."""

from __future__ import annotations

from codecs import iterdecode
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kernel.apply.executor import WaitLimits
from kernel.cli.context import (
    TaskContext,
    parse_duration_flag,
    parse_phase_flag,
    parse_seconds_flag,
    parse_version_flag,
)
from kernel.db.connection import open_configured_session
from kernel.errors import Drift, UsageError
from kernel.migrations.migration import require_migrations
from kernel.migrations.phases import Phase
from kernel.migrations.replaced import describe_range
from kernel.migrations.transactions import RunMode
from kernel.operations.migrate import MigrateOptions, MigrateResult, migrate, prepare_migrate, squashes_to_record
from kernel.plan import PlanDrift
from kernel.report.json_documents import migrate_document
from kernel.report.status import missing_repeatable_warning
from kernel.units import format_quantity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.db.connection import Session
    from kernel.migrations.migration import Migration
    from kernel.operations.drift import MigrationsLocation
    from kernel.operations.migrate import PreparedRun


def run_migrate(
    context: TaskContext,
    *,
    to: str | None,
    dry_run: bool,
    sql: bool,
    single_transaction: bool,
    allow_out_of_order: bool,
    allow_empty: bool,
    lock_wait: str,
    wait: str = "0",
    when_calm: str = "",
    check_schema: bool = False,
    phase: str = "",
) -> None:
    """Apply pending migrations, or with `dry_run` list them, or with `sql` too print it. Raises KernelError."""
    if sql and not dry_run:
        raise UsageError("--sql shows the SQL that would run; add --dry-run")
    if sql and context.json:
        raise UsageError("--sql prints SQL, and --json a document; choose one of them")
    migrations = require_migrations(context.settings.migrations_dir)
    options = MigrateOptions(
        to=parse_version_flag("--to", to),
        phase=parse_phase_flag(phase),
        allow_out_of_order=allow_out_of_order,
        single_transaction=single_transaction,
        allow_empty=allow_empty,
        waits=wait_limits(context, lock_wait),
    )
    wait_seconds = parse_seconds_flag("--wait", wait)
    calm_seconds = parse_duration_flag("--when-calm", when_calm) if when_calm else 0
    with (
        add_git_evidence(context.migrations_location),
        open_configured_session(context.settings, say=context.console.print_line, wait_seconds=wait_seconds) as session,
    ):
        if check_schema:
            from kernel.cli.schema_check import refuse_schema_drift  # noqa: PLC0415 - with --check-schema only

            prepared = prepare_migrate(session, migrations, options)
            refuse_schema_drift(context, session, migrations, prepared.status)
        if dry_run:
            _show_plan(context, session, migrations, options, sql=sql)
            return
        if when_calm:
            from kernel.cli.preflight import wait_for_calm  # noqa: PLC0415 - with --when-calm only

            prepared = prepare_migrate(session, migrations, options)
            wait_for_calm(context, session, prepared.migrations, calm_seconds)
        result = migrate(session, migrations, options, context.progress.observer(quiet=context.json))
    for applied in result.applied:
        if not applied.statements:
            context.console.print_line(
                f"warning: {applied.migration.filename} holds no statement; it is recorded as applied"
            )
    for name in result.missing_repeatable:
        context.console.print_line(f"warning: {missing_repeatable_warning(name)}")
    if result.records_ahead:
        names = ", ".join(record.filename for record in result.records_ahead)
        context.console.print_line(f"warning: the database is ahead of these files: {names}")
    context.print_result(
        lambda: "\n".join((*_recorded_lines(result.recorded, "recorded"), _migrate_text(result))),
        lambda: migrate_document(result),
    )


def _show_plan(
    context: TaskContext, session: Session, migrations: tuple[Migration, ...], options: MigrateOptions, *, sql: bool
) -> None:
    """Print what a run would apply and record, or with `sql` the SQL of it."""
    prepared = prepare_migrate(session, migrations, options)
    status, files, repeatable = prepared
    for warning in (warning for _, script in files for warning in script.warnings):
        context.console.print_line(f"warning: {warning}")
    if sql:
        from kernel.operations.migrate_sql import migrate_sql  # noqa: PLC0415 - with --sql only

        _print_sql(context, migrate_sql(session, prepared, options), database=status.database)
        return
    recorded = tuple(entry.migration for entry in squashes_to_record(status, options) if entry.migration)
    pending = tuple(migration for migration, _ in files)
    planned = MigrateResult(
        database=status.database, recorded=recorded, pending=pending, pending_repeatable=repeatable.pending
    )
    context.print_result(
        lambda: "\n".join((*_recorded_lines(recorded, "would be recorded"), _dry_run_text(prepared))),
        lambda: migrate_document(planned),
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


def _print_sql(context: TaskContext, chunks: Iterator[bytes], *, database: str) -> None:
    """Write a script to stdout. Files are printed as they are, since they are to be run; a password is warned of.

    `chunks` may raise what migrate_sql raises.
    """
    from kernel.sql.passwords import mask_passwords  # noqa: PLC0415 - with --sql only

    context.console.print_line(f"database: {database}")
    has_password = is_written = False
    for text in iterdecode(chunks, "utf-8"):
        context.console.write_result(text)
        is_written = True
        has_password = has_password or mask_passwords(text) != text
    if not is_written:
        context.console.print_line("nothing to apply")
    if has_password:
        context.console.print_line("warning: a file has a password in a statement, which is printed unchanged")


def _recorded_lines(squashes: tuple[Migration, ...], verb: str) -> list[str]:
    return [
        f"{squash.filename}: {verb}, not run: the files {describe_range(squash.replaces)} that it replaces are applied"
        for squash in squashes
    ]


def _migrate_text(result: MigrateResult) -> str:
    left = "".join(f"; {text}" for text in _left_texts(result))
    if result.applied or result.repeated:
        seconds = sum(applied.seconds for applied in (*result.applied, *result.repeated))
        counts = [
            *([format_quantity(len(result.applied), "migration")] if result.applied else []),
            *([format_quantity(len(result.repeated), "repeatable file")] if result.repeated else []),
        ]
        return f"{' and '.join(counts)} applied to {result.database} in {seconds:.3f} s{left}"
    if result.applied_by_others:
        count = f"{result.applied_by_others} applied to {result.database} meanwhile"
        return f"already migrated by another runner: {count}{left}"
    done = result.total_files - len(result.pending)
    return f"nothing to apply to {result.database}: {done} of {result.total_files} applied{left}"


def _left_texts(result: MigrateResult) -> Iterator[str]:
    """How many files are left, and why."""
    waiting = sum(1 for migration in result.pending if migration.phase is Phase.AFTER)
    pending = len(result.pending) - waiting + len(result.pending_repeatable)
    if pending:
        yield f"{pending} pending"
    if waiting:
        yield f"{waiting} wait{'' if waiting > 1 else 's'} for --phase after"


def _dry_run_text(prepared: PreparedRun) -> str:
    database = prepared.status.database
    files = (*prepared.files, *((one.migration, one.script) for one in prepared.repeatable.files_to_run()))
    if not files:
        return f"nothing to apply to {database}"
    lines = [f"would apply to {database}:"]
    for migration, script in files:
        count = format_quantity(script.statement_count, "statement")
        mode = "" if script.mode is RunMode.TRANSACTION else f", {script.mode.value}"
        if script.backfill:
            options = script.backfill.options
            mode = f", in batches of {format_quantity(options.rows, 'row')} by {options.key}"
        lines.append(f"  {migration.filename} ({count}{mode})")
    return "\n".join(lines)
