"""--format: one document on stdout, for errors too, and the summary of a job in GitHub Actions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Project

HAZARD = "ALTER TABLE one DROP COLUMN IF EXISTS id;\n"


def test_a_format_is_all_that_stdout_has_and_the_summary_of_the_job_has_markdown(project: Project) -> None:
    project.write("001_one.sql", HAZARD)
    summary = project.root / "summary.md"
    summary.write_text("from an earlier step\n", encoding="utf-8")
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    linted = project.inv("db.lint", "--all", "--format", "sarif", **environ)
    assert linted.code == 8
    (result,) = linted.document["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "migrations/001_one.sql"
    earlier, markdown = summary.read_text(encoding="utf-8").split("\n", 1)
    assert earlier == "from an earlier step"
    assert markdown.startswith("### db.lint: failed\n")


def test_an_error_is_reported_in_the_format_and_a_summary_that_cannot_be_written_is_a_warning(project: Project) -> None:
    project.write("1_one.sql")
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(project.root / "no such folder/summary.md")}
    verified = project.call("db.verify", "--offline", "--format", "markdown", **environ)
    assert verified.code == 2
    assert "`migrations/1_one.sql` version not padded to 3 digits" in verified.out
    assert "warning: GITHUB_STEP_SUMMARY" in verified.err
    linted = project.call("db.lint", "--format", "gitlab", DATABASE_URL="nonsense")
    assert linted.code == 2
    assert [one["check_name"] for one in json.loads(linted.out)] == ["settings_invalid"]


def test_a_format_that_does_not_exist_and_two_formats_are_usage_errors(project: Project) -> None:
    project.write("001_one.sql")
    unknown = project.call("db.verify", "--format", "xml")
    assert (unknown.code, unknown.err) == (2, "error: --format xml: expected text, json, markdown, sarif or gitlab\n")
    assert project.call("db.lint", "--format", "sarif", "--json").error["code"] == "usage"
    assert project.call("db.verify", "--offline", "--format", "json", "--json").document["problems"] == []
    forgotten = project.call("db.snapshot-test", "--forget", "--format", "gitlab")
    assert (forgotten.code, len(json.loads(forgotten.out))) == (2, 1)
