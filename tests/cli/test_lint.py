"""db.lint: the hazards of pending migrations, on the terminal, as JSON and in CI."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Project

HOOKS = Path(__file__).parents[2] / ".pre-commit-hooks.yaml"
NOWHERE = "postgresql://u@127.0.0.1:1/d"
HAZARD = "ALTER TABLE one\n    DROP COLUMN IF EXISTS id;\n"


def test_only_pending_files_are_looked_at_and_nothing_is_written(three: Project) -> None:
    three.write("002_two.sql", "DROP TABLE IF EXISTS one;\n")
    three.call("db.migrate", "--to", "002")
    before = three.state()
    three.write("003_three.sql", HAZARD)
    linted = three.call("db.lint")
    name = three.call("db.status", "--json").document["database"]
    assert linted.err == f"linting 1 of 3 files: those that are pending in {name}\n"
    assert linted.code == 8
    assert "002_two.sql" not in linted.out
    assert three.state() == before


def test_a_finding_shows_its_place_its_effect_and_the_way_out(project: Project) -> None:
    project.write("001_one.sql", HAZARD)
    linted = project.inv("db.lint", "--all")
    assert linted.out == (
        "001_one.sql:1:1: error: one: a column is dropped\n\n"
        "1 | ALTER TABLE one\n"
        "  | ^\n"
        "2 |     DROP COLUMN IF EXISTS id;\n\n"
        "effect: its values are gone, and running instances that still read or write it fail\n"
        "instead: stop using it first; then drop it in a file with -- migrate: phase=after, accepted by allow\n"
        "rule: drop-column; accept it with: -- migrate: allow=drop-column REASON\n\n"
        "1 file: 1 error\n"
    )


def test_the_type_of_a_column_is_asked_of_the_database_where_no_file_shows_it(three: Project) -> None:
    three.call("db.migrate")
    three.rows("CREATE TABLE people (name varchar(50), age integer)")
    three.write(
        "004_four.sql",
        "ALTER TABLE people ALTER COLUMN name TYPE text USING name::text;\n"
        "ALTER TABLE public.people ALTER COLUMN age TYPE text;\n",
    )
    (found,) = three.call("db.lint", "--json").document["findings"]
    assert (found["rule"], found["line"]) == ("type-change-rewrites", 2)
    assert "changed from integer to text" in found["message"]


def test_without_a_database_every_file_is_looked_at_and_a_line_says_so(three: Project) -> None:
    linted = three.call("db.lint", DATABASE_URL=NOWHERE)
    assert (linted.code, linted.out.splitlines()[-1]) == (0, "3 files: 3 remarks")
    assert linted.err.startswith("linting every file, applied or not: ")


def test_all_connects_to_nothing(three: Project) -> None:
    linted = three.call("db.lint", "--all", DATABASE_URL=NOWHERE)
    assert (linted.code, linted.err) == (0, "")


def test_without_settings_no_server_is_started_for_it(three: Project) -> None:
    linted = three.call("db.lint", DATABASE_URL="")
    assert linted.code == 0
    assert "no database is set, and the embedded server has none yet" in linted.err
    assert not (three.root / ".kernel").exists()


def test_the_document_has_what_was_found_and_what_is_accepted(project: Project) -> None:
    project.write("001_one.sql", f"-- migrate: allow=truncate staging only\nTRUNCATE staging;\n{HAZARD}")
    linted = project.call("db.lint", "--all", "--json")
    assert linted.code == 8
    document = linted.document
    assert document["files"] == 1
    (found,) = (one for one in document["findings"] if one["severity"] == "error" and one["rule"] == "drop-column")
    assert re.fullmatch("[0-9a-f]{32}", found.pop("fingerprint"))
    assert found == {
        "rule": "drop-column",
        "severity": "error",
        "version": "001",
        "file": "001_one.sql",
        "line": 3,
        "column": 1,
        "offset": 58,
        "relation": "one",
        "message": "one: a column is dropped",
        "remedy": "stop using it first; then drop it in a file with -- migrate: phase=after, accepted by allow",
    }
    (allowed,) = document["allowed"]
    assert (allowed["rule"], allowed["line"], allowed["reason"]) == ("truncate", 2, "staging only")


def test_what_the_baseline_knows_does_not_fail_and_obsolete_entries_are_named(project: Project) -> None:
    project.write("001_one.sql", HAZARD)
    written = project.call("db.lint", "--write-baseline", DATABASE_URL="")
    assert (written.code, written.err) == (0, "")
    assert "1 finding known from now on" in written.out
    project.write("002_two.sql", "TRUNCATE one;\n")
    linted = project.call("db.lint", "--all", "--json")
    assert linted.code == 8
    assert [one["rule"] for one in linted.document["findings"]] == ["truncate"]
    assert [one["rule"] for one in linted.document["known"]] == ["drop-column"]
    project.write("001_one.sql", "SELECT 1;\n")
    (project.migrations / "002_two.sql").unlink()
    linted = project.call("db.lint", "--all")
    assert linted.code == 0
    assert "note: lint-baseline.json: obsolete: 001_one.sql: drop-column: one: a column is dropped" in linted.err


def test_since_lints_what_is_new_or_changed_and_says_why_it_cannot(project: Project) -> None:
    project.write("001_one.sql", HAZARD)
    outside = project.call("db.lint", "--since", "main")
    assert (outside.code, "is in no git work tree; lint every file with --all" in outside.err) == (2, True)
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(project.root))
    for command in (("init", "-q", "-b", "main"), ("add", "."), ("commit", "-q", "-m", "one")):
        subprocess.run([*git, *command], check=True)
    project.write("002_two.sql", "CREATE TABLE two (id int);\n")
    project.write("003_three.sql", "ALTER TABLE two DROP COLUMN IF EXISTS id;\nTRUNCATE one;\n")
    linted = project.call("db.lint", "--since", "main", "--json", DATABASE_URL="")
    assert re.match(r"linting 2 of 3 files: those that are new or changed since main \([0-9a-f]{10}\)\n", linted.err)
    assert linted.code == 8
    rules = {one["rule"] for one in linted.document["findings"]}
    assert "truncate" in rules
    assert "drop-column" not in rules
    assert project.call("db.lint", "--since", "main", "--all").code == 2
    assert project.call("db.lint", "--since=", "--json").error["code"] == "usage"
    assert project.call("db.lint", "--write-baseline", "--format", "sarif").code == 2


def test_warnings_and_remarks_do_not_fail(project: Project) -> None:
    project.write("001_one.sql", "ALTER TABLE one ALTER COLUMN id DROP NOT NULL, ADD COLUMN n int;\n")
    linted = project.call("db.lint", "--all")
    assert (linted.code, linted.out.splitlines()[-1]) == (0, "1 file: 1 warning, 1 remark")


def test_a_number_taken_twice_is_a_finding(project: Project) -> None:
    project.write("001_one.sql")
    project.write("001_other.sql")
    linted = project.call("db.lint")
    assert linted.code == 8
    assert "001_other.sql: error: 001_one.sql has the same number\n" in linted.out


def test_a_misnamed_file_is_refused(project: Project) -> None:
    project.write("1_one.sql")
    assert project.call("db.lint").code == 2


def test_an_accepted_hazard_is_applied_like_any_other_file(project: Project) -> None:
    project.write("001_one.sql", "CREATE TABLE one (id int, n int);\n")
    project.write("002_two.sql", f"SELECT 1;\n-- migrate: allow=drop-column unused\n{HAZARD}")
    assert project.call("db.migrate").code == 0
    assert project.recorded() == ["001", "002"]


def test_in_github_actions_each_finding_is_an_annotation_and_stdout_stays_the_result(project: Project) -> None:
    project.write("001_one.sql", HAZARD)
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(project.root.parent)}
    linted = project.inv("db.lint", "--all", "--json", **environ)
    assert linted.document["files"] == 1
    assert linted.err.startswith("::error file=project/migrations/001_one.sql,line=1,col=1,title=drop-column::one: ")


def test_the_hook_runs_a_command_that_is_there(project: Project) -> None:
    project.write("001_one.sql", HAZARD)
    (entry,) = re.findall(r"^  entry: (.+)$", HOOKS.read_text(), re.MULTILINE)
    program, *arguments = shlex.split(entry)
    assert program == "inv"
    assert project.inv(*arguments, DATABASE_URL="").code == 8
