"""Findings about the practices of the specification: safe to re-run, reverts, backward compatible."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.lint.finding import Severity
from kernel.lint.rules import RULES_BY_ID
from kernel.rehearsal.findings.evidence import clip_message, make_finding, place_finding
from kernel.rehearsal.findings.lock_impact import measure_impact
from kernel.rehearsal.findings.statements import (
    is_same_relation,
    last_statement_naming,
    names_in_statement,
    statement_verbs,
    unqualified_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kernel.lint.finding import Finding
    from kernel.rehearsal.data.integrity import UnvalidatedConstraint
    from kernel.rehearsal.findings.evidence import Evidence
    from kernel.rehearsal.practices.result import PracticeFault
    from kernel.rehearsal.result import Run, Violation


# Rules about names that the running version uses: the comparison of the schemas shows whether they are missing.
_RULES_OF_NAMES = frozenset(
    {"rename-table", "rename-column", "rename-object", "drop-object", "drop-table", "drop-column", "drop-schema"}
)
_VERBS_NOT_COMPARED = frozenset({"drop constraint", "drop default", "drop sequence", "drop operator"})
_ROWS_CONFORM = "every existing row satisfies it"
NAMES_STILL_THERE = "all names that the running version uses are still there"


def findings_for_practices(evidence: Evidence, known: Sequence[Finding]) -> Iterator[Finding]:
    """A finding for each fault that none of the `known` findings covers."""
    for fault in evidence.rerun_faults:
        # A second run that fails and changes nothing is harmless: the record keeps the file from running again.
        severity = Severity.HARMLESS if fault.left_unchanged else Severity.WARNING
        yield _fault_finding("not-rerunnable", fault, severity)
    for fault in evidence.revert_faults:
        yield _fault_finding("revert-differs", fault)
    failed = {run.version for run in evidence.runs if run.failed}
    for fault in evidence.compatibility_faults:
        if fault.version in failed or any(_covers_fault(evidence, one, fault) for one in known):
            continue
        is_after = fault.version in evidence.versions_of_phase_after
        severity = fault.severity or RULES_BY_ID["breaks-running-version"].severity
        if is_after:
            severity = severity.lowered
        found = _fault_finding("breaks-running-version", fault, severity)
        if found.offset is None:
            run, statement = last_statement_naming(
                fault.subject, [one for one in evidence.runs if fault.version in ("", one.version)]
            )
            found = place_finding(found, run, statement)
        if fault.only_rejects_rows and evidence.copy_rows:
            if _violations(fault, (one.violation for one in _unvalidated_constraints(evidence))):
                continue  # the finding about these rows says what to do
            refused = _violations(fault, evidence.integrity.refused_rows if evidence.integrity else ())
            counts = " and ".join(one.counts for one in refused)
            measured = f"production has {counts} that it refuses" if refused else _ROWS_CONFORM
            of_refused = Severity.ERROR.lowered if is_after else Severity.ERROR
            severity = of_refused if refused else Severity.HARMLESS
            found = replace(found, severity=severity, message=f"{found.message}; measured: {measured}")
        yield found


def is_repeated_by_second_run(evidence: Evidence, finding: Finding) -> bool:
    """Whether the second run of a file has a more exact finding about the statement than the linter's."""
    run = evidence.run_of_version(finding.version)
    return (
        finding.rule == "not-rerunnable"
        and run is not None
        and any(
            one.offset is None or run.statement_at(one.offset) is run.statement_at(finding.offset)
            for one in evidence.rerun_faults
            if one.version == finding.version
        )
    )


def all_names_still_there(evidence: Evidence, run: Run, finding: Finding) -> bool:
    """Whether a finding is about a missing name, and no name is missing; unknown (False) after a failure."""
    if finding.rule not in _RULES_OF_NAMES or any(one.failed for one in evidence.runs):
        return False
    statement = run.statement_at(finding.offset)
    if statement is None or not _VERBS_NOT_COMPARED.isdisjoint(statement_verbs(statement)):
        return False
    return not any(
        finding.rule in fault.rules and fault.version in ("", run.version) for fault in evidence.compatibility_faults
    )


def _fault_finding(rule: str, fault: PracticeFault, severity: Severity | None = None) -> Finding:
    found = make_finding(
        rule, clip_message(fault.message), severity=severity, relation=fault.object_name, remedy=fault.remedy
    )
    return replace(
        found, version=fault.version, filename=fault.filename, line=fault.line, column=fault.column, offset=fault.offset
    )


def _covers_fault(evidence: Evidence, known: Finding, fault: PracticeFault) -> bool:
    """Whether a finding is about the same hazard at the same place: its statement names what changed, or changed it."""
    if known.rule not in fault.rules or known.severity is Severity.HARMLESS or fault.version not in ("", known.version):
        return False
    run = evidence.run_of_version(known.version)
    statement = run.statement_at(known.offset) if run else None
    if run is None or statement is None:
        return is_same_relation(known.relation, fault.object_name)
    if fault.offset is not None:
        return run.statement_at(fault.offset) is statement
    return fault.subject in names_in_statement(statement) or (
        fault.subject == unqualified_name(fault.object_name)
        and any(lock.relation.name == fault.object_name for lock in measure_impact(statement).locks)
    )


def _unvalidated_constraints(evidence: Evidence) -> tuple[UnvalidatedConstraint, ...]:
    return evidence.integrity.unvalidated_constraints if evidence.integrity else ()


def _violations(fault: PracticeFault, violations: Iterable[Violation]) -> tuple[Violation, ...]:
    """Those of the violations, with rows, that are of the new constraint or NOT NULL of a fault."""
    return tuple(
        one
        for one in violations
        if one.rows
        and is_same_relation(one.relation, fault.object_name)
        and unqualified_name(one.constraint) == fault.subject
    )
