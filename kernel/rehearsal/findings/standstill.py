"""Relations that a migration shut for longer than is borne: locks add up, from the first statement to the commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.lint.finding import Severity
from kernel.rehearsal.findings.evidence import make_finding
from kernel.rehearsal.findings.lock_impact import locked_table, measure_impact
from kernel.rehearsal.findings.locks import LOCK_RULES
from kernel.rehearsal.findings.statements import is_same_relation, statement_at_line
from kernel.units import format_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kernel.lint.finding import Finding
    from kernel.rehearsal.findings.evidence import Evidence
    from kernel.rehearsal.result import BlockedTime, Limits, Run, TracedStatement


def findings_for_blocking(
    run: Run, shut: Iterable[BlockedTime], known: Iterable[Finding], accepted: Iterable[Finding], limits: Limits
) -> Iterator[Finding]:
    """Relations that a migration shut longer than the limit, where no error has said so, nor a file accepts it."""
    errors = [one for one in known if one.severity is Severity.ERROR]
    expected = [statement_at_line(run, one.line) for one in accepted]
    for one in shut:
        seconds = max(one.reads_seconds, one.writes_seconds)
        if one.version != run.version or seconds <= limits.block_seconds:
            continue
        name = one.relation.name
        statement = _longest_locking_statement(run, name)
        if any(statement is meant for meant in expected) or any(_covers_relation(run, error, name) for error in errors):
            continue
        who = "reads and writes" if one.reads_seconds > limits.block_seconds else "writes"
        yield make_finding(
            "standstill",
            f"{name}: {who} shut out for {format_seconds(seconds)}, more than {format_seconds(limits.block_seconds)}",
            run=run,
            statement=statement,
            relation=name,
        )


def _covers_relation(run: Run, known: Finding, name: str) -> bool:
    """Whether a finding tells of a relation, or of a statement that locks it."""
    if is_same_relation(known.relation, name):
        return True
    statement = statement_at_line(run, known.line)
    return statement is not None and any(locked_table(lock) == name for lock in measure_impact(statement).locks)


def _longest_locking_statement(run: Run, name: str) -> TracedStatement | None:
    """The statement that took the lock which lasted longest."""
    locks = [
        (lock.held_seconds, -index)
        for index, one in enumerate(run.statements)
        for lock in measure_impact(one).locks
        if locked_table(lock) == name
    ]
    return run.statements[-max(locks)[1]] if locks else None


# What the migrations did to others: standstill that probes felt, queries that broke or became dearer.


def findings_for_traffic(evidence: Evidence, known: Sequence[Finding]) -> Iterator[Finding]:
    """The findings about queries, and a standstill for each relation over the limit that no error is about yet."""
    yield from evidence.query_findings
    limit = evidence.limits.block_seconds
    errors = [one for one in known if one.severity is Severity.ERROR and one.rule in LOCK_RULES]
    for one in evidence.traffic:
        longest = max(one.reads_longest_seconds, one.writes_longest_seconds)
        if longest <= limit or any(is_same_relation(error.relation, one.relation) for error in errors):
            continue
        run, statement = _statement_blocking_longest(one.relation, evidence)
        if statement is not None and any(
            _statement_of_finding(evidence, accepted) is statement for accepted in evidence.accepted_findings
        ):
            continue
        who = "reads and writes" if one.reads_longest_seconds > limit else "writes"
        yield make_finding(
            "standstill",
            f"{one.relation}: {who} stood still under traffic for {format_seconds(longest)}, "
            f"more than {format_seconds(limit)}",
            run=run,
            statement=statement,
            relation=one.relation,
        )


def _statement_of_finding(evidence: Evidence, found: Finding) -> TracedStatement | None:
    run = evidence.run_of_version(found.version)
    return statement_at_line(run, found.line) if run else None


def _statement_blocking_longest(relation: str, evidence: Evidence) -> tuple[Run | None, TracedStatement | None]:
    """The statement that shut a relation for longest, even if that was a moment: behind it the others waited."""
    shut = [
        (lock.held_seconds, run, statement)
        for run in evidence.runs
        for statement in run.statements
        for lock in measure_impact(statement).locks
        if locked_table(lock) == relation
    ]
    _, run, statement = max(shut, key=lambda one: one[0], default=(0.0, None, None))
    return run, statement
