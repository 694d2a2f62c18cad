"""What a transaction carries out: a file, and the row of the ledger that stands for it."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq

from kernel.apply.batches import Batch, Segment, split_into_batches
from kernel.apply.executor import Executor, migration_application_name
from kernel.apply.failures import connection_lost_error, error_sqlstate, refused_error
from kernel.db.advisory_lock import advisory_lock_key, hold_advisory_lock, poll_for_lock
from kernel.db.connection import open_session
from kernel.db.ledger import claim_holds_expression, claim_statement, delete_record_statement, is_recorded
from kernel.errors import DatabaseRefused, DatabaseUnreachable, Failure, LockBusy, MigrationFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.db.connection import Session
    from kernel.db.ledger import Ledger
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Script


_PLAIN_BEGIN = b"BEGIN"


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleMessage:
    """A file and its message: `segment` is where in it the file stands.

    `claim`, `end` and `look` are the numbers, counted from 0, of the statements that claim its record, tell how it
    ended, and look at the lock; COMMIT stands between the last two.
    """

    file_run: FileRun
    message: bytes
    segment: Segment
    claim_number: int
    end_number: int
    lock_check_number: int


def compose_single_message(runner: Executor, work: FileRun) -> SingleMessage | None:
    """The message of a file; None for one that needs more than a message."""
    # A BEGIN of the file's own may say what has to be said ahead of everything. Through a pooler the lock comes first.
    if runner.hooks or runner.session.pooled or work.script.begin_sql != _PLAIN_BEGIN or not work.leaves_record:
        return None
    statements = shareable_batch(work)
    if statements is None:
        return None
    ahead = (_PLAIN_BEGIN, *head_statements(runner, work))
    behind = (*guarded_tail_statements(work), *commit_statements(runner))
    begun = b"; ".join(ahead) + b";\n"
    segment = Segment(work.migration, statements, len(ahead), len(begun.decode()))
    return SingleMessage(
        file_run=work,
        message=b"%b%b\n%b" % (begun, statements.message, b"; ".join(behind)),
        segment=segment,
        claim_number=len(ahead) - 1,
        end_number=segment.end + len(guarded_tail_statements(work)) - 1,
        lock_check_number=segment.end + len(behind) - 1,
    )


SHARED_MESSAGE_BYTES = 64 * 1024


def shareable_batch(work: FileRun) -> Batch | None:
    """The statements of a file that can share a message with others, None for any other."""
    script = work.script
    if script.parts is None or script.size_bytes > SHARED_MESSAGE_BYTES or script.checksum != work.migration.checksum:
        return None
    found = list(itertools.islice(split_into_batches(script.parts, plain=script.all_plain), 2))
    only = found[0] if len(found) == 1 else None
    return only if isinstance(only, Batch) and only.open_ended else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRun:
    """A file to run. `claim` changes its row first, and returns no row when another runner had changed it before.

    `claimed` is the SQL expression that tells afterwards whether that is so still. `records` tells whether the row is
    there afterwards: it is behind a migration, and is not behind its revert.
    """

    migration: Migration
    script: Script
    claim_sql: bytes
    claim_holds_sql: bytes
    leaves_record: bool


def file_run_for_migration(session: Session, where: Ledger, migration: Migration, script: Script) -> FileRun:
    """A file to apply and record."""
    claim = claim_statement(session.connection, where, migration)
    claimed = claim_holds_expression(session.connection, where, migration)
    return FileRun(migration=migration, script=script, claim_sql=claim, claim_holds_sql=claimed, leaves_record=True)


def file_run_for_revert(session: Session, where: Ledger, revert: Migration, script: Script) -> FileRun:
    """A revert file to run, whose migration loses its record."""
    claim = delete_record_statement(session.connection, where, revert.version)
    return FileRun(migration=revert, script=script, claim_sql=claim, claim_holds_sql=b"true", leaves_record=False)


# COMMIT, what is put back ahead of it, and what to do when nobody knows whether it happened.


# Whatever a file may leave in its session, the next one must not see. DISCARD ALL would do, and drop the lock.
COMMIT = b"COMMIT"
RESET_ROLE_STATEMENTS = (b"RESET SESSION AUTHORIZATION", b"RESET ROLE")
_RESET_SESSION_STATEMENTS = (
    b"RESET ALL",
    b"CLOSE ALL",
    b"UNLISTEN *",
    b"DISCARD TEMP",
    b"DISCARD SEQUENCES",
    b"DEALLOCATE ALL",
)
_IDLE = pq.TransactionStatus.IDLE
_RECONNECT_SECONDS = 30
_RECONNECT_POLL_SECONDS = 0.25


def commit_transaction(
    runner: Executor, last: FileRun | None, *, opening: Sequence[bytes] = ()
) -> list[pq.abc.PGresult]:
    """Tidy the session, commit the open transaction, ours again by now, and make sure of the lock.

    `last` is the last work in it, None when there was nothing left to do. `opening` opens the next transaction in the
    same message; returns its results, [] without it, and when it fails: it is rolled back then, and nothing is lost.
    Raises LockBusy when the lock is gone, psycopg.Error when the server refuses the commit. When the connection breaks
    the record is looked up; raises MigrationFailed, which says whether the migration is applied.
    """
    session = runner.session
    closing = commit_statements(runner)
    number = closing.index(COMMIT)  # counting from 0
    check = not session.pooled
    try:
        results = runner.protocol.query(b"; ".join((*closing, *opening)))
    except psycopg.Error as error:
        if session.connection.broken and last:
            raise commit_in_doubt_error(runner, last, error) from error
        if session.connection.broken or runner.protocol.statements_done <= number + 1:
            raise
        runner.protocol.query(b"ROLLBACK")
        return []
    if check:
        verify_lock_kept(results[number + 1])
    return results[len(closing) :]


def commit_statements(runner: Executor) -> tuple[bytes, ...]:
    """What ends a transaction: the session is tidied, COMMIT, and without a pooler a look at the lock.

    Through a pooler the next statement may reach another session, so that all is put back inside the transaction. It is
    without one, too: what stands between COMMIT and BEGIN in a message is taken back with the next transaction.
    """
    ahead = (*_RESET_SESSION_STATEMENTS, *runner.session.runner_settings, COMMIT)
    if runner.session.pooled:
        return ahead
    return (*ahead, b"SELECT pg_try_advisory_lock(%d)" % advisory_lock_key(runner.ledger.schema))


def verify_lock_kept(look: pq.abc.PGresult) -> None:
    """Make sure of the lock by the row of the look at it. Raises LockBusy."""
    if look.get_value(0, 0) != b"t":
        raise LockBusy("a migration let go of the lock, and another runner has it now; run inv db.migrate again")


def roll_back_transaction(runner: Executor) -> None:
    """End the open transaction, if there is one and the connection still stands."""
    connection = runner.session.connection
    if not connection.broken and connection.pgconn.transaction_status != _IDLE:
        runner.protocol.query(b"ROLLBACK")
        if runner.hooks:
            runner.hooks.ended()


def statements_between_files(runner: Executor) -> tuple[bytes, ...]:
    """The statements between the end of a file and the next one in its transaction: it finds what COMMIT leaves."""
    # SET CONSTRAINTS knows no way back to the mode of each; deferred, they are all looked at when a file ends.
    return (b"SET CONSTRAINTS ALL DEFERRED", *_RESET_SESSION_STATEMENTS, *runner.session.runner_settings)


def reset_session(runner: Executor) -> None:
    """Give the session back its own state, outside of a transaction."""
    if not runner.session.pooled:
        runner.protocol.query(
            b"; ".join((*RESET_ROLE_STATEMENTS, *_RESET_SESSION_STATEMENTS, *runner.session.runner_settings))
        )


def commit_in_doubt_error(
    runner: Executor, last: FileRun, error: psycopg.Error, *, reached: bool = True
) -> MigrationFailed:
    """The error when the connection broke and COMMIT was sent; not `reached` when statements were sent along with it.

    The server may be working on it still: the record is looked up once its lock is free.
    """
    try:
        committed = _is_recorded_after_reconnect(runner, last.migration) == last.leaves_record
    except (DatabaseUnreachable, DatabaseRefused, LockBusy, psycopg.Error):
        aftermath: str | None = "applied or rolled back as a whole; inv db.status tells once the server answers"
        outcome = "nobody can tell yet whether it committed: the server does not answer"
    else:
        if not committed and not reached:
            return connection_lost_error(last.migration, error)
        outcome = "it had committed" if committed else "it had not committed"
        aftermath = "committed with its record" if committed else None
    reason = " ".join(str(error).split())
    return MigrationFailed(
        f"the connection was lost at COMMIT; {outcome} ({reason})",
        failure=Failure(file=last.migration.filename),
        aftermath=aftermath,
        hint="run inv db.migrate again: it goes on from here",
    )


def _is_recorded_after_reconnect(runner: Executor, migration: Migration) -> bool:
    deadline = time.monotonic() + _RECONNECT_SECONDS
    while True:
        try:
            with (
                open_session(runner.session.url) as again,
                hold_advisory_lock(
                    again, runner.ledger, wait_seconds=_RECONNECT_SECONDS, waiting=runner.report_waiting
                ),
            ):
                return is_recorded(again, runner.ledger, migration.version)
        except (DatabaseUnreachable, DatabaseRefused):  # it starts again, or a standby has taken its place
            if time.monotonic() > deadline:
                raise
            time.sleep(_RECONNECT_POLL_SECONDS)


# Opening a transaction for a file: BEGIN, the settings of its session, and the claim of its record.


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """A transaction in which a file's record is claimed: its id, None when another runner was first."""

    file_run: FileRun
    xid: str | None


def begin_transaction(runner: Executor, *works: FileRun) -> OpenTransaction:
    """Open a transaction for works whose files go together, and claim their records."""
    work = works[0]
    opening = head_statements(runner, *works)
    if runner.session.pooled:
        _begin_with_transaction_lock(runner, work.script)
    else:
        opening = (work.script.begin_sql, *opening)
    return OpenTransaction(work, claimed_xid(runner.protocol.query(b"; ".join(opening))))


def claim_in_transaction(runner: Executor, *works: FileRun) -> OpenTransaction:
    """Claim the records of further works in the open transaction."""
    return OpenTransaction(
        works[0],
        claimed_xid(
            runner.protocol.query(b"; ".join((*statements_between_files(runner), *head_statements(runner, *works))))
        ),
    )


def head_statements(runner: Executor, *works: FileRun) -> tuple[bytes, ...]:
    """What works find done in their transaction: the settings for the first file, and the claim of all."""
    if len(works) == 1:
        return (*settings_statements(runner, works[0]), works[0].claim_sql)
    claim = claim_statement(runner.session.connection, runner.ledger, *(work.migration for work in works))
    return (*settings_statements(runner, works[0]), claim)


def settings_statements(runner: Executor, work: FileRun) -> tuple[bytes, ...]:
    """The settings of the session for a file, as long as its transaction lasts."""
    patience, asked = runner.waits, work.script
    lock_timeout = patience.lock_timeout_ms if asked.lock_timeout_ms is None else asked.lock_timeout_ms
    return (
        b"SET LOCAL lock_timeout = %d" % lock_timeout,
        b"SET LOCAL statement_timeout = %d" % patience.statement_timeout_ms,
        b"SET LOCAL application_name = '%b'" % migration_application_name(work.migration).encode(),
    )


def claimed_xid(results: Sequence[pq.abc.PGresult]) -> str | None:
    """The transaction's id, from the last of the results; None when there is no row."""
    value = results[-1].get_value(0, 0) if results and results[-1].ntuples else None
    return value.decode() if value is not None else None


def _begin_with_transaction_lock(runner: Executor, asked: Script) -> None:
    """Through a pooler the lock is the transaction's, as is everything else."""
    number = advisory_lock_key(runner.ledger.schema)

    def attempt() -> bool:
        roll_back_transaction(runner)
        answer = runner.protocol.query(asked.begin_sql + f"; SELECT pg_try_advisory_xact_lock({number})".encode())[-1]
        return answer.get_value(0, 0) == b"t"

    wait_seconds = runner.waits.lock_wait_seconds
    poll_for_lock(runner.session, number, attempt, wait_seconds=wait_seconds, waiting=runner.report_waiting)


# The end of a file in its transaction: what is asked of the server there, and what must be so.


_PERHAPS_COMMITTED = (
    "what ran up to that point may be committed, the change of its record included; "
    "compare the database with the file, and put both right by hand"
)
_TAIL_COLUMNS = 3
_DIVISION_BY_ZERO = "22012"


def tail_statements(work: FileRun) -> tuple[bytes, ...]:
    """What follows a file's own statements. The last of them has a row, for `verify`.

    Deferred constraints are checked here, where their failure still belongs to the file; the ledger is read as
    ourselves. The last column is the server's clock, in seconds.
    """
    return _compose_tail(work.claim_holds_sql)


def guarded_tail_statements(work: FileRun) -> tuple[bytes, ...]:
    """As `statements`, for who cannot look before COMMIT: the server fails with `divided` where the claim is lost."""
    return _compose_tail(
        b"1 OPERATOR(pg_catalog./) (%b)::pg_catalog.int4 OPERATOR(pg_catalog.=) 1" % work.claim_holds_sql
    )


def unguarded_tail_statements() -> tuple[bytes, ...]:
    """As `statements`, for who looks at the records of several files at once."""
    return _compose_tail(b"true")


def _compose_tail(claimed: bytes) -> tuple[bytes, ...]:
    state = b"SELECT pg_catalog.pg_current_xact_id(), %b, extract(epoch FROM pg_catalog.clock_timestamp())" % claimed
    return (b"SET CONSTRAINTS ALL IMMEDIATE", *RESET_ROLE_STATEMENTS, state)


def is_lost_claim(error: pq.abc.PGresult) -> bool:
    """Whether an error of the last statement of `guarded` is the one that it makes itself."""
    return error_sqlstate(error) == _DIVISION_BY_ZERO


def verify_claim(work: FileRun, ledger: Ledger, xid: str, end: pq.abc.PGresult | None) -> None:
    """What ran must have run in our transaction and left its claim alone, or record and effect would not be one.

    `end` is the row that `statements` ask for. Where another stands in its place, more or less ran than was sent.
    Raises MigrationFailed.
    """
    if end is None or end.nfields != _TAIL_COLUMNS or end.get_value(0, 0) != xid.encode():
        raise lost_claim_error(work, ledger, committed=True)
    if end.get_value(0, 1) != b"t":
        raise lost_claim_error(work, ledger, committed=False)


def lost_claim_error(work: FileRun, ledger: Ledger, *, committed: bool) -> MigrationFailed:
    """The error for a file that lost its claim: by a COMMIT of its own, or by changing its record."""
    if committed:
        message = "the transaction that ran it is not the one begun for it: something in it commits or rolls back"
        return refused_error(work.migration, message, aftermath=_PERHAPS_COMMITTED)
    message = f"it changes its own record in {ledger.name}; leave that table to the runner"
    return refused_error(work.migration, message)


def server_clock_seconds(end: pq.abc.PGresult) -> float:
    """When the file had come to its end, in seconds of the server's clock."""
    return float(end.get_value(0, 2) or 0)
