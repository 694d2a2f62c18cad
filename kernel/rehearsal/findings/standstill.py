"""Findings about relations blocked for longer than the limit: locks add up, from the first statement to the commit."""

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
    run: Run, blocked: Iterable[BlockedTime], known: Iterable[Finding], accepted: Iterable[Finding], limits: Limits
) -> Iterator[Finding]:
    """Relations that a migration blocked longer than the limit, unless an error covers it or the file accepts it."""
    errors = [finding for finding in known if finding.severity is Severity.ERROR]
    expected = [statement_at_line(run, finding.line) for finding in accepted]
    for one in blocked:
        if one.version != run.version:
            continue
        name = one.relation.name
        _, statement = _longest_locking_statement(name, [run])
        if any(statement is accepted_one for accepted_one in expected) or any(
            _covers_relation(run, error, name) for error in errors
        ):
            continue
        yield from _standstill_finding(
            name, "shut out", one.reads_seconds, one.writes_seconds, limits, run=run, statement=statement
        )


def findings_for_traffic(evidence: Evidence, known: Sequence[Finding]) -> Iterator[Finding]:
    """The findings about queries, and a standstill for each relation over the limit that no error covers."""
    yield from evidence.query_findings
    errors = [finding for finding in known if finding.severity is Severity.ERROR and finding.rule in LOCK_RULES]
    expected = [
        statement_at_line(run, finding.line)
        for finding in evidence.accepted_findings
        if (run := evidence.run_of_version(finding.version))
    ]
    for one in evidence.traffic:
        if any(is_same_relation(error.relation, one.relation) for error in errors):
            continue
        run, statement = _longest_locking_statement(one.relation, evidence.runs)
        if statement is not None and any(statement is accepted for accepted in expected):
            continue
        yield from _standstill_finding(
            one.relation,
            "stood still under traffic",
            one.reads_longest_seconds,
            one.writes_longest_seconds,
            evidence.limits,
            run=run,
            statement=statement,
        )


def _standstill_finding(
    relation: str,
    verb: str,
    reads_seconds: float,
    writes_seconds: float,
    limits: Limits,
    *,
    run: Run | None,
    statement: TracedStatement | None,
) -> Iterator[Finding]:
    """The finding where reads or writes waited for longer than the limit."""
    seconds, limit = max(reads_seconds, writes_seconds), limits.block_seconds
    if seconds > limit:
        waiting = "reads and writes" if reads_seconds > limit else "writes"
        yield make_finding(
            "standstill",
            f"{relation}: {waiting} {verb} for {format_seconds(seconds)}, more than {format_seconds(limit)}",
            run=run,
            statement=statement,
            relation=relation,
        )


def _covers_relation(run: Run, known: Finding, name: str) -> bool:
    """Whether a finding is about a relation, or about a statement that locks it."""
    if is_same_relation(known.relation, name):
        return True
    statement = statement_at_line(run, known.line)
    return statement is not None and any(locked_table(lock) == name for lock in measure_impact(statement).locks)


def _longest_locking_statement(name: str, runs: Iterable[Run]) -> tuple[Run | None, TracedStatement | None]:
    """The statement whose lock on a relation lasted longest, however short: other sessions waited for that lock."""
    locks = [
        (lock.held_seconds, run, statement)
        for run in runs
        for statement in run.statements
        for lock in measure_impact(statement).locks
        if locked_table(lock) == name
    ]
    _, run, statement = max(locks, key=lambda one: one[0], default=(0.0, None, None))
    return run, statement
