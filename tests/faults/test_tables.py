"""Waiting for a table that others use: short waits, again and again, with the others served in between."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Self

import psycopg
import pytest

from kernel.apply.executor import WaitLimits, run_with_retries
from kernel.errors import Failure, MigrationFailed
from tests.faults import audit, runner

if TYPE_CHECKING:
    from tests.faults.fault_database import FaultDatabase

LOCK_TIMEOUT_MS = 500
GRACE_SECONDS = 0.1
READER_SECONDS = 8.0
EVERY_SECONDS = 0.02
ALTER = {"002_alter.sql": "ALTER TABLE app.events ADD COLUMN note text;\n"}
RETRYING = "002_alter.sql: canceling statement due to lock timeout; blocked by pid "


@pytest.fixture
def table(target: FaultDatabase) -> FaultDatabase:
    """A table with rows, and a pending migration that wants it for itself."""
    audit.write(target.folder, audit.FIRST)
    assert runner.run(target.folder, target.url)[0] == 0
    audit.write(target.folder, ALTER)
    return target


class _Reader:
    """A transaction that has read the table and keeps its lock until the end of the block."""

    def __init__(self, target: FaultDatabase) -> None:
        self._connection = psycopg.connect(target.url, application_name="the report")
        self._connection.execute("SELECT count(*) FROM app.events")
        self.pid = self._connection.info.backend_pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Nobody has ended it: its transaction still answers.
        assert self._connection.execute("SELECT count(*) FROM app.events").fetchone() == (0,)
        self._connection.rollback()
        self._connection.close()


class _Client(threading.Thread):
    """Somebody who reads the table all the time; `longest_seconds` is what it waited at most."""

    def __init__(self, target: FaultDatabase) -> None:
        super().__init__()
        self._connection = psycopg.connect(target.url, autocommit=True)
        self._over = threading.Event()
        self.longest_seconds = 0.0
        self.queries = 0

    def run(self) -> None:
        with self._connection:
            while not self._over.wait(EVERY_SECONDS):
                began = time.monotonic()
                self._connection.execute("SELECT count(*) FROM app.events")
                self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)
                self.queries += 1

    def end(self) -> None:
        self._over.set()
        self.join()


@pytest.mark.slow
def test_with_a_long_reader_no_client_waits_longer_than_lock_timeout(
    table: FaultDatabase,
) -> None:
    client = _Client(table)
    client.start()
    try:
        with _Reader(table) as reader:
            process = runner.start(table.folder, table.url, KERNEL_LOCK_TIMEOUT=f"{LOCK_TIMEOUT_MS}ms")
            time.sleep(READER_SECONDS)
            assert process.poll() is None, "it is still trying"
            pid = reader.pid
        code, _, err = runner.finish(process)
    finally:
        client.end()
    assert code == 0, err
    assert client.queries > READER_SECONDS / (LOCK_TIMEOUT_MS / 1000), "it was served in between"
    assert client.longest_seconds < LOCK_TIMEOUT_MS / 1000 + GRACE_SECONDS
    said = [line for line in err.splitlines() if line.startswith(RETRYING)]
    assert said, err
    for number, line in enumerate(said, start=1):
        # Who it is, what it does, how long already, and its query.
        assert f"blocked by pid {pid} (the report, idle in transaction for 00:00:0" in line
        assert "): SELECT count(*) FROM app.events; " in line
        assert f"; attempt {number} of 6 rolled back, again in " in line


@pytest.mark.slow
def test_when_the_reader_stays_the_run_gives_up_names_it_and_leaves_everything_as_it_was(table: FaultDatabase) -> None:
    with _Reader(table) as reader:
        settings = {"KERNEL_LOCK_TIMEOUT": "200ms", "KERNEL_LOCK_RETRIES": "1"}
        code, _, err = runner.run(table.folder, table.url, **settings)
    assert code == 6
    assert f"blocked by pid {reader.pid} (the report" in err
    assert "error: 002_alter.sql:1: canceling statement due to lock timeout (55P03)" in err
    assert "002_alter.sql: rolled back: the database is as it was before this file" in err
    assert audit.recorded(table.observer) == {"001"}


@pytest.mark.slow
def test_a_file_may_set_its_own_lock_timeout(table: FaultDatabase) -> None:
    audit.write(table.folder, {"002_alter.sql": "-- migrate: lock_timeout=100ms\n" + ALTER["002_alter.sql"]})
    with _Reader(table):
        began = time.monotonic()
        code, _, err = runner.run(table.folder, table.url, KERNEL_LOCK_TIMEOUT="60s", KERNEL_LOCK_RETRIES="0")
        assert time.monotonic() - began < 30
    assert code == 6
    assert "canceling statement due to lock timeout" in err


def test_the_default_retries_outlast_a_reader_of_thirty_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    patience = WaitLimits()
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.setattr(random, "uniform", min)  # the shortest pauses that chance can give

    class _ExecutorDouble:
        """What run_with_retries uses of an Executor."""

        def __init__(self) -> None:
            self.waits = patience
            self.activity = self
            self.blockers = ()

        def reset_blockers(self) -> None: ...

        def observer(self, _event: object) -> None: ...

    def attempt() -> None:
        waited.append(patience.lock_timeout_ms / 1000)
        raise MigrationFailed("lock timeout", failure=Failure(file="001_a.sql", sqlstate="55P03"), aftermath="")

    with pytest.raises(MigrationFailed):
        run_with_retries(_ExecutorDouble(), attempt)  # type: ignore[arg-type]  # see above
    assert sum(waited) > 30
