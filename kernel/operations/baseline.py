"""Records without a run: db.baseline for an existing database.

db.migrate records a squash file so where all files that it replaces are applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.db.advisory_lock import hold_advisory_lock
from kernel.db.ledger import find_ledger, refuse_missing_create
from kernel.db.progress_table import create_ledger_tables, forget_progress
from kernel.db.read_only import refuse_read_only
from kernel.db.records import claim_statement, read_records, refuse_missing_privilege, update_record_statement
from kernel.db.unrecorded import refuse_records_elsewhere, unrecorded_tables
from kernel.errors import UsageError
from kernel.migrations.migration import parse_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.db.advisory_lock import LockHolder
    from kernel.db.connection import Session
    from kernel.db.ledger import Ledger
    from kernel.migrations.migration import Migration
    from kernel.plan import PlanEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineResult:
    """The migrations that were recorded as applied; without any, the `tables` that none of the files made.

    `tables` are quoted and have their schema.
    """

    database: str
    recorded: tuple[Migration, ...]
    tables: tuple[str, ...] = ()


def record_baseline(
    session: Session,
    migrations: tuple[Migration, ...],
    *,
    to: str,
    lock_wait_seconds: float,
    waiting: Callable[[LockHolder], None],
    inspect: Callable[[tuple[Migration, ...]], None] = lambda _migrations: None,
    dry_run: bool = False,
) -> BaselineResult:
    """Record the files up to version `to` as applied, without running them, in a database without records.

    Version 0, unless a file has it, records none: the tables of the database are of others, and every file will run.
    `inspect` is called with the files before they are recorded, without the lock. With `dry_run` nothing is written.

    Raises UsageError when there is a record, or no file of this version, LedgerElsewhere, LockBusy, DatabaseRefused.
    """
    number = parse_version(to)
    if number and all(migration.number != number for migration in migrations):
        raise UsageError(f"--to {to}: no migration file has this version")
    to_record = tuple(migration for migration in migrations if migration.number <= number)
    return record_files(
        session,
        migrations,
        to_record,
        lock_wait_seconds=lock_wait_seconds,
        waiting=waiting,
        inspect=inspect,
        dry_run=dry_run,
    )


def record_files(
    session: Session,
    migrations: tuple[Migration, ...],
    to_record: tuple[Migration, ...],
    *,
    lock_wait_seconds: float,
    waiting: Callable[[LockHolder], None],
    inspect: Callable[[tuple[Migration, ...]], None],
    dry_run: bool,
) -> BaselineResult:
    """Record these of the migrations; see record_baseline, whose errors it raises."""
    ledger = find_ledger(session)
    if not dry_run:
        refuse_read_only(session)
        refuse_missing_create(session, ledger)
        refuse_missing_privilege(session, ledger, "INSERT")
    _refuse_records(session, ledger)
    refuse_records_elsewhere(session, ledger, migrations)
    if to_record:
        inspect(to_record)
    if dry_run:
        tables = unrecorded_tables(session, ledger) if not to_record else ()
        return BaselineResult(database=session.name, recorded=to_record, tables=tables)
    with hold_advisory_lock(session, ledger, wait_seconds=lock_wait_seconds, waiting=waiting):
        _refuse_records(session, find_ledger(session))
        tables = unrecorded_tables(session, ledger) if not to_record else ()
        forget_progress(session, ledger, {migration.number for migration in to_record})
        with session.connection.transaction():
            ledger = create_ledger_tables(session, ledger)
            for migration in to_record:
                session.connection.execute(claim_statement(session.connection, ledger, migration))
    return BaselineResult(database=session.name, recorded=to_record, tables=tables)


def _refuse_records(session: Session, ledger: Ledger) -> None:
    if recorded := read_records(session, ledger):
        count = f"{len(recorded)} migration{' is' if len(recorded) == 1 else 's are'}"
        raise UsageError(
            f"{session.name}: {count} recorded already, and a baseline is for a database without any; see inv db.status"
        )


def record_squashes(session: Session, ledger: Ledger, entries: tuple[PlanEntry, ...]) -> tuple[Migration, ...]:
    """Record squash files, under the lock, without running them; the records of the versions they replace stay."""
    with session.connection.transaction():
        for statement in squash_statements(session, ledger, entries):
            session.connection.execute(statement)
    return tuple(entry.migration for entry in entries if entry.migration)


def squash_statements(session: Session, ledger: Ledger, entries: tuple[PlanEntry, ...]) -> Iterator[bytes]:
    """The statements that record squash files.

    The record of the last replaced version, which has the number of the squash file, becomes that of the squash file.
    """
    for entry in entries:
        if entry.migration and entry.record:
            yield update_record_statement(session.connection, ledger, entry.record, entry.migration)
        elif entry.migration:
            yield claim_statement(session.connection, ledger, entry.migration)
