"""Indexes and foreign keys, side by side as far as their locks allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.dump import proof, shape
from kernel.rehearsal.dump.crew import Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.rehearsal.dump.hand import Hand
    from kernel.rehearsal.dump.index import Statement
    from kernel.rehearsal.dump.proof import Promise
    from kernel.rehearsal.dump.site import Site


def build(site: Site, statements: Sequence[Statement]) -> None:
    """Build indexes, and the constraints that rest on them."""
    _work(site, statements, [])


def check(site: Site, statements: Sequence[Statement], besides: Sequence[Job]) -> None:
    """Add foreign keys, and do the jobs `besides` while they are checked.

    Those of large tables are added ahead of the others and locked no more; then their rows are looked at.
    """
    promises: list[tuple[Statement, Promise]] = []
    others: list[Statement] = []
    for statement in statements:
        if promise := _promised(site, statement):
            promises.append((statement, promise))
        else:
            others.append(statement)
    broken: list[tuple[Statement, Promise]] = []

    def accepted(promise: Promise) -> bool:
        with site.assisting:
            return proof.accept(site.assistant.connection, promise)

    def proving(statement: Statement, promise: Promise) -> Job:
        def run(one: Hand) -> None:
            site.settle(one, statement.settings)
            if not proof.kept(one, promise) or not accepted(promise):
                broken.append((statement, promise))

        return Job(cost=_cost(site, statement), run=run)

    _work(site, others, [*(proving(*one) for one in promises), *besides])
    for statement, promise in broken:
        site.main.run(promise.withdrawal)
        site.run(site.main, statement)  # for the server's own words, and its own mind


def _work(site: Site, statements: Sequence[Statement], besides: Sequence[Job]) -> None:
    deadlocked: list[Statement] = []
    site.crew.work([*(_job(site, statement, deadlocked) for statement in statements), *besides])
    for statement in deadlocked:
        site.run(site.main, statement)


def _promised(site: Site, statement: Statement) -> Promise | None:
    match = shape.key(site.index.sql(statement)) if site.ours else None
    if match is None or site.bytes_of(match["exclusive"]) < proof.LEAST_BYTES:
        return None
    site.settle(site.main, statement.settings)
    return proof.promised(site.main, site.assistant.connection, match)


def _job(site: Site, statement: Statement, deadlocked: list[Statement]) -> Job:
    shared, exclusive = _tables(site, statement)
    return Job(
        cost=_cost(site, statement),
        run=lambda one: site.run(one, statement, deadlocked),
        shared=shared,
        exclusive=exclusive,
    )


def _cost(site: Site, statement: Statement) -> int:
    """The bytes of the tables that are read for it."""
    return sum(site.bytes_of(table) for table in frozenset().union(*_tables(site, statement)))


def _tables(site: Site, statement: Statement) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """The tables that a statement locks against those who write, and against everybody who does the same."""
    _kind, match = shape.of(site.index.sql(statement))
    found = match.groupdict() if match else {}
    shared = {found[name] for name in ("table",) if found.get(name)}
    exclusive = {found[name] for name in ("exclusive", "other") if found.get(name)}
    return frozenset(shared), frozenset(exclusive)
