"""db.baseline and db.repair: write records without running files."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from kernel.apply.events import WaitingForLock
from kernel.db.connection import open_configured_session
from kernel.errors import UsageError
from kernel.migrations.migration import require_migrations
from kernel.operations.baseline import forget_record, record_baseline, repair_record
from kernel.report.json_documents import file_documents
from kernel.report.safe_text import show_hidden_characters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.cli.context import TaskContext
    from kernel.db.advisory_lock import LockHolder
    from kernel.db.connection import Session
    from kernel.db.ledger import Record
    from kernel.migrations.migration import Migration


_LOCK_WAIT_SECONDS = 60.0


def run_baseline(context: TaskContext, *, to: str, yes: bool) -> None:
    """Record files as applied without running them. Raises KernelError."""
    if not to:
        raise UsageError("db.baseline: needs the last version that the database already contains: --to 009")
    with _confirmed_session(context, "db.baseline", yes=yes) as (session, migrations, waiting):
        result = record_baseline(session, migrations, to=to, lock_wait_seconds=_LOCK_WAIT_SECONDS, waiting=waiting)
    context.print_result(
        lambda: "\n".join(f"{migration.filename}: recorded as applied, not run" for migration in result.recorded),
        lambda: {"database": result.database, "recorded": file_documents(result.recorded)},
    )


def run_repair(context: TaskContext, *, accept: str, forget: str, yes: bool) -> None:
    """Accept the current content of a changed file, or forget the record of a deleted one. Raises KernelError."""
    if accept and forget:
        raise UsageError("--accept and --forget exclude each other; give one of them")
    if forget:
        _run_forget(context, forget, yes=yes)
        return
    if not accept:
        raise UsageError(
            "db.repair: needs the version whose file to accept: --accept 009, or whose record to remove: --forget 009"
        )
    with _confirmed_session(context, "db.repair", yes=yes) as (session, migrations, waiting):
        result = repair_record(
            session, migrations, accept=accept, lock_wait_seconds=_LOCK_WAIT_SECONDS, waiting=waiting
        )
    context.print_result(
        lambda: (
            f"{result.migration.filename}: accepted as it is; the record was that of {result.previous_record.filename}"
        ),
        lambda: {
            "database": result.database,
            "accepted": _checksum_document(result.migration),
            "before": _checksum_document(result.previous_record),
        },
    )


def _run_forget(context: TaskContext, forget: str, *, yes: bool) -> None:
    with _confirmed_session(context, "db.repair", yes=yes) as (session, migrations, waiting):
        result = forget_record(
            session, migrations, forget=forget, lock_wait_seconds=_LOCK_WAIT_SECONDS, waiting=waiting
        )
    filename = show_hidden_characters(result.record.filename)
    if result.ahead:
        context.console.print_line(
            f"warning: newer than every file here; a release that has {filename} will run it again"
        )
    context.print_result(
        lambda: f"{filename}: record removed from {result.database}; what the file made stays",
        lambda: {"database": result.database, "forgotten": _checksum_document(result.record)},
    )


def _checksum_document(one: Migration | Record) -> dict[str, str]:
    return {"version": one.version, "filename": one.filename, "checksum": one.checksum}


@contextmanager
def _confirmed_session(
    context: TaskContext, task: str, *, yes: bool
) -> Iterator[tuple[Session, tuple[Migration, ...], Callable[[LockHolder], None]]]:
    """A session, the migrations, and what shows the holder of the lock; asks for --yes in production."""
    context.require_confirmation(task, yes=yes)
    migrations = require_migrations(context.settings.migrations_dir)
    show = context.progress.observer()
    with open_configured_session(context.settings, say=context.console.print_line) as session:
        yield session, migrations, lambda holder: show(WaitingForLock(holder=holder))
