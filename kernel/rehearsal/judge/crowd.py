"""What the migrations did to others: standstill that probes felt, queries that broke or became dearer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel import units
from kernel.rehearsal.judge import deed, finding, harm, locks, names
from kernel.rehearsal.result import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.rehearsal.judge.evidence import Evidence
    from kernel.rehearsal.result import Finding, Run, Statement


def told(evidence: Evidence, known: Sequence[Finding]) -> Iterator[Finding]:
    """The findings about queries, and a standstill for each relation over the limit that no error is about yet."""
    yield from evidence.queries
    limit = evidence.limits.block_seconds
    errors = [one for one in known if one.severity is Severity.ERROR and one.rule in locks.RULES]
    for one in evidence.traffic:
        longest = max(one.reads_longest_seconds, one.writes_longest_seconds)
        if longest <= limit or any(names.same(error.relation, one.relation) for error in errors):
            continue
        run, statement = _locking(one.relation, evidence)
        if statement is not None and any(_at(evidence, accepted) is statement for accepted in evidence.accepted):
            continue
        who = "reads and writes" if one.reads_longest_seconds > limit else "writes"
        yield finding.of(
            "standstill",
            f"{one.relation}: {who} stood still under traffic for {units.seconds(longest)}, "
            f"more than {units.seconds(limit)}",
            run=run,
            statement=statement,
            relation=one.relation,
        )


def _at(evidence: Evidence, found: Finding) -> Statement | None:
    run = evidence.run(found.version)
    return deed.at(run, found.line) if run else None


def _locking(relation: str, evidence: Evidence) -> tuple[Run | None, Statement | None]:
    """The statement that shut a relation for longest, even if that was a moment: behind it the others waited."""
    shut = [
        (lock.held_seconds, run, statement)
        for run in evidence.runs
        for statement in run.statements
        for lock in harm.of(statement).locks
        if harm.felt(lock) == relation
    ]
    _, run, statement = max(shut, key=lambda one: one[0], default=(0.0, None, None))
    return run, statement
