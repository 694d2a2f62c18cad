"""Opening a transaction for a file: BEGIN, the settings of its session, and the claim of its record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel import ledger, lock
from kernel.apply import commit
from kernel.apply.runner import named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import pq

    from kernel.apply.runner import Runner
    from kernel.apply.work import Work
    from kernel.files.script import Script


@dataclass(frozen=True, slots=True)
class Opened:
    """A transaction in which a file's record is claimed: its id, None when another runner was first."""

    work: Work
    xid: str | None


def begin(runner: Runner, *works: Work) -> Opened:
    """Open a transaction for works whose files go together, and claim their records."""
    work = works[0]
    opening = statements(runner, *works)
    if runner.session.pooled:
        _begin_with_lock(runner, work.script)
    else:
        opening = (work.script.begin, *opening)
    return Opened(work, claimed(runner.exchange.ask(b"; ".join(opening))))


def claim_next(runner: Runner, *works: Work) -> Opened:
    """Claim the records of further works in the open transaction."""
    return Opened(
        works[0], claimed(runner.exchange.ask(b"; ".join((*commit.between(runner), *statements(runner, *works)))))
    )


def statements(runner: Runner, *works: Work) -> tuple[bytes, ...]:
    """What works find done in their transaction: the settings for the first file, and the claim of all."""
    if len(works) == 1:
        return (*settings(runner, works[0]), works[0].claim)
    claim = ledger.claim(runner.session.connection, runner.ledger, *(work.migration for work in works))
    return (*settings(runner, works[0]), claim)


def settings(runner: Runner, work: Work) -> tuple[bytes, ...]:
    """The settings of the session for a file, as long as its transaction lasts."""
    patience, asked = runner.patience, work.script
    lock_timeout = patience.lock_timeout_ms if asked.lock_timeout_ms is None else asked.lock_timeout_ms
    return (
        b"SET LOCAL lock_timeout = %d" % lock_timeout,
        b"SET LOCAL statement_timeout = %d" % patience.statement_timeout_ms,
        b"SET LOCAL application_name = '%b'" % named(work.migration).encode(),
    )


def claimed(results: Sequence[pq.abc.PGresult]) -> str | None:
    """The transaction's id, from the last of the results; None when there is no row."""
    value = results[-1].get_value(0, 0) if results and results[-1].ntuples else None
    return value.decode() if value is not None else None


def _begin_with_lock(runner: Runner, asked: Script) -> None:
    """Through a pooler the lock is the transaction's, as is everything else."""
    number = lock.key(runner.ledger.schema)

    def attempt() -> bool:
        commit.roll_back(runner)
        answer = runner.exchange.ask(asked.begin + f"; SELECT pg_try_advisory_xact_lock({number})".encode())[-1]
        return answer.get_value(0, 0) == b"t"

    wait_seconds = runner.patience.lock_wait_seconds
    lock.acquire(runner.session, number, attempt, wait_seconds=wait_seconds, waiting=runner.waiting)
