"""Files applied in transactions: claim, run, commit; the whole file again when others were in its way.

The row is claimed first, in the transaction that runs the file: whatever happens to the lock, to the connection or to a
pooler, exactly one runner commits a version, and a row means that the file is fully applied.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq

from kernel import lock
from kernel.apply import commit, remedies
from kernel.apply.events import Applied, Started
from kernel.apply.retry import retried
from kernel.apply.runner import ROLLED_BACK, lost, named
from kernel.errors import Failure, MigrationFailed
from kernel.files import script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.apply.runner import Runner
    from kernel.apply.work import Work
    from kernel.files.migration import Migration
    from kernel.files.script import Script

# Deferred constraints are checked here, where their failure still belongs to the file; the ledger is read as ourselves.
_AT_ITS_END = b"SET CONSTRAINTS ALL IMMEDIATE; " + commit.AS_OURSELVES + b"; SELECT pg_catalog.pg_current_xact_id(), "
_PERHAPS_COMMITTED = (
    "what ran up to that point may be committed, the change of its record included; "
    "compare the database with the file, and put both right by hand"
)
_IDLE, _IN_TRANSACTION = pq.TransactionStatus.IDLE, pq.TransactionStatus.INTRANS


def apply(runner: Runner, todo: Sequence[Work]) -> tuple[Applied, ...]:
    """Carry files out in one transaction: one usually, several for all or none. Files that others did are left out.

    On a lock timeout, a deadlock or a serialization failure everything is rolled back and run again.
    Raises MigrationFailed, LockBusy.
    """
    return retried(runner, lambda: _attempt(runner, todo))


def _attempt(runner: Runner, todo: Sequence[Work]) -> tuple[Applied, ...]:
    applied = []
    claimed: Work | None = None
    current = todo[0].migration
    try:
        for position, work in enumerate(todo):
            current = work.migration
            began = time.monotonic()
            if claimed:
                commit.part(runner)
            xid = _claim(runner, work, begin=position == 0)
            if xid is None:
                continue
            claimed = work
            runner.observer(Started(migration=work.migration, script=work.script))
            _send(runner, work)
            _refuse_lost_claim(runner, work, xid)
            seconds = time.monotonic() - began
            applied.append(Applied(migration=work.migration, seconds=seconds, statements=work.script.statements))
        began = time.monotonic()
        commit.commit(runner, claimed)
        applied[-1:] = [replace(last, seconds=last.seconds + time.monotonic() - began) for last in applied[-1:]]
    except psycopg.Error as error:
        if runner.session.connection.broken:
            raise lost(current, error, aftermath=ROLLED_BACK) from error
        raise server_error(current, error) from error
    finally:
        roll_back(runner)
    for one in applied:
        runner.observer(one)
    return tuple(applied)


def _claim(runner: Runner, work: Work, *, begin: bool) -> str | None:
    """Open the transaction and claim the record; the transaction's id, None when another runner was first."""
    patience, asked = runner.patience, work.script
    lock_timeout = patience.lock_timeout_ms if asked.lock_timeout_ms is None else asked.lock_timeout_ms
    opening = b"; ".join(
        (
            *((asked.begin,) if begin and not runner.session.pooled else ()),
            f"SET LOCAL lock_timeout = {lock_timeout}".encode(),
            f"SET LOCAL statement_timeout = {patience.statement_timeout_ms}".encode(),
            f"SET LOCAL application_name = '{named(work.migration)}'".encode(),
            work.claim,
        )
    )
    if begin and runner.session.pooled:
        _begin_with_lock(runner, asked)
    claimed = runner.exchange.ask(opening)[-1]
    value = claimed.get_value(0, 0) if claimed.ntuples else None
    return value.decode() if value is not None else None


def _begin_with_lock(runner: Runner, asked: Script) -> None:
    """Through a pooler the lock is the transaction's, as is everything else."""
    number = lock.key(runner.ledger.schema)

    def attempt() -> bool:
        roll_back(runner)
        answer = runner.exchange.ask(asked.begin + f"; SELECT pg_try_advisory_xact_lock({number})".encode())[-1]
        return answer.get_value(0, 0) == b"t"

    wait_seconds = runner.patience.lock_wait_seconds
    lock.acquire(runner.session, number, attempt, wait_seconds=wait_seconds, waiting=runner.waiting)


def _send(runner: Runner, work: Work) -> None:
    migration = work.migration
    try:
        with script.reading(work.script, migration.path) as reading:
            runner.send(migration, work.script, reading.parts)
    except OSError as error:
        raise refused(migration, f"cannot be read any more: {error.strerror}") from error
    if reading.checksum() != migration.checksum:
        raise refused(migration, "changed while it ran; run inv db.migrate again")


def _refuse_lost_claim(runner: Runner, work: Work, xid: str) -> None:
    """What ran must have run in our transaction and left its claim alone, or record and effect would not be one."""
    ours = claimed = False
    if runner.session.connection.pgconn.transaction_status == _IN_TRANSACTION:
        answer = runner.exchange.ask(_AT_ITS_END + work.claimed)[-1]
        ours, claimed = answer.get_value(0, 0) == xid.encode(), answer.get_value(0, 1) == b"t"
    if not ours:
        message = "the transaction that ran it is not the one begun for it: something in it commits or rolls back"
        raise refused(work.migration, message, aftermath=_PERHAPS_COMMITTED)
    if not claimed:
        message = f"it changes its own record in {runner.ledger.name}; leave that table to the runner"
        raise refused(work.migration, message)


def refused(migration: Migration, message: str, *, aftermath: str = ROLLED_BACK) -> MigrationFailed:
    """The error for a file that we, not the server, do not let become applied."""
    return MigrationFailed(message, failure=Failure(file=migration.filename), aftermath=aftermath)


def server_error(migration: Migration, error: psycopg.Error, *, aftermath: str = ROLLED_BACK) -> MigrationFailed:
    """A server's error outside of the file's own statements: at the claim, at a deferred constraint."""
    diagnostic = error.diag
    return MigrationFailed(
        diagnostic.message_primary or str(error),
        failure=Failure(
            file=migration.filename,
            sqlstate=diagnostic.sqlstate,
            detail=diagnostic.message_detail,
            server_hint=diagnostic.message_hint,
            context=diagnostic.context,
        ),
        aftermath=aftermath,
        hint=remedies.remedy(diagnostic.sqlstate),
    )


def roll_back(runner: Runner) -> None:
    """End the open transaction, if there is one and the connection still stands."""
    connection = runner.session.connection
    if not connection.broken and connection.pgconn.transaction_status != _IDLE:
        runner.exchange.ask(b"ROLLBACK")
