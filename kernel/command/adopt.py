"""db.baseline and db.repair: records made by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel import adopt, status, target
from kernel.apply.events import Waiting
from kernel.command.desk import Desk, seconds
from kernel.errors import UsageError
from kernel.report import documents, progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.lock import Holder

_LOCK_WAIT = "60"


def baseline(desk: Desk, *, to: str, yes: bool) -> None:
    """Record files as applied without running them. Raises KernelError."""
    if not to:
        raise UsageError("db.baseline: say up to which version the database was made by the files: --to 009")
    desk.confirmed("db.baseline", yes=yes)
    found = status.files(desk.settings.migrations_dir)
    with target.session(desk.settings, say=desk.console.say) as session:
        done = adopt.baseline(
            session, found, to=to, lock_wait_seconds=seconds("--lock-wait", _LOCK_WAIT), waiting=_waiting(desk)
        )
    desk.answer(
        lambda: "\n".join(f"{one.filename}: recorded as applied, not run" for one in done.recorded),
        lambda: {"database": done.database, "recorded": documents.files(done.recorded)},
    )


def repair(desk: Desk, *, accept: str, yes: bool) -> None:
    """Accept a file that was changed on purpose. Raises KernelError."""
    if not accept:
        raise UsageError("db.repair: say which version to accept as its file is now: --accept 009")
    desk.confirmed("db.repair", yes=yes)
    found = status.files(desk.settings.migrations_dir)
    with target.session(desk.settings, say=desk.console.say) as session:
        done = adopt.repair(
            session, found, accept=accept, lock_wait_seconds=seconds("--lock-wait", _LOCK_WAIT), waiting=_waiting(desk)
        )
    desk.answer(
        lambda: f"{done.migration.filename}: accepted as it is; the record was that of {done.before.filename}",
        lambda: {
            "database": done.database,
            "accepted": {
                "version": done.migration.version,
                "filename": done.migration.filename,
                "checksum": done.migration.checksum,
            },
            "before": {
                "version": done.before.version,
                "filename": done.before.filename,
                "checksum": done.before.checksum,
            },
        },
    )


def _waiting(desk: Desk) -> Callable[[Holder], None]:
    show = progress.observer(desk.console)
    return lambda holder: show(Waiting(holder=holder))
