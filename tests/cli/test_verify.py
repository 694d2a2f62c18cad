"""db.verify: everything that can be wrong without running SQL, told at once."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Project

_NOWHERE = "postgresql://u@127.0.0.1:1/d"


def committed(project: Project) -> str:
    """The project as a commit of a repository of its own."""
    identity = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environ = {"PATH": os.environ["PATH"], "HOME": str(project.root), "GIT_CONFIG_SYSTEM": os.devnull, **identity}

    def git(*arguments: str) -> str:
        command = ("git", *arguments)
        ended = subprocess.run(command, cwd=project.root, env=environ, check=True, capture_output=True, text=True)
        return ended.stdout.strip()

    git("init", "--quiet")
    git("add", "migrations")
    git("commit", "--quiet", "--message", "x")
    return git("rev-parse", "HEAD")


def test_one_line_says_what_was_checked_and_nothing_is_written(three: Project) -> None:
    three.call("db.migrate", "--to", "002")
    three.write("009_far.sql")
    three.write("revert/001_one.sql", "DROP TABLE one;\n")
    before = three.state()
    verified = three.inv("db.verify")
    name = three.inv("db.status", "--json").document["database"]
    assert (verified.code, verified.err) == (0, "")
    assert verified.out == (
        f"4 migrations and 1 revert file read, compared with 2 records of {name}: nothing is wrong "
        "(no file has 004 to 008)\n"
    )
    assert three.state() == before


def test_between_timestamps_there_are_no_gaps(three: Project) -> None:
    for version in ("20260101090000", "20260314101500", "20261127122500"):
        three.write(f"{version}_four.sql")
    assert three.call("db.verify", "--offline").out.endswith("not compared with a database: nothing is wrong\n")


def test_offline_looks_at_the_files_and_connects_to_nothing(three: Project) -> None:
    verified = three.call("db.verify", "--offline", DATABASE_URL=_NOWHERE)
    assert (verified.code, verified.err) == (0, "")
    assert verified.out == "3 migrations and 0 revert files read, not compared with a database: nothing is wrong\n"
    without_url = three.call("db.verify", "--offline", DATABASE_URL="")
    assert (without_url.code, without_url.out) == (0, verified.out)
    assert not (three.root / ".kernel").exists()


def test_every_problem_of_every_file_is_told_at_once(three: Project) -> None:
    three.call("db.migrate")
    three.write("001_one.sql", "CREATE TABLE changed (id int);\n")
    three.write("003_twin.sql")
    three.write("4_misnamed.sql", "SELECT 'open;\n")
    three.write("005_latin.sql", b"SELECT '\xe9';\n")
    three.write("006_psql.sql", "SELECT 1;\n\\i other.sql\n")
    three.write("007_directive.sql", "-- migrate: no-transactoin\nVACUUM;\nSELECT 1;\n")
    three.write("revert/002_other.sql", "SELECT 1;\n")
    three.write("revert/003_three.sql", "DROP INDEX CONCURRENTLY i;\n")
    three.write("revert/001_one.sql", "SELECT $open$;\n")
    verified = three.call("db.verify")
    assert verified.code == 2
    *told, count = verified.out.splitlines()
    for begin in (
        "003_twin.sql: the version of 003_three.sql too",
        "4_misnamed.sql: version not padded to 3 digits; rename it to 004_misnamed.sql",
        "4_misnamed.sql:1:8: unterminated quote",
        "005_latin.sql:1:9: not UTF-8",
        "006_psql.sql:2:1: \\i: psql's own commands do not run here",
        "007_directive.sql:1: -- migrate: no-transactoin: no such directive",
        "007_directive.sql:2: VACUUM cannot run inside a transaction",
        "revert/001_one.sql:1:8: unterminated dollar quote $open$",
        "revert/002_other.sql: no migration has this name; 002_two.sql would look for its own name: rename it",
        "revert/003_three.sql: it has to run in the transaction that removes the record",
        "001_one.sql: changed after it was applied",
    ):
        assert sum(line.startswith(begin) for line in told) == 1, (begin, told)
    assert count == f"{len(told)} problems found" == "11 problems found"


def test_a_misnamed_file_is_not_told_as_missing_too(three: Project) -> None:
    three.call("db.migrate")
    (three.migrations / "003_three.sql").rename(three.migrations / "3_three.sql")
    verified = three.call("db.verify")
    assert verified.code == 2
    assert [line.partition(":")[0] for line in verified.out.splitlines()] == ["3_three.sql", "1 problem found"]


def test_drift_alone_exits_with_4_and_has_its_evidence(three: Project) -> None:
    commit = committed(three)
    three.call("db.migrate")
    three.write("002_two.sql", "CREATE TABLE two (id bigint);\n")
    text = three.inv("db.verify")
    assert text.code == 4
    sentence, *diff, count = text.out.splitlines()
    assert sentence.startswith("002_two.sql: changed after it was applied on ")
    assert f"restore it (git show {commit[:10]}:migrations/002_two.sql > migrations/002_two.sql), or" in sentence
    assert diff == ["  @@ -1 +1 @@", "  -CREATE TABLE two (id int);", "  +CREATE TABLE two (id bigint);"]
    assert count == "1 problem found"
    ended = three.inv("db.verify", "--json")
    assert ended.code == 4
    document = ended.document
    (problem,) = document["problems"]
    assert problem == {
        "code": "drift",
        "message": sentence.removeprefix("002_two.sql: "),
        "file": "002_two.sql",
        "commit": commit,
        "diff": "\n".join(line.removeprefix("  ") for line in diff),
    }
    status = three.inv("db.status", "--json").document
    assert {key: document[key] for key in status} == status
    assert (document["revert_files"], document["gaps"]) == (0, [])


def test_migrate_and_status_show_the_same_evidence(three: Project) -> None:
    commit = committed(three)
    three.call("db.migrate", "--to", "002")
    (three.migrations / "001_one.sql").unlink()
    verified = three.call("db.verify", "--json").document["problems"][0]
    refused = three.call("db.migrate")
    assert refused.code == 4
    assert f"git show {commit[:10]}:migrations/001_one.sql > migrations/001_one.sql" in refused.err
    (problem,) = three.call("db.migrate", "--json").error["problems"]
    assert {"code": "drift"} | problem == verified
    assert problem["message"] in three.call("db.status").out
    entry = three.call("db.status", "--json").document["migrations"][0]
    assert (entry["drift"], entry["commit"]) == (problem["message"], commit)


def test_problems_of_files_are_told_although_no_database_answers(three: Project) -> None:
    alone = three.call("db.verify", DATABASE_URL=_NOWHERE)
    assert (alone.code, alone.out) == (7, "")
    three.write("4_misnamed.sql")
    verified = three.call("db.verify", "--json", DATABASE_URL=_NOWHERE)
    assert verified.code == 2
    assert "warning: not compared with the database: " in verified.err
    document = verified.document
    assert [problem["code"] for problem in document["problems"]] == ["file_invalid"]
    assert (document["database"], document["total"], document["applied"], document["pending"]) == (None, 4, None, None)
    assert {entry["state"] for entry in document["migrations"]} == {None}


def test_a_database_ahead_of_the_files_is_named_and_is_no_problem(three: Project) -> None:
    three.call("db.migrate")
    (three.migrations / "003_three.sql").unlink()
    verified = three.call("db.verify")
    assert verified.code == 0
    assert "nothing is wrong\nthe database is ahead of these files: 003_three.sql; deploy the release" in verified.out


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ("CREATE TABLE users (id int)", "inv db.baseline --to VERSION"),
        ("CREATE TABLE schema_migrations (id int)", "the table of another tool"),
    ],
    ids=["tables without a ledger", "another table"],
)
def test_a_database_that_a_run_would_refuse_is_drift(three: Project, found: str, told: str) -> None:
    three.rows(found)
    verified = three.call("db.verify", "--json")
    assert verified.code == 4
    (problem,) = verified.document["problems"]
    assert told in problem["message"]


def test_an_empty_folder_and_one_that_is_absent_are_problems(project: Project) -> None:
    assert "no migration files" in project.call("db.verify", "--offline").out
    ended = project.call("db.verify", "--offline", KERNEL_MIGRATIONS_DIR="absent")
    assert ended.code == 2
    assert "absent; create it or set KERNEL_MIGRATIONS_DIR" in ended.err


def test_a_change_of_the_ledger_that_the_setting_names_is_found_offline(three: Project) -> None:
    three.write("004_four.sql", "DELETE FROM billing.ledger;\n")
    three.write("005_five.sql", "CREATE TABLE crm.schema_migrations (id int);\n")
    verified = three.call("db.verify", "--offline", KERNEL_MIGRATIONS_TABLE="billing.ledger")
    assert verified.code == 2
    assert "004_four.sql:1" in verified.out
    assert "005_five.sql" not in verified.out


def test_the_ledger_that_no_file_may_change_is_that_of_the_settings(three: Project) -> None:
    three.write("004_four.sql", "DELETE FROM schema_migrations;\n")
    assert "004_four.sql:1:1: DELETE FROM schema_migrations: it changes the ledger" in three.call("db.verify").out
    assert "DELETE FROM schema_migrations: it changes the ledger" in three.call("db.lint").err
    named = {"KERNEL_MIGRATIONS_TABLE": "public.history"}
    assert three.call("db.verify", "--offline", **named).code == 0
    assert "changes the ledger" not in three.call("db.lint", "--all", **named).err
    three.write("005_five.sql", "TRUNCATE history;\n")
    for arguments in (("db.verify", "--offline"), ("db.migrate",), ("db.lint", "--all")):
        refused = three.call(*arguments, **named)
        assert refused.code == 2
        assert "005_five.sql:1:1: TRUNCATE history: it changes the ledger" in refused.out + refused.err
