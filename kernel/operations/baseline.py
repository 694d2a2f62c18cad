"""Records made by hand: db.baseline for a database that was there before, db.repair for a file changed on purpose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from kernel.db.advisory_lock import hold_advisory_lock
from kernel.db.connection import refuse_read_only
from kernel.db.ledger import claim_statement, create_ledger, find_ledger, read_records
from kernel.errors import UsageError
from kernel.operations.status import read_status
from kernel.plan import VersionState, parse_version

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.db.advisory_lock import LockHolder
    from kernel.db.connection import Session
    from kernel.db.ledger import Ledger, Record
    from kernel.migrations.migration import Migration


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineResult:
    """The files that count as applied from now on."""

    database: str
    recorded: tuple[Migration, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairResult:
    """A file that was accepted as it is, and the record it had before."""

    database: str
    migration: Migration
    previous_record: Record


def record_baseline(
    session: Session,
    found: tuple[Migration, ...],
    *,
    to: str,
    lock_wait_seconds: float,
    waiting: Callable[[LockHolder], None],
) -> BaselineResult:
    """Record the files up to version `to` as applied without running them, on a database that has no record yet.

    Raises UsageError when there is a record, or no file of this version, LockBusy, DatabaseRefused.
    """
    number = parse_version(to)
    if all(one.number != number for one in found):
        raise UsageError(f"--to {to}: no migration file has this version")
    wanted = tuple(one for one in found if one.number <= number)
    where = find_ledger(session)
    refuse_read_only(session)
    with hold_advisory_lock(session, where, wait_seconds=lock_wait_seconds, waiting=waiting):
        if recorded := read_records(session, find_ledger(session)):
            count = f"{len(recorded)} migration{' is' if len(recorded) == 1 else 's are'}"
            raise UsageError(
                f"{session.name}: {count} recorded already, and a baseline is for a database without any; "
                "see inv db.status"
            )
        with session.connection.transaction():
            where = create_ledger(session, where)
            for one in wanted:
                session.connection.execute(claim_statement(session.connection, where, one))
    return BaselineResult(database=session.name, recorded=wanted)


def repair_record(
    session: Session,
    found: tuple[Migration, ...],
    *,
    accept: str,
    lock_wait_seconds: float,
    waiting: Callable[[LockHolder], None],
) -> RepairResult:
    """Give the record of one version the checksum, name and number of its file, edited or renamed on purpose.

    Raises UsageError when there is nothing to accept for this version, LockBusy, DatabaseRefused.
    """
    number = parse_version(accept)
    where = find_ledger(session)
    refuse_read_only(session)
    with hold_advisory_lock(session, where, wait_seconds=lock_wait_seconds, waiting=waiting):
        plan = read_status(session, found).plan
        entry = next((one for one in plan.entries if one.migration and one.migration.number == number), None)
        if entry is None or entry.migration is None:
            raise UsageError(f"--accept {accept}: no migration file has this version")
        record = entry.record if entry.state is VersionState.MODIFIED else None
        if entry.record is None:
            missing = (one.record for one in plan.entries if one.state is VersionState.MISSING and one.record)
            record = next((one for one in missing if entry.migration.accepts(one.checksum)), None)
        if record is None and entry.record is None:
            raise UsageError(f"--accept {accept}: {entry.migration.filename} is not applied; run inv db.migrate")
        if record is None:
            raise UsageError(f"--accept {accept}: {entry.migration.filename} and its record agree; see inv db.status")
        _update_record(session, where, record, entry.migration)
    return RepairResult(database=session.name, migration=entry.migration, previous_record=record)


def _update_record(session: Session, where: Ledger, record: Record, migration: Migration) -> None:
    session.connection.execute(
        sql.SQL("UPDATE {} SET version = %s, filename = %s, checksum = %s WHERE version = %s").format(where.identifier),
        (migration.version, migration.filename, migration.checksum, record.version),
    )
