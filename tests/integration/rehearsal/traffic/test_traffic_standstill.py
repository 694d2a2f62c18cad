"""How long reads and writes of a table stand still while migrations run, as an application would see it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import make_conninfo

from kernel.apply.events import MigrationApplied, MigrationRetrying
from kernel.apply.executor import WaitLimits
from tests.integration.rehearsal.traffic.conftest import about

if TYPE_CHECKING:
    from kernel.apply.events import Event
    from tests.integration.rehearsal.traffic.conftest import Clone

pytestmark = pytest.mark.slow  # each makes databases of its own; the quick suite rehearses end to end in tests/cli

SESSIONS = "SELECT FROM pg_stat_activity WHERE application_name ~ 'traffic' AND datname = current_database()"
HOLD = "SELECT pg_sleep(0.3);"
HELD_SECONDS = 0.3


def test_a_migration_that_locks_no_table_causes_no_standstill(clone: Clone) -> None:
    standstill = clone.standstill(f"CREATE TABLE fresh (id int);\n{HOLD}", "orders")
    assert (standstill.reads_total_seconds, standstill.writes_total_seconds, standstill.queued) == (0, 0, 0)


def test_access_exclusive_blocks_reads_and_writes_until_the_commit(clone: Clone) -> None:
    standstill = clone.standstill(f"ALTER TABLE orders ADD COLUMN region text;\n{HOLD}", "orders", "quiet")
    assert standstill.reads_longest_seconds == about(HELD_SECONDS)
    assert standstill.writes_longest_seconds == about(HELD_SECONDS)
    assert standstill.reads_longest_seconds <= standstill.reads_total_seconds < 2 * HELD_SECONDS
    assert standstill.queued > 2


def test_an_unlocked_table_is_not_affected_by_a_locked_one(clone: Clone) -> None:
    standstill = clone.standstill(f"ALTER TABLE orders ADD COLUMN region text;\n{HOLD}", "quiet", "orders")
    assert (standstill.reads_total_seconds, standstill.writes_total_seconds, standstill.queued) == (0, 0, 0)


def test_a_share_lock_blocks_writes_only(clone: Clone) -> None:
    standstill = clone.standstill(f"CREATE INDEX ON orders (note);\n{HOLD}", "orders")
    assert standstill.reads_total_seconds == 0
    assert standstill.writes_longest_seconds == about(HELD_SECONDS)


def test_two_successive_locks_add_to_the_total_and_not_to_the_longest_wait(clone: Clone) -> None:
    clone.put("001_it.sql", f"ALTER TABLE orders ADD COLUMN region text;\n{HOLD}")
    clone.put("002_it.sql", "SELECT pg_sleep(0.2);")
    clone.put("003_it.sql", f"ALTER TABLE orders ADD COLUMN street text;\n{HOLD}")
    (standstill,) = clone.measure("orders").standstills
    assert standstill.reads_longest_seconds == about(HELD_SECONDS)
    assert standstill.reads_total_seconds == about(2 * HELD_SECONDS)


def test_with_a_long_transaction_reads_stand_still_for_the_lock_timeout_of_each_attempt(clone: Clone) -> None:
    clone.waits = WaitLimits(lock_timeout_ms=300, lock_retries=5)
    clone.put("001_it.sql", "ALTER TABLE orders ADD COLUMN region text;")
    events: list[Event] = []
    clone.observer = events.append
    traffic = clone.measure("orders", reader_seconds=1.2)
    (standstill,) = traffic.standstills
    assert traffic.failure == ""
    assert any(isinstance(event, MigrationRetrying) for event in events)
    assert standstill.reads_longest_seconds == about(0.3)
    assert 0.3 < standstill.reads_total_seconds < 1.0
    assert clone.rows("SELECT version FROM schema_migrations") == [("001",)]


def test_without_a_lock_timeout_reads_stand_still_until_the_long_transaction_ends(clone: Clone) -> None:
    standstill = clone.standstill(
        "-- migrate: lock_timeout=0\nALTER TABLE orders ADD COLUMN region text;", "orders", reader_seconds=1.0
    )
    assert standstill.reads_longest_seconds == about(1.0)
    assert standstill.writes_longest_seconds == about(1.0)


def test_a_concurrent_index_build_waits_for_a_long_transaction_and_blocks_no_session(clone: Clone) -> None:
    clone.put("001_it.sql", "CREATE INDEX CONCURRENTLY orders_note ON orders (note);")
    moments: list[float] = []
    clone.observer = lambda _event: moments.append(time.monotonic())
    (standstill,) = clone.measure("orders", reader_seconds=0.5).standstills
    assert moments[-1] - moments[0] == about(0.5)
    assert (standstill.reads_total_seconds, standstill.writes_total_seconds) == (0, 0)


def test_the_long_transaction_ends_with_the_last_migration(clone: Clone) -> None:
    clone.put("001_it.sql", "CREATE TABLE fresh (id int);")
    began = time.monotonic()
    clone.measure("orders", reader_seconds=30)
    assert time.monotonic() - began < 5


def test_a_migration_that_gives_up_ends_the_traffic_and_is_reported(clone: Clone) -> None:
    clone.waits = WaitLimits(lock_timeout_ms=200, lock_retries=0)
    clone.put("001_it.sql", "ALTER TABLE orders ADD COLUMN region text;")
    clone.put("002_it.sql", "CREATE TABLE fresh (id int);")
    traffic = clone.measure("orders", reader_seconds=30)
    (standstill,) = traffic.standstills
    assert traffic.failure == "001_it.sql: canceling statement due to lock timeout"
    assert standstill.reads_longest_seconds == about(0.2)
    assert clone.rows("SELECT FROM schema_migrations") == []


def test_many_tables_share_few_sessions_and_each_standstill_is_measured(clone: Clone) -> None:
    names = [f"table_{number}" for number in range(30)]
    for name in names:
        clone.connection.execute(f"CREATE TABLE {name} (id int)")
    seen: list[int] = []

    def count(event: Event) -> None:
        if isinstance(event, MigrationApplied):
            seen.append(clone.connection.execute(SESSIONS).rowcount)

    clone.observer = count
    clone.put("001_it.sql", "SELECT 1;")
    alters = "".join(f"ALTER TABLE {name} ADD COLUMN its int;\n" for name in names[:25])
    clone.put("002_it.sql", f"{alters}SELECT pg_sleep(1);")
    traffic = clone.measure(*names)
    standstill = {one.relation: one for one in traffic.standstills}
    slack = 0.2 + 3 * traffic.resolution_seconds
    for name in names[:25]:
        assert standstill[f"public.{name}"].reads_longest_seconds == pytest.approx(1, abs=slack)
        assert standstill[f"public.{name}"].writes_longest_seconds == pytest.approx(1, abs=slack)
    assert {standstill[f"public.{name}"].reads_total_seconds for name in names[25:]} == {0}
    assert traffic.session_count == 20
    assert max(seen) == 21  # with the monitor of lock waits


def test_fewer_sessions_are_opened_on_a_server_with_few_left(clone: Clone) -> None:
    role = f"few_{clone.rows('SELECT pg_backend_pid()')[0][0]}"
    clone.connection.execute(
        f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 8; ALTER TABLE orders OWNER TO {role}".encode()
    )
    clone.connection.execute(f"GRANT ALL ON schema_migrations TO {role}; GRANT ALL ON SCHEMA public TO {role}".encode())
    clone.url = make_conninfo(clone.url, user=role)
    clone.put("001_it.sql", "-- migrate: lock_timeout=0\nALTER TABLE orders ADD COLUMN region text;")
    traffic = clone.measure("orders", reader_seconds=0.4)
    (standstill,) = traffic.standstills
    clone.connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())
    assert traffic.session_count == 4
    assert standstill.reads_longest_seconds == about(0.4)
    assert standstill.writes_longest_seconds == about(0.4)


def test_the_long_transaction_reads_partitioned_tables_too(clone: Clone) -> None:
    clone.connection.execute(
        "CREATE TABLE it (id int) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF it DEFAULT"
    )
    standstill = clone.standstill(
        "-- migrate: lock_timeout=0\nALTER TABLE it ADD COLUMN its int;", "it", "part", reader_seconds=0.4
    )
    assert standstill.reads_longest_seconds == about(0.4)


@pytest.mark.slow
@pytest.mark.parametrize(("directive", "expected"), [("", 1.5), ("-- migrate: lock_timeout=0\n", 5.0)])
def test_a_five_second_transaction_on_a_million_rows(clone: Clone, directive: str, expected: float) -> None:
    clone.waits = WaitLimits(lock_timeout_ms=1500, lock_retries=9)
    clone.connection.execute("INSERT INTO orders SELECT g, 'order ' || g FROM generate_series(1001, 1000000) g")
    standstill = clone.standstill(f"{directive}ALTER TABLE orders ADD COLUMN region text;", "orders", reader_seconds=5)
    assert standstill.reads_longest_seconds == pytest.approx(expected, rel=0.1)
    assert standstill.writes_longest_seconds == pytest.approx(expected, rel=0.1)
