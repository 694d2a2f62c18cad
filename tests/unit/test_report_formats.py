"""Markdown, SARIF and GitLab's format of one report, with names and messages that try to be more than text."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from kernel.errors import DumpUnreadable, FilesInvalid, Problem
from kernel.lint.rules import Severity
from kernel.report.gitlab import gitlab_text
from kernel.report.lint import lint_report
from kernel.report.markdown import MAX_CHARACTERS, markdown_text
from kernel.report.sarif import sarif_document
from kernel.report.task_report import (
    ReportFinding,
    ReportRule,
    ReportTable,
    TaskReport,
    error_report,
    with_fingerprints,
)
from tests.unit.linting import linted

if TYPE_CHECKING:
    from pathlib import Path

RULE = ReportRule(id="drop-table", name="Table dropped", condition="a table is dropped")
FINDING = ReportFinding(
    rule=RULE, severity=Severity.ERROR, message="orders: dropped", remedy="keep it", file="migrations/016_x.sql", line=4
)
REPORT = TaskReport(
    task="db.lint", failed=True, scope="1 file read", verdict="1 error", directory="migrations", findings=(FINDING,)
)


def test_a_finding_without_a_file_has_the_directory_as_its_place() -> None:
    report = replace(REPORT, findings=(replace(FINDING, file="", line=None),))
    (result,) = sarif_document(report)["runs"][0]["results"]  # type: ignore[index]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "migrations"
    assert json.loads(gitlab_text(report))[0]["location"] == {"path": "migrations", "lines": {"begin": 1}}


def test_the_fingerprint_survives_lines_before_it_and_another_number_of_the_file(tmp_path: Path) -> None:
    sql = "DROP TABLE IF EXISTS orders;\nDROP TABLE IF EXISTS users;\n"
    moved = "-- a comment\nSELECT 1;\n" * 30 + sql.replace("DROP TABLE", "drop  /* now */ table")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    before = lint_report(linted(tmp_path / "one", sql), "migrations", scope="all")
    after = lint_report(linted(tmp_path / "two", moved, before="SELECT 1;\n"), "migrations", scope="all")
    assert [one.fingerprint for one in before.findings] == [one.fingerprint for one in after.findings]
    assert [one.line for one in before.findings] != [one.line for one in after.findings]
    assert len({one.fingerprint for one in before.findings}) == len(before.findings) > 1


def test_two_equal_findings_have_two_fingerprints() -> None:
    one, other = with_fingerprints([FINDING, replace(FINDING, line=9)])
    assert one.fingerprint
    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize("limit", [10, 4_000])
def test_markdown_stays_below_the_limit_and_names_what_it_cut(limit: int) -> None:
    report = replace(
        REPORT,
        findings=tuple(replace(FINDING, message=f"{at}: " + "é|" * 500) for at in range(limit)),
        tables=(ReportTable(title="Migrations", header=("a", "b"), rows=(("x" * 90, "1 s"),) * limit),),
        notes=("n" * 900,) * limit,
        files=("016_x.sql",) * limit,
    )
    text = markdown_text(report)
    assert len(text) < MAX_CHARACTERS
    assert ("more finding" in text) == (limit > 10)
    assert ("`drop-table`); --json has all of them" in text) == (limit > 10)
    assert ("more rows" in text) == (limit > 10)


def test_an_error_is_reported_in_every_format_with_its_places() -> None:
    error = FilesInvalid([Problem(message="unterminated quote; close it", file="016_x.sql", line=3, column=2)])
    report = error_report(error, "db.verify", "db/migrations")
    assert "`db/migrations/016_x.sql:3:2` unterminated quote" in markdown_text(report)
    run = sarif_document(report)["runs"][0]  # type: ignore[index]
    assert run["invocations"] == [{"executionSuccessful": False}]
    assert [result["ruleId"] for result in run["results"]] == ["file_invalid"]
    (other,) = error_report(DumpUnreadable("x.dump: truncated"), "db.snapshot-test", ".").findings
    assert (other.file, other.message) == ("", "x.dump: truncated")
