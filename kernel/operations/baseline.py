"""Records without a run: db.baseline for an existing database, db.repair for a file changed on purpose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from kernel.db.advisory_lock import hold_advisory_lock
from kernel.db.connection import refuse_read_only
from kernel.db.ledger import claim_statement, create_ledger, find_ledger, read_records
from kernel.errors import UsageError
from kernel.plan import VersionState, parse_version, read_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.db.advisory_lock import LockHolder
    from kernel.db.connection import Session
    from kernel.db.ledger import Ledger, Record
    from kernel.migrations.migration import Migration


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


def _update_record(session: Session, ledger: Ledger, record: Record, migration: Migration) -> None:
    session.connection.execute(
        sql.SQL("UPDATE {} SET version = %s, filename = %s, checksum = %s WHERE version = %s").format(
            ledger.identifier
        ),
        (migration.version, migration.filename, migration.checksum, record.version),
    )
