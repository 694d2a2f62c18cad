"""db.rollback: remove the newest records; with --revert, run the revert file of each in the same transaction.

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
from kernel.plan import entries_to_roll_back, read_status

if TYPE_CHECKING:
    from kernel.apply.events import Observer
    from kernel.db.connection import Session
    from kernel.db.ledger import Ledger
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Script
    from kernel.plan import PlanEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackOptions:
    """Options of db.rollback: remove `steps` records, or all after version `to`; `revert` runs the revert files too."""

    steps: int = 1
    to: str = ""
    revert: bool = False
    waits: WaitLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackResult:
    """The entries whose records were removed, newest first."""

    database: str
    removed: tuple[PlanEntry, ...]
    reverted: bool


def rollback(
    session: Session, migrations: tuple[Migration, ...], options: RollbackOptions, observer: Observer
) -> RollbackResult:
    """Remove records, newest version first; with `revert` each in a transaction with its revert file.

    Raises FilesInvalid before anything is changed when a revert file is missing or cannot be run, UsageError, LockBusy,
    DatabaseRefused, MigrationFailed.
    """
    ledger = find_ledger(session)
    entries = _read_entries(session, migrations, options)
    if options.revert:
        _parse_reverts(entries)
    if not entries:
        return RollbackResult(database=session.name, removed=(), reverted=options.revert)
    refuse_read_only(session)
    refuse_missing_privilege(session, ledger, "DELETE")
    session = with_runner_settings(session, statement_timeout_ms=options.waits.statement_timeout_ms)
    with (
        open_executor(session, ledger, waits=options.waits, observer=observer) as executor,
        hold_advisory_lock(
            session, ledger, wait_seconds=options.waits.lock_wait_seconds, waiting=executor.report_waiting
        ),
    ):
        entries = _read_entries(session, migrations, options)
        if options.revert:
            for revert, script in _parse_reverts(entries):
                apply_in_transaction(executor, [file_run_for_revert(session, ledger, revert, script)])
        else:
            _delete_records(session, ledger, entries)
    return RollbackResult(database=session.name, removed=entries, reverted=options.revert)


def _read_entries(
    session: Session, migrations: tuple[Migration, ...], options: RollbackOptions
) -> tuple[PlanEntry, ...]:
    return entries_to_roll_back(read_status(session, migrations).plan, steps=options.steps, to=options.to)


def _parse_reverts(entries: tuple[PlanEntry, ...]) -> list[tuple[Migration, Script]]:
    """Parse the revert file of each entry. Raises FilesInvalid with every problem."""
    problems: list[Problem] = []
    reverts: list[tuple[Migration, Script]] = []
    for entry in entries:
        name = f"revert/{entry.filename}"
        try:
            if entry.migration is None or entry.record is None:
                raise FileNotFoundError
            # The record may write its version with other zeros, and it is the record that is removed.
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


def _delete_records(session: Session, ledger: Ledger, entries: tuple[PlanEntry, ...]) -> None:
    """Remove the records of all entries, or of none."""
    with session.connection.transaction():
        for entry in entries:
            if entry.record:
                session.connection.execute(delete_record_statement(session.connection, ledger, entry.record.version))
