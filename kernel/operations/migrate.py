"""db.migrate: the Plan that db.status shows, carried out under the lock.

The steps are those of docs/production.md, "What a run does".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING

from kernel.apply.envelope import file_run_for_migration
from kernel.apply.executor import WaitLimits, open_executor
from kernel.apply.failures import ALL_ROLLED_BACK
from kernel.apply.no_transaction import run_outside_transaction
from kernel.apply.transaction import Transactions
from kernel.db.advisory_lock import hold_advisory_lock
from kernel.db.connection import refuse_read_only, with_runner_settings
from kernel.db.ledger import create_ledger, refuse_missing_privilege, refuse_tables_without_ledger
from kernel.errors import FilesInvalid, MigrationFailed, Problem
from kernel.migrations.script import RunMode, parse_script
from kernel.operations.status import read_status
from kernel.plan import migrations_to_apply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.apply.envelope import FileRun
    from kernel.apply.events import MigrationApplied, Observer, RunHooks
    from kernel.apply.executor import Executor
    from kernel.db.connection import Session
    from kernel.db.ledger import Record
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Script
    from kernel.operations.status import Status

    PendingFile = tuple[Migration, Script]


_PLAIN_BEGIN_WORDS = frozenset({b"BEGIN", b"START", b"TRANSACTION", b"WORK"})
# So many bytes of pending files stay in memory between being checked and being run; larger ones are read twice.
_KEPT_IN_MEMORY_BYTES = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateOptions:
    """What a run is asked for: as far as version `to`, "" for all; with drift of order allowed; all or none."""

    to: str = ""
    allow_out_of_order: bool = False
    single_transaction: bool = False
    waits: WaitLimits = field(default_factory=WaitLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateResult:
    """What a run did. `elsewhere` counts the versions that other runners applied while this one waited."""

    database: str
    applied: tuple[MigrationApplied, ...] = ()
    pending: tuple[Migration, ...] = ()
    total_files: int = 0
    applied_by_others: int = 0
    records_ahead: tuple[Record, ...] = ()


def prepare_migrate(
    session: Session, found: tuple[Migration, ...], wish: MigrateOptions
) -> tuple[Status, tuple[PendingFile, ...]]:
    """What a run would do, checked as far as it can be without running it. Reads only.

    Raises Drift, Unrecorded, FilesInvalid with every file that cannot be run, UsageError.
    """
    now = read_status(session, found)
    todo = migrations_to_apply(now.plan, to=wish.to, allow_out_of_order=wish.allow_out_of_order)
    if todo:
        refuse_tables_without_ledger(session, now.ledger)
    return now, _parse_pending(session, todo, wish)


def migrate(
    session: Session,
    found: tuple[Migration, ...],
    wish: MigrateOptions,
    observer: Observer,
    witness: RunHooks | None = None,
) -> MigrateResult:
    """Apply what is pending, in version order, under the lock. Without anything pending no lock is taken.

    A `witness` looks on statement by statement, as in a rehearsal.
    Raises what `planned` raises, LockBusy, DatabaseRefused, MigrationFailed.
    """
    before, todo = prepare_migrate(session, found, wish)
    if not todo:
        return _nothing_applied(before, found)
    refuse_read_only(session)
    refuse_missing_privilege(session, before.ledger, "INSERT")
    session = with_runner_settings(session, statement_timeout_ms=wish.waits.statement_timeout_ms)
    with (
        open_executor(session, before.ledger, patience=wish.waits, observer=observer, witness=witness) as runner,
        hold_advisory_lock(
            session, before.ledger, wait_seconds=wish.waits.lock_wait_seconds, waiting=runner.report_waiting
        ),
    ):
        # Another runner may have come first: what was read before the lock is worth nothing now.
        now = read_status(session, found)
        remaining = migrations_to_apply(now.plan, to=wish.to, allow_out_of_order=wish.allow_out_of_order)
        if not now.ledger.exists:
            create_ledger(session, now.ledger)
        versions = {one.version for one in remaining}
        applied = _apply_pending(runner, tuple(one for one in todo if one[0].version in versions), wish)
    done = {one.migration.version for one in applied}
    return MigrateResult(
        database=session.name,
        applied=applied,
        pending=tuple(one for one in now.plan.pending if one.version not in done),
        total_files=len(found),
        applied_by_others=len(todo) - len(applied),
        records_ahead=now.plan.records_ahead,
    )


def _nothing_applied(now: Status, found: tuple[Migration, ...]) -> MigrateResult:
    return MigrateResult(
        database=now.database, pending=now.plan.pending, total_files=len(found), records_ahead=now.plan.records_ahead
    )


def _parse_pending(session: Session, todo: tuple[Migration, ...], wish: MigrateOptions) -> tuple[PendingFile, ...]:
    problems: list[Problem] = []
    surveyed: list[PendingFile] = []
    keep_bytes = _KEPT_IN_MEMORY_BYTES
    for one in todo:
        try:
            script = parse_script(one.path, one.filename, keep_bytes=keep_bytes)
        except FilesInvalid as error:
            problems += error.problems
            continue
        surveyed.append((one, script))
        keep_bytes -= script.size_bytes if script.parts else 0
    for one, script in surveyed:
        problems += [Problem(message=message, file=one.filename) for message in _mode_problems(session, script, wish)]
    if problems:
        raise FilesInvalid(problems)
    return tuple(surveyed)


def _mode_problems(session: Session, script: Script, wish: MigrateOptions) -> Iterator[str]:
    """Why a file cannot be run here in the way that is asked for."""
    if script.mode is RunMode.TRANSACTION:
        if wish.single_transaction and set(script.begin_sql.upper().split()) - _PLAIN_BEGIN_WORDS:
            yield "begins its transaction in a way of its own, which --single-transaction rules out"
        return
    if wish.single_transaction:
        yield "runs outside of a transaction, which --single-transaction rules out"
    if session.pooled:
        yield (
            "runs outside of a transaction, for which a pooler gives no session of our own; "
            "set MIGRATION_DATABASE_URL to the server itself"
        )


@dataclass(frozen=True, slots=True)
class _FileRuns:
    """The works of one transaction, each made when its turn comes, and gone through again when it starts anew."""

    work_of: Callable[[int], FileRun | None]
    count: int

    def __iter__(self) -> Iterator[FileRun]:
        return (one for one in map(self.work_of, range(self.count)) if one)


def _apply_pending(
    runner: Executor, todo: tuple[PendingFile, ...], wish: MigrateOptions
) -> tuple[MigrationApplied, ...]:
    applied: list[MigrationApplied] = []
    transactions = Transactions(runner)

    @cache  # the same value, made while the server runs the file before
    def work_of(position: int) -> FileRun | None:
        if position == len(todo) or todo[position][1].mode is not RunMode.TRANSACTION:
            return None
        return file_run_for_migration(runner.session, runner.ledger, *todo[position])

    try:
        if wish.single_transaction and todo:
            return transactions.apply_all(_FileRuns(work_of, len(todo)))
        for position, (one, script) in enumerate(todo):
            if work := work_of(position):
                applied += transactions.apply(work, following=partial(work_of, position + 1))
            else:
                applied.append(run_outside_transaction(runner, one, script))
    except MigrationFailed as error:
        if wish.single_transaction and error.rolled_back:
            error.aftermath = ALL_ROLLED_BACK
        error.applied = tuple(one.migration.filename for one in applied)
        error.pending = tuple(one.filename for one, _ in todo[len(applied) :])
        raise
    return tuple(applied)
