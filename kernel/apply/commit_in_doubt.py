"""The outcome of a COMMIT whose answer is lost: connect again, and ask the server about the transaction and its record.

The id of the transaction tells it from those of other runners, which may have recorded the same migration since. It is
not known for a small file, whose one message from BEGIN to COMMIT is answered as a whole.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import psycopg

from kernel.apply.failures import connection_lost_error
from kernel.db.advisory_lock import hold_advisory_lock
from kernel.db.connection import open_session
from kernel.errors import DatabaseRefused, DatabaseUnreachable, Failure, LockBusy, MigrationFailed

if TYPE_CHECKING:
    from kernel.apply.executor import Executor
    from kernel.db.connection import Session
    from kernel.migrations.migration import Migration


_RECONNECT_SECONDS = 30
_RECONNECT_POLL_SECONDS = 0.25


class _Outcome(Enum):
    COMMITTED = "it had committed"
    NOT_COMMITTED = "it had not committed"
    BY_ANOTHER = "it had not committed, and another runner has done it since"
    RECORDED = "its record is there"
    UNKNOWN = "whether it committed is unknown: the server does not answer"


_AFTERMATH = {
    _Outcome.COMMITTED: "committed, the change of its record included",
    _Outcome.BY_ANOTHER: "rolled back; what the other runner did is committed, the change of its record included",
    _Outcome.RECORDED: "committed with its record, by this run or by another runner since",
    _Outcome.UNKNOWN: "applied or rolled back as a whole; see inv db.status once the server answers",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SentCommit:
    """A COMMIT that was sent, `apart` from the file's statements or with them, in the transaction `xid`, "" if unknown.

    Its migration has a record afterwards (`leaves_record`), or has lost it: that for which `record_sql` returns a row.
    """

    xid: str
    record_sql: bytes
    leaves_record: bool
    apart: bool


def commit_in_doubt_error(
    executor: Executor, migration: Migration, error: psycopg.Error, sent: SentCommit
) -> MigrationFailed:
    """The error when the connection broke and COMMIT was sent.

    The server may still be working on it: the outcome is read once its lock is free.
    """
    try:
        outcome = _outcome_after_reconnect(executor, sent)
    except (DatabaseUnreachable, DatabaseRefused, LockBusy, psycopg.Error):
        outcome = _Outcome.UNKNOWN
    if outcome is _Outcome.NOT_COMMITTED and not sent.apart:
        return connection_lost_error(migration, error)
    reason = " ".join(str(error).split())
    return MigrationFailed(
        f"the connection was lost at COMMIT; {outcome.value} ({reason})",
        failure=Failure(file=migration.filename),
        aftermath=_AFTERMATH.get(outcome),
        hint="run inv db.migrate again: it goes on from here",
    )


def _outcome_after_reconnect(executor: Executor, sent: SentCommit) -> _Outcome:
    deadline = time.monotonic() + _RECONNECT_SECONDS
    while True:
        try:
            with (
                open_session(executor.session.url, role=executor.session.role) as session,
                hold_advisory_lock(
                    session, executor.ledger, wait_seconds=_RECONNECT_SECONDS, waiting=executor.report_waiting
                ),
            ):
                outcome = _read_outcome(session, sent)
                if outcome is not _Outcome.UNKNOWN or time.monotonic() > deadline:
                    return outcome
        except (DatabaseUnreachable, DatabaseRefused):  # the server restarts, or a standby takes its place
            if time.monotonic() > deadline:
                raise
        time.sleep(_RECONNECT_POLL_SECONDS)


def _read_outcome(session: Session, sent: SentCommit) -> _Outcome:
    status = _transaction_status(session, sent.xid)
    if status == "in progress":  # through a pooler, where no lock is waited for
        return _Outcome.UNKNOWN
    if (session.connection.execute(sent.record_sql).fetchone() is not None) != sent.leaves_record:
        return _Outcome.NOT_COMMITTED
    if not sent.xid:
        return _Outcome.RECORDED
    return _Outcome.COMMITTED if status == "committed" else _Outcome.BY_ANOTHER


def _transaction_status(session: Session, xid: str) -> str | None:
    """The status of a transaction in words of the server; None when it is not known there."""
    try:
        row = session.connection.execute("SELECT pg_xact_status(nullif(%s, '')::xid8)", (xid,)).fetchone()
    except psycopg.errors.InvalidParameterValue:  # a standby that took the server's place does not know it
        return None
    return str(row[0]) if row and row[0] else None
