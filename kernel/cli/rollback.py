"""db.rollback: remove the newest records, optionally running their revert files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.cli.context import TaskContext, parse_number_flag, parse_version_flag
from kernel.cli.migrate import wait_limits
from kernel.db.connection import open_configured_session
from kernel.errors import UsageError
from kernel.migrations.migration import discover_migrations
from kernel.operations.rollback import RollbackOptions, prepare_rollback, rollback
from kernel.units import format_quantity

if TYPE_CHECKING:
    from kernel.operations.rollback import RollbackResult


# Verbatim from docs/specification.md.
_ROLLBACK_WARNING = "WARNING: Rollback only removes the migration record. You must manually revert database changes!"
_ONE_STEP = "1"


def run_rollback(context: TaskContext, *, steps: str, to: str | None, revert: bool, dry_run: bool, yes: bool) -> None:
    """Remove records; with `revert`, run their revert files; with `dry_run` list them. Raises KernelError."""
    if to and steps != _ONE_STEP:
        raise UsageError("--steps and --to exclude each other; give one of them")
    if not dry_run:
        context.require_confirmation("db.rollback", yes=yes)
    migrations = discover_migrations(context.settings.migrations_dir)
    options = RollbackOptions(
        steps=parse_number_flag("--steps", steps, least=1),
        to=parse_version_flag("--to", to),
        revert=revert,
        waits=wait_limits(context, "60"),
    )
    with open_configured_session(context.settings, say=context.console.print_line) as session:
        if dry_run:
            planned = prepare_rollback(session, migrations, options)
            context.print_result(lambda: _dry_run_text(planned), lambda: _dry_run_document(planned))
            return
        result = rollback(session, migrations, options, context.progress.observer(quiet=True))
    if result.removed and not revert:
        context.console.print_line(f"⚠️  {_ROLLBACK_WARNING}" if context.console.emoji else _ROLLBACK_WARNING)
    context.print_result(lambda: _rollback_text(result), lambda: _rollback_document(result))


def _rollback_text(result: RollbackResult) -> str:
    if not result.removed:
        return _nothing_text(result)
    action = "reverted, and its record removed" if result.reverted else "record removed"
    lines = [f"{entry.filename}: {action}" for entry in result.removed]
    count = format_quantity(len(result.removed), "migration")
    return "\n".join((*lines, f"{count} rolled back in {result.database}"))


def _nothing_text(result: RollbackResult) -> str:
    if not result.newest:
        return f"nothing to roll back: no migration is recorded in {result.database}"
    return f"nothing to roll back: {result.newest} is the newest applied in {result.database}"


def _dry_run_text(planned: RollbackResult) -> str:
    if not planned.removed:
        return _nothing_text(planned)
    action = "run its revert file and remove its record" if planned.reverted else "remove its record, not undo its SQL"
    lines = [f"  {entry.filename}: {action}" for entry in planned.removed]
    return "\n".join((f"would roll back in {planned.database}:", *lines))


def _dry_run_document(planned: RollbackResult) -> dict[str, object]:
    return _rollback_document(replace(planned, removed=())) | {"remaining": _entry_documents(planned)}


def _entry_documents(result: RollbackResult) -> list[dict[str, str]]:
    return [{"version": entry.version, "filename": entry.filename} for entry in result.removed]


def _rollback_document(result: RollbackResult) -> dict[str, object]:
    return {
        "database": result.database,
        "reverted": result.reverted,
        "removed": _entry_documents(result),
    }
