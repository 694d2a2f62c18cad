"""db.migrate: apply the pending migrations that db.status shows.

The steps are those of docs/production.md, "What a run does".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from kernel.apply.concurrent_changes import invalid_index_problems
from kernel.apply.events import FileWarning
from kernel.apply.executor import WaitLimits, open_executor
from kernel.apply.failures import ALL_ROLLED_BACK, ENUM_IN_ONE_TRANSACTION, ENUM_VALUE_SQLSTATE, name_missing_grant
from kernel.apply.no_transaction import run_outside_transaction
from kernel.apply.resume import mode_problem, renumbered_problems, resume_problem
from kernel.apply.transaction import apply_in_transaction, file_run_for_migration
from kernel.db.advisory_lock import hold_advisory_lock
from kernel.db.connection import end_session, open_session, with_runner_settings
from kernel.db.ledger import ledger_name, refuse_missing_create
from kernel.db.progress_table import (
    create_ledger_tables,
    prepare_progress_table,
    read_progress,
    refuse_unusable_progress_table,
)
from kernel.db.read_only import refuse_read_only
from kernel.db.records import refuse_missing_privilege
from kernel.db.repeatable_entries import RepeatableState
from kernel.db.repeatable_table import prepare_repeatable_table, refuse_unusable_repeatable_table
from kernel.db.unrecorded import refuse_tables_without_ledger
from kernel.errors import DatabaseRefused, Drift, FilesInvalid, MigrationFailed, Problem, Unrecorded
from kernel.migrations.migration import parse_version
from kernel.migrations.paired_files import verification_problems
from kernel.migrations.script import open_script, parse_script, unwritten_problems
from kernel.migrations.transactions import RunMode
from kernel.operations.baseline import record_squashes
from kernel.operations.repeatable import (
    RepeatableRun,
    apply_repeatable,
    name_repeatable_dependants,
    plan_repeatable,
    with_current_records,
)
from kernel.plan import migrations_to_apply, read_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from kernel.apply.events import MigrationApplied, Observer, RunHooks
    from kernel.apply.executor import Executor
    from kernel.apply.transaction import FileRun
    from kernel.config.ledger_name import LedgerName
    from kernel.db.connection import Session
    from kernel.db.records import Record
    from kernel.errors import KernelError
    from kernel.migrations.backfill import Backfill
    from kernel.migrations.migration import Migration
    from kernel.migrations.phases import Phase
    from kernel.migrations.script import Script
    from kernel.plan import PlanEntry, Status

    PendingFile = tuple[Migration, Script]


_PLAIN_BEGIN_WORDS = frozenset({b"BEGIN", b"START", b"TRANSACTION", b"WORK"})


class ParseScript(Protocol):
    """A function that reads a file as parse_script does."""

    def __call__(self, path: Path, name: str, *, keep_bytes: int, ledger: LedgerName) -> Script: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateOptions:
    """Options of db.migrate: `to` is the last version to apply, "" for all.

    Pending files of up to `memory_bytes` in all stay in memory between the check and the run; others are read twice.
    `allow_empty` applies files that are still as db.new wrote them. With `single_connection` no second one is opened to
    see who blocks a statement. `parse` reads a file, as parse_script does. `phase` is the only one to apply, None for
    both in version order; `by_phase` applies both as a run of each would, where such runs are allowed. `repeatable` are
    the repeatable files, None for those of the same directory.
    """

    to: str = ""
    phase: Phase | None = None
    by_phase: bool = False
    repeatable: tuple[Migration, ...] | None = None
    allow_out_of_order: bool = False
    single_transaction: bool = False
    memory_bytes: int = 8 << 20
    allow_empty: bool = False
    waits: WaitLimits = field(default_factory=WaitLimits)
    single_connection: bool = False
    parse: ParseScript = parse_script


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateResult:
    """What a run did. `applied_by_others` counts the versions that other runners applied while this one waited.

    `recorded` are the squash files that were recorded without running them, since all that they replace is applied.
    `repeated` are the repeatable files that were applied, `pending_repeatable` those that changed and wait, and
    `missing_repeatable` the names of those that were deleted.
    """

    database: str
    applied: tuple[MigrationApplied, ...] = ()
    recorded: tuple[Migration, ...] = ()
    pending: tuple[Migration, ...] = ()
    total_files: int = 0
    applied_by_others: int = 0
    records_ahead: tuple[Record, ...] = ()
    repeated: tuple[MigrationApplied, ...] = ()
    pending_repeatable: tuple[Migration, ...] = ()
    missing_repeatable: tuple[str, ...] = ()


class PreparedRun(NamedTuple):
    """The status, and the files that a run would apply, checked without running them."""

    status: Status
    files: tuple[PendingFile, ...]
    repeatable: RepeatableRun

    @property
    def migrations(self) -> tuple[Migration, ...]:
        """The files, repeatable ones at the end."""
        return (*(migration for migration, _ in self.files), *self.repeatable.pending)


def migrate(
    session: Session,
    migrations: tuple[Migration, ...],
    options: MigrateOptions,
    observer: Observer,
    hooks: RunHooks | None = None,
) -> MigrateResult:
    """Apply pending migrations in version order, or those of a phase, and repeatable files, under the advisory lock.

    With nothing pending no lock is taken. `hooks` are called around every statement, as in a rehearsal.
    Raises what `prepare_migrate` raises, LockBusy, DatabaseRefused, MigrationFailed.
    """
    prepared = prepare_migrate(session, migrations, options)  # read-only, no lock
    status, files, repeatable = prepared
    if not files and not repeatable.pending and not squashes_to_record(status, options):
        return _result(status, migrations)
    for refuse in _database_checks(session, status, options, repeatable):
        refuse()
    for _migration, script in files:
        for warning in script.warnings:
            observer(FileWarning(problem=warning))
    run = _Run(migrations=migrations, options=options, observer=observer, hooks=hooks)
    return _migrate_in_session(session, prepared, run)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What a run is called with."""

    migrations: tuple[Migration, ...]
    options: MigrateOptions
    observer: Observer
    hooks: RunHooks | None


def _migrate_in_session(session: Session, prepared: PreparedRun, run: _Run) -> MigrateResult:
    """Apply files under the lock; those after a file that changes what a new session begins with, in a new session."""
    status, files, repeatable = prepared
    migrations, options = run.migrations, run.options
    session = with_runner_settings(session, statement_timeout_ms=options.waits.statement_timeout_ms)
    ledger = replace(status.ledger, exists=True)  # it does before the first file runs
    with (
        open_executor(
            session,
            ledger,
            waits=options.waits,
            observer=run.observer,
            hooks=run.hooks,
            monitored=not options.single_connection,
        ) as executor,
        hold_advisory_lock(
            session, status.ledger, wait_seconds=options.waits.lock_wait_seconds, waiting=executor.report_waiting
        ),
    ):
        # Another runner may have applied some before we had the lock.
        status = read_status(session, migrations, repeatable=options.repeatable)
        pending = set(_pending(status, options))
        todo = [file for file in files if file[0] in pending]
        repeatable = with_current_records(repeatable, status, pending)
        if not status.ledger.exists:
            create_ledger_tables(session, status.ledger)
        squashes = squashes_to_record(status, options)
        recorded = record_squashes(session, status.ledger, squashes) if squashes else ()
        if any(script.mode is not RunMode.TRANSACTION for _migration, script in todo):
            prepare_progress_table(session, status.ledger)
        if repeatable.pending:
            prepare_repeatable_table(session, status.ledger)
        if len(todo) + bool(repeatable.pending) > 1:
            executor.read_session_defaults()

        def plan_again() -> RepeatableRun:
            """Plan the repeatable files after the numbered ones, which may have dropped what they make."""
            return plan_repeatable(read_status(session, migrations, repeatable=options.repeatable), ())

        again = plan_again if status.repeatable else RepeatableRun
        try:
            applied, repeated = _apply(executor, todo, repeatable, options, plan_again=again)
        except MigrationFailed as error:
            name_repeatable_dependants(error, status)
            raise
    result = replace(
        _result(
            status,
            migrations,
            applied=applied,
            repeated=repeated,
            applied_by_others=len(files) + len(prepared.repeatable.pending) - len(applied) - len(repeated),
        ),
        recorded=recorded,
    )
    is_complete = len(applied) == len(todo) and (repeated or not repeatable.pending)
    if is_complete or not _ends_early(executor, options):
        return result
    try:
        rest = _migrate_in_new_session(session, status, run)
    except MigrationFailed as error:
        error.applied = (*(event.migration.filename for event in applied), *error.applied)
        raise
    return replace(
        rest,
        applied=applied + rest.applied,
        repeated=repeated + rest.repeated,
        recorded=recorded + rest.recorded,
        applied_by_others=len(files) - len(todo) + rest.applied_by_others,
    )


def _migrate_in_new_session(session: Session, status: Status, run: _Run) -> MigrateResult:
    """Go on as another run would, with the same ledger, which a changed search path may not find.

    The session so far is closed first: a run has one connection.
    """
    ledger = ledger_name(status.ledger)
    end_session(session.connection)
    with open_session(session.url, role=session.role, migrations_table=ledger) as renewed:
        return _migrate_in_session(renewed, prepare_migrate(renewed, run.migrations, run.options), run)


def _ends_early(executor: Executor, options: MigrateOptions) -> bool:
    """Whether the next file needs a new session. A rehearsal observes one session, and keeps it."""
    return executor.session_defaults.changed and not executor.hooks and not options.single_transaction


def squashes_to_record(status: Status, options: MigrateOptions) -> tuple[PlanEntry, ...]:
    """The squash files, up to version `options.to`, that a run records without running them."""
    last = parse_version(options.to) if options.to else None
    return tuple(entry for entry in status.plan.unrecorded_squashes if last is None or int(entry.version) <= last)


def prepare_migrate(session: Session, migrations: tuple[Migration, ...], options: MigrateOptions) -> PreparedRun:
    """Return the status and the files that a run would apply, checked without running them. Reads only.

    Raises Drift, Unrecorded, FilesInvalid with every file that cannot be run, UsageError.
    """
    status = read_status(session, migrations, repeatable=options.repeatable)
    pending = _pending(status, options)
    if pending:
        refuse_tables_without_ledger(session, status.ledger)
    if any(entry.state is RepeatableState.UNKNOWN for entry in status.repeatable):
        refuse_unusable_repeatable_table(session, status.ledger)
    problems: list[Problem] = []
    try:
        repeatable = plan_repeatable(status, pending)
    except FilesInvalid as error:
        problems += error.problems
    try:
        files = _parse_pending(session, pending, options, ledger_name(status.ledger))
    except FilesInvalid as error:
        problems = [*error.problems, *problems]
    if problems:
        raise FilesInvalid(problems)
    partial = {entry.version: entry.partial for entry in status.plan.entries if entry.partial}
    if changed := [
        Problem(message=message, file=migration.filename)
        for migration, script in files
        if migration.version in partial and (message := mode_problem(migration, script, partial[migration.version]))
    ]:
        raise Drift(changed)
    if any(script.mode is not RunMode.TRANSACTION for _, script in files) and (
        renumbered := renumbered_problems(session, status.ledger, migrations, files)
    ):
        raise Drift(renumbered)
    return PreparedRun(status, files, repeatable)


def migrate_refusals(session: Session, status: Status) -> tuple[KernelError, ...]:
    """The errors with which a run would stop before its first statement, those of drift apart. Reads only."""
    options = MigrateOptions()

    def check_repeatable() -> None:
        if plan_repeatable(status, status.plan.pending).pending:
            refuse_unusable_repeatable_table(session, status.ledger)

    def check_files() -> None:
        files = _parse_pending(session, status.plan.pending, options, ledger_name(status.ledger))
        if status.ledger.exists and any(script.mode is not RunMode.TRANSACTION for _, script in files):
            refuse_unusable_progress_table(session, status.ledger)

    errors: list[KernelError] = []
    for refuse in (
        lambda: refuse_tables_without_ledger(session, status.ledger),
        *_database_checks(session, status, options, RepeatableRun()),
        check_files,
        check_repeatable,
    ):
        try:
            refuse()
        except (Unrecorded, DatabaseRefused, FilesInvalid) as error:
            errors.append(error)
    return tuple(errors)


def with_resume_problems(session: Session, status: Status) -> Status:
    """The status in which a partial file says why the next run will not go on with it. Reads only."""
    progress = read_progress(session, status.ledger)

    def with_problem(entry: PlanEntry) -> PlanEntry:
        if entry.partial is None or entry.migration is None or entry.version not in progress:
            return entry
        migration = entry.migration
        try:
            script = parse_script(migration.path, migration.filename, ledger=ledger_name(status.ledger))
            problem = resume_problem(migration, script, progress[entry.version])
        except (FilesInvalid, OSError):  # reported by itself
            return entry
        return replace(entry, partial=replace(entry.partial, problem=problem))

    entries = tuple(with_problem(entry) for entry in status.plan.entries)
    return replace(status, plan=replace(status.plan, entries=entries))


def _database_checks(
    session: Session, status: Status, options: MigrateOptions, repeatable: RepeatableRun
) -> Iterator[Callable[[], object]]:
    """The checks, each of which raises DatabaseRefused, of whether this session may write what a run writes."""
    yield lambda: refuse_read_only(session)
    yield lambda: refuse_missing_create(session, status.ledger)
    yield lambda: refuse_missing_privilege(session, status.ledger, "INSERT")
    if repeatable.pending:
        yield lambda: refuse_unusable_repeatable_table(session, status.ledger)
    if squashes_to_record(status, options):
        yield lambda: refuse_missing_privilege(session, status.ledger, "UPDATE")


def _pending(status: Status, options: MigrateOptions) -> tuple[Migration, ...]:
    pending = migrations_to_apply(
        status.plan, to=options.to, allow_out_of_order=options.allow_out_of_order, phase=options.phase
    )
    if not options.by_phase:
        return pending
    from kernel.migrations.passing import in_order_of_phases  # noqa: PLC0415 - in a rehearsal only

    return in_order_of_phases(pending)


def _result(
    status: Status,
    migrations: tuple[Migration, ...],
    *,
    applied: tuple[MigrationApplied, ...] = (),
    repeated: tuple[MigrationApplied, ...] = (),
    applied_by_others: int = 0,
) -> MigrateResult:
    versions = {event.migration.version for event in applied}
    repeated_files = {event.migration for event in repeated}
    return MigrateResult(
        database=status.database,
        applied=applied,
        pending=tuple(migration for migration in status.plan.pending if migration.version not in versions),
        total_files=len(migrations),
        applied_by_others=applied_by_others,
        records_ahead=status.plan.records_ahead,
        repeated=repeated,
        pending_repeatable=tuple(one for one in status.pending_repeatable if one not in repeated_files),
        missing_repeatable=tuple(entry.name for entry in status.repeatable if entry.state is RepeatableState.MISSING),
    )


def _parse_pending(
    session: Session, pending: tuple[Migration, ...], options: MigrateOptions, ledger: LedgerName
) -> tuple[PendingFile, ...]:
    problems: list[Problem] = []
    files: list[PendingFile] = []
    keep_bytes = options.memory_bytes
    for migration in pending:
        try:
            script = options.parse(migration.path, migration.filename, keep_bytes=keep_bytes, ledger=ledger)
        except FilesInvalid as error:
            problems += error.problems
            continue
        files.append((migration, script))
        keep_bytes -= script.size_bytes if script.parts else 0
    for migration, script in files:
        problems += () if options.allow_empty else unwritten_problems(script, migration.filename)
        problems += verification_problems(migration, script, ledger)
        messages = _mode_problems(session, script, options)
        problems += [Problem(message=message, file=migration.filename) for message in messages]
    problems += invalid_index_problems(session.connection, files)
    if any(script.backfill for _, script in files):
        problems += _backfill_problems(session, files)
    if problems:
        raise FilesInvalid(problems)
    return tuple(files)


def _backfill_problems(session: Session, files: Sequence[PendingFile]) -> Iterator[Problem]:
    """Yield what the database has against backfills, of those whose table no other kind of file before them mentions.

    What such a file makes of it is seen before the first batch.
    """
    from kernel.db.walk_key import find_walk_key  # noqa: PLC0415 - for few files

    for at, (migration, script) in enumerate(files):
        if script.backfill and not any(
            not before[1].backfill and _mentions(before, script.backfill) for before in files[:at]
        ):
            _, problems = find_walk_key(session.connection, script.backfill, migration.filename, looks_at_rows=True)
            yield from problems


def _mentions(file: PendingFile, backfill: Backfill) -> bool:
    """Whether a file has the name of a table of a backfill in its text, or may have it in one of its strings."""
    migration, script = file
    names = {re.escape(name.rpartition(".")[2].strip('"')).encode() for name in backfill.tables}
    named = re.compile(rb"\b(?:" + b"|".join(names) + rb")\b", re.IGNORECASE)
    with open_script(script, migration.path) as reading:
        return any(named.search(part.text) for part in reading.parts)


def _mode_problems(session: Session, script: Script, options: MigrateOptions) -> Iterator[str]:
    """Why a file cannot be run in this session with these options."""
    if script.mode is RunMode.TRANSACTION:
        if options.single_transaction and set(b" ".join(script.begin).upper().split()) - _PLAIN_BEGIN_WORDS:
            yield "begins its transaction in a way of its own, which --single-transaction rules out"
        return
    if options.single_transaction:
        yield "runs outside of a transaction, which --single-transaction rules out"
    if session.pooled:
        yield (
            "runs outside of a transaction, for which a pooler gives no session of our own; "
            "set MIGRATION_DATABASE_URL to the server itself"
        )


def _apply(
    executor: Executor,
    files: Sequence[PendingFile],
    repeatable: RepeatableRun,
    options: MigrateOptions,
    *,
    plan_again: Callable[[], RepeatableRun],
) -> tuple[tuple[MigrationApplied, ...], tuple[MigrationApplied, ...]]:
    """Apply files one by one, and then the repeatable ones, which are planned again; or all in one transaction.

    Its MigrationFailed says what is applied and what is pending. It ends after a file that changes what a new session
    begins with. A file outside of a transaction is one that has to be alone: the others have refused
    --single-transaction.
    """
    applied: list[MigrationApplied] = []
    repeated: tuple[MigrationApplied, ...] = ()
    try:
        if options.single_transaction:
            ahead = _file_runs(executor, files)
            events = apply_repeatable(executor, repeatable, ahead)
            applied += (event for event in events if event.migration not in repeatable.migrations)
            repeated = tuple(event for event in events if event.migration in repeatable.migrations)
            repeatable = RepeatableRun()
        else:
            for file in files:
                applied += _apply_file(executor, *file)
                if _ends_early(executor, options) and (file is not files[-1] or repeatable.pending):
                    return tuple(applied), ()
        if files:
            repeatable = plan_again()
        if repeatable.pending:
            repeated += apply_repeatable(executor, repeatable)
    except MigrationFailed as error:
        if options.single_transaction and error.rolled_back:
            error.aftermath = ALL_ROLLED_BACK
        if options.single_transaction and error.failure.sqlstate == ENUM_VALUE_SQLSTATE:
            error.hint = ENUM_IN_ONE_TRANSACTION
        name_missing_grant(error, executor.session.connection)
        error.applied = tuple(event.migration.filename for event in applied)
        left = (*(migration for migration, _ in files[len(applied) :]), *repeatable.pending)
        error.pending = tuple(migration.filename for migration in left)
        raise
    return tuple(applied), repeated


def _apply_file(executor: Executor, migration: Migration, script: Script) -> tuple[MigrationApplied, ...]:
    if script.mode is RunMode.TRANSACTION:
        return apply_in_transaction(executor, _file_runs(executor, [(migration, script)]))
    executor.fingerprint.forget()
    if script.backfill:
        from kernel.apply.backfill import run_in_batches  # noqa: PLC0415 - for few files

        applied = run_in_batches(executor, migration, script, script.backfill)
    else:
        applied = run_outside_transaction(executor, migration, script)
    executor.read_session_defaults()
    return (applied,)


def _file_runs(executor: Executor, files: Sequence[PendingFile]) -> list[FileRun]:
    return [file_run_for_migration(executor.session, executor.ledger, migration, script) for migration, script in files]
