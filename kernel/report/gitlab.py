"""A task's report in the format of GitLab's Code Quality: an array of findings, which a merge request shows.

Source: GitLab documentation, "Code Quality", "Code Quality report format".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kernel.lint.rules import Severity
from kernel.report.safe_text import to_one_line
from kernel.sql.passwords import mask_passwords

if TYPE_CHECKING:
    from kernel.report.task_report import TaskReport

_SEVERITIES = {Severity.ERROR: "critical", Severity.WARNING: "minor", Severity.HARMLESS: "info"}


def gitlab_text(report: TaskReport) -> str:
    """The array, in ASCII. A finding without a file is one of the directory of the migrations: a path is required."""
    findings = [
        {
            "description": to_one_line(mask_passwords("; ".join(filter(None, (one.message, one.remedy))))),
            "check_name": one.rule.id,
            "fingerprint": one.fingerprint,
            "severity": _SEVERITIES[one.severity],
            "location": {"path": one.file or report.directory, "lines": {"begin": one.line or 1}},
        }
        for one in report.findings
    ]
    return json.dumps(findings, indent=2)
