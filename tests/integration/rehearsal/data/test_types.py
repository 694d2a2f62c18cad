"""Every type: a value that differs is seen, one that was only written again is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.rehearsal.result import TableContent

if TYPE_CHECKING:
    from tests.integration.rehearsal.data.conftest import Copies

# Two values of each type that differ, the nearer the better.
pytestmark = pytest.mark.slow  # each makes databases of its own; the quick suite rehearses end to end in tests/cli

VALUES = {
    "boolean": ("true", "false"),
    "smallint": ("1", "-1"),
    "integer": ("1", "2"),
    "bigint": ("4294967297", "1"),
    "real": ("1.5", "1.5000001"),
    "double precision": ("0.1", "0.10000000000000002"),
    "numeric": ("12345678901234567890.1", "12345678901234567890.2"),
    "money": ("1.00", "1.01"),
    "text": ("a", "A"),
    "varchar(20)": ("a ", "a"),
    "char(5)": ("a", "b"),
    '"char"': ("a", "b"),
    "name": ("a", "b"),
    "bytea": (r"\x00ff", r"\x00fe"),
    "uuid": ("00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"),
    "date": ("infinity", "-infinity"),
    "time": ("10:00", "10:00:00.000001"),
    "timetz": ("10:00+01", "09:00+00"),
    "timestamp": ("2026-03-29 01:30", "2026-03-29 02:30"),
    "timestamptz": ("2026-10-25 00:30Z", "2026-10-25 01:30Z"),
    "interval": ("30 days", "1 month"),
    "inet": ("10.0.0.1/24", "10.0.0.1"),
    "cidr": ("10.0.0.0/24", "10.0.0.0/25"),
    "macaddr": ("08:00:2b:01:02:03", "08:00:2b:01:02:04"),
    "bit varying": ("10", "100"),
    "json": ('{"a":1}', '{"a": 1}'),
    "jsonb": ('{"a": {"b": 1}, "c": 2}', '{"a": {"b": 1, "c": 2}}'),
    "xml": ("<a/>", "<b/>"),
    "point": ("(1,2)", "(2,1)"),
    "tsvector": ("a:1", "a:2"),
    "int4range": ("[1,5)", "(1,5)"),
    "int4multirange": ("{[1,5)}", "{[1,2),[3,5)}"),
    "integer[]": ("{1,2}", "{{1,2}}"),
    "text[]": ("{NULL}", '{"NULL"}'),
    "jsonb[]": ('{"[]"}', '{"{}"}'),
    "regclass": ("pg_class", "pg_type"),
    "mood": ("calm", "glad"),
    "mood[]": ("{calm}", "{glad}"),
    "spot": ("(1,)", '(1,"")'),
    "percent": ("1", "2"),
    "label": ("a", "A"),
    "folded": ("a", "b"),
    "pg_lsn": ("0/1", "0/2"),
}


@pytest.fixture
def of_every_type(copies: Copies) -> Copies:
    copies.holds(
        "CREATE TYPE mood AS ENUM ('calm', 'glad')",
        "CREATE TYPE spot AS (x int, y text)",
        "CREATE DOMAIN percent AS int CHECK (value BETWEEN 0 AND 100)",
        "CREATE DOMAIN folded AS varchar(9)",
        "CREATE DOMAIN label AS folded",
        *(f"CREATE TABLE t{at} (id int PRIMARY KEY, v {kind})" for at, kind in enumerate(VALUES)),
    )
    return copies


def fill(copies: Copies) -> None:
    for at, (kind, (one, other)) in enumerate(VALUES.items()):
        values = " , ".join(
            f"({place}, $v${value}$v$::{kind})" for place, value in enumerate((one, other, one), start=1)
        )
        copies.holds(f"INSERT INTO t{at} VALUES {values}, (4, NULL)")


def test_values_of_every_type_that_changed_places_or_became_null_are_found(of_every_type: Copies) -> None:
    fill(of_every_type)
    swap = "UPDATE t{0} SET v = (SELECT v FROM t{0} AS o WHERE o.id = 3 - t{0}.id) WHERE id < 3"
    empty = "UPDATE t{} SET v = NULL WHERE id = 3"
    of_every_type.migrated(*(statement.format(at) for at in range(len(VALUES)) for statement in (swap, empty)))
    receipts = of_every_type.receipts()
    found = {
        kind: [(one.rows, one.detail) for one in receipts[f"public.t{at}"].columns] for at, kind in enumerate(VALUES)
    }
    assert found == {kind: [(3, "1 NULL now")] for kind in VALUES}


def test_values_of_every_type_written_again_are_the_same(of_every_type: Copies) -> None:
    fill(of_every_type)
    of_every_type.migrated(*(f"VACUUM FULL t{at}" for at in range(len(VALUES))))
    receipts = of_every_type.receipts()
    assert {one.content for one in receipts.values()} == {TableContent.SAME}
    assert not any(one.proof.startswith("untouched") for one in receipts.values())


def test_every_type_is_compared_without_a_key_too(of_every_type: Copies) -> None:
    of_every_type.holds(*(f"ALTER TABLE t{at} DROP CONSTRAINT t{at}_pkey" for at in range(len(VALUES))))
    fill(of_every_type)
    of_every_type.migrated(
        *(f"UPDATE t{at} SET v = (SELECT v FROM t{at} WHERE id = 2) WHERE id = 3" for at in range(len(VALUES)))
    )
    receipts = of_every_type.receipts()
    found = {
        kind: (receipts[f"public.t{at}"].removed, receipts[f"public.t{at}"].added) for at, kind in enumerate(VALUES)
    }
    assert found == dict.fromkeys(VALUES, (1, 1))


def test_every_type_can_be_the_key(of_every_type: Copies) -> None:
    keyed = {at: kind for at, kind in enumerate(VALUES) if kind not in ("json", "xml", "point", "interval")}
    for at, kind in keyed.items():
        values = ", ".join(f"(1, $v${value}$v$::{kind})" for value in VALUES[kind])
        of_every_type.holds(
            f"ALTER TABLE t{at} DROP id, ADD PRIMARY KEY (v), ADD n int",
            f"INSERT INTO t{at} (n, v) VALUES {values}",
        )
    of_every_type.migrated(
        *(f"UPDATE t{at} SET n = 2 WHERE v = $v${VALUES[kind][0]}$v$::{kind}" for at, kind in keyed.items())
    )
    receipts = of_every_type.receipts()
    assert {kind: receipts[f"public.t{at}"].changed for at, kind in keyed.items()} == dict.fromkeys(keyed.values(), 1)
    for at in keyed:
        receipt = receipts[f"public.t{at}"]
        assert of_every_type.count(receipt, of=of_every_type.template) == 1, receipt.query


# (before, after, values): how many of the values another one comes of.
CONVERSIONS = {
    ("int", "bigint", "1, 2"): 0,
    ("bigint", "int", "1, 2"): 0,
    ("varchar(10)", "text", "'a', 'b'"): 0,
    ("text", "varchar(10)", "'a', 'b'"): 0,
    ("char(10)", "text", "'a', 'b'"): 0,
    ("int", "numeric(12,2)", "1, 2"): 0,
    ("int", "text", "1, 2"): 0,
    ("timestamp", "timestamptz", "'2026-01-01', 'infinity'"): 0,
    ("mood", "text", "'calm', 'glad'"): 0,
    ("text", "mood", "'calm', 'glad'"): 0,
    ("text", "int", "'7', '8'"): 0,
    ("json", "jsonb", "'[1]', '[2]'"): 0,
    ("bool", "int", "true, false"): 0,
    ("percent", "int", "1, 2"): 0,
    ("int", "percent", "1, 2"): 0,
    ("text", "int", "'007', '8'"): 1,
    ("text", "char(3)", "'ab', 'abc'"): 1,
    ("char(3)", "char(5)", "'a', 'abc'"): 2,
    ("numeric(12,4)", "numeric(12,2)", "1.5000, 1.5001"): 1,
    ("numeric", "int", "1, 1.5"): 1,
    ("double precision", "real", "0.5, 0.1"): 1,
    ("timestamp", "date", "'2026-01-01', '2026-01-01 10:00'"): 1,
    ("double precision", "numeric", "0.5, 0.10000000000000002"): 1,
}


def test_a_conversion_changes_the_values_that_it_does_not_carry_over(copies: Copies) -> None:
    copies.holds("CREATE TYPE mood AS ENUM ('calm', 'glad')", "CREATE DOMAIN percent AS int")
    for at, (before, _, values) in enumerate(CONVERSIONS):
        rows = ", ".join(f"({value}::text::{before})" for value in values.split(", "))
        copies.holds(
            f"CREATE TABLE t{at} (id serial PRIMARY KEY, v {before})", f"INSERT INTO t{at} (v) VALUES {rows}, (NULL)"
        )
    copies.migrated(
        *(f"ALTER TABLE t{at} ALTER v TYPE {kind} USING v::{kind}" for at, (_, kind, _) in enumerate(CONVERSIONS)),
        *(f"VACUUM FULL t{at}" for at in range(len(CONVERSIONS))),
    )
    receipts = copies.receipts()
    assert {one: receipts[f"public.t{at}"].changed for at, one in enumerate(CONVERSIONS)} == CONVERSIONS


def test_a_key_that_is_padded_with_blanks_identifies_the_same_rows(copies: Copies) -> None:
    copies.holds("CREATE TABLE t (id varchar(5) PRIMARY KEY, v text)", "INSERT INTO t VALUES ('a', 'x'), ('b', 'y')")
    copies.migrated("ALTER TABLE t ALTER id TYPE char(5)", "UPDATE t SET v = 'z' WHERE id = 'b'")
    receipt = copies.receipt()
    assert (receipt.added, receipt.removed, receipt.changed) == (0, 0, 1)


def test_a_conversion_that_cuts_values_off_is_a_change(copies: Copies) -> None:
    copies.holds("CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'short'), (2, 'much longer')")
    copies.migrated("ALTER TABLE t ALTER v TYPE varchar(5) USING left(v, 5)")
    receipt = copies.receipt()
    assert [str(one) for one in receipt.unexpected] == [
        "v: 1 value changed (from text to character varying(5)); declare it: -- rehearse: changes t.v"
    ]


def test_values_that_their_own_cast_refuses_are_compared_as_text(copies: Copies) -> None:
    copies.holds("CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, '7'), (2, 'none')")
    copies.migrated("ALTER TABLE t ALTER v TYPE int USING CASE WHEN v ~ '^[0-9]+$' THEN v::int END")
    receipt = copies.receipt()
    assert (receipt.changed, receipt.columns[0].detail) == (1, "from text to integer, all NULL now")
    assert receipt.proof.endswith("converted values as text")


def test_a_widened_key_still_identifies_rows(copies: Copies) -> None:
    copies.holds(
        "CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t SELECT n, n FROM generate_series(-5, 5) n"
    )
    copies.migrated("ALTER TABLE t ALTER id TYPE bigint", "UPDATE t SET v = 9 WHERE id = -3")
    assert copies.receipt().changed == 1


def test_a_recreated_enum_is_compared_by_its_labels(copies: Copies) -> None:
    copies.holds("CREATE TYPE mood AS ENUM ('calm', 'glad')", "CREATE TABLE t (id int PRIMARY KEY, v mood)")
    copies.holds("INSERT INTO t VALUES (1, 'calm'), (2, 'glad')")
    copies.migrated(
        "ALTER TYPE mood RENAME TO old_mood",
        "CREATE TYPE mood AS ENUM ('glad', 'calm', 'sad')",
        "ALTER TABLE t ALTER v TYPE mood USING v::text::mood",
        "UPDATE t SET v = 'sad' WHERE id = 2",
    )
    assert copies.receipt().changed == 1


def test_a_table_without_columns_is_compared_by_its_rows(copies: Copies) -> None:
    copies.holds("CREATE TABLE t ()", "INSERT INTO t SELECT FROM generate_series(1, 5)")
    copies.migrated("DELETE FROM t WHERE ctid = '(0,1)'")
    assert copies.receipt().removed == 1


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("bigint", "0", "4294967297"),  # PostgreSQL's hash folds the halves of a bigint
        ("bigint", "5", "21474836480"),
        ("bigint", "-1", "-4294967296"),
        ("numeric", "1.5", "-1.5"),  # and does not look at the sign of a numeric
        ("numeric", "NaN", "Infinity"),
        ("numeric", "-Infinity", "Infinity"),
        ("numeric", "0", "NaN"),
    ],
)
def test_values_with_equal_hashes_in_postgresql_differ(copies: Copies, kind: str, one: str, other: str) -> None:
    copies.holds(
        f"CREATE TABLE t (id int PRIMARY KEY, v {kind}); CREATE TABLE k (v {kind} PRIMARY KEY, n int)",
        f"INSERT INTO t VALUES (1, '{one}'), (2, '7'); INSERT INTO k VALUES ('{one}', 1), ('{other}', 2)",
    )
    copies.migrated(f"UPDATE t SET v = '{other}' WHERE id = 1; UPDATE k SET n = 3 - n")
    receipts = copies.receipts()
    assert receipts["public.t"].changed == 1
    assert (receipts["public.k"].changed, receipts["public.k"].removed) == (2, 0)


def test_integers_moved_into_the_upper_half_of_a_wider_type_are_changed(copies: Copies) -> None:
    copies.holds("CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t VALUES (1, 5), (2, 0), (3, -1)")
    copies.migrated("ALTER TABLE t ALTER v TYPE bigint", "UPDATE t SET v = v << 32")
    assert copies.receipt().changed == 2
