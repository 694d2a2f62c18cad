"""Files applied in transactions: claim, run, commit; the whole file again when others were in its way.

The row is claimed first, in the transaction that runs the file: whatever happens to the lock, to the connection or to a
pooler, exactly one runner commits a version, and a row means that the file is fully applied.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg

from kernel.apply import alone, closing, commit, opening, together
from kernel.apply.events import Applied, Started
from kernel.apply.failed import lost, refused, server_error
from kernel.apply.opening import Opened
from kernel.apply.retry import retried
from kernel.apply.together import Group, Unclaimed
from kernel.files import script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from psycopg import pq

    from kernel.apply.alone import Alone
    from kernel.apply.runner import Runner
    from kernel.apply.work import Work


class Transactions:
    """Files applied in transactions: a small one in one message, of others the commit opens the next.

    While the server runs a file, the message for the next is prepared.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._opened: Opened | None = None
        self._prepared: tuple[Work | None, Alone | None] = None, None

    def apply(self, work: Work, *, following: Callable[[], Work | None] = lambda: None) -> tuple[Applied, ...]:
        """Carry out one file in a transaction of its own; () when another runner did it first.

        On a lock timeout, a deadlock or a serialization failure it is rolled back and run again. `following` is the
        work that `apply` will be called with next, when it can be told. Raises MigrationFailed, LockBusy.
        """
        known, small = self._prepared
        if known is not work:
            small = alone.prepared(self._runner, work)

        def prepare() -> Work | None:
            """What follows, unless it will have its own message from BEGIN to COMMIT."""
            after = following()
            if after and after is not self._prepared[0]:
                self._prepared = after, alone.prepared(self._runner, after)
            return after if after and not self._prepared[1] else None

        if small:
            message = small
            return self._retried(lambda: alone.run(self._runner, message, prepare))
        group = Group(works=(work,))
        return self._retried(lambda: self._carry_out(iter([group]), prepare))

    def apply_all(self, todo: Iterable[Work]) -> tuple[Applied, ...]:
        """Carry out several files, at least one, in one transaction: all or none. Those that others did are left out.

        As `apply`; `todo` is gone through once more for every attempt.
        """

        def attempt() -> tuple[Applied, ...]:
            try:
                return self._carry_out(together.groups(self._runner, todo))
            except Unclaimed:
                return self._carry_out(together.groups(self._runner, todo, singly=True))

        return self._retried(attempt)

    def _retried(self, attempt: Callable[[], tuple[Applied, ...]]) -> tuple[Applied, ...]:
        try:
            return retried(self._runner, attempt)
        except BaseException:
            self._opened = None
            raise

    def _carry_out(
        self, groups: Iterator[Group], following: Callable[[], Work | None] = lambda: None
    ) -> tuple[Applied, ...]:
        runner = self._runner
        applied: list[Applied] = []
        last: Work | None = None
        opened: Opened | None = None
        ahead = deque([next(groups)])

        def prepare() -> None:
            ahead.extend(itertools.islice(groups, 1))
            following()

        group = ahead[0]
        try:
            opened = self._begun(group)
            while ahead:
                group = ahead.popleft()
                opened = opened or _claim_next(runner, group)
                if opened.xid is None:
                    together.left_out(group)
                    opened = None
                else:
                    last = group.works[-1]
                    done, opened = _run(runner, group, opened.xid, prepare)
                    applied += done
                if not ahead:
                    prepare()
            began = time.monotonic()
            self._commit(last, following())
            applied[-1:] = [replace(one, seconds=one.seconds + time.monotonic() - began) for one in applied[-1:]]
        except psycopg.Error as error:
            current = together.under_way(group, runner.exchange.done)
            if runner.session.connection.broken:
                raise lost(current, error) from error
            raise server_error(current, error) from error
        finally:
            if not self._opened:
                commit.roll_back(runner)
        for one in applied:
            runner.observer(one)
        return tuple(applied)

    def _begun(self, group: Group) -> Opened:
        """The transaction for a group, which the commit before it may have opened."""
        opened, self._opened = self._opened, None
        if opened and opened.work is group.works[0]:
            return opened
        commit.roll_back(self._runner)
        with together.claiming(self._runner, group.works):
            return opening.begin(self._runner, *group.works)

    def _commit(self, last: Work | None, following: Work | None) -> None:
        """Commit, and open the transaction of the work that follows, if one can follow in the same message."""
        runner = self._runner
        witness = runner.witness
        if witness:
            witness.committing()
        statements: tuple[bytes, ...] = ()
        # A BEGIN of the file's own may say what has to be said before anything else in the transaction.
        if following and following.script.begin == b"BEGIN" and not runner.session.pooled and not witness:
            statements = (b"BEGIN", *opening.statements(runner, following))
        results = commit.commit(runner, last, opening=statements)
        if following and results:
            self._opened = Opened(following, opening.claimed(results))
        if witness:
            witness.ended()


def _claim_next(runner: Runner, group: Group) -> Opened:
    with together.claiming(runner, group.works):
        return opening.claim_next(runner, *group.works)


def _run(
    runner: Runner, group: Group, xid: str, meanwhile: Callable[[], object]
) -> tuple[list[Applied], Opened | None]:
    """Run files the first of which is claimed; in the same message, where it can be, claim the one behind them.

    `meanwhile` is called while the server works.
    """
    if len(group.works) > 1:
        return together.run(runner, group, xid, meanwhile)
    work, upcoming = group.works[0], group.upcoming
    began = time.monotonic()
    runner.observer(Started(migration=work.migration, script=work.script))
    behind = closing.statements(work)
    if runner.witness:
        runner.witness.begun(runner.session, work.migration, work.script)
        upcoming = ()  # whose claim is none of this file's doing
    if upcoming:
        behind = (*behind, *commit.between(runner), *opening.statements(runner, *upcoming))
    try:
        rows = _send(runner, work, behind, meanwhile)
    except psycopg.Error as error:
        if upcoming and runner.exchange.rows and not runner.session.connection.broken:
            # This file had come to its end.
            raise (Unclaimed() if len(upcoming) > 1 else server_error(upcoming[0].migration, error)) from error
        raise
    closing.verify(work, runner.ledger, xid, rows[0])
    seconds = time.monotonic() - began
    applied = Applied(migration=work.migration, seconds=seconds, statements=work.script.statements)
    return [applied], Opened(upcoming[0], opening.claimed(rows[1:])) if upcoming else None


def _send(
    runner: Runner, work: Work, behind: Sequence[bytes], meanwhile: Callable[[], object]
) -> list[pq.abc.PGresult]:
    migration = work.migration
    try:
        with script.reading(work.script, migration.path) as reading:
            rows = runner.send(migration, work.script, reading.parts, behind=behind, meanwhile=meanwhile)
    except OSError as error:
        raise refused(migration, f"cannot be read any more: {error.strerror}") from error
    if reading.checksum() != migration.checksum:
        raise refused(migration, "changed while it ran; run inv db.migrate again")
    return rows
