"""A small file in one message, from BEGIN to COMMIT: nothing of it waits for an answer in between.

What is otherwise looked at before COMMIT is sent, the server looks at itself: where the transaction or the record is no
longer ours, it divides by zero, and the rest of the message is not run.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from kernel import ledger
from kernel.apply import closing, commit, opening
from kernel.apply.events import Applied, Started
from kernel.apply.failed import server_error
from kernel.apply.segment import Segment
from kernel.apply.together import whole
from kernel.errors import MigrationFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import pq

    from kernel.apply.runner import Runner
    from kernel.apply.work import Work

_BEGIN = b"BEGIN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """A file and its message: `segment` is where in it the file stands.

    `claim`, `end` and `look` are the numbers, counted from 0, of the statements that claim its record, tell how it
    ended, and look at the lock; COMMIT stands between the last two.
    """

    work: Work
    message: bytes
    segment: Segment
    claim: int
    end: int
    look: int


def prepared(runner: Runner, work: Work) -> Alone | None:
    """The message of a file; None for one that needs more than a message."""
    # A BEGIN of the file's own may say what has to be said ahead of everything. Through a pooler the lock comes first.
    if runner.witness or runner.session.pooled or work.script.begin != _BEGIN or not work.records:
        return None
    statements = whole(work)
    if statements is None:
        return None
    ahead = (_BEGIN, *opening.statements(runner, work))
    behind = (*closing.guarded(work), *commit.statements(runner))
    begun = b"; ".join(ahead) + b";\n"
    segment = Segment(work.migration, statements, len(ahead), len(begun.decode()))
    return Alone(
        work=work,
        message=b"%b%b\n%b" % (begun, statements.message, b"; ".join(behind)),
        segment=segment,
        claim=len(ahead) - 1,
        end=segment.end + len(closing.guarded(work)) - 1,
        look=segment.end + len(behind) - 1,
    )


def run(runner: Runner, alone: Alone, meanwhile: Callable[[], object]) -> tuple[Applied, ...]:
    """Run a file; () when another runner recorded it first. `meanwhile` is called while the server works.

    Raises MigrationFailed, LockBusy.
    """
    work, exchange = alone.work, runner.exchange
    commit.roll_back(runner)
    began = time.monotonic()
    runner.observer(Started(migration=work.migration, script=work.script))
    try:
        with runner.attending(alone.segment):
            error = exchange.run(alone.message, kept=(alone.claim, alone.end, alone.look), meanwhile=meanwhile)
    except psycopg.OperationalError as reason:
        raise commit.in_doubt(runner, work, reason, reached=False) from reason
    rows = exchange.rows
    if exchange.done > alone.claim and alone.claim not in rows:
        commit.roll_back(runner)
        return ()
    if error:
        raise _failure(runner, alone, error)
    xid = opening.claimed([rows[alone.claim]]) or ""
    closing.verify(work, runner.ledger, xid, rows.get(alone.end))
    commit.verify_lock(rows[alone.look])
    applied = Applied(migration=work.migration, seconds=time.monotonic() - began, statements=work.script.statements)
    runner.observer(applied)
    return (applied,)


def _failure(runner: Runner, alone: Alone, error: pq.abc.PGresult) -> MigrationFailed:
    """What stopped the message, once its transaction is rolled back."""
    work, done = alone.work, runner.exchange.done
    found = runner.failed([alone.segment], error)
    commit.roll_back(runner)
    if isinstance(found, MigrationFailed):
        return found
    # Ahead of it a deferred trigger of the file's may divide by zero, too. A COMMIT that was not seen moves it back.
    if done >= alone.end and closing.divided(error):
        recorded = ledger.has(runner.session, runner.ledger, work.migration.version)
        return closing.refusal(work, runner.ledger, committed=recorded)
    return server_error(work.migration, found)
