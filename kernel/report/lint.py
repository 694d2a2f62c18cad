"""Findings of the linter as text with excerpts, as the JSON document of db.lint, and as annotations of GitHub."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from kernel.apply.failures import statement_excerpt
from kernel.lint.finding import Severity
from kernel.lint.rules import RULES_BY_ID
from kernel.report.safe_text import to_one_line
from kernel.sql.passwords import mask_passwords
from kernel.units import format_count, format_quantity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernel.lint.lint import LintResult, LocatedFinding


# In text and annotations a harmless finding is a remark or a notice.
_SEVERITY_WORDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.HARMLESS: "remark"}
_GITHUB_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.HARMLESS: "notice"}


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
    if remarks or found.accepted_findings:
        lines.append("")
    return "\n".join([*lines, _summary_line(found)])


def _hazard_lines(one: LocatedFinding) -> Iterator[str]:
    finding = one.finding
    rule = RULES_BY_ID[finding.rule]
    yield f"{_location(one)}: {_SEVERITY_WORDS[finding.severity]}: {_finding_message(one)}"
    if one.part and finding.line:
        yield ""
        yield statement_excerpt(one.part, finding.line, one.column, first_column=one.first_column)
        yield ""
    yield f"effect: {rule.effect}"
    yield f"instead: {finding.remedy}"
    yield f"rule: {finding.rule}; accept it with: -- migrate: allow={finding.rule} REASON"


def _location(one: LocatedFinding) -> str:
    finding = one.finding
    return ":".join(str(part) for part in (finding.filename, finding.line, finding.column) if part is not None)


def _finding_message(one: LocatedFinding) -> str:
    return to_one_line(mask_passwords(one.finding.message))


def _summary_line(found: LintResult) -> str:
    counted = Counter(one.finding.severity for one in found.findings)
    parts = [
        format_quantity(counted[severity], _SEVERITY_WORDS[severity]) for severity in Severity if counted[severity]
    ]
    if found.accepted_findings:
        parts.append(f"{format_count(len(found.accepted_findings))} accepted")
    return f"{format_quantity(found.file_count, 'file')}: {', '.join(parts) or 'no hazard found'}"


def lint_document(found: LintResult) -> dict[str, object]:
    """The document of db.lint. `severity` is error, warning or harmless; `line` and `column` count from 1."""
    return {
        "files": found.file_count,
        "findings": [_finding_document(one) for one in found.findings],
        "allowed": [_finding_document(one) | {"reason": one.accepted_reason} for one in found.accepted_findings],
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
    }


def github_annotations(found: LintResult, directory: Path, root: Path) -> Iterator[str]:
    """A workflow command of GitHub for each finding; it names files from `root`, the top of the repository.

    Source: GitHub documentation, "Workflow commands for GitHub Actions".
    """
    folder = directory.relative_to(root) if directory.is_relative_to(root) else directory
    for one in found.findings:
        finding = one.finding
        properties = {
            "file": str(folder / finding.filename),
            "line": str(finding.line or 1),
            "col": str(one.column),
            "title": finding.rule,
        }
        written = ",".join(f"{name}={_escape_property(value)}" for name, value in properties.items())
        message = _escape_data(f"{_finding_message(one)}; {finding.remedy}")
        yield f"::{_GITHUB_LEVELS[finding.severity]} {written}::{message}"


def _escape_data(value: str) -> str:
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(value: str) -> str:
    return _escape_data(value).replace(":", "%3A").replace(",", "%2C")
