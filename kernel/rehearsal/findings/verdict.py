"""All findings of a rehearsal, the worst first, and those that decide the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.lint.finding import SEVERITY_ORDER, Severity
from kernel.lint.fingerprint import add_fingerprints
from kernel.lint.rules import RULES_BY_ID
from kernel.rehearsal.findings.data_loss import (
    find_losses,
    findings_for_hidden_writes,
    losses_of_finding,
    make_loss_finding,
    measure_loss_finding,
)
from kernel.rehearsal.findings.evidence import add_measurement, make_finding
from kernel.rehearsal.findings.lock_impact import measure_impact
from kernel.rehearsal.findings.locks import (
    findings_for_locked_parents,
    findings_for_unforeseen_locks,
    findings_for_unindexed_foreign_keys,
    measure_finding,
)
from kernel.rehearsal.findings.outcome import findings_for_failure, findings_for_final_state, is_predicted_failure
from kernel.rehearsal.findings.practices import (
    NAMES_STILL_THERE,
    all_names_still_there,
    findings_for_practices,
    is_repeated_by_second_run,
)
from kernel.rehearsal.findings.standstill import findings_for_standstills
from kernel.rehearsal.findings.statements import is_same_relation
from kernel.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kernel.lint.finding import Finding
    from kernel.rehearsal.data.integrity import IntegrityReport
    from kernel.rehearsal.findings.data_loss import UndeclaredLoss
    from kernel.rehearsal.findings.evidence import Evidence
    from kernel.rehearsal.result import Limits, Run


def collect_findings(evidence: Evidence) -> tuple[Finding, ...]:
    """All findings, the worst first, then in the order of the files; without those that a file accepts."""
    findings = list(dict.fromkeys(one for one in _all_findings(evidence) if not _is_accepted(one, evidence)))
    findings = add_fingerprints(findings, [_statement_of(one, evidence) for one in findings])
    return tuple(
        sorted(findings, key=lambda one: (SEVERITY_ORDER[one.severity], one.version, one.offset or 0, one.rule))
    )


def decisive_findings(found: Iterable[Finding], limits: Limits) -> tuple[Finding, ...]:
    """The findings at or above the threshold: with one of them the rehearsal fails."""
    if limits.fail_on is None:
        return ()
    return tuple(one for one in found if SEVERITY_ORDER[one.severity] <= SEVERITY_ORDER[limits.fail_on])


def _is_accepted(found: Finding, evidence: Evidence) -> bool:
    """Whether the file accepts the rule, at that statement or as a whole."""
    run = evidence.run_of_version(found.version)
    statement = run.statement_at(found.offset) if run else None
    return any(
        one.offset in (None, found.offset)
        or (run is not None and statement is not None and run.statement_at(one.offset) is statement)
        for one in evidence.accepted_rules
        if one.rule == found.rule and one.version == found.version
    )


def _statement_of(found: Finding, evidence: Evidence) -> bytes:
    """The text of its statement, empty for a finding that is not about one."""
    run = evidence.run_of_version(found.version)
    statement = run.statement_at(found.offset) if run else None
    return statement.sql.encode() if statement else b""


def _all_findings(evidence: Evidence) -> Iterator[Finding]:
    losses = tuple(find_losses(evidence.receipts, evidence.runs))
    explained: list[UndeclaredLoss] = []
    findings: list[Finding] = []
    for run in evidence.runs:
        findings += _findings_for_run(run, evidence, losses, explained)
    started = {run.version for run in evidence.runs}
    findings += [one for one in evidence.lint_findings if one.version not in started]
    findings += [make_loss_finding(one) for one in losses if not any(one is known for known in explained)]
    if evidence.integrity:
        known = {one.violation.relation for one in evidence.integrity.unvalidated_constraints}
        findings = [
            one
            for one in findings
            if not _is_repeated_by_outcome(one, known) and not _has_index(one, evidence.integrity, evidence.runs)
        ]
        findings += findings_for_final_state(evidence.integrity, evidence.runs)
        findings += findings_for_unindexed_foreign_keys(evidence.runs, evidence.integrity.unindexed_foreign_keys)
    yield from findings
    yield from evidence.query_findings
    yield from findings_for_standstills(evidence, findings)
    yield from findings_for_practices(evidence, [*findings, *evidence.accepted_findings])
    if not evidence.copy_rows and any(_touches_existing_relations(run) for run in evidence.runs):
        yield make_finding("not-rehearsed", RULES_BY_ID["not-rehearsed"].condition)


def _findings_for_run(
    run: Run, evidence: Evidence, losses: tuple[UndeclaredLoss, ...], explained: list[UndeclaredLoss]
) -> list[Finding]:
    """The findings of one migration; the losses that they report are added to `explained`."""
    limits = evidence.limits
    accepted = [one for one in evidence.accepted_findings if one.version == run.version]
    lint_findings = [one for one in evidence.lint_findings if one.version == run.version]
    findings = []
    for one in lint_findings:
        own = losses_of_finding(run, one, losses)
        explained += own
        if is_repeated_by_second_run(evidence, one) or is_predicted_failure(run, one):
            continue
        if not own and all_names_still_there(evidence, run, one):
            findings.append(add_measurement(one, NAMES_STILL_THERE, Severity.HARMLESS))
        else:
            findings.append(measure_loss_finding(run, measure_finding(run, one, limits), own, limits))
    for one in accepted:
        explained += losses_of_finding(run, one, losses)
    declared = {table for file, table in evidence.declared_tables if file == run.filename}
    for found, own in findings_for_hidden_writes(run, losses, declared):
        explained += own
        findings.append(found)
    findings += findings_for_unforeseen_locks(run, [*lint_findings, *accepted], limits)
    findings += findings_for_locked_parents(run, limits)
    findings += findings_for_failure(run, lint_findings)
    findings += _write_volume_findings(run, limits)
    return findings


def _is_repeated_by_outcome(finding: Finding, unvalidated: Iterable[str]) -> bool:
    """Whether the final state of the database has a more exact finding about the same constraint."""
    return finding.rule == "constraint-not-validated" and any(
        is_same_relation(finding.relation, known) for known in unvalidated
    )


def _has_index(finding: Finding, report: IntegrityReport, runs: Sequence[Run]) -> bool:
    """Whether the database has the index that no file shows; unknown (False) after a failure."""
    return (
        finding.rule == "foreign-key-without-index"
        and not any(run.failed for run in runs)
        and not any(is_same_relation(finding.relation, key.table) for key in report.unindexed_foreign_keys)
    )


def _touches_existing_relations(run: Run) -> bool:
    """Whether a migration locked or wrote relations that existed before it."""
    return any(
        measure_impact(one).locks or any(not written.relation.created for written in one.written)
        for one in run.statements
    )


def _write_volume_findings(run: Run, limits: Limits) -> Iterator[Finding]:
    most = max(run.wal_bytes, run.growth_bytes)
    if most > limits.wal_bytes:
        wal, growth = format_bytes(run.wal_bytes), format_bytes(run.growth_bytes)
        yield make_finding("write-volume", f"{run.filename}: {wal} of WAL written, database grown by {growth}", run=run)
