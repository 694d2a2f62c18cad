"""db.baseline: write records without running files."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from kernel.apply.events import WaitingForLock
from kernel.db.connection import open_configured_session
from kernel.errors import EnvironmentFailed, FilesInvalid, MigrationFailed, UsageError
from kernel.migrations.migration import require_migrations
from kernel.migrations.tool_records import LEDGER_FORMATS
from kernel.operations.baseline import record_baseline
from kernel.operations.tool_baseline import ToolBaselineRequest, record_tool_baseline
from kernel.report.json_documents import file_documents
from kernel.report.safe_text import show_hidden_characters
from kernel.report.tool_baseline import tool_baseline_document, tool_baseline_text
from kernel.schema import find_missing_objects
from kernel.units import format_quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.cli.context import TaskContext
    from kernel.db.advisory_lock import LockHolder
    from kernel.db.connection import Session
    from kernel.migrations.migration import Migration
    from kernel.operations.baseline import BaselineResult


LOCK_WAIT_SECONDS = 60.0
_OBJECTS_SHOWN = 20


def run_baseline(
    context: TaskContext, *, to: str, tool: str, ledger: str, different: bool, dry_run: bool, yes: bool
) -> None:
    """Record files as applied without running them. Raises KernelError."""
    if not (to or tool):
        raise UsageError(
            "db.baseline: needs the last version that the database already contains: --to 009, or --to 0 for none; "
            f"or the tool that has applied them: --from {'|'.join(LEDGER_FORMATS)}"
        )
    if to and tool:
        raise UsageError(f"--to {to} and --from {tool}: give one of them; what {tool} has applied, its ledger says")
    if not tool and (ledger or different):
        raise UsageError(f"{'--ledger' if ledger else '--different'}: only with --from")
    missing: list[str] = []
    with confirmed_session(context, "db.baseline", yes=yes or dry_run) as (session, migrations, waiting):

        def inspect(to_record: tuple[Migration, ...]) -> None:
            missing.extend(_warn_of_missing_objects(context, session, to_record))

        if tool:
            request = ToolBaselineRequest(tool=tool, table=ledger, different=different, dry_run=dry_run)
            baseline = record_tool_baseline(
                session, migrations, request, lock_wait_seconds=LOCK_WAIT_SECONDS, waiting=waiting, inspect=inspect
            )
            context.print_result(
                lambda: tool_baseline_text(baseline, dry_run=dry_run),
                lambda: tool_baseline_document(baseline, missing, dry_run=dry_run),
            )
            return
        result = record_baseline(
            session,
            migrations,
            to=to,
            lock_wait_seconds=LOCK_WAIT_SECONDS,
            waiting=waiting,
            inspect=inspect,
            dry_run=dry_run,
        )
    context.print_result(
        lambda: _baseline_text(result, len(migrations), dry_run=dry_run),
        lambda: {
            "database": result.database,
            "recorded": file_documents(result.recorded),
            "tables": list(result.tables),
            "missing": missing,
            "dry_run": dry_run,
        },
    )


def _warn_of_missing_objects(
    context: TaskContext, session: Session, to_record: tuple[Migration, ...]
) -> tuple[str, ...]:
    """Print what the database lacks of what the files make, and return it; a note where it cannot be compared."""
    try:
        missing = find_missing_objects(session, to_record, bindir=context.settings.pg_bindir)
    except (MigrationFailed, FilesInvalid, EnvironmentFailed) as error:
        file = f"{error.failure.file}: " if isinstance(error, MigrationFailed) else ""
        context.console.print_line(f"note: the database was not compared with what the files make: {file}{error}")
        return ()
    if missing:
        context.console.print_line(
            f"warning: {session.name} lacks {format_quantity(len(missing), 'object')} that these files make; "
            "where a file did not run here, take its record back with: inv db.rollback --to VERSION"
        )
        for one in missing[:_OBJECTS_SHOWN]:
            context.console.print_line(f"  {show_hidden_characters(one)}")
        if more := len(missing[_OBJECTS_SHOWN:]):
            context.console.print_line(f"  … {more} more")
    return missing


def _baseline_text(result: BaselineResult, total: int, *, dry_run: bool) -> str:
    recorded = "would be recorded as applied" if dry_run else "recorded as applied, not run"
    if result.recorded:
        return "\n".join(f"{migration.filename}: {recorded}" for migration in result.recorded)
    count = f"{format_quantity(total, 'file')} {'is' if total == 1 else 'are'}"
    lines = [f"nothing is recorded as applied to {result.database}: {count} pending"]
    if result.tables:
        lines += ["tables that none of the files made:"]
        lines += [f"  {show_hidden_characters(table)}" for table in result.tables]
    return "\n".join(lines)


@contextmanager
def confirmed_session(
    context: TaskContext, task: str, *, yes: bool
) -> Iterator[tuple[Session, tuple[Migration, ...], Callable[[LockHolder], None]]]:
    """A session, the migrations, and what shows the holder of the lock; asks for --yes in production."""
    context.require_confirmation(task, yes=yes)
    migrations = require_migrations(context.settings.migrations_dir)
    show = context.progress.observer()
    with open_configured_session(context.settings, say=context.console.print_line) as session:
        yield session, migrations, lambda holder: show(WaitingForLock(holder=holder))
