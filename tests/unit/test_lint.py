"""The linter: what context changes, what a file accepts, which types are named."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from kernel.errors import FilesInvalid
from kernel.lint.finding import Severity
from kernel.report.github import github_annotations
from kernel.report.lint import lint_document, lint_text
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


def test_a_new_enum_value_is_marked_where_its_string_begins(tmp_path: Path) -> None:
    script = "ALTER TYPE mood ADD VALUE IF NOT EXISTS 'glad';\nSELECT  'glad'::mood;\n"
    columns = [
        (one.finding.line, one.column)
        for one in linted(tmp_path, script, before="CREATE TYPE mood AS ENUM ('sad');\n").findings
        if one.finding.rule == "enum-value-used-at-once"
    ]
    assert columns == [(2, 9)]


def test_a_commit_in_a_do_block_is_marked_in_its_line(tmp_path: Path) -> None:
    (one,) = linted(tmp_path, "DO $$\nBEGIN\n    COMMIT;\nEND $$;\n").findings
    assert (one.finding.rule, one.finding.line, one.column) == ("transaction-in-file", 3, 5)


def test_every_command_of_psql_is_found_and_hides_nothing(tmp_path: Path) -> None:
    script = f"\\i a.sql\n{DROP}\\i b.sql\nSELECT 1 \\gset\n{DROP}"
    found = [(one.rule, one.line) for one in findings(tmp_path, script)]
    assert [line for rule, line in found if rule == "psql-meta-command"] == [1, 3, 4]
    assert [line for rule, line in found if rule == "drop-column"] == [2, 5]


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
    assert [(one.rule, one.version, one.offset) for one in result.accepted_rules] == [("data-lost", "001", 48)]


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
    added = "ALTER TABLE a DROP CONSTRAINT IF EXISTS c, ADD CONSTRAINT c CHECK (x > 0) NOT VALID;\n"
    assert findings(tmp_path, added) == []
    (finding,) = findings(tmp_path, f"{added}-- next file\nSELECT 1;\n")
    assert (finding.rule, finding.severity) == ("constraint-not-validated", Severity.HARMLESS)


def test_an_index_that_a_later_file_builds_serves_the_foreign_key(tmp_path: Path) -> None:
    key = "ALTER TABLE a DROP CONSTRAINT IF EXISTS f, ADD CONSTRAINT f FOREIGN KEY (b, c) REFERENCES d NOT VALID;\n"
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
    script = f"CREATE TABLE IF NOT EXISTS t (id int, s text);\nINSERT INTO t VALUES {rows} ON CONFLICT DO NOTHING;\n"
    script += "DROP TABLE IF EXISTS x;\n"
    assert [(one.rule, one.line) for one in findings(tmp_path, script)] == [("drop-table", 3)]


@pytest.mark.parametrize("off", ["FALSE", "off", "0", "'false'", '"Off"', "TRUE, CONCURRENTLY off"])
def test_an_option_that_is_off_is_no_option(tmp_path: Path, off: str) -> None:
    (one,) = findings(tmp_path, f"REINDEX (VERBOSE, CONCURRENTLY {off}) TABLE orders;\n")
    assert one.rule == "reindex-not-concurrently"


@pytest.mark.parametrize("on", ["", "TRUE", "on", "1", "'true'", "off, CONCURRENTLY"])
def test_an_option_that_is_on_counts_however_it_is_spelled(tmp_path: Path, on: str) -> None:
    assert findings(tmp_path, f"REINDEX (CONCURRENTLY {on}) TABLE orders;\n") == []


@pytest.mark.parametrize(
    ("statement", "rules"),
    [
        ("VACUUM (FULL FALSE, ANALYZE) orders", []),
        ("VACUUM (VERBOSE, FULL 0) orders", []),
        ("VACUUM (FULL) orders", ["vacuum-full-or-cluster"]),
        ("VACUUM (FULL 'on') orders", ["vacuum-full-or-cluster"]),
        ("VACUUM FULL VERBOSE orders", ["vacuum-full-or-cluster"]),
        ("EXPLAIN (ANALYZE off) DELETE FROM orders", []),
        ("EXPLAIN (ANALYZE, BUFFERS) DELETE FROM orders", ["write-without-where"]),
    ],
)
def test_what_a_statement_does_depends_on_the_values_of_its_options(
    tmp_path: Path, statement: str, rules: list[str]
) -> None:
    assert [one.rule for one in findings(tmp_path, f"{statement};\n")] == rules


@pytest.mark.parametrize(
    ("mode", "count"),
    [
        ("IN ACCESS SHARE MODE", 0),
        ("IN ROW EXCLUSIVE MODE NOWAIT", 0),
        ("IN SHARE UPDATE EXCLUSIVE MODE", 0),
        ("IN SHARE MODE", 1),
        ("IN EXCLUSIVE MODE", 1),
        ("", 1),
    ],
)
def test_a_lock_by_hand_counts_where_reads_or_writes_wait_for_it(tmp_path: Path, mode: str, count: int) -> None:
    assert [one.rule for one in findings(tmp_path, f"LOCK TABLE ONLY orders {mode};\n")] == ["lock-table"] * count


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("char(2)", "char-column"),
        ("json", "json-column"),
        ("timestamp without time zone", "timestamp-without-zone"),
        ('"char"', ""),
    ],
)
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE IF NOT EXISTS t (a {})",
        "ALTER TABLE users ADD COLUMN IF NOT EXISTS a {}",
        "ALTER TABLE users ALTER COLUMN name SET DATA TYPE {}",
    ],
)
def test_a_type_with_a_drawback_is_named_wherever_a_column_gets_it(
    tmp_path: Path, statement: str, kind: str, rule: str
) -> None:
    found = {one.rule for one in findings(tmp_path, statement.format(kind) + ";\n")} - {"type-change-rewrites"}
    assert found == ({rule} if rule else set())


def test_a_column_that_keeps_its_type_is_not_told_to_have_another(tmp_path: Path) -> None:
    script = "ALTER TABLE t ALTER a TYPE char(3);\n"
    assert "char-column" not in {one.rule for one in findings(tmp_path, script, before="CREATE TABLE t (a char(2));\n")}


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID",
        "ALTER TABLE t ADD CONSTRAINT c UNIQUE USING INDEX i",
        "ALTER TABLE t DROP CONSTRAINT c",
        "ALTER DOMAIN d ADD CONSTRAINT c CHECK (VALUE > 0) NOT VALID",
        "CREATE TYPE mood AS ENUM ('calm')",
        "CREATE DOMAIN d AS integer",
        "CREATE TRIGGER r BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()",
        "CREATE POLICY p ON t USING (true)",
        "CREATE ROLE reader",
        "CREATE USER reader",
        "DROP ROLE reader",
        "ALTER TABLE t RENAME TO u",
        "ALTER TABLE t RENAME COLUMN a TO b",
        "ALTER INDEX i RENAME TO j",
        "ALTER TYPE mood ADD VALUE 'busy'",
        "INSERT INTO t SELECT a FROM u",
        "INSERT INTO t VALUES (1)",
        "ALTER TABLE t DETACH PARTITION u CONCURRENTLY",
    ],
)
def test_what_does_not_run_a_second_time_is_named(tmp_path: Path, statement: str) -> None:
    assert "not-rerunnable" in {one.rule for one in findings(tmp_path, f"{statement};\n")}


@pytest.mark.parametrize(
    "script",
    [
        "ALTER TABLE t DROP CONSTRAINT IF EXISTS c;\nALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID",
        "DROP TYPE IF EXISTS mood;\nCREATE TYPE mood AS ENUM ('calm')",
        "DROP TRIGGER IF EXISTS r ON t;\nCREATE TRIGGER r BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()",
        "DROP TABLE IF EXISTS t;\nCREATE TABLE t (a bigint)",
        "DO $$BEGIN CREATE TYPE mood AS ENUM ('calm'); EXCEPTION WHEN duplicate_object THEN NULL; END$$",
        "ALTER TABLE IF EXISTS t RENAME TO u",
        "ALTER TYPE mood ADD VALUE IF NOT EXISTS 'busy'",
        "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING",
        "INSERT INTO t SELECT 1 WHERE NOT EXISTS (SELECT FROM t)",
        "DELETE FROM t WHERE a = 1;\nINSERT INTO t VALUES (1)",
        "CREATE TEMP TABLE t (a bigint);\nINSERT INTO t VALUES (1)",
        "CREATE TABLE IF NOT EXISTS t (a bigint, CONSTRAINT c CHECK (a > 0))",
    ],
)
def test_what_runs_a_second_time_is_not_named(tmp_path: Path, script: str) -> None:
    assert "not-rerunnable" not in {one.rule for one in findings(tmp_path, f"{script};\n")}


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE users RENAME COLUMN phone TO mobile",
        "ALTER TABLE users DROP COLUMN phone",
        "ALTER TABLE notes RENAME COLUMN body TO text",
        "ALTER TABLE notes RENAME TO remarks",
        "DROP TABLE notes",
    ],
)
def test_what_the_pending_files_create_is_not_in_use_yet(tmp_path: Path, change: str) -> None:
    made = "ALTER TABLE users ADD COLUMN phone text;\n-- next file\nCREATE TABLE notes (id bigint, body text);\n"
    rules = {"rename-column", "drop-column", "rename-table", "drop-table"}

    def found(script: str, *, before: str = "", pending: bool) -> set[str]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        return {one.rule for one in findings(folder, script, before=before, types={} if pending else None)} & rules

    assert found(f"{made}-- next file\n{change};\n", pending=True) == set()
    assert found(f"{change};\n", before=made, pending=True) != set()
    assert found(f"{made}-- next file\n{change};\n", pending=False) != set()  # they may have been applied one by one


def test_a_column_renamed_twice_by_pending_files_is_not_in_use_yet(tmp_path: Path) -> None:
    script = (
        "ALTER TABLE users ADD COLUMN IF NOT EXISTS a text;\n"
        "-- next file\nALTER TABLE users RENAME COLUMN a TO b;\n"
        "-- next file\nALTER TABLE users RENAME COLUMN b TO c;\n"
    )
    assert {one.rule for one in findings(tmp_path, script, types={})} == {"not-rerunnable"}


@pytest.mark.parametrize("using", ["", " USING name::text", " USING CAST(name AS text)", " USING (name)::text"])
@pytest.mark.parametrize(
    ("types", "rules"),
    [
        ({("users", "name"): "character varying(50)"}, set()),
        ({("users", "name"): "integer"}, {"type-change-rewrites"}),
        ({}, set()),
    ],
)
def test_a_cast_to_the_new_type_is_what_happens_without_it(
    tmp_path: Path, using: str, types: dict[tuple[str, str], str], rules: set[str]
) -> None:
    script = f"ALTER TABLE users ALTER COLUMN name TYPE text{using};\n"
    assert {one.rule for one in findings(tmp_path, script, types=types)} == rules


def test_another_value_is_stored_again_whatever_the_types_are(tmp_path: Path) -> None:
    script = "ALTER TABLE users ALTER COLUMN name TYPE text USING lower(name);\n"
    (one,) = findings(tmp_path, script, types={("users", "name"): "text"})
    assert one.rule == "type-change-rewrites"


@pytest.mark.parametrize("target", ["SYSTEM shop", "TABLE pg_class", "TABLE pg_catalog.pg_class"])
def test_no_concurrent_rebuild_is_advised_for_system_catalogs(tmp_path: Path, target: str) -> None:
    for one in findings(tmp_path, f"REINDEX {target};\n"):
        assert one.remedy.startswith("plan a time without traffic")


def test_the_remedy_for_an_index_of_a_partitioned_table_is_one_that_works(tmp_path: Path) -> None:
    before = "CREATE TABLE events (id bigint) PARTITION BY RANGE (id);\n"
    (one,) = findings(tmp_path, "CREATE INDEX IF NOT EXISTS i ON events (id);\n", before=before)
    assert "ON ONLY" in one.remedy


def test_findings_of_one_line_have_their_columns_in_the_file(tmp_path: Path) -> None:
    ahead = "SELECT 'ä'; /* ö */ "
    result = linted(tmp_path, f"{ahead}{DROP.strip()}   {DROP}")
    (first, second) = (one.finding for one in result.findings)
    assert (first.line, second.line) == (1, 1)
    assert (first.column, second.column) == (len(ahead) + 1, len(ahead) + len(DROP.strip()) + 4)
    assert first.offset == len(ahead.encode())
