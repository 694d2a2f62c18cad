"""db.migrate: apply the pending migrations that db.status shows.

The steps are those of docs/production.md, "What a run does".
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kernel.apply.concurrent_changes import ANY_INVALID_INDEX, invalid_index_problems
from kernel.apply.events import FileWarning
from kernel.apply.executor import WaitLimits, open_executor
from kernel.apply.failures import ALL_ROLLED_BACK, ENUM_IN_ONE_TRANSACTION, ENUM_VALUE_SQLSTATE
from kernel.apply.no_transaction import renumbered_problems, run_outside_transaction
from kernel.apply.transaction import apply_in_transaction, file_run_for_migration
from kernel.db.advisory_lock import hold_advisory_lock
from kernel.db.connection import open_session, refuse_read_only, with_runner_settings
from kernel.db.ledger import ledger_name, refuse_missing_privilege, refuse_tables_without_ledger
from kernel.db.progress_table import create_ledger_tables, prepare_progress_table
from kernel.errors import Drift, FilesInvalid, MigrationFailed, Problem
from kernel.migrations.script import parse_script, unwritten_problems
from kernel.migrations.transactions import RunMode
from kernel.operations.baseline import record_squashes
from kernel.plan import migrations_to_apply, parse_version, read_status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.apply.events import MigrationApplied, Observer, RunHooks
    from kernel.apply.executor import Executor
    from kernel.config.ledger_name import LedgerName
    from kernel.db.connection import Session
    from kernel.db.ledger import Record
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Script
    from kernel.plan import PlanEntry, Status

    PendingFile = tuple[Migration, Script]


_PLAIN_BEGIN_WORDS = frozenset({b"BEGIN", b"START", b"TRANSACTION", b"WORK"})


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateOptions:
    """Options of db.migrate: `to` is the last version to apply, "" for all.

    Pending files of up to `memory_bytes` in all stay in memory between the check and the run; others are read twice.
    `allow_empty` applies files that are still as db.new wrote them.
    """

    to: str = ""
    allow_out_of_order: bool = False
    single_transaction: bool = False
    memory_bytes: int = 8 << 20
    allow_empty: bool = False
    waits: WaitLimits = field(default_factory=WaitLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateResult:
    """What a run did. `applied_by_others` counts the versions that other runners applied while this one waited.

    `recorded` are the squash files that were recorded without running them, since all that they replace is applied.
    """

    database: str
    applied: tuple[MigrationApplied, ...] = ()
    recorded: tuple[Migration, ...] = ()
    pending: tuple[Migration, ...] = ()
    total_files: int = 0
    applied_by_others: int = 0
    records_ahead: tuple[Record, ...] = ()


def migrate(
    session: Session,
    migrations: tuple[Migration, ...],
    options: MigrateOptions,
    observer: Observer,
    hooks: RunHooks | None = None,
) -> MigrateResult:
    """Apply pending migrations in version order, under the advisory lock.

    With nothing pending no lock is taken. `hooks` are called around every statement, as in a rehearsal.
    Raises what `prepare_migrate` raises, LockBusy, DatabaseRefused, MigrationFailed.
    """
    status, files = prepare_migrate(session, migrations, options)  # read-only, no lock
    if not files and not squashes_to_record(status, options):
        return _result(status, migrations)
    refuse_read_only(session)
    refuse_missing_privilege(session, status.ledger, "INSERT")
    if squashes_to_record(status, options):
        refuse_missing_privilege(session, status.ledger, "UPDATE")
    for _migration, script in files:
        for warning in script.warnings:
            observer(FileWarning(problem=warning))
    run = _Run(migrations=migrations, options=options, observer=observer, hooks=hooks)
    return _migrate_in_session(session, status, files, run)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What a run is called with."""

    migrations: tuple[Migration, ...]
    options: MigrateOptions
    observer: Observer
    hooks: RunHooks | None


def _migrate_in_session(session: Session, status: Status, files: tuple[PendingFile, ...], run: _Run) -> MigrateResult:
    """Apply files under the lock; those after a file that changes what a new session begins with, in a new session."""
    migrations, options = run.migrations, run.options
    session = with_runner_settings(session, statement_timeout_ms=options.waits.statement_timeout_ms)
    ledger = replace(status.ledger, exists=True)  # it does before the first file runs
    with (
        open_executor(session, ledger, waits=options.waits, observer=run.observer, hooks=run.hooks) as executor,
        hold_advisory_lock(
            session, status.ledger, wait_seconds=options.waits.lock_wait_seconds, waiting=executor.report_waiting
        ),
    ):
        status = read_status(session, migrations)  # another runner may have applied some before we had the lock
        pending = _pending(status, options)
        if not status.ledger.exists:
            create_ledger_tables(session, status.ledger)
        squashes = squashes_to_record(status, options)
        recorded = record_squashes(session, status.ledger, squashes) if squashes else ()
        if any(script.mode is not RunMode.TRANSACTION for migration, script in files if migration in pending):
            prepare_progress_table(session, status.ledger)
        todo = [file for file in files if file[0] in pending]
        if len(todo) > 1:
            executor.read_session_defaults()
        applied = _apply(executor, todo, options)
    result = replace(
        _result(status, migrations, applied=applied, applied_by_others=len(files) - len(applied)), recorded=recorded
    )
    if not _ends_early(executor, options) or applied[-1].migration == todo[-1][0]:
        return result
    try:
        rest = _migrate_in_new_session(session, status, run)
    except MigrationFailed as error:
        error.applied = (*(event.migration.filename for event in applied), *error.applied)
        raise
    return replace(
        rest,
        applied=applied + rest.applied,
        recorded=recorded + rest.recorded,
        applied_by_others=len(files) - len(todo) + rest.applied_by_others,
    )


def _migrate_in_new_session(session: Session, status: Status, run: _Run) -> MigrateResult:
    """Go on as another run would, with the same ledger, which a changed search path may not find."""
    ledger = ledger_name(status.ledger)
    with open_session(session.url, role=session.role, migrations_table=ledger) as renewed:
        status, files = prepare_migrate(renewed, run.migrations, run.options)
        return _migrate_in_session(renewed, status, files, run)


def _ends_early(executor: Executor, options: MigrateOptions) -> bool:
    """Whether the next file needs a new session. A rehearsal observes one session, and keeps it."""
    return executor.session_defaults.changed and not executor.hooks and not options.single_transaction


def squashes_to_record(status: Status, options: MigrateOptions) -> tuple[PlanEntry, ...]:
    """The squash files, up to version `options.to`, that a run records without running them."""
    last = parse_version(options.to) if options.to else None
    return tuple(entry for entry in status.plan.unrecorded_squashes if last is None or int(entry.version) <= last)


def prepare_migrate(
    session: Session, migrations: tuple[Migration, ...], options: MigrateOptions
) -> tuple[Status, tuple[PendingFile, ...]]:
    """Return the status and the files that a run would apply, checked without running them. Reads only.

    Raises Drift, Unrecorded, FilesInvalid with every file that cannot be run, UsageError.
    """
    status = read_status(session, migrations)
    pending = _pending(status, options)
    if pending:
        refuse_tables_without_ledger(session, status.ledger)
    files = _parse_pending(session, pending, options, ledger_name(status.ledger))
    if any(script.mode is not RunMode.TRANSACTION for _, script in files) and (
        problems := renumbered_problems(session, status.ledger, migrations, files)
    ):
        raise Drift(problems)
    return status, files


def _pending(status: Status, options: MigrateOptions) -> tuple[Migration, ...]:
    return migrations_to_apply(status.plan, to=options.to, allow_out_of_order=options.allow_out_of_order)


def _result(
    status: Status,
    migrations: tuple[Migration, ...],
    *,
    applied: tuple[MigrationApplied, ...] = (),
    applied_by_others: int = 0,
) -> MigrateResult:
    versions = {event.migration.version for event in applied}
    return MigrateResult(
        database=status.database,
        applied=applied,
        pending=tuple(migration for migration in status.plan.pending if migration.version not in versions),
        total_files=len(migrations),
        applied_by_others=applied_by_others,
        records_ahead=status.plan.records_ahead,
    )


def _parse_pending(
    session: Session, pending: tuple[Migration, ...], options: MigrateOptions, ledger: LedgerName
) -> tuple[PendingFile, ...]:
    problems: list[Problem] = []
    files: list[PendingFile] = []
    keep_bytes = options.memory_bytes
    for migration in pending:
        try:
            script = parse_script(migration.path, migration.filename, keep_bytes=keep_bytes, ledger=ledger)
        except FilesInvalid as error:
            problems += error.problems
            continue
        files.append((migration, script))
        keep_bytes -= script.size_bytes if script.parts else 0
    for migration, script in files:
        problems += () if options.allow_empty else unwritten_problems(script, migration.filename)
        messages = _mode_problems(session, script, options)
        problems += [Problem(message=message, file=migration.filename) for message in messages]
    if files and session.connection.execute(ANY_INVALID_INDEX).fetchone():
        problems += invalid_index_problems(session.connection, files)
    if problems:
        raise FilesInvalid(problems)
    return tuple(files)


def _mode_problems(session: Session, script: Script, options: MigrateOptions) -> Iterator[str]:
    """Why a file cannot be run in this session with these options."""
    if script.mode is RunMode.TRANSACTION:
        if options.single_transaction and set(script.begin_sql.upper().split()) - _PLAIN_BEGIN_WORDS:
            yield "begins its transaction in a way of its own, which --single-transaction rules out"
        return
    if options.single_transaction:
        yield "runs outside of a transaction, which --single-transaction rules out"
    if session.pooled:
        yield (
            "runs outside of a transaction, for which a pooler gives no session of our own; "
            "set MIGRATION_DATABASE_URL to the server itself"
        )


def _apply(executor: Executor, files: Sequence[PendingFile], options: MigrateOptions) -> tuple[MigrationApplied, ...]:
    """Apply files one by one, or all in one transaction. Its MigrationFailed says what is applied and what is pending.

    It ends after a file that changes what a new session begins with.

    A file outside of a transaction is one that has to be alone: the others have refused --single-transaction.
    """
    applied: list[MigrationApplied] = []
    try:
        for group in [files] if options.single_transaction else [[file] for file in files]:
            applied += _apply_group(executor, group)
            if _ends_early(executor, options):
                break
    except MigrationFailed as error:
        if options.single_transaction and error.rolled_back:
            error.aftermath = ALL_ROLLED_BACK
        if options.single_transaction and error.failure.sqlstate == ENUM_VALUE_SQLSTATE:
            error.hint = ENUM_IN_ONE_TRANSACTION
        error.applied = tuple(event.migration.filename for event in applied)
        error.pending = tuple(migration.filename for migration, _ in files[len(applied) :])
        raise
    return tuple(applied)


def _apply_group(executor: Executor, files: Sequence[PendingFile]) -> tuple[MigrationApplied, ...]:
    for migration, script in files:
        if script.mode is not RunMode.TRANSACTION:
            executor.fingerprint.forget()
            applied = run_outside_transaction(executor, migration, script)
            executor.read_session_defaults()
            return (applied,)
    return apply_in_transaction(
        executor,
        [file_run_for_migration(executor.session, executor.ledger, migration, script) for migration, script in files],
    )
