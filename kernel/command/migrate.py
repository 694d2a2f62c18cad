"""db.migrate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel import evidence, migrate, status, target
from kernel.apply.runner import Patience
from kernel.command.desk import Desk, seconds, version
from kernel.files.script import Mode
from kernel.report import progress

if TYPE_CHECKING:
    from kernel.migrate import Outcome, Todo
    from kernel.status import Status


def run(
    desk: Desk, *, to: str | None, dry_run: bool, single_transaction: bool, allow_out_of_order: bool, lock_wait: str
) -> None:
    """Apply what is pending, or say what would be applied. Raises KernelError."""
    found = status.files(desk.settings.migrations_dir)
    wish = migrate.Wish(
        to=version("--to", to),
        allow_out_of_order=allow_out_of_order,
        single_transaction=single_transaction,
        patience=patience(desk, lock_wait),
    )
    with evidence.added(desk.place), target.session(desk.settings, say=desk.console.say) as session:
        if dry_run:
            now, todo = migrate.planned(session, found, wish)
            desk.answer(lambda: _plan(now, todo), lambda: _plan_document(todo))
            return
        outcome = migrate.migrate(session, found, wish, progress.observer(desk.console, quiet=desk.json))
    for one in outcome.applied:
        if not one.statements:
            desk.console.say(f"warning: {one.migration.filename} holds no statement; it is recorded as applied")
    if outcome.ahead:
        names = ", ".join(record.filename for record in outcome.ahead)
        desk.console.say(f"warning: the database is ahead of these files: {names}")
    desk.answer(lambda: _summary(outcome), lambda: _document(outcome))


def patience(desk: Desk, lock_wait: str) -> Patience:
    """How long a run waits, by the settings and --lock-wait. Raises UsageError."""
    return Patience(
        lock_wait_seconds=seconds("--lock-wait", lock_wait),
        lock_timeout_ms=desk.settings.lock_timeout_ms,
        lock_retries=desk.settings.lock_retries,
        statement_timeout_ms=desk.settings.statement_timeout_ms,
    )


def _summary(outcome: Outcome) -> str:
    pending = f"; {len(outcome.pending)} pending" if outcome.pending else ""
    if outcome.applied:
        seconds_taken = sum(one.seconds for one in outcome.applied)
        count = f"{len(outcome.applied)} migration{'' if len(outcome.applied) == 1 else 's'}"
        return f"{count} applied to {outcome.database} in {seconds_taken:.3f} s{pending}"
    if outcome.elsewhere:
        return (
            f"already migrated by another runner: {outcome.elsewhere} applied to {outcome.database} meanwhile{pending}"
        )
    return f"nothing to apply to {outcome.database}: {outcome.total - len(outcome.pending)} of {outcome.total} applied"


def _document(outcome: Outcome) -> dict[str, object]:
    from kernel.report import documents  # noqa: PLC0415 - with --json only

    return documents.migrated(outcome)


def _plan(now: Status, todo: tuple[Todo, ...]) -> str:
    if not todo:
        return f"nothing to apply to {now.database}"
    lines = [f"would apply to {now.database}:"]
    for migration, script in todo:
        count = f"{script.statements} statement{'' if script.statements == 1 else 's'}"
        how = "" if script.mode is Mode.TRANSACTION else f", {script.mode.value}"
        lines.append(f"  {migration.filename} ({count}{how})")
    return "\n".join(lines)


def _plan_document(todo: tuple[Todo, ...]) -> dict[str, object]:
    from kernel.report import documents  # noqa: PLC0415 - with --json only

    return {"applied": [], "failed": None, "pending": documents.files(migration for migration, _ in todo)}
