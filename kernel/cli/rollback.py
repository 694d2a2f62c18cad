"""db.rollback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.cli.context import TaskContext, parse_number_flag, parse_version_flag
from kernel.cli.migrate import wait_limits
from kernel.db.connection import open_configured_session
from kernel.errors import UsageError
from kernel.migrations.migration import discover_migrations
from kernel.operations.rollback import RollbackOptions, rollback
from kernel.report.progress import progress_observer

if TYPE_CHECKING:
    from kernel.operations.rollback import RollbackResult


# The specification, "Rollback Last Migration", word for word.
_ROLLBACK_WARNING = "WARNING: Rollback only removes the migration record. You must manually revert database changes!"
_ONE_STEP = "1"


def run_rollback(desk: TaskContext, *, steps: str, to: str | None, revert: bool, yes: bool) -> None:
    """Remove records, with their revert files when asked. Raises KernelError."""
    if to and steps != _ONE_STEP:
        raise UsageError("--steps and --to say the same in two ways; give one of them")
    desk.require_confirmation("db.rollback", yes=yes)
    found = discover_migrations(desk.settings.migrations_dir)
    wish = RollbackOptions(
        steps=parse_number_flag("--steps", steps, least=1),
        to=parse_version_flag("--to", to),
        revert=revert,
        waits=wait_limits(desk, "60"),
    )
    with open_configured_session(desk.settings, say=desk.console.print_line) as session:
        outcome = rollback(session, found, wish, progress_observer(desk.console, quiet=True))
    if outcome.removed and not revert:
        desk.console.print_line(f"⚠️  {_ROLLBACK_WARNING}" if desk.console.emoji else _ROLLBACK_WARNING)
    desk.print_answer(lambda: _rollback_text(outcome), lambda: _rollback_document(outcome))


def _rollback_text(outcome: RollbackResult) -> str:
    if not outcome.removed:
        return f"nothing to roll back: no migration is recorded in {outcome.database}"
    how = "reverted, and its record removed" if outcome.reverted else "record removed"
    return "\n".join(f"{entry.filename}: {how}" for entry in outcome.removed)


def _rollback_document(outcome: RollbackResult) -> dict[str, object]:
    return {
        "database": outcome.database,
        "reverted": outcome.reverted,
        "removed": [{"version": entry.version, "filename": entry.filename} for entry in outcome.removed],
    }
