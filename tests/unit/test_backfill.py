"""A backfill: the range in its statement, and every statement that cannot run in ranges or not twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.errors import FilesInvalid
from kernel.migrations.migration import discover_migrations
from kernel.migrations.script import Script, parse_script
from kernel.migrations.transactions import RunMode

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "-- migrate: batch=1000 by=orders.id\n"
RANGE = b"o.id > 1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "007_a.sql"


def parse(path: Path, text: str) -> Script:
    path.write_text(text)
    assert discover_migrations(path.parent)
    return parse_script(path, path.name)


def refusal(path: Path, text: str) -> str:
    """The one problem of a file, without its name."""
    with pytest.raises(FilesInvalid) as refused:
        parse(path, text)
    (problem,) = refused.value.problems
    return str(problem).removeprefix("007_a.sql:")


def with_range(path: Path, statement: str, head: str = HEAD) -> str:
    """The statement as it is sent for a range."""
    backfill = parse(path, head + statement).backfill
    assert backfill
    return backfill.sql_for_range(RANGE).decode()


def test_the_range_is_at_the_end_of_a_long_condition(path: Path) -> None:
    condition = " OR ".join(["b = 1"] * 3000)
    sent = with_range(path, f"UPDATE orders SET a = 1 WHERE {condition};")
    assert sent == f"UPDATE orders SET a = 1 WHERE({condition}) AND o.id > 1;"


@pytest.mark.parametrize(
    ("statement", "sent"),
    [
        ("UPDATE orders SET a = 1;", "UPDATE orders SET a = 1\nWHERE o.id > 1;"),
        ("UPDATE orders SET a = 1", "UPDATE orders SET a = 1\nWHERE o.id > 1"),
        ("UPDATE orders SET a = 1 -- all\n;", "UPDATE orders SET a = 1\nWHERE o.id > 1 -- all\n;"),
        ("UPDATE orders SET a = 1 WHERE b OR c;", "UPDATE orders SET a = 1 WHERE(b OR c) AND o.id > 1;"),
        ("UPDATE orders SET a = 1 WHERE\n  b -- c\n", "UPDATE orders SET a = 1 WHERE(\n  b) AND o.id > 1 -- c\n"),
        (
            "UPDATE orders SET a = b IS DISTINCT FROM c WHERE d IN (SELECT e FROM f WHERE g);",
            "UPDATE orders SET a = b IS DISTINCT FROM c WHERE(d IN (SELECT e FROM f WHERE g)) AND o.id > 1;",
        ),
        (
            "UPDATE ONLY orders AS o SET (a, b) = (SELECT c, d FROM e) FROM f JOIN g ON true;",
            "UPDATE ONLY orders AS o SET (a, b) = (SELECT c, d FROM e) FROM f JOIN g ON true\nWHERE o.id > 1;",
        ),
        ("DELETE FROM orders;", "DELETE FROM orders\nWHERE o.id > 1;"),
        (
            "DELETE FROM orders o USING items i WHERE i.id = o.item;",
            "DELETE FROM orders o USING items i WHERE(i.id = o.item) AND o.id > 1;",
        ),
        (
            "INSERT INTO s (k) SELECT o.id FROM orders o LEFT JOIN x ON a = b ON CONFLICT DO NOTHING;",
            "INSERT INTO s (k) SELECT o.id FROM orders o LEFT JOIN x ON a = b\nWHERE o.id > 1 ON CONFLICT DO NOTHING;",
        ),
        (
            "INSERT INTO s SELECT id FROM orders WHERE NOT EXISTS (SELECT FROM s WHERE s.k = orders.id);",
            "INSERT INTO s SELECT id FROM orders WHERE(NOT EXISTS (SELECT FROM s WHERE s.k = orders.id)) AND o.id > 1;",
        ),
    ],
)
def test_the_range_is_one_more_condition_of_the_statement(path: Path, statement: str, sent: str) -> None:
    assert with_range(path, statement) == sent


@pytest.mark.parametrize(
    ("statement", "reference"),
    [
        ("UPDATE orders SET a = 1;", "orders"),
        ("UPDATE public.orders SET a = 1;", "orders"),
        ("UPDATE orders * o SET a = 1;", "o"),
        ('DELETE FROM "orders" AS "O";', '"O"'),
        ("DELETE FROM orders WHERE a;", "orders"),
        ("INSERT INTO s (k) SELECT id FROM ONLY orders AS x, y ON CONFLICT DO NOTHING", "x"),
    ],
)
def test_the_key_is_qualified_with_the_alias_of_the_table(path: Path, statement: str, reference: str) -> None:
    script = parse(path, HEAD + statement)
    assert script.mode is RunMode.BATCHES
    assert script.backfill
    assert script.backfill.statement.reference == reference


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE orders SET a = b + 1, c = now() WHERE c IS NULL",
        "UPDATE orders SET token = gen_random_uuid() WHERE token IS NULL",
        "UPDATE orders o SET n = o.n + 1, done = true WHERE NOT o.done AND n > 0",
        "UPDATE orders SET n = n + 1, state = 'new' WHERE state = 'old'",
        "UPDATE orders SET n = n + 1, state = 'new' WHERE (state <> 'new')",
        "UPDATE orders SET n = n + 1, state = 'new' WHERE state IS DISTINCT FROM 'new'",
        "UPDATE orders SET email = lower(trim(BOTH ' ' FROM email::text)) WHERE email <> lower(email)",
        "UPDATE orders o SET total = s.total FROM (SELECT k, max(total) AS total FROM items GROUP BY k) s WHERE k = id",
        "UPDATE orders SET total = (SELECT sum(total) FROM items WHERE items.k = orders.id)",
        "UPDATE orders o SET parent_name = p.name FROM orders p WHERE p.id = o.parent",
        "UPDATE orders SET n = n + 1 WHERE n IS NULL",
        "DELETE FROM orders WHERE at < now() - interval '1 year'",
        "INSERT INTO s (id, k, at) SELECT gen_random_uuid(), o.id, now() FROM orders o ON CONFLICT (k) DO NOTHING",
        "INSERT INTO s (k, n) SELECT id, n FROM orders ON CONFLICT (k) DO UPDATE SET n = excluded.n",
    ],
)
def test_a_statement_whose_second_run_changes_nothing_is_accepted(path: Path, statement: str) -> None:
    assert parse(path, HEAD + statement).backfill


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE orders SET x = x + 1", "2:23: x is computed from x, which the statement sets: "),
        (
            "INSERT INTO orders (id) SELECT -id FROM orders ON CONFLICT (id) DO NOTHING",
            "2:1: it fills orders with rows of the same table, so that a range may read those of the ranges before it",
        ),
        ("UPDATE orders o\nSET x = o.x + 1", "3:11: x is computed from x, which the statement sets: "),
        ("UPDATE orders SET a = 1, b = a", "2:30: b is computed from a, which the statement sets: "),
        ("UPDATE orders SET x = x + 1 WHERE x IS NULL OR y", "2:23: x is computed from x, "),
        ("UPDATE orders SET x = x + 1, y = z WHERE y IS NULL", "2:23: x is computed from x, "),
        ("UPDATE orders SET x = lower(x) || 'a'", "2:29: x is computed from x, "),
        ("UPDATE orders SET x = x + 1, y = 'b' WHERE y = 'b'", "2:23: x is computed from x, "),
        ("UPDATE orders SET x = x + 1, y = 1.0 WHERE y = 1", "2:23: x is computed from x, "),
        ("UPDATE orders SET x = s.r FROM (SELECT random() AS r) s", "2:40: random() in FROM selects other rows "),
        ("UPDATE orders SET x = gen_random_uuid()", "2:23: x would get another value of gen_random_uuid "),
        ("UPDATE orders SET x = nextval('s')", "2:23: x would get another value of nextval "),
        ("UPDATE orders SET x = now()", "2:23: x would get another value of now "),
        ("UPDATE orders SET x = DEFAULT", "2:23: the default of x may have another value "),
        ("UPDATE orders SET x = 1 WHERE random() < 0.1", "2:31: random() in the condition selects other rows "),
        (
            "UPDATE orders SET x = (SELECT max(o.x) FROM orders o)",
            "2:45: it reads x of other rows of orders, which ranges before it have changed",
        ),
        (
            "DELETE FROM orders o USING orders p WHERE p.id < o.id",
            "2:28: it reads other rows of orders, which ranges before it have changed",
        ),
        ("INSERT INTO s (k) SELECT id FROM orders", "2:1: a range that runs again inserts its rows into s again; "),
        (
            "INSERT INTO s (k) SELECT id FROM orders WHERE NOT EXISTS (SELECT FROM t)",
            "2:1: a range that runs again inserts its rows into s again; ",
        ),
        (
            "INSERT INTO s (k) SELECT nextval('s') FROM orders ON CONFLICT DO NOTHING",
            "2:26: nextval is another value when a range runs again, ",
        ),
        (
            "INSERT INTO s (a) SELECT id FROM orders ON CONFLICT (k) DO NOTHING",
            "2:1: ON CONFLICT names k, which the SELECT does not give: ",
        ),
        (
            "INSERT INTO s (k, n) SELECT id, 1 FROM orders ON CONFLICT (k) DO UPDATE SET n = s.n + excluded.n",
            "2:83: n is computed from n of the row that is there: ",
        ),
        (
            "INSERT INTO s (k, n) SELECT id, random() FROM orders ON CONFLICT (k) DO UPDATE SET n = excluded.n",
            "2:33: DO UPDATE with another value of random ",
        ),
    ],
)
def test_a_statement_that_is_not_safe_for_a_repeated_range_is_refused_with_its_place(
    path: Path, statement: str, problem: str
) -> None:
    found = refusal(path, HEAD + statement)
    assert found.startswith(problem)
    assert found.endswith("; or say why it is safe: -- migrate: allow=range-not-repeatable reason")
    reason = "-- migrate: allow=range-not-repeatable the record of the batch counts\n"
    assert parse(path, HEAD + reason + statement).backfill
    assert refusal(path, HEAD + reason.replace("the record of the batch counts", "") + statement)


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE orders SET id = id + 1", "2:19: it changes orders.id itself, by which the rows are walked: "),
        ("UPDATE orders SET (a, id) = (1, 2)", "2:23: it changes orders.id itself, "),
        ("UPDATE items SET a = 1", "2:1: by=orders.id: the statement updates items; name a key of that table"),
        ("DELETE FROM items", "2:1: by=orders.id: the statement deletes from items; "),
        ("UPDATE orders SET a = 1 RETURNING id", "2:25: RETURNING: no one reads the rows; leave it out"),
        ("DELETE FROM orders WHERE a RETURNING id", "2:28: RETURNING: "),
        ("UPDATE orders SET a = 1 WHERE CURRENT OF c", "2:31: WHERE CURRENT OF: a cursor has no ranges"),
        (
            "UPDATE orders SET a = 1 WHERE id IN (SELECT id FROM orders WHERE b LIMIT 10)",
            "2:68: LIMIT in a query of orders: it would hold for each range; leave it out",
        ),
        (
            "INSERT INTO s SELECT count(*) FROM orders GROUP BY a ON CONFLICT DO NOTHING",
            "2:43: GROUP: a group may lie in several ranges; ",
        ),
        ("INSERT INTO s SELECT DISTINCT a FROM orders ON CONFLICT DO NOTHING", "2:22: DISTINCT: equal rows may lie "),
        ("INSERT INTO s SELECT a FROM orders ORDER BY a", "2:36: ORDER: the ranges are in the order of the key; "),
        ("INSERT INTO s SELECT a FROM orders LIMIT 10", "2:36: LIMIT: it would hold for each range; "),
        ("INSERT INTO s SELECT a FROM orders UNION SELECT 1", "2:36: UNION: the range belongs to one SELECT; "),
        ("INSERT INTO s SELECT rank() OVER (ORDER BY a) FROM orders", "2:29: OVER: a window may lie in several ranges"),
        ("INSERT INTO s SELECT a FROM orders FOR UPDATE", "2:36: FOR: rows need no lock of their own; "),
        ("INSERT INTO s SELECT a FROM items", "2:29: the statement does not read orders, of which by= names the key"),
        ("INSERT INTO s SELECT 1", "2:22: the statement does not read orders, "),
        (
            "INSERT INTO s SELECT a FROM items JOIN orders ON true",
            "2:29: orders has to be the first table in FROM",
        ),
        (
            "INSERT INTO s SELECT a FROM orders FULL JOIN items ON true",
            "2:36: FULL JOIN adds rows without a row of orders, which are in no range; use LEFT JOIN",
        ),
        ("INSERT INTO s VALUES (1)", "2:15: INSERT without a SELECT of its own; "),
        (
            "WITH a AS (DELETE FROM b RETURNING c) UPDATE orders SET d = 1",
            "2:1: WITH would run again ",
        ),
        ("SELECT 1", "2:1: a backfill is one UPDATE, DELETE or INSERT … SELECT"),
        ("MERGE INTO orders USING a ON true WHEN MATCHED THEN DELETE", "2:1: a backfill is one UPDATE, DELETE or "),
        (
            "DELETE FROM orders;\nDELETE FROM orders",
            "3: a backfill is one UPDATE, DELETE or INSERT … ",
        ),
        ("BEGIN; DELETE FROM orders; COMMIT", "2: a backfill is one UPDATE, DELETE or INSERT … SELECT, and here 3"),
        ("-- nothing", "1: a backfill is one UPDATE, DELETE or INSERT … SELECT, and here 0 statements"),
    ],
)
def test_a_statement_whose_ranges_do_something_else_is_refused_whatever_the_file_allows(
    path: Path, statement: str, problem: str
) -> None:
    assert refusal(path, HEAD + statement).startswith(problem)
    allowed = refusal(path, HEAD + "-- migrate: allow=range-not-repeatable trust me\n" + statement)
    assert allowed.partition(": ")[2] == refusal(path, HEAD + statement).partition(": ")[2]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("batch=1000", "1: -- migrate: batch= without by=; write such as -- migrate: batch=10000 by=orders.id"),
        ("by=orders.id", "1: -- migrate: by= without batch=; "),
        ("pause=1s", "1: -- migrate: pause= without batch= and by=; "),
        ("batch=0 by=orders.id", "1: -- migrate: batch: expected the rows of a batch, 1 to 1000000"),
        ("batch=many by=orders.id", "1: -- migrate: batch: expected the rows of a batch"),
        ("batch=10000000 by=orders.id", "1: -- migrate: batch: expected the rows of a batch"),
        ("batch=10 by=id", "1: -- migrate: by: expected the table and its key, such as by=orders.id"),
        ("batch=10 by=", "1: -- migrate: by: expected the table and its key"),
        ("batch=10 by=orders.id+1", "1: -- migrate: by: expected the table and its key"),
        ("batch=10 by=a.b.c.d", "1: -- migrate: by: expected the table and its key"),
        ("batch=10 by=orders.id pause=soon", "1: -- migrate: pause: expected a duration such as 5s"),
        (
            "batch=10 by=orders.id lag=much",
            "1: -- migrate: lag: expected the largest replication lag of a standby, such as ",
        ),
        ("batch=10 batch=20 by=orders.id", "1: -- migrate: batch= is written twice"),
        ("batch=10 by=orders.id no-transaction", "1: no-transaction and batch= exclude each other; "),
    ],
)
def test_a_directive_that_is_not_complete_is_refused_with_its_line(path: Path, words: str, problem: str) -> None:
    assert refusal(path, f"-- migrate: {words}\nDELETE FROM orders;\n").startswith(problem)


def test_the_directive_may_be_of_several_lines_and_name_quoted_keys(path: Path) -> None:
    script = parse(
        path, '-- migrate: batch=10 by=app."Orders"."Id"\n-- migrate: pause=1s, lag=1GB\nDELETE FROM app."Orders";'
    )
    assert script.backfill
    options = script.backfill.options
    assert (options.rows, options.table, options.column) == (10, 'app."Orders"', "Id")
    assert (options.pause_ms, options.lag_bytes) == (1000, 1 << 30)
    script = parse(path, "-- migrate: batch=10 by=orders.id lag=off\nDELETE FROM orders;")
    assert script.backfill
    assert (script.backfill.options.pause_ms, script.backfill.options.lag_bytes) == (None, None)


def test_a_check_above_a_backfill_is_refused(path: Path) -> None:
    text = HEAD + "-- migrate: check all is well\nSELECT true;\nDELETE FROM orders;"
    with pytest.raises(FilesInvalid, match="a check needs one transaction with what relies on it"):
        parse(path, text)
