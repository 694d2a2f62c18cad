"""db.status."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel import evidence, status, target
from kernel.errors import Drift
from kernel.report import table

if TYPE_CHECKING:
    from kernel.command.desk import Desk
    from kernel.status import Status

PENDING, DRIFT = 3, Drift.exit


def run(desk: Desk, *, check: bool) -> int:
    """Print the table; the exit code is 0, or with `check` PENDING or DRIFT where that is so. Raises KernelError."""
    found = status.files(desk.settings.migrations_dir)
    with target.session(desk.settings, say=desk.console.say) as session:
        now = status.read(session, found)
    now = replace(now, plan=evidence.traced(now.plan, desk.place))
    desk.answer(lambda: table.text(now.plan, emoji=desk.console.emoji), lambda: _document(now))
    if not check:
        return 0
    return DRIFT if now.plan.drift() else PENDING if now.plan.pending else 0


def _document(now: Status) -> dict[str, object]:
    from kernel.report import documents  # noqa: PLC0415 - with --json only

    return documents.status(now)
