"""All findings of a rehearsal, worst first, and those that decide the verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel import units
from kernel.rehearsal import rules
from kernel.rehearsal.judge import failure, finding, locks, losses, state
from kernel.rehearsal.result import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.rehearsal.judge.evidence import Evidence, Limits
    from kernel.rehearsal.practice.fault import Fault
    from kernel.rehearsal.result import Finding, Run

_ORDER = {severity: rank for rank, severity in enumerate(Severity)}


def findings(evidence: Evidence) -> tuple[Finding, ...]:
    """What is to be known, the worst first, then in the order of the files. What a file accepts is left out."""
    told = dict.fromkeys(one for one in _all(evidence) if not _accepted(one, evidence))
    return tuple(sorted(told, key=lambda one: (_ORDER[one.severity], one.version, one.line or 0, one.rule)))


def reasons(found: Iterable[Finding], limits: Limits) -> tuple[Finding, ...]:
    """The findings at or above the threshold: with one of them the rehearsal fails."""
    if limits.fail_on is None:
        return ()
    return tuple(one for one in found if _ORDER[one.severity] <= _ORDER[limits.fail_on])


def _accepted(found: Finding, evidence: Evidence) -> bool:
    """Whether the file accepts the rule, at that line or as a whole."""
    return any(
        one.rule == found.rule and one.version == found.version and one.line in (None, found.line)
        for one in evidence.accepted
    )


def _all(evidence: Evidence) -> Iterator[Finding]:
    limits = evidence.limits
    for run in evidence.runs:
        feared = [one for one in evidence.text if one.version == run.version]
        judged = [locks.measured(run, one, limits) for one in feared]
        judged += locks.unforeseen(run, [*feared, *_of(run, evidence.accepted)], limits)
        judged += locks.standstill(run, evidence.shut, [*judged, *_of(run, evidence.accepted)], limits)
        yield from judged
        yield from failure.told(run)
        yield from losses.further(run)
        yield from _volume(run, limits)
    unrun = {run.version for run in evidence.runs}
    yield from (one for one in evidence.text if one.version not in unrun)
    yield from losses.undeclared(evidence.receipts, evidence.runs)
    if evidence.sanity:
        yield from state.left(evidence.sanity, evidence.runs)
    yield from _practices(evidence)
    if not evidence.rows and evidence.runs:
        yield finding.of("not-rehearsed", rules.BY_ID["not-rehearsed"].condition)


def _of(run: Run, found: Iterable[Finding]) -> list[Finding]:
    return [one for one in found if one.version == run.version]


def _volume(run: Run, limits: Limits) -> Iterator[Finding]:
    most = max(run.wal_bytes, run.growth_bytes)
    if most >= limits.wal_bytes:
        wal, growth = units.size(run.wal_bytes), units.size(run.growth_bytes)
        yield finding.of(
            "write-volume", f"{run.filename}: writes {wal} of WAL, the database grows by {growth}", run=run
        )


def _practices(evidence: Evidence) -> Iterator[Finding]:
    for rule, severity, faults in (
        ("not-rerunnable", Severity.WARNING, evidence.rerun),
        ("revert-differs", None, evidence.revert),
        ("breaks-running-version", None, evidence.compatible),
    ):
        for fault in faults:
            # The linter has said it at its place; what only the comparison of the schemas can tell has no line.
            if rule == "breaks-running-version" and _said(fault, evidence):
                continue
            yield _fault(rule, severity, fault)


def _said(fault: Fault, evidence: Evidence) -> bool:
    practice = 3  # of the specification: backwards compatibility
    known = [one for one in (*evidence.text, *evidence.accepted) if rules.BY_ID[one.rule].practice == practice]
    return any(not fault.version or one.version == fault.version for one in known)


def _fault(rule: str, severity: Severity | None, fault: Fault) -> Finding:
    found = finding.of(rule, fault.message, severity=severity, remedy=fault.remedy)
    return replace(found, version=fault.version, filename=fault.filename, line=fault.line)
