"""Migration files that cannot be run: all of them are told, with their lines, and nothing is touched."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import ASCII

if TYPE_CHECKING:
    from tests.cli.conftest import Project


def test_a_missing_and_an_empty_directory_name_the_setting(project: Project) -> None:
    empty = project.call("db.migrate", "--json")
    assert (empty.code, empty.error["code"]) == (2, "file_invalid")
    assert (
        f"{project.migrations}: no migration files; set KERNEL_MIGRATIONS_DIR, or begin with: inv db.new" in empty.err
    )

    project.migrations.rmdir()
    for task in ("db.migrate", "db.status", "db.rollback", "db.new"):
        missing = project.call(task, *["name"] * (task == "db.new"))
        assert missing.code == 2
        assert str(project.migrations) in missing.err
        assert "create it" in missing.err
        assert "KERNEL_MIGRATIONS_DIR" in missing.err


def test_every_misnamed_and_duplicate_file_is_told_at_once(three: Project) -> None:
    remedies = {
        "4_four.sql": "version not padded to 3 digits; rename it to 004_four.sql",
        "005-five.sql": "hyphens, use underscores; rename it to 005_five.sql",
        "006_Six.sql": "capital letters, use snake_case; rename it to 006_six.sql",
        "007_seven.SQL": "the ending is not in lower case; rename it to 007_seven.sql",
        "V8__eight.sql": "a letter ahead of the version",
        "009_neun ö.sql": "name it like 016_add_user_preferences.sql",
        "0003_three.sql": "",
        "003_three.sql": "the version of 0003_three.sql too; move one of them: inv db.renumber 003_three.sql",
        "010_gone.sql": "cannot be read: No such file or directory",
    }
    if sys.platform != "darwin":  # whose file system takes no such name
        remedies["011_\udcff.sql"] = "name it like 016_add_user_preferences.sql"
    for name in remedies:
        if name == "010_gone.sql":
            (three.migrations / name).symlink_to("nowhere.sql")
        else:
            three.write(name)
    (three.migrations / "notes.txt").touch()
    (three.migrations / ".hidden.sql").touch()
    before = three.state()
    for task in ("db.migrate", "db.status"):
        refused = three.inv(task, "--json", **ASCII)
        assert (refused.code, refused.error["code"]) == (2, "file_invalid")
        # Python reads names that are not of the locale's encoding as surrogates, which JSON carries.
        problems = refused.error["problems"]
        told = {os.fsdecode(os.fsencode(problem["file"])): problem["message"] for problem in problems}
        assert told.keys() == {name for name, remedy in remedies.items() if remedy}
        assert all(remedies[name] in message for name, message in told.items())
    assert three.state() == before


SCRIPTS = [
    ("not UTF-8", b"CREATE TABLE x ();\n-- caf\xe9\n", "2:7: not UTF-8: convert the file (iconv "),
    ("NUL", b"CREATE TABLE x ();\nSELECT '\0';\n", "2:9: a NUL character: "),
    ("quote", b"CREATE TABLE x ();\nSELECT 'a;\n", "2:8: unterminated quote: it begins here"),
    ("dollar quote", b"CREATE TABLE x ();\nDO $do$ BEGIN\nEND $$;\n", "2:4: unterminated dollar quote $do$: it begins"),
    ("comment", b"CREATE TABLE x ();\n\n  /* /* */\n", "3:3: unterminated comment: it begins here"),
    ("COPY data", b"CREATE TABLE x (i int);\nCOPY x FROM stdin;\n1\n", "2:1: unterminated COPY data: "),
    ("meta-command", b"CREATE TABLE x ();\n\\set y 1\n", "2:1: \\set: psql's own commands do not run here"),
    ("merge conflict", b"CREATE TABLE x ();\n<<<<<<< HEAD\n=======\n>>>>>>> a\n", "2:1: a merge conflict: <<<<<<<; "),
    ("stray COMMIT", b"CREATE TABLE x ();\nCOMMIT;\n", "2: COMMIT ends the transaction, but the file runs in one of"),
    ("concurrently", b"CREATE TABLE x ();\nVACUUM x;\n", "2: VACUUM x cannot run inside a transaction; begin the file"),
    ("of goose", b"-- +goose Up\nCREATE TABLE x ();\n", "1: -- +goose Up: a directive of goose; take it out"),
    ("directive", b"-- migrate: lock_timeout=soon\n", "1: -- migrate: lock_timeout: expected a duration"),
]


def test_every_file_that_cannot_be_run_is_told_before_anything_runs(three: Project) -> None:
    for number, (_what, script, _message) in enumerate(SCRIPTS, start=100):
        three.write(f"{number}_bad.sql", script)
    before = three.state()
    refused = three.call("db.migrate", "--json")
    assert (refused.code, refused.error["code"]) == (2, "file_invalid")
    for number, (what, _script, message) in enumerate(SCRIPTS, start=100):
        assert f"{number}_bad.sql:{message}" in refused.err, what
    assert len(refused.error["problems"]) == len(SCRIPTS)
    assert all(problem["line"] for problem in refused.error["problems"])
    assert three.state() == before


@pytest.mark.parametrize("task", ["db.status", "db.new"])
def test_a_file_that_cannot_be_run_stops_no_task_that_runs_none(three: Project, task: str) -> None:
    three.write("004_four.sql", "SELECT 'a;\n")
    assert three.call(task, *["five"] * (task == "db.new")).code == 0
