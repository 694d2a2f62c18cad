"""GitHub Actions: annotations of the lines that findings are about, and the summary of a job.

Source: GitHub documentation, "Workflow commands for GitHub Actions".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.lint.finding import Severity
from kernel.report.safe_text import to_one_line
from kernel.sql.passwords import mask_passwords

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernel.lint.lint import LintResult

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.HARMLESS: "notice"}


def append_job_summary(markdown: str, path: Path) -> str:
    """Append Markdown to the file of the summary; return why it cannot be written, else ""."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{markdown}\n\n")
    except OSError as error:
        return f"GITHUB_STEP_SUMMARY {path}: cannot be written: {error.strerror}; the summary lacks this task"
    return ""


def github_annotations(found: LintResult, directory: Path, root: Path) -> Iterator[str]:
    """A workflow command of GitHub for each finding; it names files from `root`, the top of the repository."""
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
        message = _escape_data(f"{to_one_line(mask_passwords(finding.message))}; {finding.remedy}")
        yield f"::{_LEVELS[finding.severity]} {written}::{message}"


def _escape_data(value: str) -> str:
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(value: str) -> str:
    return _escape_data(value).replace(":", "%3A").replace(",", "%2C")
