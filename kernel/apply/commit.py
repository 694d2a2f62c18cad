"""COMMIT, what is put back ahead of it, and what to do when nobody knows whether it happened."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq

from kernel import database, ledger, lock
from kernel.apply.failed import lost
from kernel.errors import DatabaseRefused, DatabaseUnreachable, Failure, LockBusy, MigrationFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.apply.runner import Runner
    from kernel.apply.work import Work
    from kernel.files.migration import Migration

# Whatever a file may leave in its session, the next one must not see. DISCARD ALL would do, and drop the lock.
COMMIT = b"COMMIT"
AS_OURSELVES = (b"RESET SESSION AUTHORIZATION", b"RESET ROLE")
_TIDY = (b"RESET ALL", b"CLOSE ALL", b"UNLISTEN *", b"DISCARD TEMP", b"DISCARD SEQUENCES", b"DEALLOCATE ALL")
_IDLE = pq.TransactionStatus.IDLE
_LOOK_SECONDS = 30
_POLL_SECONDS = 0.25


def commit(runner: Runner, last: Work | None, *, opening: Sequence[bytes] = ()) -> list[pq.abc.PGresult]:
    """Tidy the session, commit the open transaction, ours again by now, and make sure of the lock.

    `last` is the last work in it, None when there was nothing left to do. `opening` opens the next transaction in the
    same message; returns its results, [] without it, and when it fails: it is rolled back then, and nothing is lost.
    Raises LockBusy when the lock is gone, psycopg.Error when the server refuses the commit. When the connection breaks
    the record is looked up; raises MigrationFailed, which says whether the migration is applied.
    """
    session = runner.session
    closing = statements(runner)
    number = closing.index(COMMIT)  # counting from 0
    check = not session.pooled
    try:
        results = runner.exchange.ask(b"; ".join((*closing, *opening)))
    except psycopg.Error as error:
        if session.connection.broken and last:
            raise in_doubt(runner, last, error) from error
        if session.connection.broken or runner.exchange.done <= number + 1:
            raise
        runner.exchange.ask(b"ROLLBACK")
        return []
    if check:
        verify_lock(results[number + 1])
    return results[len(closing) :]


def statements(runner: Runner) -> tuple[bytes, ...]:
    """What ends a transaction: the session is tidied, COMMIT, and without a pooler a look at the lock.

    Through a pooler the next statement may reach another session, so that all is put back inside the transaction. It is
    without one, too: what stands between COMMIT and BEGIN in a message is taken back with the next transaction.
    """
    ahead = (*_TIDY, *runner.session.own_settings, COMMIT)
    if runner.session.pooled:
        return ahead
    return (*ahead, b"SELECT pg_try_advisory_lock(%d)" % lock.key(runner.ledger.schema))


def verify_lock(look: pq.abc.PGresult) -> None:
    """Make sure of the lock by the row of the look at it. Raises LockBusy."""
    if look.get_value(0, 0) != b"t":
        raise LockBusy("a migration let go of the lock, and another runner has it now; run inv db.migrate again")


def roll_back(runner: Runner) -> None:
    """End the open transaction, if there is one and the connection still stands."""
    connection = runner.session.connection
    if not connection.broken and connection.pgconn.transaction_status != _IDLE:
        runner.exchange.ask(b"ROLLBACK")
        if runner.witness:
            runner.witness.ended()


def between(runner: Runner) -> tuple[bytes, ...]:
    """The statements between the end of a file and the next one in its transaction: it finds what COMMIT leaves."""
    # SET CONSTRAINTS knows no way back to the mode of each; deferred, they are all looked at when a file ends.
    return (b"SET CONSTRAINTS ALL DEFERRED", *_TIDY, *runner.session.own_settings)


def clean(runner: Runner) -> None:
    """Give the session back its own state, outside of a transaction."""
    if not runner.session.pooled:
        runner.exchange.ask(b"; ".join((*AS_OURSELVES, *_TIDY, *runner.session.own_settings)))


def in_doubt(runner: Runner, last: Work, error: psycopg.Error, *, reached: bool = True) -> MigrationFailed:
    """The error when the connection broke and COMMIT was sent; not `reached` when statements were sent along with it.

    The server may be working on it still: the record is looked up once its lock is free.
    """
    try:
        committed = _looked_up(runner, last.migration) == last.records
    except (DatabaseUnreachable, DatabaseRefused, LockBusy, psycopg.Error):
        aftermath: str | None = "applied or rolled back as a whole; inv db.status tells once the server answers"
        outcome = "nobody can tell yet whether it committed: the server does not answer"
    else:
        if not committed and not reached:
            return lost(last.migration, error)
        outcome = "it had committed" if committed else "it had not committed"
        aftermath = "committed with its record" if committed else None
    reason = " ".join(str(error).split())
    return MigrationFailed(
        f"the connection was lost at COMMIT; {outcome} ({reason})",
        failure=Failure(file=last.migration.filename),
        aftermath=aftermath,
        hint="run inv db.migrate again: it goes on from here",
    )


def _looked_up(runner: Runner, migration: Migration) -> bool:
    deadline = time.monotonic() + _LOOK_SECONDS
    while True:
        try:
            with (
                database.session(runner.session.url) as again,
                lock.exclusive(again, runner.ledger, wait_seconds=_LOOK_SECONDS, waiting=runner.waiting),
            ):
                return ledger.has(again, runner.ledger, migration.version)
        except (DatabaseUnreachable, DatabaseRefused):  # it starts again, or a standby has taken its place
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_SECONDS)
