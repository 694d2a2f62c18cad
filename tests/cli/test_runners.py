"""Runners at the same time: each migration runs once, and whoever waits knows for whom."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Project

pytestmark = pytest.mark.slow

MIGRATIONS = 50
RUNNERS = 8


def test_eight_runners_at_once_apply_each_of_fifty_migrations_once(project: Project) -> None:
    project.write("001_runs.sql", "CREATE TABLE runs (version int, pid int DEFAULT pg_backend_pid());\n")
    for number in range(1, MIGRATIONS + 1):
        project.write(
            f"{number + 1:03}_run.sql", f"INSERT INTO runs VALUES ({number});\nCREATE TABLE table_{number} ();\n"
        )
    runners = [project.start("db.migrate", "--json") for _ in range(RUNNERS)]
    documents = []
    for runner in runners:
        done = project.ended(runner)
        assert done.code == 0, done.err
        documents.append(done.document)
    assert [version for (version,) in project.rows("SELECT version FROM runs ORDER BY version")] == [
        *range(1, MIGRATIONS + 1)
    ]
    told = [one["version"] for document in documents for one in document["applied"]]
    assert sorted(told) == project.recorded() == [f"{number:03}" for number in range(1, MIGRATIONS + 2)]
    assert not project.locked()


# A migration that goes on when there is a row in gate.
GATED = """\
DO $$
BEGIN
  WHILE NOT EXISTS (SELECT FROM gate) LOOP PERFORM pg_sleep(0.02); END LOOP;
END $$;
"""


def test_the_second_runner_names_the_holder_and_waits_fails_or_comes_after(three: Project) -> None:
    three.write("001_one.sql", "CREATE TABLE gate (id int);\n")
    three.write("002_two.sql", GATED)
    first = three.start("db.migrate")
    pid = three.until_asleep("inv db.migrate 002_two.sql")
    holder = f"pid {pid} (inv db.migrate 002_two.sql) from local, connected "
    waiting = [three.start("db.migrate", "--lock-wait=-1"), three.start("db.migrate", "--lock-wait", "-1")]
    busy = three.inv("db.migrate", "--lock-wait", "0", "--json")
    assert (busy.code, busy.error["code"]) == (5, "lock_busy")
    assert "error: another runner holds the lock of " in busy.err
    assert f": {holder}" in busy.err
    assert f"; wait longer with --lock-wait, or end it: SELECT pg_terminate_backend({pid})\n" in busy.err

    three.until_waiting(2)
    three.rows("INSERT INTO gate VALUES (1)")
    assert three.ended(first).code == 0
    for runner in waiting:
        after = three.ended(runner)
        assert after.code == 0
        assert f"waiting for another runner: {holder}" in after.err
        assert after.out.startswith("already migrated by another runner: 2 applied to ")
    assert three.recorded() == ["001", "002", "003"]


def test_a_wait_ends_when_its_time_is_over(three: Project) -> None:
    three.write("001_one.sql", "SELECT pg_sleep(30);\n")
    first = three.start("db.migrate")
    three.until_asleep()
    assert three.inv("db.rollback").code == 0  # with nothing to roll back it needs no lock
    began = time.monotonic()
    late = three.inv("db.migrate", "--lock-wait", "0.4")
    assert (late.code, late.out) == (5, "")
    assert time.monotonic() - began > 0.4
    assert "waiting for another runner: pid " in late.err
    first.terminate()
    three.ended(first)


def test_a_table_that_others_hold_is_waited_for_and_its_holder_named(three: Project) -> None:
    three.inv("db.migrate")
    three.write("004_four.sql", "ALTER TABLE one ADD COLUMN note text;\n")
    three.rows("BEGIN; SELECT FROM one")
    pid = three.connection.info.backend_pid
    blocked = three.inv("db.migrate", "--json", KERNEL_LOCK_TIMEOUT="200ms", KERNEL_LOCK_RETRIES="1")
    three.rows("ROLLBACK")
    assert (blocked.code, blocked.error["sqlstate"]) == (6, "55P03")
    assert f"004_four.sql: waiting for pid {pid} (" in blocked.err
    assert "attempt 1 of 2 rolled back, again in 0." in blocked.err
    assert "raise KERNEL_LOCK_TIMEOUT" in blocked.err
    assert three.recorded() == ["001", "002", "003"]
