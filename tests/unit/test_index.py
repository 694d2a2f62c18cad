"""What statements that change indexes name, as the server's functions for names read it."""

from __future__ import annotations

import pytest

from kernel.apply.concurrent_changes import ConcurrentAction, ConcurrentChange, parse_concurrent_change


@pytest.mark.parametrize(
    ("statement", "name", "table"),
    [
        ("CREATE INDEX CONCURRENTLY i ON t (a);", "i", "t"),
        ("create unique index concurrently i on t (a)", "i", "t"),
        ("CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON s.t (a)", "i", "s.t"),
        ("CREATE INDEX CONCURRENTLY ON t (a)", "", "t"),
        ('CREATE INDEX CONCURRENTLY "I x" ON "S"."T.t" USING gin (a)', '"I x"', '"S"."T.t"'),
        ('CREATE INDEX CONCURRENTLY "a""b" ON t (a)', '"a""b"', "t"),
        ("CREATE INDEX CONCURRENTLY größe ON straße (a)", "größe", "straße"),
        ("CREATE /* a */ INDEX -- b\nCONCURRENTLY i/**/ON t(a)", "i", "t"),
        ("CREATE INDEX CONCURRENTLY i ON s . /* c */ t (a)", "i", "s.t"),
        (r"""CREATE INDEX CONCURRENTLY U&"d\0061t\+000061" ON u&"!00dc" UESCAPE '!' (a)""", '"data"', '"Ü"'),
        ('CREATE INDEX CONCURRENTLY "on" ON t (a)', '"on"', "t"),
    ],
)
def test_a_build_has_a_name_and_a_table(statement: str, name: str, table: str) -> None:
    assert parse_concurrent_change(statement.encode()) == ConcurrentChange(
        action=ConcurrentAction.CREATE, name=name, table=table, concurrently=True
    )


def test_a_build_may_be_for_one_partitioned_table_only_and_in_a_transaction() -> None:
    assert parse_concurrent_change(b"CREATE INDEX IF NOT EXISTS i ON ONLY t (a)") == ConcurrentChange(
        action=ConcurrentAction.CREATE, name="i", table="t", only=True
    )


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX CONCURRENTLY",
        "CREATE INDEX CONCURRENTLY i",
        "CREATE TABLE concurrently (a int)",
        "DROP INDEX i",
        "DROP TABLE t",
        "SELECT 'CREATE INDEX CONCURRENTLY i ON t (a)'",
    ],
)
def test_any_other_statement_changes_no_index(statement: str) -> None:
    assert parse_concurrent_change(statement.encode()) is None


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("DROP INDEX CONCURRENTLY i;", "i"),
        ("drop index concurrently if exists s.i cascade", "s.i"),
        ('DROP INDEX CONCURRENTLY "S"."I x"', '"S"."I x"'),
    ],
)
def test_a_drop_names_its_index(statement: str, name: str) -> None:
    change = parse_concurrent_change(statement.encode())
    assert change == ConcurrentChange(action=ConcurrentAction.DROP, name=name, concurrently=True)


@pytest.mark.parametrize(
    "statement",
    ["REINDEX TABLE CONCURRENTLY t", "REINDEX (VERBOSE, CONCURRENTLY) SCHEMA s", "reindex index i"],
)
def test_a_reindex_is_one_whatever_it_names(statement: str) -> None:
    assert parse_concurrent_change(statement.encode()) == ConcurrentChange(action=ConcurrentAction.REINDEX)


@pytest.mark.parametrize(
    ("statement", "table", "name"),
    [
        ("ALTER TABLE m DETACH PARTITION m1 CONCURRENTLY;", "m", "m1"),
        ('alter table if exists only s."M" detach partition s.m1 concurrently', 's."M"', "s.m1"),
    ],
)
def test_a_concurrent_detach_names_both_tables_and_can_be_finalized(statement: str, table: str, name: str) -> None:
    change = parse_concurrent_change(statement.encode())
    assert change
    assert (change.action, change.table, change.name) == (ConcurrentAction.DETACH, table, name)
    assert change.finalize.decode().lower() == statement.lower().replace("concurrently", "finalize")


@pytest.mark.parametrize("rest", ["m1", "m1 FINALIZE"])
def test_another_detach_takes_one_transaction(rest: str) -> None:
    assert parse_concurrent_change(f"ALTER TABLE m DETACH PARTITION {rest}".encode()) is None
