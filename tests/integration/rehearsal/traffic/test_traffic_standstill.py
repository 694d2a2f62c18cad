from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import make_conninfo

from kernel.apply.events import MigrationApplied
from kernel.apply.executor import WaitLimits
from tests.integration.rehearsal.traffic.conftest import about

if TYPE_CHECKING:
    from kernel.apply.events import Event
    from tests.integration.rehearsal.traffic.conftest import Clone

pytestmark = pytest.mark.slow  # each makes databases of its own; the quick suite rehearses end to end in tests/cli

SESSIONS = "SELECT FROM pg_stat_activity WHERE application_name ~ 'traffic' AND datname = current_database()"
HOLD = "SELECT pg_sleep(0.3);"
HELD_SECONDS = 0.3


def test_what_locks_nothing_keeps_nobody_waiting(clone: Clone) -> None:
    felt = clone.felt(f"CREATE TABLE fresh (id int);\n{HOLD}", "orders")
    assert (felt.reads_total_seconds, felt.writes_total_seconds, felt.queued) == (0, 0, 0)


def test_access_exclusive_keeps_reads_and_writes_waiting_until_the_commit(clone: Clone) -> None:
    felt = clone.felt(f"ALTER TABLE orders ADD COLUMN region text;\n{HOLD}", "orders", "quiet")
    assert felt.reads_longest_seconds == about(HELD_SECONDS)
    assert felt.writes_longest_seconds == about(HELD_SECONDS)
    assert felt.reads_longest_seconds <= felt.reads_total_seconds < 2 * HELD_SECONDS
    assert felt.queued > 2


def test_a_table_that_nobody_locks_goes_on_beside_one_that_stands_still(clone: Clone) -> None:
    felt = clone.felt(f"ALTER TABLE orders ADD COLUMN region text;\n{HOLD}", "quiet", "orders")
    assert (felt.reads_total_seconds, felt.writes_total_seconds, felt.queued) == (0, 0, 0)


def test_a_lock_that_lets_reads_through_keeps_writes_waiting_only(clone: Clone) -> None:
    felt = clone.felt(f"CREATE INDEX ON orders (note);\n{HOLD}", "orders")
    assert felt.reads_total_seconds == 0
    assert felt.writes_longest_seconds == about(HELD_SECONDS)


def test_two_locks_one_after_the_other_add_up_but_are_no_longer_wait(clone: Clone) -> None:
    clone.put("001_it.sql", f"ALTER TABLE orders ADD COLUMN region text;\n{HOLD}")
    clone.put("002_it.sql", "SELECT pg_sleep(0.2);")
    clone.put("003_it.sql", f"ALTER TABLE orders ADD COLUMN street text;\n{HOLD}")
    (felt,) = clone.measure("orders").standstills
    assert felt.reads_longest_seconds == about(HELD_SECONDS)
    assert felt.reads_total_seconds == about(2 * HELD_SECONDS)


def test_behind_a_reader_reads_stand_still_for_the_lock_timeout_at_a_time(clone: Clone) -> None:
    clone.patience = WaitLimits(lock_timeout_ms=300, lock_retries=5)
    clone.put("001_it.sql", "ALTER TABLE orders ADD COLUMN region text;")
    traffic = clone.measure("orders", reader_seconds=1.2)
    (felt,) = traffic.standstills
    assert (traffic.failure, traffic.retries >= 1) == ("", True)
    assert felt.reads_longest_seconds == about(0.3)
    assert 0.3 < felt.reads_total_seconds < 1.0
    assert clone.rows("SELECT version FROM schema_migrations") == [("001",)]


def test_behind_a_reader_without_a_lock_timeout_reads_stand_still_for_as_long_as_it_stays(clone: Clone) -> None:
    felt = clone.felt(
        "-- migrate: lock_timeout=0\nALTER TABLE orders ADD COLUMN region text;", "orders", reader_seconds=1.0
    )
    assert felt.reads_longest_seconds == about(1.0)
    assert felt.writes_longest_seconds == about(1.0)


def test_a_concurrent_index_build_waits_for_a_reader_and_keeps_nobody_waiting(clone: Clone) -> None:
    clone.put("001_it.sql", "CREATE INDEX CONCURRENTLY orders_note ON orders (note);")
    traffic = clone.measure("orders", reader_seconds=0.5)
    (felt,) = traffic.standstills
    assert traffic.seconds == about(0.5)
    assert (felt.reads_total_seconds, felt.writes_total_seconds) == (0, 0)


def test_a_reader_leaves_with_the_last_migration(clone: Clone) -> None:
    clone.put("001_it.sql", "CREATE TABLE fresh (id int);")
    traffic = clone.measure("orders", reader_seconds=30)
    assert traffic.seconds < 5


def test_a_migration_that_gives_up_ends_the_traffic_and_is_told(clone: Clone) -> None:
    clone.patience = WaitLimits(lock_timeout_ms=200, lock_retries=0)
    clone.put("001_it.sql", "ALTER TABLE orders ADD COLUMN region text;")
    clone.put("002_it.sql", "CREATE TABLE fresh (id int);")
    traffic = clone.measure("orders", reader_seconds=30)
    (felt,) = traffic.standstills
    assert traffic.failure == "001_it.sql: canceling statement due to lock timeout"
    assert felt.reads_longest_seconds == about(0.2)
    assert clone.rows("SELECT FROM schema_migrations") == []


def test_many_tables_share_few_sessions_and_each_is_felt(clone: Clone) -> None:
    names = [f"table_{number}" for number in range(30)]
    for name in names:
        clone.look.execute(f"CREATE TABLE {name} (id int)")
    seen: list[int] = []

    def count(event: Event) -> None:
        if isinstance(event, MigrationApplied):
            seen.append(clone.look.execute(SESSIONS).rowcount)

    clone.react = count
    clone.put("001_it.sql", "SELECT 1;")
    alters = "".join(f"ALTER TABLE {name} ADD COLUMN its int;\n" for name in names[:25])
    clone.put("002_it.sql", f"{alters}SELECT pg_sleep(1);")
    traffic = clone.measure(*names)
    felt = {one.relation: one for one in traffic.standstills}
    slack = 0.2 + 3 * traffic.resolution_seconds
    for name in names[:25]:
        assert felt[f"public.{name}"].reads_longest_seconds == pytest.approx(1, abs=slack)
        assert felt[f"public.{name}"].writes_longest_seconds == pytest.approx(1, abs=slack)
    assert {felt[f"public.{name}"].reads_total_seconds for name in names[25:]} == {0}
    assert traffic.session_count == 20
    assert max(seen) == 21  # with the onlooker


def test_a_server_with_few_sessions_left_is_asked_by_fewer(clone: Clone) -> None:
    role = f"few_{clone.rows('SELECT pg_backend_pid()')[0][0]}"
    clone.look.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 8; ALTER TABLE orders OWNER TO {role}".encode())
    clone.look.execute(f"GRANT ALL ON schema_migrations TO {role}; GRANT ALL ON SCHEMA public TO {role}".encode())
    clone.url = make_conninfo(clone.url, user=role)
    clone.put("001_it.sql", "-- migrate: lock_timeout=0\nALTER TABLE orders ADD COLUMN region text;")
    traffic = clone.measure("orders", reader_seconds=0.4)
    (felt,) = traffic.standstills
    clone.look.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())
    assert traffic.session_count == 4
    assert felt.reads_longest_seconds == about(0.4)
    assert felt.writes_longest_seconds == about(0.4)


def test_a_reader_stands_before_a_partitioned_table_too(clone: Clone) -> None:
    clone.look.execute("CREATE TABLE it (id int) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF it DEFAULT")
    felt = clone.felt(
        "-- migrate: lock_timeout=0\nALTER TABLE it ADD COLUMN its int;", "it", "part", reader_seconds=0.4
    )
    assert felt.reads_longest_seconds == about(0.4)


@pytest.mark.slow
@pytest.mark.parametrize(("directive", "expected"), [("", 1.5), ("-- migrate: lock_timeout=0\n", 5.0)])
def test_a_five_second_reader_before_a_million_rows(clone: Clone, directive: str, expected: float) -> None:
    clone.patience = WaitLimits(lock_timeout_ms=1500, lock_retries=9)
    clone.look.execute("INSERT INTO orders SELECT g, 'order ' || g FROM generate_series(1001, 1000000) g")
    felt = clone.felt(f"{directive}ALTER TABLE orders ADD COLUMN region text;", "orders", reader_seconds=5)
    assert felt.reads_longest_seconds == pytest.approx(expected, rel=0.1)
    assert felt.writes_longest_seconds == pytest.approx(expected, rel=0.1)
