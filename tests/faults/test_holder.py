"""Waiting for the lock, on the command line: who holds it, with what file, since when, and how to end it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.faults import audit, runner

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.faults.fault_database import FaultDatabase

pytestmark = pytest.mark.slow

BLOCKED = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
HOLDER = r"pid {pid} \(inv db\.migrate {file}\) from local, connected \d\d:\d\d:\d\d UTC"


@pytest.fixture
def holder(target: FaultDatabase) -> Iterator[subprocess.Popen[str]]:
    """A runner in the middle of 002, until the gate opens."""
    audit.write(target.folder, audit.FIRST, audit.IN_TRANSACTION)
    target.observer.execute("SELECT pg_advisory_lock(%s)", (audit.GATE,))
    process = runner.start(target.folder, target.url, KERNEL_LOCK_TIMEOUT="0")
    try:
        audit.await_row(target.observer, BLOCKED)
        yield process
    finally:
        process.kill()
        process.communicate()


def _pid(target: FaultDatabase) -> int:
    query = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'inv db.migrate %'"
    row = target.observer.execute(query).fetchone()
    assert row
    return int(row[0])


def _open_gate(target: FaultDatabase) -> None:
    target.observer.execute("SELECT pg_advisory_unlock(%s)", (audit.GATE,))


@pytest.mark.parametrize("wait", ["0", "0.2"])
def test_a_busy_lock_names_its_holder_the_file_it_is_on_and_the_line_that_ends_it(
    target: FaultDatabase, holder: subprocess.Popen[str], wait: str
) -> None:
    code, out, err = runner.run(target.folder, target.url, "--lock-wait", wait)
    assert (code, out) == (5, "")
    pid = _pid(target)
    assert re.search(HOLDER.format(pid=pid, file=r"002_middle\.sql"), err), err
    assert f"or end it: SELECT pg_terminate_backend({pid})" in err
    assert ("waiting for another runner" in err) is (wait != "0")
    assert holder.poll() is None


def test_the_line_that_ends_the_holder_frees_the_lock(target: FaultDatabase, holder: subprocess.Popen[str]) -> None:
    _, _, err = runner.run(target.folder, target.url, "--lock-wait", "0")
    line = re.search(r"SELECT pg_terminate_backend\(\d+\)", err)
    assert line
    target.observer.execute(line[0].encode())
    assert runner.finish(holder)[0] in (6, 7)
    audit.await_free_lock(target.observer)
    _open_gate(target)
    assert runner.run(target.folder, target.url)[0] == 0
    assert audit.recorded(target.observer) == {"001", "002"}


def test_a_waiting_runner_whose_holder_finishes_says_that_everything_is_migrated(
    target: FaultDatabase, holder: subprocess.Popen[str]
) -> None:
    waiting = runner.start(target.folder, target.url, "--lock-wait", "-1")
    assert waiting.stderr
    assert re.search(HOLDER.format(pid=_pid(target), file=r"002_middle\.sql"), waiting.stderr.readline())
    _open_gate(target)
    assert runner.finish(holder)[0] == 0
    code, out, _ = runner.finish(waiting)
    assert code == 0
    assert "already migrated by another runner: 1 applied" in out
    assert audit.recorded(target.observer) == {"001", "002"}


def test_a_file_outside_of_a_transaction_is_named_too(target: FaultDatabase) -> None:
    audit.write(target.folder, audit.FIRST)
    assert runner.run(target.folder, target.url)[0] == 0
    audit.write(target.folder, audit.IN_STEPS)
    with psycopg.connect(target.url) as writer:
        writer.execute("INSERT INTO app.events VALUES (0)")
        process = runner.start(target.folder, target.url)
        audit.await_row(target.observer, "SELECT FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting%'")
        code, _, err = runner.run(target.folder, target.url, "--lock-wait", "0")
        assert code == 5
        assert re.search(HOLDER.format(pid=_pid(target), file=r"003_steps\.sql"), err), err
        writer.rollback()
    assert runner.finish(process)[0] == 0
