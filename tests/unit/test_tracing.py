"""Tracing without a server: blocked time, significant locks, changes of relations, the clock."""

from __future__ import annotations

import time

import pytest

from kernel.apply.batches import Batch
from kernel.rehearsal.result import Lock, Relation, Run, TracedStatement
from kernel.rehearsal.tracing.catalog import RelationState, RowCounters
from kernel.rehearsal.tracing.ddl_events import parse_ddl_notice
from kernel.rehearsal.tracing.lock_spans import LockSpan, blocking_by_relation, significant_locks
from kernel.rehearsal.tracing.relation_changes import RelationChanges, compare_relations
from kernel.rehearsal.tracing.tracer import TraceClock
from kernel.rehearsal.tracing.traces import is_control_statement, statement_text
from kernel.sql.lexer import split_script

ORDERS = Relation(oid=1, name="public.orders")
INDEX = Relation(oid=2, name="public.orders_pkey", kind="index", table="public.orders")
NEW = Relation(oid=3, name="public.new", created=True)


def run(*locks: tuple[Relation, str, float, float], version: str = "001") -> Run:
    """A Run of one statement with locks: (relation, mode, from, to)."""
    taken = tuple(
        Lock(relation=relation, mode=mode, at_seconds=at, held_seconds=until - at)
        for relation, mode, at, until in locks
    )
    statement = TracedStatement(line=1, column=1, offset=0, sql="", at_seconds=0, seconds=1, locks=taken)
    return Run(version=version, filename="", transactional=True, at_seconds=0, seconds=1, statements=(statement,))


def blocked(*runs: Run) -> list[tuple[str, str, float, float]]:
    return [
        (one.relation.name, one.version, one.reads_seconds, one.writes_seconds) for one in blocking_by_relation(runs)
    ]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("ACCESS EXCLUSIVE", [("public.orders", "001", 2, 2)]),
        ("EXCLUSIVE", [("public.orders", "001", 0, 2)]),
        ("SHARE ROW EXCLUSIVE", [("public.orders", "001", 0, 2)]),
        ("SHARE", [("public.orders", "001", 0, 2)]),
        ("SHARE UPDATE EXCLUSIVE", []),
        ("ACCESS SHARE", []),
    ],
)
def test_the_mode_of_a_lock_decides_what_it_blocks(mode: str, expected: list[tuple[str, str, float, float]]) -> None:
    assert blocked(run((ORDERS, mode, 1, 3))) == expected


def test_locks_that_follow_each_other_are_one_stretch_and_others_are_not() -> None:
    shares = run((ORDERS, "SHARE", 1, 3), (ORDERS, "ACCESS EXCLUSIVE", 3, 4), (ORDERS, "SHARE", 9, 10))
    assert blocked(shares) == [("public.orders", "001", 1, 3)]


def test_a_lock_within_another_adds_nothing() -> None:
    assert blocked(run((ORDERS, "SHARE", 1, 9), (ORDERS, "ACCESS EXCLUSIVE", 2, 4))) == [("public.orders", "001", 2, 8)]


def test_a_lock_on_an_index_blocks_its_table() -> None:
    alone = run((INDEX, "ACCESS EXCLUSIVE", 1, 2))
    assert blocked(alone) == [("public.orders", "001", 1, 1)]
    both = run((ORDERS, "SHARE", 0, 5), (INDEX, "ACCESS EXCLUSIVE", 1, 2))
    assert blocked(both) == [("public.orders", "001", 1, 5)]
    assert blocking_by_relation([both])[0].relation == ORDERS


def test_each_migration_counts_for_itself_and_the_worst_comes_first() -> None:
    runs = [run((ORDERS, "SHARE", 0, 1), version="001"), run((ORDERS, "ACCESS EXCLUSIVE", 1, 2), version="002")]
    assert blocked(*runs) == [("public.orders", "002", 1, 1), ("public.orders", "001", 0, 1)]


def test_a_new_relation_is_not_blocked() -> None:
    assert blocked(run((NEW, "ACCESS EXCLUSIVE", 0, 5))) == []


def locks_of(*statements: list[LockSpan]) -> list[list[tuple[str, float, float]]]:
    return [
        [(lock.mode, lock.at_seconds, lock.held_seconds) for lock in locks]
        for locks in significant_locks(statements, 10)
    ]


def span(mode: str, at: float, until: float | None = None) -> LockSpan:
    return LockSpan(relation=ORDERS, mode=mode, begin_seconds=at, end_seconds=until)


def test_a_lock_is_significant_when_it_is_stronger_than_those_before() -> None:
    assert locks_of([span("SHARE", 1)], [span("ROW EXCLUSIVE", 2)], [span("ACCESS EXCLUSIVE", 3)]) == [
        [("SHARE", 1, 9)],
        [],
        [("ACCESS EXCLUSIVE", 3, 7)],
    ]


def test_a_weaker_lock_is_significant_when_it_outlasts_the_stronger() -> None:
    assert locks_of([span("ACCESS EXCLUSIVE", 2, 3), span("SHARE UPDATE EXCLUSIVE", 1, 5)]) == [
        [("ACCESS EXCLUSIVE", 2, 1), ("SHARE UPDATE EXCLUSIVE", 1, 4)]
    ]


def test_a_lock_taken_again_after_its_release_is_significant_again() -> None:
    assert locks_of([span("SHARE", 1, 2)], [span("SHARE", 3, 4)]) == [[("SHARE", 1, 1)], [("SHARE", 3, 1)]]


def table(oid: int = 1, *, filenode: int = 1, rows: float = 100, pages: int = 9, **counted: int) -> RelationState:
    return RelationState(
        oid=oid,
        modes=(),
        name=f"public.t{oid}",
        kind="table",
        filenode=filenode,
        rows=rows,
        pages=pages,
        counters=RowCounters(**counted),
    )


def index(oid: int, *, filenode: int, name: str | None = "public.i", **counted: int) -> RelationState:
    return RelationState(
        oid=oid, modes=(), name=name, kind="index", filenode=filenode, owner_oid=1, counters=RowCounters(**counted)
    )


def compared(before: list[RelationState], after: list[RelationState], *rewritten: int) -> RelationChanges:
    return compare_relations(
        {one.oid: one for one in before},
        {one.oid: one for one in after},
        {one.oid: one.counters for one in before},
        rewritten=frozenset(rewritten),
    )


def test_a_new_file_is_a_rewrite_unless_it_is_empty() -> None:
    assert compared([table()], [table(filenode=2)]).rewrites == (1,)
    emptied = compared([table(rows=70)], [table(filenode=2, rows=-1, pages=0)])
    assert (emptied.rewrites, emptied.written) == ((), {1: RowCounters(deleted=70)})


def test_an_empty_file_is_a_rewrite_where_the_server_says_so() -> None:
    assert compared([table()], [table(filenode=2, rows=-1, pages=0)], 1).rewrites == (1,)


def test_indexes_of_a_rewritten_table_are_not_listed() -> None:
    found = compared([table(), index(2, filenode=5)], [table(filenode=2), index(2, filenode=6)])
    assert (found.rewrites, found.index_rebuilds) == ((1,), ())


def test_an_index_made_again_under_its_name_is_rebuilt() -> None:
    old, gone, new = index(2, filenode=5), index(2, filenode=0, name=None), index(3, filenode=6)
    assert compared([table(), old], [table(), gone, new]).index_rebuilds == (2,)
    assert compared([table(), old], [table(), new]).index_rebuilds == (2,)


def test_an_index_that_takes_over_the_old_file_is_not_rebuilt() -> None:
    found = compared([table(), index(2, filenode=5)], [table(), index(3, filenode=5)])
    assert (found.index_rebuilds, found.scanned_rows) == ((), {})


@pytest.mark.parametrize(("counted", "read"), [(0, 100), (40, 100), (100, 100), (105, 105), (147, 200), (200, 200)])
def test_an_index_build_reads_the_whole_table_whatever_its_workers_count(counted: int, read: int) -> None:
    assert compared([table()], [table(read=counted), index(3, filenode=6)]).scanned_rows == {1: read}


def test_an_index_read_from_end_to_end_is_a_scan_and_single_keys_are_none() -> None:
    before = [table(), index(2, filenode=5, read=7, scans=7)]
    assert compared(before, [table(), index(2, filenode=5, read=5007, scans=8)]).scanned_rows == {1: 5000}
    assert compared(before, [table(), index(2, filenode=5, read=5007, scans=5007)]).scanned_rows == {}


def test_only_what_was_counted_since_counts() -> None:
    found = compared([table(read=5, inserted=3)], [table(read=12, inserted=3, updated=2)])
    assert (found.scanned_rows, found.written) == ({1: 7}, {1: RowCounters(read=7, updated=2)})


def batch(sql: str) -> Batch:
    pieces = iter([sql.encode(), b""])
    return Batch(
        tuple(part for part in split_script(lambda _size: next(pieces, b"")) if part.kind.value == "statement")
    )


@pytest.mark.parametrize(
    ("sql", "silent"),
    [
        ("BEGIN;", True),
        ("START TRANSACTION;", True),
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE;", True),
        ("SET LOCAL lock_timeout = 1;", True),
        ("RESET ALL;", True),
        ("COMMIT;", True),
        ("SET CONSTRAINTS ALL IMMEDIATE;", False),
        ("SAVEPOINT s;", False),
        ("SELECT 1;", False),
    ],
)
def test_what_only_begins_ends_or_sets_is_not_looked_at(sql: str, silent: bool) -> None:
    assert is_control_statement(batch(sql)) is silent


def test_a_long_statement_is_shortened_and_its_password_masked() -> None:
    assert len(statement_text(batch(f"SELECT '{'x' * 9000}';"))) < 5000
    assert "sesame" not in statement_text(batch("ALTER ROLE r PASSWORD 'sesame';"))


def test_only_our_own_messages_are_marks() -> None:
    command = "ALTER TABLE public.t"
    assert parse_ddl_notice(f"aibos-kernel-trace command {command}") == command
    assert parse_ddl_notice("aibos-kernel-trace rewrite 16385") == 16385
    assert parse_ddl_notice("relation exists, skipping") is None


def test_a_paused_clock_stands_still() -> None:
    clock = TraceClock()
    before = clock.now()
    with clock.paused():
        time.sleep(0.05)
    assert clock.now() - before < 0.04
    assert clock.paused_seconds >= 0.05
