"""The tasks as Invoke lists and explains them, and what that costs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Project

FLAGS = {
    "db.migrate": {
        *("to", "dry-run", "sql", "single-transaction", "allow-out-of-order", "allow-empty", "check-schema"),
        *("lock-wait", "wait", "when-calm", "phase", "json"),
    },
    "db.status": {"check", "long", "wait", "phase", "json"},
    "db.rollback": {"steps", "to", "revert", "yes", "dry-run", "json"},
    "db.new": {"name", "description", "revert", "no-transaction", "repeatable"},
}


def test_the_list_is_short_and_whole(three: Project) -> None:
    listed = three.inv("--list")
    assert (listed.code, listed.err) == (0, "")
    tasks = dict(re.findall(r"^  (db\.\S+)(?: \(db\))? +(\S.*)$", listed.out, re.MULTILINE))
    assert tasks.keys() >= FLAGS.keys()
    assert "db.status (db)" in listed.out
    assert all(len(line) <= 60 for line in tasks.values())


@pytest.mark.parametrize("task", FLAGS)
def test_help_explains_every_flag_and_no_short_ones(three: Project, task: str) -> None:
    told = three.inv("--help", task)
    assert told.code == 0
    assert set(re.findall(r"^  (?:-\w, )?--(?:\[no-\])?([a-z-]+)", told.out, re.MULTILINE)) == FLAGS[task]
    assert not re.search(r"^  -\w,", told.out, re.MULTILINE)
    assert "Exit codes: " in told.out


def test_the_list_imports_neither_the_driver_nor_the_table(three: Project) -> None:
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "invoke", "--list"],
        cwd=three.root,
        env={"PATH": os.defpath, "HOME": str(three.root)},
        check=True,
        capture_output=True,
        text=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert "kernel.cli.context" in imported
    assert not imported & {"psycopg", "tabulate", "dotenv"}


def test_the_password_is_not_in_invokes_own_configuration(three: Project) -> None:
    debug = three.inv("--debug", "--echo", "db.status")  # whose output is searched for it, as that of every run
    assert debug.code == 0
    assert "invoke.executor.execute" in debug.err


@pytest.mark.slow
def test_two_tasks_in_one_command_run_one_after_the_other_and_db_alone_is_the_status(three: Project) -> None:
    both = three.inv("db.migrate", "db")
    assert both.code == 0
    assert both.out.endswith(three.inv("db.status").out)
    assert "\nApplied: 3\n" in both.out


def test_what_invoke_refuses_is_invokes_own_1(three: Project) -> None:
    for arguments in (("db.migrate", "--nothing"), ("db.migrate", "001")):
        assert three.inv(*arguments).code == 1
    assert three.value("SELECT to_regclass('schema_migrations')") is None


@pytest.mark.slow
def test_db_shell_runs_one_command_and_ends_with_its_exit_code(three: Project) -> None:
    done = three.inv("db.shell", "-c", "SELECT 1 AS one")
    assert (done.code, done.out.split()) == (0, ["one", "-----", "1", "(1", "row)"])
    assert three.inv("db.shell", "--command", "SELECT 1 / 0").code == 1
    assert "division by zero" in three.inv("db.shell", "-c", "SELECT 1 / 0").err
    empty = three.inv("db.shell", "-c", "")
    assert (empty.code, "-c: empty" in empty.err) == (2, True)
