"""db.baseline: write records without running files."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from kernel.apply.events import WaitingForLock
from kernel.db.connection import open_configured_session
from kernel.errors import UsageError
from kernel.migrations.migration import require_migrations
from kernel.operations.baseline import record_baseline
from kernel.report.json_documents import file_documents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.cli.context import TaskContext
    from kernel.db.advisory_lock import LockHolder
    from kernel.db.connection import Session
    from kernel.migrations.migration import Migration


LOCK_WAIT_SECONDS = 60.0


def run_baseline(context: TaskContext, *, to: str, yes: bool) -> None:
    """Record files as applied without running them. Raises KernelError."""
    if not to:
        raise UsageError("db.baseline: needs the last version that the database already contains: --to 009")
    with confirmed_session(context, "db.baseline", yes=yes) as (session, migrations, waiting):
        result = record_baseline(session, migrations, to=to, lock_wait_seconds=LOCK_WAIT_SECONDS, waiting=waiting)
    context.print_result(
        lambda: "\n".join(f"{migration.filename}: recorded as applied, not run" for migration in result.recorded),
        lambda: {"database": result.database, "recorded": file_documents(result.recorded)},
    )


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
