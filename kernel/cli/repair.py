"""db.repair: correct what is recorded of a file, without running SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.cli.baseline import LOCK_WAIT_SECONDS, confirmed_session
from kernel.errors import UsageError
from kernel.operations.repair import accept_file, forget_record, forget_repeatable, restart_file
from kernel.plan import read_status
from kernel.report.safe_text import show_hidden_characters
from kernel.units import format_quantity

if TYPE_CHECKING:
    from kernel.cli.context import TaskContext
    from kernel.db.records import Record
    from kernel.migrations.migration import Migration
    from kernel.operations.repair import AcceptResult, ForgetResult, RestartResult


def run_repair(context: TaskContext, *, accept: str, restart: str, forget: str, yes: bool) -> None:
    """Accept the current content of a file, restart a partial file, or forget the record of a deleted one.

    Raises KernelError.
    """
    if sum(map(bool, (accept, restart, forget))) != 1:
        raise UsageError(
            "db.repair: needs one of: the version whose file to accept, --accept 009; the one to run from its "
            "beginning, --restart 009; the one whose record to remove, --forget 009"
        )
    with confirmed_session(context, "db.repair", yes=yes) as (session, migrations, waiting):
        if accept:
            accepted = accept_file(
                session, migrations, accept=accept, lock_wait_seconds=LOCK_WAIT_SECONDS, waiting=waiting
            )
            context.print_result(lambda: _accept_text(accepted), lambda: _accept_document(accepted))
        elif restart:
            restarted = restart_file(
                session, migrations, restart=restart, lock_wait_seconds=LOCK_WAIT_SECONDS, waiting=waiting
            )
            context.print_result(lambda: _restart_text(restarted), lambda: _restart_document(restarted))
        elif any(entry.name == forget for entry in read_status(session, migrations).repeatable):
            record = forget_repeatable(
                session, migrations, name=forget, lock_wait_seconds=LOCK_WAIT_SECONDS, waiting=waiting
            )
            context.print_result(
                lambda: f"{record.name}: record removed from {session.name}; what the file made stays",
                lambda: {
                    "database": session.name,
                    "forgotten": {"name": record.name, "checksum": record.checksum},
                },
            )
        else:
            forgotten = forget_record(
                session, migrations, forget=forget, lock_wait_seconds=LOCK_WAIT_SECONDS, waiting=waiting
            )
            _print_forgotten(context, forgotten)


def _print_forgotten(context: TaskContext, result: ForgetResult) -> None:
    filename = show_hidden_characters(result.record.filename)
    if result.ahead:
        context.console.print_line(
            f"warning: newer than every file here; a release that has {filename} will run it again"
        )
    context.print_result(
        lambda: f"{filename}: record removed from {result.database}; what the file made stays",
        lambda: {"database": result.database, "forgotten": _checksum_document(result.record)},
    )


def _accept_text(result: AcceptResult) -> str:
    migration, record = result.migration, result.previous_record
    lines = [f"{migration.filename}: accepted as it is in {result.database}; no SQL ran"]
    if record.checksum != migration.checksum:
        lines.append(f"  checksum {record.checksum} -> {migration.checksum}")
    if record.filename != migration.filename:
        lines.append(f"  recorded as {record.filename} before")
    return "\n".join(lines)


def _accept_document(result: AcceptResult) -> dict[str, object]:
    return {
        "database": result.database,
        "accepted": _checksum_document(result.migration),
        "before": _checksum_document(result.previous_record),
    }


def _checksum_document(one: Migration | Record) -> dict[str, str]:
    return {"version": one.version, "filename": one.filename, "checksum": one.checksum}


def _restart_text(result: RestartResult) -> str:
    if result.filename:
        lines = [
            f"{result.filename}: the next inv db.migrate runs it from its beginning in {result.database}; no SQL ran"
        ]
    else:
        lines = [
            f"version {result.version}: no file has it; its progress in {result.database} is forgotten; no SQL ran"
        ]
    if result.finished:
        runs = "runs" if result.finished == 1 else "run"
        lines.append(f"  {format_quantity(result.finished, 'statement')} that finished {runs} a second time")
    for index in result.invalid_indexes:
        remedy = "and is dropped first" if result.filename else f"drop it with DROP INDEX CONCURRENTLY {index}"
        lines.append(f"  {index} is INVALID, {remedy}")
    return "\n".join(lines)


def _restart_document(result: RestartResult) -> dict[str, object]:
    return {
        "database": result.database,
        "restarted": {"version": result.version, "filename": result.filename},
        "finished": result.finished,
        "invalid_indexes": list(result.invalid_indexes),
    }
