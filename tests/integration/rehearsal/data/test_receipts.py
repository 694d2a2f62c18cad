"""Receipts: how the rows of each table changed, and whether a file declares it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.rehearsal.result import TableContent

if TYPE_CHECKING:
    from tests.integration.rehearsal.data.conftest import Copies

pytestmark = pytest.mark.slow

ORDERS = (
    "CREATE TABLE orders (id int PRIMARY KEY, status text, amount numeric(12,4))",
    "INSERT INTO orders SELECT n, 'new', n FROM generate_series(1, 100) AS n",
)
LOGS = ("CREATE TABLE logs (line text, level int)", "INSERT INTO logs SELECT 'x', 1 FROM generate_series(1, 10)")


def test_an_untouched_table_is_proven_without_reading_it(copies: Copies) -> None:
    copies.holds(*ORDERS, *LOGS, "ANALYZE orders")
    copies.migrated("INSERT INTO logs VALUES ('y', 2)")
    orders = copies.receipts()["public.orders"]
    assert (orders.content, orders.rows_before, orders.rows_after) == (TableContent.SAME, 100, 100)
    assert orders.proof.startswith("untouched")
    assert orders.seconds == 0


def test_a_single_changed_value_among_many_is_found(copies: Copies) -> None:
    copies.holds(
        "CREATE TABLE big (id int PRIMARY KEY, v int)", "INSERT INTO big SELECT n, n FROM generate_series(1, 200000) n"
    )
    copies.migrated("UPDATE big SET v = -1 WHERE id = 123456")
    receipt = copies.receipt()
    assert (receipt.changed, receipt.added, receipt.removed) == (1, 0, 0)
    assert receipt.query == "SELECT * FROM public.big WHERE id IN (123456)"
    assert [str(one) for one in receipt.unexpected] == ["v: 1 value changed; declare it: -- rehearse: changes big.v"]


def test_an_update_that_changes_nothing_is_the_same_content(copies: Copies) -> None:
    copies.holds(*ORDERS)
    copies.migrated("UPDATE orders SET status = status")
    receipt = copies.receipt()
    assert receipt.content is TableContent.SAME
    assert "by its key (id)" in receipt.proof


def test_values_swapped_between_rows_are_found(copies: Copies) -> None:
    copies.holds(*ORDERS)
    copies.migrated("UPDATE orders SET amount = 3 - amount WHERE id IN (1, 2)")
    assert copies.receipt().changed == 2


@pytest.mark.parametrize("partitioned", [False, True])
def test_a_column_that_is_dropped_and_added_again_has_lost_its_values(copies: Copies, partitioned: bool) -> None:
    by = " PARTITION BY RANGE (id)" if partitioned else ""
    part = ["CREATE TABLE part PARTITION OF prices FOR VALUES FROM (1) TO (9)"] if partitioned else []
    copies.holds(f"CREATE TABLE prices (id int PRIMARY KEY, v float8){by}", *part, "INSERT INTO prices VALUES (1, 5)")
    copies.migrated("ALTER TABLE prices DROP COLUMN v", "ALTER TABLE prices ADD COLUMN v float8 DEFAULT 0")
    assert [(one.column, one.rows) for one in copies.receipts()["public.prices"].columns] == [("v", 1)]


def test_values_swapped_between_columns_are_found(copies: Copies) -> None:
    copies.holds("CREATE TABLE pairs (id int PRIMARY KEY, a int, b int)", "INSERT INTO pairs VALUES (1, 5, 6)")
    copies.migrated("UPDATE pairs SET a = b, b = a")
    assert {(one.column, one.rows) for one in copies.receipt().columns} == {("a", 1), ("b", 1)}


def test_null_and_the_empty_string_are_two_values(copies: Copies) -> None:
    copies.holds("CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, NULL), (2, ''), (3, 'x')")
    copies.migrated("UPDATE t SET v = CASE id WHEN 1 THEN '' WHEN 2 THEN NULL ELSE v END")
    (column,) = copies.receipt().columns
    assert (column.rows, column.detail) == (2, "1 NULL now, 1 NULL before")


def test_rows_removed_are_counted_and_the_query_lists_them(copies: Copies) -> None:
    copies.holds(*ORDERS)
    copies.migrated("DELETE FROM orders WHERE id % 10 = 3")
    receipt = copies.receipt()
    assert (receipt.content, receipt.removed, receipt.rows_after) == (TableContent.CHANGED, 10, 90)
    assert [str(one) for one in receipt.unexpected] == ["10 rows removed; declare it: -- rehearse: rows orders=-10"]
    assert len(copies.listed(receipt, of=copies.template)) == 10


def test_rows_removed_as_declared_are_expected(copies: Copies) -> None:
    copies.holds(*ORDERS)
    copies.migrated("DELETE FROM orders WHERE id <= 10")
    assert copies.receipt("rows orders=-10").content is TableContent.EXPECTED
    assert copies.receipt("rows public.orders=*").content is TableContent.EXPECTED
    assert copies.receipt("rows orders=-4", "rows orders=-6").content is TableContent.EXPECTED


def test_another_number_than_declared_names_the_declaration(copies: Copies) -> None:
    copies.holds(*ORDERS)
    copies.migrated("DELETE FROM orders WHERE id <= 12")
    receipt = copies.receipt("rows orders=-10")
    assert [str(one) for one in receipt.unexpected] == ["12 rows removed, but 10 declared (001_data.sql:1)"]


def test_a_declared_number_of_rows_that_is_not_met_is_unexpected(copies: Copies) -> None:
    copies.holds(*ORDERS)
    copies.migrated()
    assert [str(one) for one in copies.receipt("rows orders=+5").unexpected] == [
        "0 rows added, but 5 declared (001_data.sql:1)"
    ]


def test_rows_added_need_no_declaration(copies: Copies) -> None:
    copies.holds(*ORDERS)
    copies.migrated("INSERT INTO orders VALUES (101, 'new', 1)")
    receipt = copies.receipt()
    assert (receipt.content, receipt.added) == (TableContent.EXPECTED, 1)
    assert copies.listed(receipt, of=copies.clone)[0][0] == 101


def test_a_backfill_of_an_existing_column_needs_a_declaration(copies: Copies) -> None:
    copies.holds(*ORDERS, "UPDATE orders SET status = NULL WHERE id <= 30")
    copies.migrated("UPDATE orders SET status = 'old' WHERE status IS NULL")
    receipt = copies.receipt()
    (unexpected,) = receipt.unexpected
    assert (
        str(unexpected) == "status: 30 values changed (all NULL before); declare it: -- rehearse: changes orders.status"
    )
    assert copies.receipt("changes orders.status").content is TableContent.EXPECTED
    assert copies.receipt("changes orders.*").content is TableContent.EXPECTED
    assert copies.receipt("changes orders.amount").content is TableContent.CHANGED


def test_a_backfill_of_a_new_column_changes_nothing_of_before(copies: Copies) -> None:
    copies.holds(*ORDERS)
    copies.migrated("ALTER TABLE orders ADD note text", "UPDATE orders SET note = status")
    assert copies.receipt().content is TableContent.SAME


def test_a_renamed_table_with_renamed_columns_is_the_same(copies: Copies) -> None:
    copies.holds(*ORDERS)
    copies.migrated(
        "ALTER TABLE orders RENAME TO purchases",
        "ALTER TABLE purchases RENAME id TO number",
        "ALTER TABLE purchases RENAME status TO state",
        "UPDATE purchases SET state = 'paid' WHERE number = 7",
    )
    receipt = copies.receipt("changes purchases.state")
    assert (receipt.table, receipt.content, receipt.changed) == ("public.orders", TableContent.EXPECTED, 1)
    assert receipt.columns[0].detail == "now state"


def test_a_table_swapped_for_its_copy_is_compared_with_it(copies: Copies) -> None:
    copies.holds(*ORDERS)
    copies.migrated(
        "CREATE TABLE fresh (amount numeric, status text, id bigint PRIMARY KEY)",
        "INSERT INTO fresh SELECT amount, status, id FROM orders WHERE id <> 50",
        "DROP TABLE orders",
        "ALTER TABLE fresh RENAME TO orders",
    )
    receipt = copies.receipt()
    assert (receipt.removed, receipt.changed, receipt.added) == (1, 0, 0)


def test_a_column_replaced_by_one_of_its_name_is_compared_with_it(copies: Copies) -> None:
    copies.holds(*ORDERS)
    copies.migrated(
        "ALTER TABLE orders ADD amount_new bigint",
        "UPDATE orders SET amount_new = amount WHERE id <> 9",
        "ALTER TABLE orders DROP amount",
        "ALTER TABLE orders RENAME amount_new TO amount",
    )
    (column,) = copies.receipt().columns
    assert (column.column, column.rows) == ("amount", 1)
    assert column.detail == "from numeric(12,4) to bigint, all NULL now"


def test_a_dropped_column_says_how_many_values_went_with_it(copies: Copies) -> None:
    copies.holds(*ORDERS, "UPDATE orders SET status = NULL WHERE id > 40")
    copies.migrated("ALTER TABLE orders DROP status")
    receipt = copies.receipt()
    assert [str(one) for one in receipt.unexpected] == [
        "status: dropped with 40 values; declare it: -- rehearse: drops orders.status"
    ]
    assert copies.receipt("drops orders.status").content is TableContent.EXPECTED


def test_an_empty_column_may_go(copies: Copies) -> None:
    copies.holds(*ORDERS, "UPDATE orders SET status = NULL")
    copies.migrated("ALTER TABLE orders DROP status")
    assert copies.receipt().content is TableContent.SAME


def test_a_dropped_table_says_how_many_rows_went_with_it(copies: Copies) -> None:
    copies.holds(*ORDERS)
    copies.migrated("DROP TABLE orders")
    receipt = copies.receipt()
    assert (receipt.rows_before, receipt.rows_after, receipt.removed) == (100, None, 100)
    assert [str(one) for one in receipt.unexpected] == ["dropped with 100 rows; declare it: -- rehearse: drops orders"]
    assert copies.receipt("drops orders").content is TableContent.EXPECTED


def test_a_created_table_is_expected_with_its_rows(copies: Copies) -> None:
    copies.holds()
    copies.migrated(*ORDERS)
    receipt = copies.receipt()
    assert (receipt.content, receipt.rows_before, receipt.rows_after) == (TableContent.EXPECTED, None, 100)


def test_truncate_is_the_loss_of_every_row(copies: Copies) -> None:
    copies.holds(*ORDERS)
    copies.migrated("TRUNCATE orders")
    assert copies.receipt().removed == 100


def test_a_table_without_a_key_counts_a_change_as_one_removed_and_one_added(copies: Copies) -> None:
    copies.holds(*LOGS)
    copies.migrated("UPDATE logs SET level = 2 WHERE ctid IN (SELECT ctid FROM logs LIMIT 3)")
    receipt = copies.receipt()
    assert (receipt.removed, receipt.added, receipt.content) == (3, 3, TableContent.CHANGED)
    assert str(receipt.unexpected[0]).endswith("declare it: -- rehearse: changes logs.*")
    assert copies.receipt("changes logs.*").content is TableContent.EXPECTED


def test_duplicated_and_lost_pairs_do_not_cancel_each_other(copies: Copies) -> None:
    copies.holds("CREATE TABLE t (v int)", "INSERT INTO t VALUES (1), (1), (2), (2)")
    copies.migrated("UPDATE t SET v = 3 WHERE v = 2", "INSERT INTO t VALUES (4), (4)")
    receipt = copies.receipt()
    assert (receipt.removed, receipt.added) == (2, 4)


def test_a_row_doubled_after_its_key_was_dropped_is_an_added_one(copies: Copies) -> None:
    copies.holds(*ORDERS)
    copies.migrated("ALTER TABLE orders DROP CONSTRAINT orders_pkey", "INSERT INTO orders SELECT * FROM orders LIMIT 3")
    receipt = copies.receipt()
    assert (receipt.added, receipt.removed, receipt.changed) == (3, 0, 0)


def test_a_unique_not_null_key_serves_where_there_is_no_primary_one(copies: Copies) -> None:
    copies.holds("CREATE TABLE t (a text NOT NULL, b int NOT NULL, v int, UNIQUE (a, b))")
    copies.holds("INSERT INTO t VALUES ('x', 1, 1), ('it''s', 1, 2)")
    copies.migrated("UPDATE t SET v = v + 1 WHERE a <> 'x'")
    receipt = copies.receipt()
    assert receipt.changed == 1
    assert copies.listed(receipt, of=copies.template) == [("it's", 1, 2)]


def test_hostile_names_are_quoted_everywhere(copies: Copies) -> None:
    copies.holds(
        'CREATE SCHEMA "S""; --"',
        'CREATE TABLE "S""; --"."T %s {} \'" ("I""; d" int PRIMARY KEY, "%(v)s {}" text, "gone\'" int)',
        'INSERT INTO "S""; --"."T %s {} \'" VALUES (1, \'a\', 1), (2, \'b\', 2)',
    )
    copies.migrated(
        'UPDATE "S""; --"."T %s {} \'" SET "%(v)s {}" = \'c\' WHERE "I""; d" = 2',
        'ALTER TABLE "S""; --"."T %s {} \'" DROP "gone\'"',
    )
    receipt = copies.receipt()
    assert receipt.table == '"S""; --"."T %s {} \'"'
    assert (receipt.changed, len(receipt.unexpected)) == (1, 2)
    assert copies.listed(receipt, of=copies.template) == [(2, "b", 2)]


def test_generated_columns_are_computed_and_no_loss(copies: Copies) -> None:
    copies.holds(
        "CREATE TABLE t (id int PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a * 2) STORED)",
        "INSERT INTO t VALUES (1, 1), (2, 2)",
    )
    copies.migrated("UPDATE t SET a = 5 WHERE id = 1")
    receipt = copies.receipt("changes t.a")
    assert (receipt.content, receipt.unexpected) == (TableContent.EXPECTED, ())
    assert {one.column: one.detail for one in receipt.columns} == {"a": "", "b": "computed"}


def test_a_refreshed_materialized_view_is_no_loss(copies: Copies) -> None:
    copies.holds(*ORDERS, "CREATE MATERIALIZED VIEW totals AS SELECT sum(amount) AS total FROM orders")
    copies.migrated("INSERT INTO orders VALUES (101, 'new', 1)", "REFRESH MATERIALIZED VIEW totals")
    totals = copies.receipts()["public.totals"]
    assert (totals.content, totals.removed, totals.added) == (TableContent.EXPECTED, 1, 1)


def test_children_by_inheritance_are_tables_of_their_own(copies: Copies) -> None:
    copies.holds(*ORDERS, "CREATE TABLE returns () INHERITS (orders)", "INSERT INTO returns VALUES (1, 'x', 1)")
    copies.migrated("DELETE FROM ONLY returns", "UPDATE ONLY orders SET status = 'y' WHERE id = 1")
    receipts = copies.receipts()
    assert (receipts["public.orders"].changed, receipts["public.orders"].removed) == (1, 0)
    assert receipts["public.returns"].removed == 1


def test_row_security_hides_nothing_from_the_comparison(copies: Copies) -> None:
    copies.holds(*ORDERS, "ALTER TABLE orders ENABLE ROW LEVEL SECURITY", "ALTER TABLE orders FORCE ROW LEVEL SECURITY")
    copies.migrated("DELETE FROM orders WHERE id = 1")
    assert copies.receipt().removed == 1


@pytest.mark.parametrize("jobs", [1, 4, 8])
def test_the_number_of_processes_changes_no_result(copies: Copies, jobs: int) -> None:
    copies.holds(*ORDERS)
    copies.migrated("DELETE FROM orders WHERE id <= 5", "UPDATE orders SET status = 'x' WHERE id > 90")
    receipt = copies.receipts(jobs=jobs)["public.orders"]
    assert (receipt.removed, receipt.changed) == (5, 10)


def test_a_check_leaves_both_databases_as_they_were(copies: Copies) -> None:
    copies.holds(*ORDERS)
    copies.migrated("UPDATE orders SET status = 'x'")
    first = copies.receipts()
    again = copies.receipts()
    assert {table: one.changed for table, one in first.items()} == {table: one.changed for table, one in again.items()}
    assert again.keys() == {"public.orders"}
