"""A task's report as SARIF 2.1.0, the format of GitHub's code scanning and of many editors.

Sources: OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0"; GitHub documentation, "SARIF support
for code scanning", which names the properties that it reads and their limits.
"""

from __future__ import annotations

import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING
from urllib.parse import quote

from kernel.lint.rules import Severity
from kernel.report.json_documents import json_text
from kernel.report.safe_text import to_one_line
from kernel.sql.passwords import mask_passwords

if TYPE_CHECKING:
    from kernel.report.json_documents import JsonDocument
    from kernel.report.task_report import ReportFinding, ReportRule, TaskReport

_PACKAGE = "aibos-kernel-migrations"
_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.HARMLESS: "note"}
_MESSAGE_CHARACTERS = 1_000  # GitHub shows as many
# A message may contain links, written [text](target); a name from a dump must not make one.
_LINK_OPENING = re.compile(r"\[(?=[^\]]*\]\()")


def sarif_text(report: TaskReport) -> str:
    """A log with one run."""
    return json_text(sarif_document(report))


def sarif_document(report: TaskReport) -> JsonDocument:
    """The log as a document."""
    rules = list({one.rule.id: one.rule for one in report.findings}.values())
    numbers = {rule.id: at for at, rule in enumerate(rules)}
    driver: JsonDocument = {"name": _PACKAGE, "rules": [_rule_document(rule) for rule in rules]}
    with suppress(PackageNotFoundError):  # tasks.py runs without an installation too
        driver["semanticVersion"] = version(_PACKAGE)
    run = {
        "tool": {"driver": driver},
        # Logs of different tasks about one commit do not replace each other.
        "automationDetails": {"id": f"{report.task}/"},
        "invocations": [{"executionSuccessful": report.completed}],
        "columnKind": "unicodeCodePoints",
        "results": [_result_document(one, numbers[one.rule.id], report.directory) for one in report.findings],
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule_document(rule: ReportRule) -> JsonDocument:
    sentences = [f"{label}: {text}" for label, text in (("effect", rule.effect), ("instead", rule.remedy)) if text]
    examples = [(label, sql) for label, sql in (("Dangerous", rule.bad), ("Safe", rule.good)) if sql]
    text = "\n".join([rule.condition, *sentences, *(f"{label}:\n{sql}" for label, sql in examples)])
    markdown = [rule.condition, *sentences, *(f"{label}:\n\n```sql\n{sql.rstrip()}\n```" for label, sql in examples)]
    return {
        "id": rule.id,
        "name": rule.name,
        "shortDescription": {"text": rule.name},
        "fullDescription": {"text": rule.condition},
        "help": {"text": text.rstrip(), "markdown": "\n\n".join(markdown)},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _result_document(finding: ReportFinding, rule_index: int, directory: str) -> JsonDocument:
    message = to_one_line(mask_passwords("; ".join(filter(None, (finding.message, finding.remedy)))))
    # What is not about a file is about the directory of the migrations: GitHub shows no result without a place.
    place: JsonDocument = {
        "artifactLocation": {"uri": quote(finding.file or directory, errors="surrogatepass"), "uriBaseId": "%SRCROOT%"}
    }
    if finding.file:
        place["region"] = {"startLine": finding.line or 1, "startColumn": finding.column or 1}
    return {
        "ruleId": finding.rule.id,
        "ruleIndex": rule_index,
        "level": _LEVELS[finding.severity],
        "message": {"text": _LINK_OPENING.sub(r"\\[", message[:_MESSAGE_CHARACTERS])},
        "locations": [{"physicalLocation": place}],
        # The only key that GitHub compares; it computes one from the lines around a result that has none.
        "partialFingerprints": {"primaryLocationLineHash": finding.fingerprint},
    }
