"""db.migrate: the Plan that db.status shows, carried out under the lock.

The steps are those of docs/production.md, "What a run does".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING

from kernel import database, ledger, lock, plan, status
from kernel.apply import steps, work
from kernel.apply.failed import ALL_ROLLED_BACK
from kernel.apply.runner import Patience, runner
from kernel.apply.transaction import Transactions
from kernel.errors import FilesInvalid, MigrationFailed, Problem
from kernel.files import script
from kernel.files.script import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.apply.events import Applied, Observer
    from kernel.apply.runner import Runner
    from kernel.apply.witness import Witness
    from kernel.apply.work import Work
    from kernel.database import Session
    from kernel.files.migration import Migration
    from kernel.files.script import Script
    from kernel.record import Record
    from kernel.status import Status

    Todo = tuple[Migration, Script]


_BARE_BEGIN = frozenset({b"BEGIN", b"START", b"TRANSACTION", b"WORK"})
# So many bytes of pending files stay in memory between being checked and being run; larger ones are read twice.
_KEPT_BYTES = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a run is asked for: as far as version `to`, "" for all; with drift of order allowed; all or none."""

    to: str = ""
    allow_out_of_order: bool = False
    single_transaction: bool = False
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run did. `elsewhere` counts the versions that other runners applied while this one waited."""

    database: str
    applied: tuple[Applied, ...] = ()
    pending: tuple[Migration, ...] = ()
    total: int = 0
    elsewhere: int = 0
    ahead: tuple[Record, ...] = ()


def planned(session: Session, found: tuple[Migration, ...], wish: Wish) -> tuple[Status, tuple[Todo, ...]]:
    """What a run would do, checked as far as it can be without running it. Reads only.

    Raises Drift, Unrecorded, FilesInvalid with every file that cannot be run, UsageError.
    """
    now = status.read(session, found)
    todo = plan.to_apply(now.plan, to=wish.to, allow_out_of_order=wish.allow_out_of_order)
    if todo:
        ledger.refuse_unrecorded(session, now.ledger)
    return now, _surveyed(session, todo, wish)


def migrate(
    session: Session,
    found: tuple[Migration, ...],
    wish: Wish,
    observer: Observer,
    witness: Witness | None = None,
) -> Outcome:
    """Apply what is pending, in version order, under the lock. Without anything pending no lock is taken.

    A `witness` looks on statement by statement, as in a rehearsal.
    Raises what `planned` raises, LockBusy, DatabaseRefused, MigrationFailed.
    """
    before, todo = planned(session, found, wish)
    if not todo:
        return _outcome(before, found)
    database.refuse_read_only(session)
    ledger.refuse_unprivileged(session, before.ledger, "INSERT")
    session = database.settled(session, statement_timeout_ms=wish.patience.statement_timeout_ms)
    with (
        runner(session, before.ledger, patience=wish.patience, observer=observer, witness=witness) as its_runner,
        lock.exclusive(
            session, before.ledger, wait_seconds=wish.patience.lock_wait_seconds, waiting=its_runner.waiting
        ),
    ):
        # Another runner may have come first: what was read before the lock is worth nothing now.
        now = status.read(session, found)
        remaining = plan.to_apply(now.plan, to=wish.to, allow_out_of_order=wish.allow_out_of_order)
        if not now.ledger.exists:
            ledger.create(session, now.ledger)
        versions = {one.version for one in remaining}
        applied = _carry_out(its_runner, tuple(one for one in todo if one[0].version in versions), wish)
    done = {one.migration.version for one in applied}
    return Outcome(
        database=session.name,
        applied=applied,
        pending=tuple(one for one in now.plan.pending if one.version not in done),
        total=len(found),
        elsewhere=len(todo) - len(applied),
        ahead=now.plan.ahead,
    )


def _outcome(now: Status, found: tuple[Migration, ...]) -> Outcome:
    return Outcome(database=now.database, pending=now.plan.pending, total=len(found), ahead=now.plan.ahead)


def _surveyed(session: Session, todo: tuple[Migration, ...], wish: Wish) -> tuple[Todo, ...]:
    problems: list[Problem] = []
    surveyed: list[Todo] = []
    keep_bytes = _KEPT_BYTES
    for one in todo:
        try:
            its_script = script.survey(one.path, one.filename, keep_bytes=keep_bytes)
        except FilesInvalid as error:
            problems += error.problems
            continue
        surveyed.append((one, its_script))
        keep_bytes -= its_script.size_bytes if its_script.parts else 0
    for one, its_script in surveyed:
        problems += [Problem(message=message, file=one.filename) for message in _unfit(session, its_script, wish)]
    if problems:
        raise FilesInvalid(problems)
    return tuple(surveyed)


def _unfit(session: Session, its_script: Script, wish: Wish) -> Iterator[str]:
    """Why a file cannot be run here in the way that is asked for."""
    if its_script.mode is Mode.TRANSACTION:
        if wish.single_transaction and set(its_script.begin.upper().split()) - _BARE_BEGIN:
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
class _Works:
    """The works of one transaction, each made when its turn comes, and gone through again when it starts anew."""

    work_of: Callable[[int], Work | None]
    count: int

    def __iter__(self) -> Iterator[Work]:
        return (one for one in map(self.work_of, range(self.count)) if one)


def _carry_out(its_runner: Runner, todo: tuple[Todo, ...], wish: Wish) -> tuple[Applied, ...]:
    applied: list[Applied] = []
    transactions = Transactions(its_runner)

    @cache  # the same value, made while the server runs the file before
    def work_of(position: int) -> Work | None:
        if position == len(todo) or todo[position][1].mode is not Mode.TRANSACTION:
            return None
        return work.migrating(its_runner.session, its_runner.ledger, *todo[position])

    try:
        if wish.single_transaction and todo:
            return transactions.apply_all(_Works(work_of, len(todo)))
        for position, (one, its_script) in enumerate(todo):
            if its_work := work_of(position):
                applied += transactions.apply(its_work, following=partial(work_of, position + 1))
            else:
                applied.append(steps.run(its_runner, one, its_script))
    except MigrationFailed as error:
        if wish.single_transaction and error.rolled_back:
            error.aftermath = ALL_ROLLED_BACK
        error.applied = tuple(one.migration.filename for one in applied)
        error.pending = tuple(one.filename for one, _ in todo[len(applied) :])
        raise
    return tuple(applied)
