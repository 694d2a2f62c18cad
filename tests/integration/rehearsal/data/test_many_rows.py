"""Tables of many rows: what differs is found in buckets, and fetched in batches of blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from kernel.rehearsal.result import TableContent

if TYPE_CHECKING:
    from tests.integration.rehearsal.data.conftest import Copies

# Some 4 MB: several batches, and several hundred buckets, of which few hold a row that differs.
pytestmark = pytest.mark.slow  # each makes databases of its own; the quick suite rehearses end to end in tests/cli

ROWS = 30_000
REST = "n int, v text, w numeric"
FROM = f"n, repeat('x', 100), n FROM generate_series(1, {ROWS}) AS n"
# The columns of a key, its names, and its values by n.
KEYS = {
    "int": ("id int", "id", "n"),
    "bigint whose halves change places": ("id bigint", "id", "((n % 173)::bigint << 32) + n / 173"),
    "uuid": ("id uuid", "id", "md5(n::text)::uuid"),
    "numeric of either sign": ("id numeric", "id", "CASE n % 2 WHEN 0 THEN n ELSE -n - 1 END"),
    "two columns": ("id text, part int", "id, part", "(n / 3)::text, n % 3"),
}


def fill(copies: Copies, columns: str, names: str, values: str) -> None:
    copies.holds(
        f"CREATE TABLE t ({columns}, {REST}, PRIMARY KEY ({names}))",
        f"INSERT INTO t SELECT {values}, {FROM}",
    )


@pytest.mark.parametrize("key", KEYS)
def test_few_differing_rows_among_many_are_counted_exactly(copies: Copies, key: str) -> None:
    fill(copies, *KEYS[key])
    copies.migrated(
        "DELETE FROM t WHERE n % 5000 = 1",
        "UPDATE t SET v = NULL WHERE n % 10000 = 2",
        "UPDATE t SET w = -w WHERE n % 15000 = 2",
    )
    receipt = copies.receipt()
    assert (receipt.rows_before, receipt.removed, receipt.added, receipt.changed) == (ROWS, 6, 0, 4)
    assert {one.column: one.rows for one in receipt.columns} == {"v": 3, "w": 2}
    listed = {row[-3] for row in copies.listed(receipt, of=copies.template)}
    assert listed == {n for n in range(1, ROWS) if n % 5000 == 1 or n % 10000 == 2 or n % 15000 == 2}


@pytest.mark.parametrize("key", KEYS)
def test_a_backfill_of_every_row_is_counted_exactly(copies: Copies, key: str) -> None:
    fill(copies, *KEYS[key])
    copies.migrated("UPDATE t SET v = v || 'y', w = NULL WHERE n > 7", "DELETE FROM t WHERE n = 3")
    receipt = copies.receipt()
    assert (receipt.removed, receipt.added, receipt.changed) == (1, 0, ROWS - 7)
    assert {one.column: (one.rows, one.detail) for one in receipt.columns} == {
        "v": (ROWS - 7, ""),
        "w": (ROWS - 7, "all NULL now"),
    }


@pytest.mark.parametrize("key", KEYS)
def test_a_rewrite_that_changes_no_value_is_the_same(copies: Copies, key: str) -> None:
    fill(copies, *KEYS[key])
    copies.migrated("ALTER TABLE t ALTER n TYPE bigint")
    receipt = copies.receipt()
    assert (receipt.content, receipt.rows_before, receipt.rows_after) == (TableContent.SAME, ROWS, ROWS)


def test_differing_rows_without_a_key_are_found_among_many(copies: Copies) -> None:
    copies.holds(f"CREATE TABLE t ({REST})", f"INSERT INTO t SELECT {FROM}", "INSERT INTO t SELECT * FROM t")
    copies.migrated("UPDATE t SET w = 0 WHERE n % 10000 = 1", "INSERT INTO t SELECT * FROM t WHERE n = 5")
    receipt = copies.receipt()
    assert (receipt.removed, receipt.added) == (6, 8)


def test_rows_doubled_after_their_key_was_dropped_are_found_among_many(copies: Copies) -> None:
    fill(copies, *KEYS["int"])
    copies.migrated("ALTER TABLE t DROP CONSTRAINT t_pkey", "INSERT INTO t SELECT * FROM t WHERE n % 10000 = 1")
    copies.migrated("ALTER TABLE t ALTER id DROP NOT NULL", "INSERT INTO t (v) VALUES ('no key')")
    receipt = copies.receipt()
    assert (receipt.removed, receipt.added, receipt.changed) == (0, 4, 0)


def test_differing_rows_are_found_in_every_partition(copies: Copies) -> None:
    copies.holds(
        f"CREATE TABLE t (id int PRIMARY KEY, {REST}) PARTITION BY RANGE (id)",
        f"CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO ({ROWS // 2})",
        "CREATE TABLE t_2 (w numeric, v text, id int NOT NULL, n int, first int, block int, batch int)",
        "ALTER TABLE t_2 DROP first, DROP block, DROP batch",
        f"ALTER TABLE t ATTACH PARTITION t_2 FOR VALUES FROM ({ROWS // 2}) TO ({ROWS + 1})",
        f"INSERT INTO t SELECT n, {FROM}",
    )
    copies.migrated("UPDATE t SET v = 'y' WHERE n % 6000 = 1", "DELETE FROM t WHERE n % 6000 = 2")
    receipt = copies.receipts()["public.t"]
    assert (receipt.rows_before, receipt.changed, receipt.removed, receipt.added) == (ROWS, 5, 5, 0)


def test_columns_may_have_the_names_that_our_own_queries_use(copies: Copies) -> None:
    names = (
        "r",
        "first",
        "block",
        "batch",
        "hashed",
        "bucket",
        "present",
        "template",
        "clone",
        "k0",
        "h0",
        "g0",
        "ordinal",
    )
    columns = ", ".join(f"{name} int" for name in names)
    copies.holds(
        f"CREATE TABLE t ({columns}, id int PRIMARY KEY)",
        f"INSERT INTO t SELECT {'n, ' * len(names)}n FROM generate_series(1, 5000) AS n",
    )
    copies.migrated(*(f"UPDATE t SET {name} = -1 WHERE id = {at}" for at, name in enumerate(names, start=1)))
    receipt = copies.receipt()
    assert receipt.changed == len(names)
    assert {one.column: one.rows for one in receipt.columns} == dict.fromkeys(names, 1)


def test_a_table_that_is_no_heap_is_compared_as_well(copies: Copies) -> None:
    copies.holds("CREATE ACCESS METHOD other TYPE TABLE HANDLER heap_tableam_handler", "CREATE TABLE t () USING other")
    copies.holds(f"ALTER TABLE t ADD id int PRIMARY KEY, {', '.join(f'ADD {one}' for one in REST.split(', '))}")
    copies.holds(f"INSERT INTO t SELECT n, {FROM}")
    copies.migrated("UPDATE t SET w = NULL WHERE n % 10000 = 1", "DELETE FROM t WHERE n = 2")
    receipt = copies.receipt()
    assert (receipt.changed, receipt.removed) == (3, 1)


def test_a_check_leaves_no_table_in_the_clone(copies: Copies) -> None:
    fill(copies, *KEYS["uuid"])
    copies.migrated("DELETE FROM t WHERE n = 1")
    before = relations(copies.clone)
    assert copies.receipt().removed == 1
    assert relations(copies.clone) == before


def relations(url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT oid, relname, relfilenode FROM pg_class ORDER BY 1").fetchall()
