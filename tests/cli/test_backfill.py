"""A backfill on the command line: what is shown of it, and how it ends by signals."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Project

TABLE = "CREATE TABLE orders (id int PRIMARY KEY, n int);\n"
# A batch takes 0.1 s.
SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.1); RETURN NULL; END $$;
CREATE TRIGGER slow AFTER UPDATE ON orders FOR EACH STATEMENT EXECUTE FUNCTION slow();
"""
BACKFILL = "-- migrate: batch=100 by=orders.id pause={pause}\nUPDATE orders SET n = 1 WHERE n IS NULL;\n"
DONE = "SELECT count(*) FROM orders WHERE n = 1"

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def orders(project: Project) -> Project:
    """A table of 1,000 rows, and a pending backfill of ten batches without pauses."""
    project.write("001_orders.sql", TABLE + SLOW)
    assert project.call("db.migrate").code == 0
    project.rows("INSERT INTO orders SELECT generate_series(1, 1000); ANALYZE orders")
    project.write("002_fill.sql", BACKFILL.format(pause="0"))
    return project


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), pytest.param(signal.SIGTERM, 143, "terminated", marks=pytest.mark.slow)],
)
def test_a_signal_ends_the_run_after_its_batch_and_the_next_run_goes_on(
    orders: Project, number: int, code: int, word: str
) -> None:
    runner = orders.start("db.migrate")
    orders.until(f"SELECT ({DONE}) >= 200")
    runner.send_signal(number)
    ended = orders.ended(runner)
    assert ended.code == code
    done = orders.value(DONE)
    assert done % 100 == 0
    assert 200 <= done < 1000
    percent = done // 10
    stopped = f"002_fill.sql: stopped after the batch, at {percent} % of orders.id; the next run goes on from there\n"
    assert stopped in ended.err
    assert f"error: {word} while 002_fill.sql ran" in ended.err
    status = orders.call("db.status")
    assert f"  002_fill.sql: {percent} % of orders.id; the next run goes on from there" in status.out
    (entry,) = [one for one in orders.call("db.status", "--json").document["migrations"] if one["version"] == "002"]
    assert entry["batches"] == {"key": "orders.id", "after": str(done), "rows": done, "percent": percent}
    assert f", went on from {percent} % of orders.id)" in orders.call("db.migrate").out
    assert orders.value(DONE) == 1000
    assert orders.recorded() == ["001", "002"]


@pytest.mark.slow
def test_a_signal_in_a_pause_ends_it_and_a_second_one_ends_the_batch(orders: Project) -> None:
    orders.write("002_fill.sql", BACKFILL.format(pause="1h"))
    runner = orders.start("db.migrate")
    orders.until(DONE)
    time.sleep(0.2)
    began = time.monotonic()
    runner.send_signal(signal.SIGINT)
    assert orders.ended(runner).code == 130
    assert time.monotonic() - began < 5
    assert orders.value(DONE) == 100
    orders.rows(
        "CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(30); RETURN NULL; END $$"
    )
    runner = orders.start("db.migrate")
    orders.until_asleep("inv db.migrate 002_fill.sql")
    began = time.monotonic()
    runner.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert runner.poll() is None
    runner.send_signal(signal.SIGINT)
    assert orders.ended(runner).code == 130
    assert time.monotonic() - began < 10
    assert orders.value(DONE) == 100


def test_a_file_that_cannot_run_in_batches_is_refused_with_its_place_by_every_task(orders: Project) -> None:
    orders.write("002_fill.sql", "-- migrate: batch=100 by=orders.id\n\nUPDATE orders\nSET n = n + 1;\n")
    before = orders.state()
    for task in ("db.migrate", "db.verify", "db.lint"):
        refused = orders.call(task)
        assert refused.code in (2, 8)
        assert "002_fill.sql:4:9: " in refused.out + refused.err
        assert "n is computed from n" in refused.out + refused.err or "range-not-repeatable" in refused.out
    assert "002_fill.sql:4:9: n is computed from n" in orders.call("db.status").err
    orders.write("002_fill.sql", "-- migrate: batch=100 by=orders.key\nUPDATE orders SET n = 1;\n")
    refused = orders.call("db.migrate")
    assert refused.code == 2
    assert "error: 002_fill.sql:1: by=orders.key: orders has no column key" in refused.err
    assert orders.state() == before


def test_the_linter_takes_an_accepted_backfill_for_one_that_has_its_finding(orders: Project) -> None:
    allowed = "-- migrate: allow=range-not-repeatable the batches are counted elsewhere\n"
    orders.write("002_fill.sql", "-- migrate: batch=100 by=orders.id\n" + allowed + "UPDATE orders SET n = n + 1;\n")
    linted = orders.call("db.lint")
    assert linted.code == 0
    assert "no finding here" not in linted.err
    orders.write("002_fill.sql", allowed + "UPDATE orders SET n = 1 WHERE n IS NULL;\n")
    assert "allow=range-not-repeatable has no finding here; remove it" in orders.call("db.lint").err


def test_a_dry_run_says_in_which_batches(orders: Project) -> None:
    shown = orders.call("db.migrate", "--dry-run")
    assert "  002_fill.sql (1 statement, in batches of 100 rows by orders.id)" in shown.out
    sql = orders.call("db.migrate", "--dry-run", "--sql").out
    assert "UPDATE orders SET n = 1 WHERE(n IS NULL) AND orders.id <= 100;" in sql
    assert orders.value(DONE) == 0
