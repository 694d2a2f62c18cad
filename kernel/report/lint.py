"""Findings of the linter as text with excerpts, as the JSON document of db.lint, and as a report for other formats."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

from kernel.apply.failures import statement_excerpt
from kernel.lint.baseline import BASELINE_NAME
from kernel.lint.finding import SEVERITY_ORDER, Severity
from kernel.lint.rules import RULES_BY_ID
from kernel.report.safe_text import to_one_line
from kernel.report.task_report import ReportFinding, ReportRule, TaskReport, join_path
from kernel.sql.passwords import mask_passwords
from kernel.units import format_count, format_quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.lint.baseline import KnownFinding
    from kernel.lint.finding import Finding
    from kernel.lint.lint import LintResult, LocatedFinding


_SEVERITY_WORDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.HARMLESS: "remark"}


def lint_text(found: LintResult) -> str:
    """Hazards with excerpt, effect and workaround, then a line for each remark and accepted finding, then the count."""
    lines: list[str] = []
    hazards = [one for one in found.findings if one.finding.severity is not Severity.HARMLESS]
    for one in hazards:
        lines += [*_hazard_lines(one), ""]
    remarks = [one for one in found.findings if one.finding.severity is Severity.HARMLESS]
    lines += [
        f"{_location(one)}: remark: {_finding_message(one)}; {one.finding.remedy} ({one.finding.rule})"
        for one in remarks
    ]
    lines += [
        f"{_location(one)}: accepted: {one.finding.rule}: {to_one_line(one.accepted_reason)}"
        for one in found.accepted_findings
    ]
    lines += [f"{_location(one)}: known: {one.finding.rule}: {_finding_message(one)}" for one in found.known_findings]
    if remarks or found.accepted_findings or found.known_findings:
        lines.append("")
    return "\n".join([*lines, _summary_line(found)])


def _hazard_lines(one: LocatedFinding) -> Iterator[str]:
    finding = one.finding
    rule = RULES_BY_ID[finding.rule]
    yield f"{_location(one)}: {_SEVERITY_WORDS[finding.severity]}: {_finding_message(one)}"
    if excerpt := _excerpt(one):
        yield from ("", excerpt, "")
    yield f"effect: {rule.effect}"
    yield f"instead: {finding.remedy}"
    yield f"rule: {finding.rule}; accept it with: -- migrate: allow={finding.rule} REASON"


def _excerpt(one: LocatedFinding) -> str:
    """The lines of its statement, "" for a finding about the whole file."""
    if not (one.part and one.finding.line):
        return ""
    return statement_excerpt(one.part, one.finding.line, one.column, first_column=one.first_column)


def _location(one: LocatedFinding) -> str:
    finding = one.finding
    return ":".join(str(part) for part in (finding.filename, finding.line, finding.column) if part is not None)


def _finding_message(one: LocatedFinding) -> str:
    return to_one_line(mask_passwords(one.finding.message))


def _summary_line(found: LintResult) -> str:
    return f"{format_quantity(len(found.filenames), 'file')}: {_count_findings(found)}"


def _count_findings(found: LintResult) -> str:
    counted = Counter(one.finding.severity for one in found.findings)
    parts = [
        format_quantity(counted[severity], _SEVERITY_WORDS[severity]) for severity in Severity if counted[severity]
    ]
    if found.accepted_findings:
        parts.append(f"{format_count(len(found.accepted_findings))} accepted")
    if found.known_findings:
        parts.append(f"{format_count(len(found.known_findings))} known")
    return ", ".join(parts) or "no hazard found"


def obsolete_note(entry: KnownFinding) -> str:
    """The note about an entry of the baseline without a finding."""
    return to_one_line(f"{BASELINE_NAME}: obsolete: {entry}; remove it with: inv db.lint --write-baseline")


def lint_document(found: LintResult, obsolete: Iterable[KnownFinding] = ()) -> dict[str, object]:
    """The document of db.lint. `severity` is error, warning or harmless; `line` and `column` count from 1.

    `obsolete` are the entries of the baseline without a finding.
    """
    return {
        "files": len(found.filenames),
        "findings": [_finding_document(one) for one in found.findings],
        "known": [_finding_document(one) for one in found.known_findings],
        "allowed": [_finding_document(one) | {"reason": one.accepted_reason} for one in found.accepted_findings],
        "obsolete": [asdict(one) for one in obsolete],
    }


def _finding_document(one: LocatedFinding) -> dict[str, object]:
    finding = one.finding
    return {
        "rule": finding.rule,
        "severity": str(finding.severity),
        "version": finding.version,
        "file": finding.filename,
        "line": finding.line,
        "column": finding.column,
        "offset": finding.offset,
        "relation": finding.relation,
        "message": mask_passwords(finding.message),
        "remedy": finding.remedy,
        "fingerprint": finding.fingerprint,
    }


def lint_report(found: LintResult, directory: str, *, scope: str, obsolete: Iterable[KnownFinding] = ()) -> TaskReport:
    """The report of db.lint; `directory` is the path of the migrations from the top of the repository.

    `scope` says which files were read; `obsolete` are the entries of the baseline without a finding.
    """
    ordered = sorted(found.findings, key=lambda one: SEVERITY_ORDER[one.finding.severity])
    return TaskReport(
        task="db.lint",
        failed=found.failed,
        scope=scope,
        files=found.filenames,
        verdict=_count_findings(found),
        directory=directory,
        findings=tuple(report_finding(one.finding, directory, excerpt=_excerpt(one)) for one in ordered),
        notes=tuple(map(obsolete_note, obsolete)),
    )


def report_finding(finding: Finding, directory: str, *, excerpt: str = "") -> ReportFinding:
    """A finding of the linter or of a rehearsal with its rule, and its path from the top of the repository."""
    rule = RULES_BY_ID[finding.rule]
    return ReportFinding(
        rule=ReportRule(
            id=rule.id,
            name=rule.name,
            condition=rule.condition,
            severity=rule.severity,
            effect=rule.effect,
            remedy=rule.workaround,
            bad=rule.bad,
            good=rule.good,
        ),
        severity=finding.severity,
        message=finding.message.partition("\n")[0],  # what follows, such as a plan, is for the page
        remedy=finding.remedy,
        file=join_path(directory, finding.filename),
        line=finding.line,
        column=finding.column,
        excerpt=excerpt,
        fingerprint=finding.fingerprint,
    )
