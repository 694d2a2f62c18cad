"""db.repair: accept a file that was changed on purpose, let a partial file run from its beginning, or forget a record.

No SQL of a file runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel.db.advisory_lock import hold_advisory_lock
from kernel.db.ledger import find_ledger
from kernel.db.progress_table import (
    delete_progress_statement,
    left_indexes,
    read_progress,
    refuse_unusable_progress_table,
    save_progress_statement,
)
from kernel.db.read_only import refuse_read_only
from kernel.db.records import delete_record_statement, refuse_missing_privilege, update_record_statement
from kernel.db.repeatable_table import delete_repeatable_record, refuse_unusable_repeatable_table
from kernel.errors import UsageError
from kernel.migrations.migration import parse_version
from kernel.plan import Reason, VersionState, read_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.db.advisory_lock import LockHolder
    from kernel.db.connection import Session
    from kernel.db.records import Record
    from kernel.db.repeatable_table import RepeatableRecord
    from kernel.migrations.migration import Migration
    from kernel.plan import PlanEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptResult:
    """The migration whose current content was accepted, and its record before."""

    database: str
    migration: Migration
    previous_record: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartResult:
    """A partial file that runs from its beginning next time; `filename` is None where no file has the version.

    What its `finished` statements did stays. `invalid_indexes` are dropped by the next run, if there is a file.
    """

    database: str
    version: str
    filename: str | None
    finished: int
    invalid_indexes: tuple[str, ...]


def accept_file(
    session: Session,
    migrations: tuple[Migration, ...],
    *,
    accept: str,
    lock_wait_seconds: float,
    waiting: Callable[[LockHolder], None],
) -> AcceptResult:
    """Update the record of one version to the checksum, name and number of its file, changed on purpose.

    Raises UsageError when there is nothing to accept for this version, LockBusy, DatabaseRefused.
    """
    number = parse_version(accept)
    ledger = find_ledger(session)
    refuse_read_only(session)
    refuse_missing_privilege(session, ledger, "UPDATE")
    with hold_advisory_lock(session, ledger, wait_seconds=lock_wait_seconds, waiting=waiting):
        plan = read_status(session, migrations).plan
        entry = next((entry for entry in plan.entries if entry.migration and entry.migration.number == number), None)
        if entry is None or entry.migration is None:
            raise UsageError(f"--accept {accept}: no migration file has this version")
        record = entry.record if entry.state is VersionState.MODIFIED else None
        if entry.record is None:
            missing = (entry.record for entry in plan.entries if entry.state is VersionState.MISSING and entry.record)
            record = next((record for record in missing if entry.migration.accepts(record.checksum)), None)
        if record is None and entry.record is None:
            raise UsageError(f"--accept {accept}: {entry.migration.filename} is not applied; run inv db.migrate")
        if record is None:
            raise UsageError(f"--accept {accept}: {entry.migration.filename} and its record agree; see inv db.status")
        session.connection.execute(update_record_statement(session.connection, ledger, record, entry.migration))
    return AcceptResult(database=session.name, migration=entry.migration, previous_record=record)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetResult:
    """The record that was removed; `ahead` means that it was newer than every file."""

    database: str
    record: Record
    ahead: bool


def forget_record(
    session: Session,
    migrations: tuple[Migration, ...],
    *,
    forget: str,
    lock_wait_seconds: float,
    waiting: Callable[[LockHolder], None],
) -> ForgetResult:
    """Remove the record of a version whose file was deleted on purpose; `forget` may be the exact text of a record.

    Raises UsageError when the file is there or a squash file needs the record, LockBusy, DatabaseRefused.
    """
    ledger = find_ledger(session)
    refuse_read_only(session)
    refuse_missing_privilege(session, ledger, "DELETE")
    with hold_advisory_lock(session, ledger, wait_seconds=lock_wait_seconds, waiting=waiting):
        plan = read_status(session, migrations).plan
        records = {record.version: record for record in plan.replaced_records}
        records |= {entry.record.version: entry.record for entry in plan.entries if entry.record}
        number = parse_version(forget) if forget not in records else records[forget].number
        record = records.get(forget) or next((one for one in records.values() if one.number == number), None)
        if record is None:
            raise UsageError(f"--forget {forget}: {session.name} has no record of this version; see inv db.status")
        entry = next((one for one in plan.entries if one.record == record), None)
        if entry and entry.migration:
            raise UsageError(
                f"--forget {forget}: {entry.filename} is there, and db.migrate would run it again; "
                "to remove the newest record: inv db.rollback"
            )
        if needing := next((one for one in plan.entries if _needs_record(one, record)), None):
            raise UsageError(f"--forget {forget}: {needing.filename} replaces this version; run inv db.migrate first")
        session.connection.execute(delete_record_statement(session.connection, ledger, record.version))
    return ForgetResult(database=session.name, record=record, ahead=record in plan.records_ahead)


def forget_repeatable(
    session: Session,
    migrations: tuple[Migration, ...],
    *,
    name: str,
    lock_wait_seconds: float,
    waiting: Callable[[LockHolder], None],
) -> RepeatableRecord:
    """Remove the record of a repeatable file that was deleted, and return it.

    Raises UsageError when the file is there or has no record, LockBusy, DatabaseRefused.
    """
    ledger = find_ledger(session)
    refuse_read_only(session)
    with hold_advisory_lock(session, ledger, wait_seconds=lock_wait_seconds, waiting=waiting):
        entries = {entry.name: entry for entry in read_status(session, migrations).repeatable}
        entry = entries.get(name)
        if entry is None or entry.record is None:
            raise UsageError(f"--forget {name}: {session.name} has no record of this file; see inv db.status")
        if entry.migration:
            raise UsageError(f"--forget {name}: {entry.migration.filename} is there, and db.migrate would run it again")
        refuse_unusable_repeatable_table(session, ledger)
        delete_repeatable_record(session, ledger, name)
    return entry.record


def _needs_record(entry: PlanEntry, record: Record) -> bool:
    """Whether an entry is a squash file that is not recorded yet, and replaces the version of the record."""
    if not entry.migration or not (entry.stands_for or entry.reason is Reason.REPLACED_PARTLY):
        return False
    return any(one.number == record.number for one in entry.migration.replaces)


def restart_file(
    session: Session,
    migrations: tuple[Migration, ...],
    *,
    restart: str,
    lock_wait_seconds: float,
    waiting: Callable[[LockHolder], None],
) -> RestartResult:
    """Delete the progress of a partial file, or as much of it as the next run does not need to drop what was left.

    Raises UsageError when no file of this version is partial, LockBusy, DatabaseRefused.
    """
    number = parse_version(restart)
    ledger = find_ledger(session)
    refuse_read_only(session)
    refuse_unusable_progress_table(session, ledger)
    with hold_advisory_lock(session, ledger, wait_seconds=lock_wait_seconds, waiting=waiting):
        progress = read_progress(session, ledger) if ledger.exists else {}
        version = next((one for one in progress if one.isdigit() and int(one) == number), None)
        migration = next((migration for migration in migrations if migration.number == number), None)
        if version is None:
            name = migration.filename if migration else "no migration file has this version, and nothing of it"
            raise UsageError(f"--restart {restart}: {name} is not partly applied; see inv db.status")
        saved = progress[version]
        left = left_indexes(session.connection, saved)
        if left and migration:
            begun = replace(saved, finished=0, digest="", begun=1, begun_digest="")
            statement = save_progress_statement(session.connection, ledger, version, begun, previous_xid=saved.xid)
        else:
            statement = delete_progress_statement(session.connection, ledger, version, xid=saved.xid)
        session.connection.execute(statement)
    return RestartResult(
        database=session.name,
        version=version,
        filename=migration.filename if migration else None,
        finished=saved.finished,
        invalid_indexes=tuple(index.name for index in left),
    )
