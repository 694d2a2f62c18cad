"""The practices of the specification, as they were put to the test: run again, reverted, met by the running version."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.rehearsal import rules
from kernel.rehearsal.judge import deed, finding, harm, names
from kernel.rehearsal.result import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kernel.rehearsal.judge.evidence import Evidence
    from kernel.rehearsal.practice.fault import Fault
    from kernel.rehearsal.result import Finding, Run

_COMPATIBLE = 3  # of the specification's best practices
# Beside the rules of that practice, those that say at their place what the comparison of the schemas says as well.
_SAYING = frozenset(
    {"drop-schema", "extension-changed", "privileges-changed", "row-security-switched", "table-swap", "truncate"}
)
# What these fear is that a name is gone which the running version knows: the comparison of the schemas tells.
_OF_NAMES = frozenset(
    {"rename-table", "rename-column", "rename-object", "drop-object", "drop-table", "drop-column", "drop-schema"}
)
_UNCOMPARED = frozenset({"drop constraint", "drop default", "drop sequence", "drop operator"})
_KEPT = "every row there keeps to it"
STILL_THERE = "all that the running version names is still there"


def told(evidence: Evidence, known: Sequence[Finding]) -> Iterator[Finding]:
    """A finding for each fault that none of the `known` tells of."""
    for fault in evidence.rerun:
        # One that fails and leaves everything as it is does no harm: the record keeps it from being run again.
        severity = Severity.HARMLESS if fault.unchanged else Severity.WARNING
        yield _finding("not-rerunnable", fault, severity)
    for fault in evidence.revert:
        yield _finding("revert-differs", fault)
    failed = {run.version for run in evidence.runs if run.failed}
    for fault in evidence.compatible:
        if fault.version in failed or any(_says(evidence, one, fault) for one in known):
            continue
        found = _finding("breaks-running-version", fault)
        if fault.stricter and evidence.rows:
            if _violated(fault, evidence):
                continue  # what is told of these rows tells what to do about them
            found = replace(found, severity=Severity.HARMLESS, message=f"{found.message}; measured: {_KEPT}")
        yield found


def repeated(evidence: Evidence, feared: Finding) -> bool:
    """Whether a finding of the linter is told better by the second run of its file."""
    return feared.rule == "not-rerunnable" and any(one.version == feared.version for one in evidence.rerun)


def unmissed(evidence: Evidence, run: Run, feared: Finding) -> bool:
    """Whether a finding fears that a name is missed, and none is; of a migration that failed nobody knows."""
    if feared.rule not in _OF_NAMES or not evidence.compared or any(one.failed for one in evidence.runs):
        return False
    statement = deed.at(run, feared.line)
    if statement is None or not _UNCOMPARED.isdisjoint(deed.verbs(statement)):
        return False
    return not any(fault.version in ("", run.version) for fault in evidence.compatible)


def _finding(rule: str, fault: Fault, severity: Severity | None = None) -> Finding:
    found = finding.of(
        rule, finding.clipped(fault.message), severity=severity, relation=fault.about, remedy=fault.remedy
    )
    return replace(found, version=fault.version, filename=fault.filename, line=fault.line)


def _says(evidence: Evidence, known: Finding, fault: Fault) -> bool:
    """Whether a finding is about the same: the same object, or the statement that names it."""
    if known.rule not in _SAYING and rules.BY_ID[known.rule].practice != _COMPATIBLE:
        return False
    if fault.version not in ("", known.version):
        return False
    if names.same(known.relation, fault.about):
        return True
    run = next((one for one in evidence.runs if one.version == known.version), None)
    statement = deed.at(run, known.line) if run else None
    if statement is None or run is None:
        return False
    return (
        names.bare(fault.about) in deed.names(statement)
        or (fault.line is not None and deed.at(run, fault.line) is statement)
        or any(lock.relation.name == fault.about for lock in harm.of(statement).locks)
    )


def _violated(fault: Fault, evidence: Evidence) -> bool:
    """Whether rows are known that a new rule of their table would not let in."""
    unvalidated: Iterable[str] = (
        one.violation.relation for one in (evidence.sanity.unvalidated if evidence.sanity else ()) if one.violation.rows
    )
    return any(names.same(relation, fault.about) for relation in unvalidated)
