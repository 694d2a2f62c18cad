"""Checks of data: at the top of a file before it changes anything, and in verify/ before it commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kernel.config.ledger_name import DEFAULT_LEDGER
from kernel.db.connection import open_session
from kernel.errors import FilesInvalid
from kernel.operations.verify import RecordsCheck, run_checks
from kernel.plan import read_status

if TYPE_CHECKING:
    from tests.integration.conftest import Project

_ORDERS = """
CREATE TABLE orders (id int, total int);
INSERT INTO orders SELECT n, nullif(n % 2, 0) FROM generate_series(1, 30) n;
"""
_CHECK = """-- Migration: 002 - totals
-- migrate: check every order has a total
SELECT count(*) = 0, array_agg(id ORDER BY id) FROM orders WHERE total IS NULL;
ALTER TABLE orders ALTER COLUMN total SET NOT NULL;
"""


@pytest.fixture
def orders(project: Project) -> Project:
    project.put("001_orders.sql", _ORDERS)
    project.migrate()
    return project


def _verified(project: Project) -> list[str]:
    with open_session(project.url) as session:
        status = read_status(session, project.files())
        records = RecordsCheck(database=session.name, plan=status.plan, problems=())
        return [str(problem) for problem in run_checks(session, records, DEFAULT_LEDGER).problems]


@pytest.mark.parametrize("options", [{}, {"single_transaction": True}])
def test_a_file_whose_check_fails_changes_nothing_and_names_the_first_keys(
    orders: Project, options: dict[str, Any]
) -> None:
    orders.put("002_totals.sql", _CHECK)
    failed = orders.failure(**options)
    assert str(failed) == "check failed: every order has a total"
    assert (failed.failure.file, failed.failure.line) == ("002_totals.sql", 3)
    assert failed.failure.detail == "keys: 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, …"
    assert failed.rolled_back
    assert orders.recorded() == ["001"]
    orders.rows("UPDATE orders SET total = 1 RETURNING id")
    assert len(orders.migrate(**options).applied) == 1


def test_statements_below_a_check_that_fails_are_not_sent(orders: Project) -> None:
    orders.put("002_x.sql", "-- migrate: check never\nSELECT false;\nSELECT nextval('calls');\n")
    orders.rows("CREATE SEQUENCE calls")
    orders.failure()
    assert orders.rows("SELECT is_called FROM calls") == [(False,)]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT true WHERE false", "a check has returned no row"),
        ("SELECT 1", "the first column of a check is not a boolean"),
        ("SELECT g > 1 FROM generate_series(1, 3) g", "a check has returned 3 rows"),
        ("SELECT false, 'infinity'::timestamp", "check failed: the query"),
        ("SELECT NULL::boolean, 'k'", "check failed: the query"),
    ],
)
def test_only_a_row_that_begins_with_true_passes(orders: Project, query: str, message: str) -> None:
    orders.put("002_x.sql", f"-- migrate: check the query\n{query};\nCREATE TABLE after_it ();\n")
    assert str(orders.failure()) == message
    assert not orders.has("after_it")


def test_several_checks_may_follow_the_begin_of_a_file(orders: Project) -> None:
    orders.put(
        "002_x.sql",
        "BEGIN;\nSET TRANSACTION ISOLATION LEVEL SERIALIZABLE;\n-- migrate: check one\nSELECT true;\n"
        "-- migrate: check two\n(SELECT true);\nCREATE TABLE after_it ();\nCOMMIT;\n",
    )
    orders.migrate()
    assert orders.has("after_it")


def test_a_file_of_nothing_but_checks_is_applied_only_if_they_hold(orders: Project) -> None:
    orders.put("002_x.sql", "-- migrate: check never\nSELECT false;\n")
    orders.failure()
    orders.put("002_x.sql", "-- migrate: check always\nSELECT true;\n")
    orders.migrate()
    assert orders.recorded() == ["001", "002"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("SELECT 1;\n-- migrate: check late\nSELECT true;", "002_x.sql:2: a check below another statement"),
        ("-- migrate: check\nSELECT true;", "002_x.sql:1: -- migrate: check: the message is missing"),
        ("-- migrate: check a\nUPDATE orders SET total = 1;", "002_x.sql:2: not a query"),
        ("-- migrate: check a\nSELECT true INTO made;", "002_x.sql:2: not a query"),
        ("-- migrate: check a\n-- migrate: check b\nSELECT true;", "002_x.sql:2: two checks above one statement"),
        ("SELECT 1;\n-- migrate: check at the end\n", "002_x.sql:2: a check without a statement"),
        ("-- migrate: no-transaction\n-- migrate: check a\nSELECT true;\nVACUUM;", "a check needs one transaction"),
    ],
)
def test_a_check_that_cannot_be_one_is_refused_before_anything_runs(orders: Project, text: str, problem: str) -> None:
    orders.put("002_x.sql", text)
    with pytest.raises(FilesInvalid) as refused:
        orders.migrate()
    assert problem in str(refused.value)


def test_the_file_in_verify_runs_before_the_migration_commits(orders: Project) -> None:
    orders.put("002_x.sql", "SET ROLE pg_monitor;\n")
    orders.put(
        "verify/002_x.sql",
        "-- migrate: check as the runner\nSELECT current_user = session_user;\nSELECT count(*) = 31 FROM orders;\n",
    )
    failed = orders.failure()
    assert str(failed) == "check failed: the query on line 3"
    assert (failed.failure.file, failed.failure.line) == ("verify/002_x.sql", 3)
    assert orders.recorded() == ["001"]
    orders.put("002_x.sql", "INSERT INTO orders VALUES (31);")
    orders.migrate()
    assert _verified(orders) == []


def test_an_error_in_the_file_in_verify_has_its_place_there(orders: Project) -> None:
    orders.put("002_x.sql", "SELECT 1;")
    orders.put("verify/002_x.sql", "SELECT true;\nSELECT\n  no_such_column FROM orders;")
    failed = orders.failure()
    assert (failed.failure.file, failed.failure.line, failed.failure.sqlstate) == ("verify/002_x.sql", 3, "42703")


def test_verify_runs_the_checks_of_applied_migrations_and_writes_nothing(orders: Project) -> None:
    orders.rows("CREATE FUNCTION writes() RETURNS boolean LANGUAGE sql AS 'DELETE FROM orders RETURNING true'")
    orders.put("verify/001_orders.sql", "SELECT count(*) < 30, max(id) FROM orders;\nSELECT writes();\n")
    assert _verified(orders) == [
        "verify/001_orders.sql:1: check failed: the query on line 1; keys: 30",
        "verify/001_orders.sql:2: cannot execute DELETE in a read-only transaction",
    ]
    assert orders.rows("SELECT count(*) FROM orders") == [(30,)]


@pytest.mark.parametrize(
    ("migration", "verification", "problem"),
    [
        ("SELECT 1;", "DELETE FROM orders;", "verify/002_x.sql:1: not a query"),
        ("SELECT 1;", "SELECT 'open", "verify/002_x.sql:1"),
        (
            "-- migrate: no-transaction\nVACUUM;",
            "SELECT true;",
            "verify/002_x.sql: 002_x.sql runs outside",
        ),
    ],
)
def test_a_file_in_verify_that_cannot_run_is_refused_before_anything_runs(
    orders: Project, migration: str, verification: str, problem: str
) -> None:
    orders.put("002_x.sql", migration)
    orders.put("verify/002_x.sql", verification)
    with pytest.raises(FilesInvalid) as refused:
        orders.migrate()
    assert str(refused.value).startswith(problem)
