"""Traced figures compared with those of a session that measures independently of the run."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import psycopg
import pytest

from kernel.lint.lock_modes import LOCK_MODE_NAMES
from kernel.rehearsal.tracing.lock_spans import blocking_by_relation
from tests.integration.rehearsal.tracing.conftest import facts

if TYPE_CHECKING:
    from types import TracebackType

    from tests.integration.rehearsal.tracing.conftest import Clone

pytestmark = pytest.mark.slow
ROWS = 1_500_000


@pytest.fixture
def large(clone: Clone) -> Clone:
    with psycopg.connect(clone.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE large (id int PRIMARY KEY, value int, note text)")
        connection.execute(f"INSERT INTO large SELECT g, g % 100, 'note ' || g FROM generate_series(1, {ROWS}) g")
        connection.execute("VACUUM ANALYZE large")
        connection.execute("CHECKPOINT")
    return clone


@dataclass(kw_only=True)
class Outsider:
    """Polls for a lock on `large` and asks it for a row, each in a session of its own.

    `held_seconds` is for how long the lock was seen, `stood_seconds` the longest that a SELECT took.
    """

    url: str
    mode: str
    held_seconds: float = 0.0
    stood_seconds: float = 0.0

    def __enter__(self) -> Self:
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._poll), threading.Thread(target=self._read)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _poll(self) -> None:
        query = "SELECT FROM pg_locks WHERE relation = %s AND granted AND mode = %s"
        with psycopg.connect(self.url, autocommit=True) as connection:
            ((oid,),) = connection.execute("SELECT 'large'::regclass::oid").fetchall()  # waits, once the lock is there
            since = None
            while not self._over.wait(0.002):
                now = time.monotonic()
                held = connection.execute(query, (oid, self.mode)).rowcount
                since = (since or now) if held else None
                self.held_seconds = max(self.held_seconds, now - since if since else 0.0)

    def _read(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            while not self._over.wait(0.005):
                began = time.monotonic()
                connection.execute("SELECT FROM large LIMIT 1")
                self.stood_seconds = max(self.stood_seconds, time.monotonic() - began)


def test_a_rewrite_blocks_for_as_long_as_another_session_measures(large: Clone) -> None:
    large.put("001_it.sql", "ALTER TABLE large ALTER COLUMN value TYPE bigint;\nSELECT pg_sleep(0.2);")
    with Outsider(url=large.url, mode="AccessExclusiveLock") as outsider:
        (run,) = large.rehearse()
    assert "rewrite large" in facts(run)
    (blocked,) = [one for one in blocking_by_relation([run]) if one.relation.name == "public.large"]
    assert blocked.reads_seconds == blocked.writes_seconds > 0.5
    assert blocked.reads_seconds == pytest.approx(outsider.held_seconds, rel=0.1)
    assert blocked.reads_seconds == pytest.approx(outsider.stood_seconds, rel=0.1)


@pytest.mark.parametrize(
    ("sql", "mode"),
    [
        ("CREATE INDEX ON large (value);", "ShareLock"),
        ("CREATE INDEX CONCURRENTLY ON large (value);", "ShareUpdateExclusiveLock"),
        ("REINDEX INDEX CONCURRENTLY large_pkey;", "ShareUpdateExclusiveLock"),
        ("-- migrate: no-transaction\nUPDATE large SET value = 1;\nVACUUM large;", "ShareUpdateExclusiveLock"),
    ],
)
def test_a_lock_is_held_for_as_long_as_an_outsider_sees(large: Clone, sql: str, mode: str) -> None:
    with Outsider(url=large.url, mode=mode) as outsider:
        run = large.run(sql)
    held = [
        lock.held_seconds
        for statement in run.statements
        for lock in statement.locks
        if (lock.mode, lock.relation.name) == (LOCK_MODE_NAMES[mode], "public.large")
    ]
    assert held == [pytest.approx(outsider.held_seconds, rel=0.1)]
    assert outsider.stood_seconds < held[0]  # none of them shuts reads out
