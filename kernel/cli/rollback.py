"""db.rollback: remove the newest records, optionally running their revert files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.cli.context import TaskContext, parse_number_flag, parse_version_flag
from kernel.cli.migrate import wait_limits
from kernel.db.connection import open_configured_session
from kernel.errors import UsageError
from kernel.migrations.migration import discover_migrations
from kernel.operations.rollback import RollbackOptions, rollback

if TYPE_CHECKING:
    from kernel.operations.rollback import RollbackResult


# Verbatim from docs/specification.md.
_ROLLBACK_WARNING = "WARNING: Rollback only removes the migration record. You must manually revert database changes!"
_ONE_STEP = "1"


def run_rollback(context: TaskContext, *, steps: str, to: str | None, revert: bool, yes: bool) -> None:
    """Remove records; with `revert`, run their revert files. Raises KernelError."""
    if to and steps != _ONE_STEP:
        raise UsageError("--steps and --to exclude each other; give one of them")
    context.require_confirmation("db.rollback", yes=yes)
    migrations = discover_migrations(context.settings.migrations_dir)
    options = RollbackOptions(
        steps=parse_number_flag("--steps", steps, least=1),
        to=parse_version_flag("--to", to),
        revert=revert,
        waits=wait_limits(context, "60"),
    )
    with open_configured_session(context.settings, say=context.console.print_line) as session:
        result = rollback(session, migrations, options, context.progress.observer(quiet=True))
    if result.removed and not revert:
        context.console.print_line(f"⚠️  {_ROLLBACK_WARNING}" if context.console.emoji else _ROLLBACK_WARNING)
    context.print_result(lambda: _rollback_text(result), lambda: _rollback_document(result))


def _rollback_text(result: RollbackResult) -> str:
    if not result.removed:
        return f"nothing to roll back: no migration is recorded in {result.database}"
    action = "reverted, and its record removed" if result.reverted else "record removed"
    return "\n".join(f"{record.filename}: {action}" for record in result.removed)


def _rollback_document(result: RollbackResult) -> dict[str, object]:
    return {
        "database": result.database,
        "reverted": result.reverted,
        "removed": [{"version": record.version, "filename": record.filename} for record in result.removed],
    }
