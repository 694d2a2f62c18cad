"""db.rollback: remove the newest records; with --revert, run the revert file of each in the same transaction.

Source: the specification, "Rollback Last Migration": the record goes, the SQL is not undone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel.apply.executor import WaitLimits, open_executor
from kernel.apply.failures import name_missing_grant
from kernel.apply.transaction import apply_in_transaction, file_run_for_revert
from kernel.db.advisory_lock import hold_advisory_lock
from kernel.db.connection import with_runner_settings
from kernel.db.ledger import find_ledger, ledger_name
from kernel.db.progress_table import forget_progress
from kernel.db.read_only import refuse_read_only
from kernel.db.records import delete_record_statement, refuse_missing_privilege
from kernel.errors import FilesInvalid, MigrationFailed, Problem, UsageError
from kernel.migrations.migration import parse_version
from kernel.migrations.paired_files import parse_revert_script
from kernel.migrations.replaced import describe_range
from kernel.plan import read_status

if TYPE_CHECKING:
    from kernel.apply.events import Observer
    from kernel.apply.executor import Executor
    from kernel.db.connection import Session
    from kernel.db.ledger import Ledger
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Script
    from kernel.plan import Plan, PlanEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackOptions:
    """Options of db.rollback: remove `steps` records, or all after version `to`; `revert` runs the revert files too."""

    steps: int = 1
    to: str = ""
    revert: bool = False
    waits: WaitLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackResult:
    """The entries whose records were removed, newest first; from `prepare_rollback`, those that would be.

    `newest` is the file of the newest record before, "" if there was none.
    """

    database: str
    removed: tuple[PlanEntry, ...]
    reverted: bool
    newest: str


def rollback(
    session: Session, migrations: tuple[Migration, ...], options: RollbackOptions, observer: Observer
) -> RollbackResult:
    """Remove records, newest version first; with `revert` each in a transaction with its revert file.

    Raises FilesInvalid before anything is changed when a revert file is missing or cannot be run, UsageError, LockBusy,
    DatabaseRefused, MigrationFailed.
    """
    planned = prepare_rollback(session, migrations, options)
    if not planned.removed:
        return planned
    ledger = find_ledger(session)
    refuse_read_only(session)
    refuse_missing_privilege(session, ledger, "DELETE")
    session = with_runner_settings(session, statement_timeout_ms=options.waits.statement_timeout_ms)
    with (
        open_executor(session, ledger, waits=options.waits, observer=observer) as executor,
        hold_advisory_lock(
            session, ledger, wait_seconds=options.waits.lock_wait_seconds, waiting=executor.report_waiting
        ),
    ):
        planned = prepare_rollback(session, migrations, options)  # another runner may have been here before the lock
        forget_progress(session, ledger, {int(entry.version) for entry in planned.removed})
        if options.revert:
            _run_reverts(executor, planned.removed, options)
        else:
            _delete_records(session, ledger, planned.removed)
    return planned


def prepare_rollback(session: Session, migrations: tuple[Migration, ...], options: RollbackOptions) -> RollbackResult:
    """Return what a rollback would remove, its revert files checked without running them. Reads only.

    Raises FilesInvalid, UsageError, LedgerShape.
    """
    status = read_status(session, migrations)
    plan = status.plan
    entries = entries_to_roll_back(plan, steps=options.steps, to=options.to)
    if options.revert:
        _parse_reverts(entries, status.ledger)
    newest = next((entry.filename for entry in reversed(plan.entries) if entry.record), "")
    return RollbackResult(database=session.name, removed=entries, reverted=options.revert, newest=newest)


def _run_reverts(executor: Executor, entries: tuple[PlanEntry, ...], options: RollbackOptions) -> None:
    """Run the revert file of each entry and remove its record. Its MigrationFailed says what is reverted by then."""
    done = 0
    try:
        for revert, script in _parse_reverts(entries, executor.ledger):
            file_run = file_run_for_revert(executor.session, executor.ledger, revert, script)
            apply_in_transaction(executor, [file_run])
            done += 1
    except MigrationFailed as error:
        filenames = tuple(entry.filename for entry in entries)
        error.rolled_back_before = filenames[:done]
        if error.rolled_back:
            error.remaining = filenames[done:]
            how_far = f"--to {options.to}" if options.to else f"--steps {len(error.remaining)}"
            error.hint = f"correct {error.failure.file}, then run: inv db.rollback --revert {how_far}"
        else:
            error.remaining = filenames[done + 1 :]
            error.hint = "see inv db.status for what is applied now"
        name_missing_grant(error, executor.session.connection)
        raise


def _parse_reverts(entries: tuple[PlanEntry, ...], ledger: Ledger) -> list[tuple[Migration, Script]]:
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
            script = parse_revert_script(revert.path, revert.filename, ledger=ledger_name(ledger))
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


def entries_to_roll_back(plan: Plan, *, steps: int = 1, to: str = "") -> tuple[PlanEntry, ...]:
    """The entries whose records a rollback removes, newest version first; version `to` stays applied.

    Raises UsageError when `to` has no record, when there are fewer records than `steps`, and for the record of a squash
    file: without it the records of the versions that it replaces would have no file.
    """
    entries = _newest_entries(plan, steps=steps, to=to)
    for entry in entries:
        if entry.migration and entry.migration.replaces:
            raise UsageError(
                f"{entry.filename}: stands for the files {describe_range(entry.migration.replaces)}, "
                "so its record stays; a rollback ends above it"
            )
    return entries


def _newest_entries(plan: Plan, *, steps: int, to: str) -> tuple[PlanEntry, ...]:
    applied = [entry for entry in plan.entries if entry.record and entry.record.number is not None]
    applied.sort(key=lambda entry: int(entry.version), reverse=True)
    if to:
        number = parse_version(to)
        if any(record.number == number for record in plan.replaced_records):
            raise UsageError(f"--to {to}: a squash file replaces this version; a rollback ends above the squash file")
        if not any(int(entry.version) == number for entry in applied):
            raise UsageError(f"--to {to}: this version is not applied, so it cannot stay applied; see inv db.status")
        return tuple(entry for entry in applied if int(entry.version) > number)
    if steps > len(applied) > 0:
        raise UsageError(f"--steps {steps}: only {len(applied)} applied; see inv db.status")
    return tuple(applied[:steps])
