"""Findings about the practices of the specification: safe to re-run, reverts, backward compatible."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.lint.finding import Severity
from kernel.lint.rules import RULES_BY_ID
from kernel.rehearsal.findings.evidence import clip_message, make_finding
from kernel.rehearsal.findings.lock_impact import measure_impact
from kernel.rehearsal.findings.statements import (
    is_same_relation,
    names_in_statement,
    statement_verbs,
    unqualified_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kernel.lint.finding import Finding
    from kernel.rehearsal.findings.evidence import Evidence
    from kernel.rehearsal.practices.result import PracticeFault
    from kernel.rehearsal.result import Run


_COMPATIBILITY_PRACTICE = 3  # of the specification's best practices
# In addition to the rules of that practice: rules that report the same as the comparison of the schemas.
_RULES_LIKE_COMPARISON = frozenset(
    {"drop-schema", "extension-changed", "privileges-changed", "row-security-switched", "table-swap", "truncate"}
)
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
        found = _fault_finding("breaks-running-version", fault)
        if fault.only_rejects_rows and evidence.copy_rows:
            if _has_violating_rows(fault, evidence):
                continue  # the finding about these rows says what to do
            found = replace(found, severity=Severity.HARMLESS, message=f"{found.message}; measured: {_ROWS_CONFORM}")
        yield found


def is_repeated_by_second_run(evidence: Evidence, finding: Finding) -> bool:
    """Whether the second run of a file has a more exact finding than the linter's."""
    return finding.rule == "not-rerunnable" and any(one.version == finding.version for one in evidence.rerun_faults)


def all_names_still_there(evidence: Evidence, run: Run, finding: Finding) -> bool:
    """Whether a finding is about a missing name, and no name is missing; unknown (False) after a failure."""
    if finding.rule not in _RULES_OF_NAMES or any(one.failed for one in evidence.runs):
        return False
    statement = run.statement_at(finding.offset)
    if statement is None or not _VERBS_NOT_COMPARED.isdisjoint(statement_verbs(statement)):
        return False
    return not any(fault.version in ("", run.version) for fault in evidence.compatibility_faults)


def _fault_finding(rule: str, fault: PracticeFault, severity: Severity | None = None) -> Finding:
    found = make_finding(
        rule, clip_message(fault.message), severity=severity, relation=fault.object_name, remedy=fault.remedy
    )
    return replace(
        found, version=fault.version, filename=fault.filename, line=fault.line, column=fault.column, offset=fault.offset
    )


def _covers_fault(evidence: Evidence, known: Finding, fault: PracticeFault) -> bool:
    """Whether a finding is about the same object, or the statement that names it."""
    if known.rule not in _RULES_LIKE_COMPARISON and RULES_BY_ID[known.rule].practice_number != _COMPATIBILITY_PRACTICE:
        return False
    if fault.version not in ("", known.version):
        return False
    if is_same_relation(known.relation, fault.object_name):
        return True
    run = evidence.run_of_version(known.version)
    statement = run.statement_at(known.offset) if run else None
    if statement is None or run is None:
        return False
    return (
        unqualified_name(fault.object_name) in names_in_statement(statement)
        or run.statement_at(fault.offset) is statement
        or any(lock.relation.name == fault.object_name for lock in measure_impact(statement).locks)
    )


def _has_violating_rows(fault: PracticeFault, evidence: Evidence) -> bool:
    """Whether rows are known that violate a new constraint of the table."""
    unvalidated: Iterable[str] = (
        one.violation.relation
        for one in (evidence.integrity.unvalidated_constraints if evidence.integrity else ())
        if one.violation.rows
    )
    return any(is_same_relation(relation, fault.object_name) for relation in unvalidated)
