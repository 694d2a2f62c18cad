"""Records made by hand: db.baseline for a database that was there before, db.repair for a file changed on purpose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from kernel import database, ledger, lock, plan, status
from kernel.errors import UsageError
from kernel.plan import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.database import Session
    from kernel.files.migration import Migration
    from kernel.ledger import Ledger
    from kernel.lock import Holder
    from kernel.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The files that count as applied from now on."""

    database: str
    recorded: tuple[Migration, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """A file that was accepted as it is, and the record it had before."""

    database: str
    migration: Migration
    before: Record


def baseline(
    session: Session,
    found: tuple[Migration, ...],
    *,
    to: str,
    lock_wait_seconds: float,
    waiting: Callable[[Holder], None],
) -> Baseline:
    """Record the files up to version `to` as applied without running them, on a database that has no record yet.

    Raises UsageError when there is a record, or no file of this version, LockBusy, DatabaseRefused.
    """
    number = plan.version_number(to)
    if all(one.number != number for one in found):
        raise UsageError(f"--to {to}: no migration file has this version")
    wanted = tuple(one for one in found if one.number <= number)
    where = ledger.find(session)
    database.refuse_read_only(session)
    with lock.exclusive(session, where, wait_seconds=lock_wait_seconds, waiting=waiting):
        if recorded := ledger.records(session, ledger.find(session)):
            count = f"{len(recorded)} migration{' is' if len(recorded) == 1 else 's are'}"
            raise UsageError(
                f"{session.name}: {count} recorded already, and a baseline is for a database without any; "
                "see inv db.status"
            )
        with session.connection.transaction():
            where = ledger.create(session, where)
            for one in wanted:
                session.connection.execute(ledger.claim(session.connection, where, one))
    return Baseline(database=session.name, recorded=wanted)


def repair(
    session: Session,
    found: tuple[Migration, ...],
    *,
    accept: str,
    lock_wait_seconds: float,
    waiting: Callable[[Holder], None],
) -> Repair:
    """Give the record of one version the checksum, name and number of its file, edited or renamed on purpose.

    Raises UsageError when there is nothing to accept for this version, LockBusy, DatabaseRefused.
    """
    number = plan.version_number(accept)
    where = ledger.find(session)
    database.refuse_read_only(session)
    with lock.exclusive(session, where, wait_seconds=lock_wait_seconds, waiting=waiting):
        its_plan = status.read(session, found).plan
        entry = next((one for one in its_plan.entries if one.migration and one.migration.number == number), None)
        if entry is None or entry.migration is None:
            raise UsageError(f"--accept {accept}: no migration file has this version")
        record = entry.record if entry.state is State.MODIFIED else None
        if entry.record is None:
            missing = (one.record for one in its_plan.entries if one.state is State.MISSING and one.record)
            record = next((one for one in missing if entry.migration.accepts(one.checksum)), None)
        if record is None and entry.record is None:
            raise UsageError(f"--accept {accept}: {entry.migration.filename} is not applied; run inv db.migrate")
        if record is None:
            raise UsageError(f"--accept {accept}: {entry.migration.filename} and its record agree; see inv db.status")
        _rewrite(session, where, record, entry.migration)
    return Repair(database=session.name, migration=entry.migration, before=record)


def _rewrite(session: Session, where: Ledger, record: Record, migration: Migration) -> None:
    session.connection.execute(
        sql.SQL("UPDATE {} SET version = %s, filename = %s, checksum = %s WHERE version = %s").format(where.identifier),
        (migration.version, migration.filename, migration.checksum, record.version),
    )
