"""Findings about relations blocked for longer than the limit: locks add up, from the first statement to the commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.lint.finding import Severity
from kernel.rehearsal.findings.evidence import make_finding
from kernel.rehearsal.findings.lock_impact import locked_table, measure_impact
from kernel.rehearsal.findings.locks import LOCK_RULES
from kernel.rehearsal.findings.statements import is_same_relation
from kernel.units import format_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kernel.lint.finding import Finding
    from kernel.rehearsal.findings.evidence import Evidence
    from kernel.rehearsal.result import Run, TracedStatement


def findings_for_standstills(evidence: Evidence, known: Sequence[Finding]) -> Iterator[Finding]:
    """Relations whose reads or writes waited longer than the limit, by the locks themselves and under traffic.

    Without those that an error about a lock covers, or a finding about a lock that a file accepts.
    """
    limit = evidence.limits.block_seconds
    errors = [one for one in known if one.severity is Severity.ERROR and one.rule in LOCK_RULES]
    accepted = [_statement_of_finding(evidence, one) for one in evidence.accepted_findings if one.rule in LOCK_RULES]
    waits = [
        *((one.relation.name, one.version, one.reads_seconds, one.writes_seconds) for one in evidence.blocking),
        *((one.relation, "", one.reads_longest_seconds, one.writes_longest_seconds) for one in evidence.traffic),
    ]
    for name, version, reads_seconds, writes_seconds in waits:
        runs = [run for run in evidence.runs if version in ("", run.version)]
        run, statement = _longest_locking_statement(name, runs)
        seconds = max(reads_seconds, writes_seconds)
        if (
            seconds <= limit
            or (statement is not None and any(statement is one for one in accepted))
            or any(_covers_relation(evidence, one, name, version) for one in errors)
        ):
            continue
        waiting = "reads and writes" if reads_seconds > limit else "writes"
        verb = "blocked" if version else "blocked under traffic"
        found = make_finding(
            "standstill",
            f"{name}: {waiting} {verb} for {format_seconds(seconds)}, more than {format_seconds(limit)}",
            run=run,
            statement=statement,
            relation=name,
        )
        errors.append(found)
        yield found


def _statement_of_finding(evidence: Evidence, found: Finding) -> TracedStatement | None:
    run = evidence.run_of_version(found.version)
    return run.statement_at(found.offset) if run else None


def _covers_relation(evidence: Evidence, known: Finding, name: str, version: str) -> bool:
    """Whether a finding is about a relation, or about a statement of the `version`, "" for any, that locks it."""
    if version not in ("", known.version):
        return False
    if is_same_relation(known.relation, name):
        return True
    statement = _statement_of_finding(evidence, known) if version else None
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
