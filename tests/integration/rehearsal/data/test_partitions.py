"""Partitions: rows count with the table that people know, wherever they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.result import TableContent

if TYPE_CHECKING:
    from tests.integration.rehearsal.data.conftest import Copies

EVENTS = (
    "CREATE TABLE events (id int, day int, v text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
    "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10)",
    "CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (10) TO (20)",
    "CREATE TABLE events_3 PARTITION OF events FOR VALUES FROM (20) TO (30)",
    "INSERT INTO events SELECT n, n % 30, 'x' FROM generate_series(1, 300) AS n",
)
PLAIN = (
    "CREATE TABLE events (id int PRIMARY KEY, day int, v text)",
    "INSERT INTO events SELECT n, n % 30, 'x' FROM generate_series(1, 300) AS n",
)


def test_a_row_that_moves_to_another_partition_is_not_lost(copies: Copies) -> None:
    copies.holds(
        "CREATE TABLE t (id int NOT NULL, place int, UNIQUE (id, place)) PARTITION BY LIST (place)",
        "CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1)",
        "CREATE TABLE t_2 PARTITION OF t FOR VALUES IN (2)",
        "INSERT INTO t SELECT n, 1 FROM generate_series(1, 10) AS n",
    )
    copies.migrated("UPDATE t SET place = 2 WHERE id = 1")
    receipt = copies.receipts("changes t.*")["public.t"]
    assert (receipt.rows_before, receipt.rows_after, receipt.content) == (10, 10, TableContent.EXPECTED)


def test_a_table_is_divided_into_partitions_without_a_loss(copies: Copies) -> None:
    copies.holds(*PLAIN)
    copies.migrated("ALTER TABLE events RENAME TO events_old", *EVENTS[:4])
    copies.migrated("INSERT INTO events SELECT * FROM events_old", "DROP TABLE events_old")
    receipt = copies.receipt()
    assert (receipt.table, receipt.content, receipt.rows_before) == ("public.events", TableContent.SAME, 300)


def test_only_the_touched_partitions_are_hashed_and_all_are_counted(copies: Copies) -> None:
    copies.holds(*EVENTS)
    copies.migrated("DELETE FROM events WHERE id = 5", "UPDATE events SET v = 'y' WHERE id = 6")
    receipt = copies.receipt()
    assert (receipt.removed, receipt.changed) == (1, 1)
    assert (receipt.rows_before, receipt.rows_after) == (300, 299)
    assert len(copies.listed(receipt, of=copies.template)) == 2


def test_a_dropped_partition_takes_its_rows_from_the_table(copies: Copies) -> None:
    copies.holds(*EVENTS)
    copies.migrated("DROP TABLE events_2")
    receipt = copies.receipt()
    assert (receipt.removed, receipt.rows_after) == (100, 200)
    assert [str(one) for one in receipt.unexpected] == ["100 rows removed; declare it: -- rehearse: rows events=-100"]


def test_a_new_partition_adds_its_rows(copies: Copies) -> None:
    copies.holds(*EVENTS)
    copies.migrated(
        "CREATE TABLE events_4 PARTITION OF events FOR VALUES FROM (30) TO (40)",
        "INSERT INTO events VALUES (1, 31, 'z')",
    )
    receipt = copies.receipt()
    assert (receipt.added, receipt.rows_before, receipt.rows_after) == (1, 300, 301)


def test_rows_of_a_detached_partition_are_still_there(copies: Copies) -> None:
    copies.holds(*EVENTS)
    copies.migrated("ALTER TABLE events DETACH PARTITION events_1")
    assert copies.receipt().content is TableContent.SAME
    copies.migrated("DELETE FROM events_1 WHERE id = 1")
    assert copies.receipt().removed == 1


def test_rows_of_an_attached_table_are_not_added_ones(copies: Copies) -> None:
    copies.holds(*EVENTS, "CREATE TABLE more (LIKE events)", "INSERT INTO more VALUES (1, 35, 'z')")
    copies.migrated("ALTER TABLE events ATTACH PARTITION more FOR VALUES FROM (30) TO (40)")
    receipt = copies.receipt()
    assert (receipt.table, receipt.content, receipt.added) == ("public.events", TableContent.SAME, 0)


def test_a_renamed_column_of_a_partitioned_table_is_the_same(copies: Copies) -> None:
    copies.holds(*EVENTS)
    copies.migrated("ALTER TABLE events RENAME v TO value", "UPDATE events SET value = 'y' WHERE id = 1")
    receipt = copies.receipt("changes events.value")
    assert (receipt.content, receipt.changed) == (TableContent.EXPECTED, 1)


def test_a_partitioned_table_that_was_dropped_is_one_receipt(copies: Copies) -> None:
    copies.holds(*EVENTS)
    copies.migrated("DROP TABLE events")
    receipt = copies.receipt()
    assert (receipt.table, receipt.removed) == ("public.events", 300)


def test_tables_with_other_columns_are_compared_by_what_they_share(copies: Copies) -> None:
    copies.holds(*EVENTS, "CREATE TABLE more (v text, day int NOT NULL, gone int, id int NOT NULL)")
    copies.holds("ALTER TABLE more DROP gone", "INSERT INTO more VALUES ('z', 35, 1)")
    copies.migrated(
        "ALTER TABLE events ATTACH PARTITION more FOR VALUES FROM (30) TO (40)",
        "UPDATE events SET v = 'y' WHERE day = 35",
    )
    receipt = copies.receipt()
    assert (receipt.changed, receipt.removed, receipt.added) == (1, 0, 0)
