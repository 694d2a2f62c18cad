"""Records without a run: db.baseline for an existing database, db.repair for a file changed or deleted on purpose.

db.migrate records a squash file so where all files that it replaces are applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from kernel.db.advisory_lock import hold_advisory_lock
from kernel.db.connection import refuse_read_only
from kernel.db.ledger import (
    claim_statement,
    create_ledger,
    delete_record_statement,
    find_ledger,
    read_records,
    refuse_missing_privilege,
)
from kernel.errors import UsageError
from kernel.plan import Reason, VersionState, parse_version, read_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.db.advisory_lock import LockHolder
    from kernel.db.connection import Session
    from kernel.db.ledger import Ledger, Record
    from kernel.migrations.migration import Migration
    from kernel.plan import PlanEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineResult:
    """The migrations that were recorded as applied."""

    database: str
    recorded: tuple[Migration, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairResult:
    """The migration whose current content was accepted, and its record before."""

    database: str
    migration: Migration
    previous_record: Record


def record_baseline(
    session: Session,
    migrations: tuple[Migration, ...],
    *,
    to: str,
    lock_wait_seconds: float,
    waiting: Callable[[LockHolder], None],
) -> BaselineResult:
    """Record the files up to version `to` as applied, without running them, in a database without records.

    Raises UsageError when there is a record, or no file of this version, LockBusy, DatabaseRefused.
    """
    number = parse_version(to)
    if all(migration.number != number for migration in migrations):
        raise UsageError(f"--to {to}: no migration file has this version")
    to_record = tuple(migration for migration in migrations if migration.number <= number)
    ledger = find_ledger(session)
    refuse_read_only(session)
    with hold_advisory_lock(session, ledger, wait_seconds=lock_wait_seconds, waiting=waiting):
        if recorded := read_records(session, find_ledger(session)):
            count = f"{len(recorded)} migration{' is' if len(recorded) == 1 else 's are'}"
            raise UsageError(
                f"{session.name}: {count} recorded already, and a baseline is for a database without any; "
                "see inv db.status"
            )
        with session.connection.transaction():
            ledger = create_ledger(session, ledger)
            for migration in to_record:
                session.connection.execute(claim_statement(session.connection, ledger, migration))
    return BaselineResult(database=session.name, recorded=to_record)


def repair_record(
    session: Session,
    migrations: tuple[Migration, ...],
    *,
    accept: str,
    lock_wait_seconds: float,
    waiting: Callable[[LockHolder], None],
) -> RepairResult:
    """Update the record of one version to the checksum, name and number of its file, changed on purpose.

    Raises UsageError when there is nothing to accept for this version, LockBusy, DatabaseRefused.
    """
    number = parse_version(accept)
    ledger = find_ledger(session)
    refuse_read_only(session)
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
        _update_record(session, ledger, record, entry.migration)
    return RepairResult(database=session.name, migration=entry.migration, previous_record=record)


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


def _needs_record(entry: PlanEntry, record: Record) -> bool:
    """Whether an entry is a squash file that is not recorded yet, and replaces the version of the record."""
    if not entry.migration or not (entry.stands_for or entry.reason is Reason.REPLACED_PARTLY):
        return False
    return any(one.number == record.number for one in entry.migration.replaces)


def record_squashes(session: Session, ledger: Ledger, entries: tuple[PlanEntry, ...]) -> tuple[Migration, ...]:
    """Record squash files, under the lock, without running them; the records of the versions they replace stay.

    The record of the last replaced version, which has the number of the squash file, becomes that of the squash file.
    """
    recorded = []
    with session.connection.transaction():
        for entry in entries:
            if entry.migration is None:
                continue
            if entry.record:
                _update_record(session, ledger, entry.record, entry.migration)
            else:
                session.connection.execute(claim_statement(session.connection, ledger, entry.migration))
            recorded.append(entry.migration)
    return tuple(recorded)


def _update_record(session: Session, ledger: Ledger, record: Record, migration: Migration) -> None:
    session.connection.execute(
        sql.SQL("UPDATE {} SET version = %s, filename = %s, checksum = %s WHERE version = %s").format(
            ledger.identifier
        ),
        (migration.version, migration.filename, migration.checksum, record.version),
    )
