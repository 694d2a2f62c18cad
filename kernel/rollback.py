"""db.rollback: remove the newest records; with revert files, undo what they recorded in the same transaction.

Source: the specification, "Rollback Last Migration": the record goes, the SQL is not undone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel import database, ledger, lock, plan, status
from kernel.apply import work
from kernel.apply.runner import Patience, runner
from kernel.apply.transaction import Transactions
from kernel.errors import FilesInvalid, Problem
from kernel.files.revert import survey

if TYPE_CHECKING:
    from kernel.apply.events import Observer
    from kernel.database import Session
    from kernel.files.migration import Migration
    from kernel.files.script import Script
    from kernel.ledger import Ledger
    from kernel.plan import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How far back: `steps` records, or all behind version `to`; `revert` runs the revert files too."""

    steps: int = 1
    to: str = ""
    revert: bool = False
    patience: Patience


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The entries whose records are gone, newest first."""

    database: str
    removed: tuple[Entry, ...]
    reverted: bool


def rollback(session: Session, found: tuple[Migration, ...], wish: Wish, observer: Observer) -> Outcome:
    """Remove records, newest version first, each in a transaction with its revert file when that is asked for.

    Raises FilesInvalid before anything is touched when a revert file is missing or cannot be run, UsageError, LockBusy,
    DatabaseRefused, MigrationFailed.
    """
    where = ledger.find(session)
    entries = _entries(session, found, wish)
    if wish.revert:
        _reverts(entries)
    if not entries:
        return Outcome(database=session.name, removed=(), reverted=wish.revert)
    database.refuse_read_only(session)
    ledger.refuse_unprivileged(session, where, "DELETE")
    session = database.settled(session, statement_timeout_ms=wish.patience.statement_timeout_ms)
    with (
        runner(session, where, patience=wish.patience, observer=observer) as its_runner,
        lock.exclusive(session, where, wait_seconds=wish.patience.lock_wait_seconds, waiting=its_runner.waiting),
    ):
        entries = _entries(session, found, wish)
        if wish.revert:
            transactions = Transactions(its_runner)
            for revert, its_script in _reverts(entries):
                transactions.apply(work.reverting(session, where, revert, its_script))
        else:
            _remove(session, where, entries)
    return Outcome(database=session.name, removed=entries, reverted=wish.revert)


def _entries(session: Session, found: tuple[Migration, ...], wish: Wish) -> tuple[Entry, ...]:
    return plan.to_remove(status.read(session, found).plan, steps=wish.steps, to=wish.to)


def _reverts(entries: tuple[Entry, ...]) -> list[tuple[Migration, Script]]:
    """The revert file of each entry, read to its end."""
    problems: list[Problem] = []
    reverts: list[tuple[Migration, Script]] = []
    for entry in entries:
        name = f"revert/{entry.filename}"
        try:
            if entry.migration is None or entry.record is None:
                raise FileNotFoundError
            # The record may spell its version with other zeros, and it is the record that has to go.
            revert = replace(entry.migration.revert(), version=entry.record.version)
            its_script = survey(revert.path, revert.filename)
        except OSError:
            message = "no such file; write what undoes the migration, or roll back without --revert"
            problems.append(Problem(message=message, file=name))
            continue
        except FilesInvalid as error:
            problems += error.problems
            continue
        reverts.append((revert, its_script))
    if problems:
        raise FilesInvalid(problems)
    return reverts


def _remove(session: Session, where: Ledger, entries: tuple[Entry, ...]) -> None:
    """Remove the records of all entries, or of none."""
    with session.connection.transaction():
        for entry in entries:
            if entry.record:
                session.connection.execute(ledger.remove(session.connection, where, entry.record.version))
