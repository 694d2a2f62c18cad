"""The linter: what context changes, what a file accepts, which types are named."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from kernel.errors import FilesInvalid
from kernel.lint.finding import Severity
from kernel.report.lint import github_annotations, lint_document, lint_text
from tests.unit.linting import findings, linted

if TYPE_CHECKING:
    from pathlib import Path

DROP = "ALTER TABLE orders DROP COLUMN IF EXISTS note;\n"


def test_a_finding_points_at_its_line_and_column(tmp_path: Path) -> None:
    script = "-- ä\n\n  /* é */ ALTER TABLE größe\n    ADD COLUMN IF NOT EXISTS a int,\n\t DROP COLUMN IF EXISTS b;\n"
    (one,) = linted(tmp_path, script).findings
    assert (one.finding.line, one.column, one.finding.relation) == (5, 3, "größe")


def test_a_finding_in_a_block_points_into_the_block(tmp_path: Path) -> None:
    (one,) = linted(tmp_path, "DO $$\nBEGIN\n    DELETE FROM orders;\nEND $$;\n").findings
    assert (one.finding.line, one.column) == (3, 5)


def test_a_table_is_new_in_the_file_that_makes_it_and_in_no_other(tmp_path: Path) -> None:
    script = "CREATE TABLE IF NOT EXISTS t (id bigint);\n-- next file\nCREATE INDEX IF NOT EXISTS i ON t (id);\n"
    (finding,) = findings(tmp_path, script)
    assert (finding.rule, finding.filename) == ("create-index-not-concurrently", "002_file.sql")


def test_steps_share_no_locks(tmp_path: Path) -> None:
    script = (
        "ALTER TABLE a ADD COLUMN IF NOT EXISTS x int;\n"
        "ALTER TABLE b ADD COLUMN IF NOT EXISTS x int;\n"
        "UPDATE a SET x = 1 WHERE x IS NULL;\n"
    )
    assert {one.rule for one in findings(tmp_path, script)} == {"several-tables-locked", "schema-and-data-mixed"}
    assert findings(tmp_path, f"-- migrate: no-transaction\n{script}") == []


@pytest.mark.parametrize(
    "script",
    [
        f"-- migrate: allow=drop-column no longer read\n{DROP}",
        f"SELECT 1;\n-- migrate: allow=drop-column no longer read\n{DROP}",
        f"{DROP.rstrip()} -- migrate: allow=drop-column no longer read\n",
        f"-- About orders.\n-- migrate: allow=drop-column no longer read\n\nSELECT 1;\n{DROP}",
    ],
)
def test_a_hazard_that_is_accepted_is_no_finding_and_its_reason_is_kept(tmp_path: Path, script: str) -> None:
    result = linted(tmp_path, script)
    assert (result.findings, result.failed, result.notes) == ((), False, ())
    assert [(one.finding.rule, one.accepted_reason) for one in result.accepted_findings] == [
        ("drop-column", "no longer read")
    ]


def test_a_hazard_is_accepted_for_its_statement_only(tmp_path: Path) -> None:
    result = linted(tmp_path, f"SELECT 1;\n-- migrate: allow=drop-column no longer read\n{DROP}{DROP}")
    assert [one.finding.line for one in result.findings] == [4]
    assert [one.finding.line for one in result.accepted_findings] == [3]


def test_an_allow_that_meets_nothing_is_noted(tmp_path: Path) -> None:
    result = linted(tmp_path, "-- migrate: allow=truncate once it was needed\nSELECT 1;\n")
    assert result.notes == ("001_file.sql:1: allow=truncate has no finding here; remove it",)


def test_what_only_a_rehearsal_can_meet_is_accepted_without_a_note(tmp_path: Path) -> None:
    result = linted(tmp_path, "SELECT 1;\n-- migrate: allow=data-lost it is old\nSELECT 2;\n")
    assert result.notes == ()
    assert [(one.rule, one.version, one.line) for one in result.accepted_rules] == [("data-lost", "001", 3)]


@pytest.mark.parametrize(
    ("allow", "problem"),
    [
        ("allow=drop-colum x", "001_file.sql:2: -- migrate: allow=drop-colum: no such rule; write drop-column"),
        ("allow=qqq x", "001_file.sql:2: -- migrate: allow=qqq: no such rule; the rules are in docs/rules.md"),
        ("allow=drop-column", "001_file.sql:2: -- migrate: allow=drop-column: the reason is missing; write it"),
        ("allow=", "001_file.sql:2: -- migrate: allow=: no such rule; "),
    ],
)
def test_an_allow_that_cannot_be_meant_is_refused(tmp_path: Path, allow: str, problem: str) -> None:
    with pytest.raises(FilesInvalid, match=re.escape(problem)):
        linted(tmp_path, f"\n-- migrate: {allow}\n{DROP}")


def test_a_file_that_cannot_be_read_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(FilesInvalid, match=r"001_file\.sql:2:8: unterminated quote"):
        linted(tmp_path, "SELECT 1;\nSELECT 'x;\n")


def test_a_file_that_nobody_asked_about_may_be_broken(tmp_path: Path) -> None:
    assert [one.rule for one in findings(tmp_path, DROP, before="SELECT 'x;\n")] == ["drop-column"]


def test_a_constraint_waits_for_its_validation_as_long_as_no_later_file_is_there(tmp_path: Path) -> None:
    added = "ALTER TABLE a ADD CONSTRAINT c CHECK (x > 0) NOT VALID;\n"
    assert findings(tmp_path, added) == []
    (finding,) = findings(tmp_path, f"{added}-- next file\nSELECT 1;\n")
    assert (finding.rule, finding.severity) == ("constraint-not-validated", Severity.HARMLESS)


def test_an_index_that_a_later_file_builds_serves_the_foreign_key(tmp_path: Path) -> None:
    key = "ALTER TABLE a ADD CONSTRAINT f FOREIGN KEY (b, c) REFERENCES d NOT VALID;\n"
    index = "-- next file\nCREATE INDEX CONCURRENTLY IF NOT EXISTS i ON a (c, b, e);\n-- next file\n"
    assert findings(tmp_path, f"{key}{index}ALTER TABLE a VALIDATE CONSTRAINT f;\n") == []


def test_passwords_in_a_finding_are_masked(tmp_path: Path) -> None:
    result = linted(tmp_path, "CREATE SUBSCRIPTION s CONNECTION 'host=h password=opensesame' PUBLICATION p;\n")
    assert result.failed
    shown = lint_text(result) + str(lint_document(result)) + "".join(github_annotations(result, tmp_path, tmp_path))
    assert "opensesame" not in shown


def test_an_annotation_is_one_line_whatever_names_hold(tmp_path: Path) -> None:
    folder = tmp_path / "a,b:c%d"
    folder.mkdir()
    (line,) = github_annotations(linted(folder, 'DROP TABLE IF EXISTS "x\n::error::y";\n'), folder, tmp_path)
    assert line.startswith("::error file=a%2Cb%3Ac%25d/001_file.sql,line=1,col=1,title=drop-table::x ::error::y: ")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("varchar(20)", "varchar-length"),
        ("pg_catalog.varchar(5)", "varchar-length"),
        ("character varying(9)[]", "varchar-length"),
        ("timestamp(3) without time zone", "timestamp-without-zone"),
        ("bpchar", "char-column"),
        ("bigserial", "serial-column"),
    ],
)
def test_the_type_of_a_new_column_is_named_once_for_a_statement(tmp_path: Path, kind: str, rule: str) -> None:
    (one,) = linted(tmp_path, f"CREATE TABLE IF NOT EXISTS t (id bigint,\n    a {kind}, b {kind});\n").findings
    assert (one.finding.rule, one.finding.line, one.column) == (rule, 2, 5)


@pytest.mark.parametrize("kind", ["varchar", "text", "timestamptz", "timestamp(3) with time zone", "pg_catalog.text"])
def test_a_type_without_a_drawback_is_no_finding(tmp_path: Path, kind: str) -> None:
    assert findings(tmp_path, f"CREATE TABLE IF NOT EXISTS t (a {kind});\n") == []


def test_a_dump_of_many_rows_is_judged_by_its_beginnings(tmp_path: Path) -> None:
    rows = ", ".join(f"({number}, 'DROP TABLE x')" for number in range(20_000))
    script = f"CREATE TABLE IF NOT EXISTS t (id int, s text);\nINSERT INTO t VALUES {rows};\nDROP TABLE IF EXISTS x;\n"
    assert [(one.rule, one.line) for one in findings(tmp_path, script)] == [("drop-table", 3)]
