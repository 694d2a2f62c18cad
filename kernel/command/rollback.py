"""db.rollback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel import rollback, target
from kernel.command.desk import Desk, version, whole_number
from kernel.command.migrate import patience
from kernel.errors import UsageError
from kernel.files import migration
from kernel.report import progress

if TYPE_CHECKING:
    from kernel.rollback import Outcome

# The specification, "Rollback Last Migration", word for word.
_WARNING = "WARNING: Rollback only removes the migration record. You must manually revert database changes!"
_ONE_STEP = "1"


def run(desk: Desk, *, steps: str, to: str | None, revert: bool, yes: bool) -> None:
    """Remove records, with their revert files when asked. Raises KernelError."""
    if to and steps != _ONE_STEP:
        raise UsageError("--steps and --to say the same in two ways; give one of them")
    desk.confirmed("db.rollback", yes=yes)
    found = migration.discover(desk.settings.migrations_dir)
    wish = rollback.Wish(
        steps=whole_number("--steps", steps, least=1),
        to=version("--to", to),
        revert=revert,
        patience=patience(desk, "60"),
    )
    with target.session(desk.settings, say=desk.console.say) as session:
        outcome = rollback.rollback(session, found, wish, progress.observer(desk.console, quiet=True))
    if outcome.removed and not revert:
        desk.console.say(f"⚠️  {_WARNING}" if desk.console.emoji else _WARNING)
    desk.answer(lambda: _text(outcome), lambda: _document(outcome))


def _text(outcome: Outcome) -> str:
    if not outcome.removed:
        return f"nothing to roll back: no migration is recorded in {outcome.database}"
    how = "reverted, and its record removed" if outcome.reverted else "record removed"
    return "\n".join(f"{entry.filename}: {how}" for entry in outcome.removed)


def _document(outcome: Outcome) -> dict[str, object]:
    return {
        "database": outcome.database,
        "reverted": outcome.reverted,
        "removed": [{"version": entry.version, "filename": entry.filename} for entry in outcome.removed],
    }
