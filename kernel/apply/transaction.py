"""Files applied in transactions: claim, run, commit; the whole file again when others were in its way.

The row is claimed first, in the transaction that runs the file: whatever happens to the lock, to the connection or to a
pooler, exactly one runner commits a version, and a row means that the file is fully applied.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq

from kernel.apply import commit, opening, remedies
from kernel.apply.events import Applied, Started
from kernel.apply.opening import Opened
from kernel.apply.retry import retried
from kernel.apply.runner import ROLLED_BACK, lost
from kernel.errors import Failure, MigrationFailed
from kernel.files import script

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kernel.apply.runner import Runner
    from kernel.apply.work import Work
    from kernel.files.migration import Migration

# Deferred constraints are checked here, where their failure still belongs to the file; the ledger is read as ourselves.
_AT_ITS_END = b"SET CONSTRAINTS ALL IMMEDIATE; " + commit.AS_OURSELVES + b"; SELECT pg_catalog.pg_current_xact_id(), "
_PERHAPS_COMMITTED = (
    "what ran up to that point may be committed, the change of its record included; "
    "compare the database with the file, and put both right by hand"
)


class Transactions:
    """Files applied in transactions, the commit of one opening the next: two messages for a small file.

    While the server runs a file, the messages for the next are prepared.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._opened: Opened | None = None

    def apply(
        self, todo: Sequence[Work], *, following: Callable[[], Work | None] = lambda: None
    ) -> tuple[Applied, ...]:
        """Carry files out in one transaction: one usually, several for all or none. Files that others did are left out.

        On a lock timeout, a deadlock or a serialization failure everything is rolled back and run again. `following`
        is the work that `apply` will be called with next, when it can be told.
        Raises MigrationFailed, LockBusy.
        """
        try:
            return retried(self._runner, lambda: self._attempt(todo, following))
        except BaseException:
            self._opened = None
            raise

    def _attempt(self, todo: Sequence[Work], following: Callable[[], Work | None]) -> tuple[Applied, ...]:
        runner = self._runner
        applied: list[Applied] = []
        last: Work | None = None
        current = todo[0].migration
        try:
            opened: Opened | None = self._begun(todo[0])
            for work, upcoming in itertools.zip_longest(todo, todo[1:]):
                current = work.migration
                opened = opened or opening.claim_next(runner, work)
                if opened.xid is None:
                    opened = None
                    continue
                last = work
                one, opened = _carry_out(runner, work, opened.xid, upcoming, following)
                applied.append(one)
            began = time.monotonic()
            self._commit(last, following())
            applied[-1:] = [replace(one, seconds=one.seconds + time.monotonic() - began) for one in applied[-1:]]
        except psycopg.Error as error:
            if runner.session.connection.broken:
                raise lost(current, error, aftermath=ROLLED_BACK) from error
            raise server_error(current, error) from error
        finally:
            if not self._opened:
                commit.roll_back(runner)
        for one in applied:
            runner.observer(one)
        return tuple(applied)

    def _begun(self, work: Work) -> Opened:
        """The transaction for the work, which the commit before it may have opened."""
        opened, self._opened = self._opened, None
        if opened and opened.work is work:
            return opened
        commit.roll_back(self._runner)
        return opening.begin(self._runner, work)

    def _commit(self, last: Work | None, following: Work | None) -> None:
        """Commit, and open the transaction of the work that follows, if one can follow in the same message."""
        runner = self._runner
        witness = runner.witness
        if witness:
            witness.committing()
        message = b""
        # A BEGIN of the file's own may say what has to be said before anything else in the transaction.
        if following and following.script.begin == b"BEGIN" and not runner.session.pooled and not witness:
            message = b"BEGIN; " + opening.statements(runner, following)
        results = commit.commit(runner, last, opening=message)
        if following and results:
            self._opened = Opened(following, opening.claimed(results))
        if witness:
            witness.ended()


def _carry_out(
    runner: Runner, work: Work, xid: str, upcoming: Work | None, following: Callable[[], Work | None]
) -> tuple[Applied, Opened | None]:
    """Run a file whose record is claimed, and in the same message claim the `upcoming` one of its transaction.

    `following`, of another transaction, is asked for while the server works.
    """
    began = time.monotonic()
    runner.observer(Started(migration=work.migration, script=work.script))
    behind = _AT_ITS_END + work.claimed
    if runner.witness:
        runner.witness.begun(runner.session, work.migration, work.script)
        upcoming = None  # whose claim is none of this file's doing
    if upcoming:
        behind += b"; " + commit.between(runner) + opening.statements(runner, upcoming)
    try:
        rows = _send(runner, work, behind, following)
    except psycopg.Error as error:
        if upcoming and runner.exchange.rows and not runner.session.connection.broken:
            raise server_error(upcoming.migration, error) from error  # this file had come to its end
        raise
    _refuse_lost_claim(runner, work, xid, rows[0])
    seconds = time.monotonic() - began
    applied = Applied(migration=work.migration, seconds=seconds, statements=work.script.statements)
    return applied, Opened(upcoming, opening.claimed(rows[1:])) if upcoming else None


def _send(runner: Runner, work: Work, behind: bytes, meanwhile: Callable[[], object]) -> list[pq.abc.PGresult]:
    migration = work.migration
    try:
        with script.reading(work.script, migration.path) as reading:
            rows = runner.send(migration, work.script, reading.parts, behind=behind, meanwhile=meanwhile)
    except OSError as error:
        raise refused(migration, f"cannot be read any more: {error.strerror}") from error
    if reading.checksum() != migration.checksum:
        raise refused(migration, "changed while it ran; run inv db.migrate again")
    return rows


def _refuse_lost_claim(runner: Runner, work: Work, xid: str, end: pq.abc.PGresult) -> None:
    """What ran must have run in our transaction and left its claim alone, or record and effect would not be one."""
    if end.get_value(0, 0) != xid.encode():
        message = "the transaction that ran it is not the one begun for it: something in it commits or rolls back"
        raise refused(work.migration, message, aftermath=_PERHAPS_COMMITTED)
    if end.get_value(0, 1) != b"t":
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
