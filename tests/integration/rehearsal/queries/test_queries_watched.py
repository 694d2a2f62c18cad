from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from kernel.migrations.migration import require_migrations
from kernel.operations.migrate import MigrateOptions
from kernel.rehearsal.queries.corpus import ApplicationQuery
from kernel.rehearsal.queries.watch import watch_queries
from kernel.rehearsal.result import Relation
from kernel.rehearsal.traffic.measure import measure_traffic

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.rehearsal.queries.conftest import Clone

pytestmark = pytest.mark.slow  # each makes databases of its own; the quick suite rehearses end to end in tests/cli

ALL = ApplicationQuery(name="all", text="SELECT * FROM orders WHERE id = $1")


@pytest.mark.parametrize(
    ("query", "migration"),
    [
        ("SELECT id, note FROM orders WHERE customer = $1", "ALTER TABLE orders ADD COLUMN region text"),
        ("SELECT count(*) FROM orders", "CREATE INDEX ON orders (note)"),
        ("SELECT total FROM orders WHERE id = $1", "ALTER TABLE orders ALTER COLUMN note TYPE varchar(80)"),
        ("INSERT INTO orders (id, total) VALUES ($1, $2) RETURNING id", "ALTER TABLE orders ADD COLUMN region text"),
        ("UPDATE orders SET note = $2 WHERE id = $1", "ALTER TABLE log ADD COLUMN at timestamptz"),
        ("WITH gone AS (DELETE FROM orders RETURNING id) SELECT * FROM gone", "CREATE TABLE fresh (id int)"),
    ],
)
def test_a_query_that_a_migration_does_not_touch_is_not_reported(clone: Clone, query: str, migration: str) -> None:
    before = clone.rows("SELECT count(*), sum(total) FROM orders")
    assert clone.changes(migration, query) == ()
    assert clone.rows("SELECT count(*), sum(total) FROM orders") == before


@pytest.mark.parametrize(
    ("query", "migration", "sqlstate", "message"),
    [
        ("SELECT note FROM orders", "ALTER TABLE orders DROP COLUMN note", "42703", 'column "note" does not exist'),
        ("SELECT note FROM orders WHERE id = $1", "DROP TABLE orders", "42P01", 'relation "orders" does not exist'),
        (
            "SELECT id FROM orders WHERE note LIKE $1",
            "ALTER TABLE orders ALTER COLUMN note TYPE int USING 1",
            "42883",
            "operator does not exist: integer ~~ unknown",
        ),
        (
            "INSERT INTO log VALUES ($1)",
            "ALTER TABLE log RENAME TO logs",
            "42P01",
            'relation "log" does not exist',
        ),
        ("SELECT 'busy'::mood", "ALTER TYPE mood RENAME TO moods", "42704", 'type "mood" does not exist'),
    ],
)
def test_a_query_that_breaks_says_why(clone: Clone, query: str, migration: str, sqlstate: str, message: str) -> None:
    (found,) = clone.changes(migration, query)
    assert (found.rule, found.severity) == ("breaks-running-version", "error")
    assert found.message.endswith(f": {message} ({sqlstate})")


def test_a_query_that_breaks_on_rows_never_quotes_them(clone: Clone) -> None:
    clone.connection.execute("ALTER TABLE orders ALTER COLUMN note TYPE text USING id::text")
    (found,) = clone.changes("UPDATE orders SET note = 'secret' WHERE id = 7", "SELECT sum(note::int) FROM orders")
    assert found.rule == "breaks-running-version"
    assert found.message.endswith(": InvalidTextRepresentation (22P02)")
    assert "secret" not in found.message


def test_a_result_of_another_type_breaks_prepared_statements_only(clone: Clone) -> None:
    (found,) = clone.changes("ALTER TABLE orders ALTER COLUMN total TYPE numeric(14,2)", "SELECT id, total FROM orders")
    assert found.rule == "prepared-statements-break"
    assert "cached plan must not change result type (0A000)" in found.message
    assert "its result has total numeric(14,2), before total numeric(12,4)" in found.message


def test_a_column_more_breaks_prepared_statements_that_name_none(clone: Clone) -> None:
    (found,) = clone.changes("ALTER TABLE orders ADD COLUMN region text", ALL.text)
    assert found.rule == "prepared-statements-break"
    assert found.message.endswith("its result has region text, before fewer columns")


def test_a_parameter_of_another_type_breaks_prepared_statements_only(clone: Clone) -> None:
    migration = "ALTER TABLE orders ALTER COLUMN customer TYPE text"
    (found,) = clone.changes(migration, "SELECT id FROM orders WHERE customer = $1")
    assert found.rule == "prepared-statements-break"
    assert found.message.endswith("(42883)")


def test_a_plan_that_becomes_expensive_is_shown_with_the_one_before(clone: Clone) -> None:
    (found,) = clone.changes("DROP INDEX orders_customer", "SELECT note FROM orders WHERE customer = $1")
    assert found.rule == "plan-regression"
    _, before, after = re.split("\nbefore:\n|\nafter:\n", found.message)
    assert "orders_customer" in before
    assert "Seq Scan on orders" in after


def test_a_query_without_parameters_is_executed_and_one_that_writes_is_not(clone: Clone) -> None:
    clone.connection.execute("CREATE SEQUENCE numbers")
    texts = ("SELECT note FROM orders WHERE customer = 7", "SELECT nextval('numbers'), note FROM orders WHERE id = 7")
    first, second = clone.changes("DROP INDEX orders_customer; ALTER TABLE orders DROP CONSTRAINT orders_pkey", *texts)
    assert (first.rule, second.rule) == ("plan-regression", "plan-regression")
    assert "actual rows=20" in first.message.partition("\nafter:\n")[0]
    assert "actual" not in second.message
    assert clone.rows("SELECT is_called FROM numbers") == [(False,)]


def test_each_change_is_reported_once_for_its_migration(clone: Clone) -> None:
    with watch_queries(clone.url, [ALL, ApplicationQuery(name="log", text="SELECT what FROM log")]) as watch:
        rules: list[list[str]] = []
        for migration in (
            "ALTER TABLE orders ADD COLUMN region text",
            "CREATE TABLE fresh (id int)",
            "ALTER TABLE orders ADD COLUMN street text; DROP TABLE log",
            "ALTER TABLE orders DROP CONSTRAINT orders_pkey",
            "CREATE TABLE other (id int)",
        ):
            clone.connection.execute(migration.encode())
            rules.append([one.rule for one in watch.find_changes()])
        stale, broken = "prepared-statements-break", "breaks-running-version"
        assert rules == [[stale], [], [stale, broken], ["plan-regression"], []]


def test_a_query_that_never_ran_is_left_out(clone: Clone) -> None:
    queries = [
        ALL,
        ApplicationQuery(name="gone", text="SELECT nothing FROM orders"),
        ApplicationQuery(name="two", text="SELECT 1; SELECT 2"),
    ]
    with watch_queries(clone.url, queries) as watch:
        assert [(one.name, why.sqlstate) for one, why in watch.refused] == [("gone", "42703"), ("two", "42601")]
        clone.connection.execute("DROP TABLE orders")
        assert [one.message.startswith(str(ALL)) for one in watch.find_changes()] == [True]


def test_no_migration_waits_for_the_session_that_watches(clone: Clone) -> None:
    with watch_queries(clone.url, [ALL, ApplicationQuery(name="count", text="SELECT count(*) FROM orders")]) as watch:
        clone.connection.execute("SET lock_timeout = '200ms'; SET statement_timeout = '2s'")
        clone.connection.execute("ALTER TABLE orders ADD COLUMN region text")
        clone.connection.execute("CREATE INDEX CONCURRENTLY ON orders (region)")
        watch.find_changes()
        clone.connection.execute("DROP TABLE orders")


def test_a_migration_that_ends_the_session_breaks_no_query(clone: Clone) -> None:
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ~ 'queries' AND datname = "
    with watch_queries(clone.url, [ALL]) as watch:
        clone.connection.execute(f"{end} current_database()".encode())
        deadline = time.monotonic() + 5
        while not watch.stop_reason:  # the server takes a moment to end it
            assert watch.find_changes() == ()
            assert time.monotonic() < deadline


def test_a_query_that_takes_too_long_is_only_explained(clone: Clone) -> None:
    clone.connection.execute("CREATE VIEW slow AS SELECT 1 AS one")
    query = ApplicationQuery(name="slow", text="SELECT one FROM slow")
    with watch_queries(clone.url, [query]) as watch:
        clone.connection.execute("CREATE OR REPLACE VIEW slow AS SELECT 1 AS one FROM pg_sleep(60)")
        assert watch.find_changes() == ()


def test_findings_name_the_migration_that_ran_under_traffic(clone: Clone, tmp_path: Path) -> None:
    for number, text in enumerate(
        ("ALTER TABLE orders ADD COLUMN region text;", "SELECT 1;", "DROP INDEX orders_customer;", "DROP TABLE log;"), 1
    ):
        (tmp_path / f"00{number}_it.sql").write_text(text)
    expensive = ApplicationQuery(name="expensive", text="SELECT note FROM orders WHERE customer = $1")
    with watch_queries(clone.url, [ALL, expensive, ApplicationQuery(name="log", text="SELECT what FROM log")]) as watch:
        tables = [Relation(oid=0, name="public.orders"), Relation(oid=0, name="public.log")]
        traffic = measure_traffic(
            clone.url,
            require_migrations(tmp_path),
            MigrateOptions(),
            tables,
            observer=watch.observe,
        )
    assert traffic.failure == ""
    assert [(one.version, one.filename, one.rule) for one in watch.findings] == [
        ("001", "001_it.sql", "prepared-statements-break"),
        ("003", "003_it.sql", "plan-regression"),
        ("004", "004_it.sql", "breaks-running-version"),
    ]
