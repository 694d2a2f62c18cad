"""db.rollback: remove the newest records; with revert files, undo what they recorded in the same transaction.

Source: the specification, "Rollback Last Migration": the record goes, the SQL is not undone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel.apply.executor import WaitLimits, open_executor
from kernel.apply.transaction import apply_in_transaction, file_run_for_revert
from kernel.db.advisory_lock import hold_advisory_lock
from kernel.db.connection import refuse_read_only, with_runner_settings
from kernel.db.ledger import delete_record_statement, find_ledger, refuse_missing_privilege
from kernel.errors import FilesInvalid, Problem
from kernel.migrations.script import parse_revert_script
from kernel.operations.status import read_status
from kernel.plan import entries_to_roll_back

if TYPE_CHECKING:
    from kernel.apply.events import Observer
    from kernel.db.connection import Session
    from kernel.db.ledger import Ledger
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Script
    from kernel.plan import PlanEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackOptions:
    """How far back: `steps` records, or all behind version `to`; `revert` runs the revert files too."""

    steps: int = 1
    to: str = ""
    revert: bool = False
    waits: WaitLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackResult:
    """The entries whose records are gone, newest first."""

    database: str
    removed: tuple[PlanEntry, ...]
    reverted: bool


def rollback(
    session: Session, found: tuple[Migration, ...], wish: RollbackOptions, observer: Observer
) -> RollbackResult:
    """Remove records, newest version first, each in a transaction with its revert file when that is asked for.

    Raises FilesInvalid before anything is touched when a revert file is missing or cannot be run, UsageError, LockBusy,
    DatabaseRefused, MigrationFailed.
    """
    where = find_ledger(session)
    entries = _read_entries(session, found, wish)
    if wish.revert:
        _parse_reverts(entries)
    if not entries:
        return RollbackResult(database=session.name, removed=(), reverted=wish.revert)
    refuse_read_only(session)
    refuse_missing_privilege(session, where, "DELETE")
    session = with_runner_settings(session, statement_timeout_ms=wish.waits.statement_timeout_ms)
    with (
        open_executor(session, where, waits=wish.waits, observer=observer) as runner,
        hold_advisory_lock(session, where, wait_seconds=wish.waits.lock_wait_seconds, waiting=runner.report_waiting),
    ):
        entries = _read_entries(session, found, wish)
        if wish.revert:
            for revert, script in _parse_reverts(entries):
                apply_in_transaction(runner, [file_run_for_revert(session, where, revert, script)])
        else:
            _delete_records(session, where, entries)
    return RollbackResult(database=session.name, removed=entries, reverted=wish.revert)


def _read_entries(session: Session, found: tuple[Migration, ...], wish: RollbackOptions) -> tuple[PlanEntry, ...]:
    return entries_to_roll_back(read_status(session, found).plan, steps=wish.steps, to=wish.to)


def _parse_reverts(entries: tuple[PlanEntry, ...]) -> list[tuple[Migration, Script]]:
    """The revert file of each entry, read to its end."""
    problems: list[Problem] = []
    reverts: list[tuple[Migration, Script]] = []
    for entry in entries:
        name = f"revert/{entry.filename}"
        try:
            if entry.migration is None or entry.record is None:
                raise FileNotFoundError
            # The record may spell its version with other zeros, and it is the record that has to go.
            revert = replace(entry.migration.read_revert(), version=entry.record.version)
            script = parse_revert_script(revert.path, revert.filename)
        except OSError:
            message = "no such file; write what undoes the migration, or roll back without --revert"
            problems.append(Problem(message=message, file=name))
            continue
        except FilesInvalid as error:
            problems += error.problems
            continue
        reverts.append((revert, script))
    if problems:
        raise FilesInvalid(problems)
    return reverts


def _delete_records(session: Session, where: Ledger, entries: tuple[PlanEntry, ...]) -> None:
    """Remove the records of all entries, or of none."""
    with session.connection.transaction():
        for entry in entries:
            if entry.record:
                session.connection.execute(delete_record_statement(session.connection, where, entry.record.version))
