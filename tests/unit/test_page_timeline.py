"""Lanes of the timeline: which relations have one, their order, and when reads and writes were blocked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kernel.rehearsal.result import Lock, Relation, Run
from kernel.report.html_page.lanes import TimeSpan, lanes_by_relation, last_end_seconds
from kernel.report.html_page.timeline import TimeScale
from tests.browser.samples import INVOICES, NOTES, ORDERS, ORDERS_KEY, USERS, WIDEN_RUN
from tests.unit.runs import lock, run, statement

TOAST = Relation(oid=1, name="pg_toast.pg_toast_16400", kind="toast table")


def locking(*locks: Lock) -> Run:
    return run(statement("SELECT", seconds=10.0, locks=locks), seconds=10.0)


def names(of: Run) -> list[str]:
    return [lane.relation.name for lane in lanes_by_relation(of)]


def stretches(of: tuple[TimeSpan, ...]) -> list[tuple[float, float]]:
    return [(one.begin, one.end) for one in of]


def test_lanes_are_ordered_by_blocked_time() -> None:
    assert names(WIDEN_RUN) == ["public.orders", "billing.invoices", "public.users"]


def test_created_relations_and_weak_locks_have_no_lane() -> None:
    found = locking(lock(NOTES, "ACCESS EXCLUSIVE", 1), lock(USERS, "ROW EXCLUSIVE", 1))
    assert names(found) == []


def test_an_index_has_a_lane_only_where_its_table_has_none() -> None:
    index = lock(ORDERS_KEY, "ACCESS EXCLUSIVE", 1)
    assert names(locking(index)) == ["public.orders_pkey"]
    assert names(locking(index, lock(ORDERS, "SHARE", 1))) == ["public.orders"]
    assert names(locking(lock(TOAST, "ACCESS EXCLUSIVE", 1))) == []


def test_overlapping_and_adjacent_locks_are_one_span() -> None:
    (lane,) = lanes_by_relation(
        locking(
            lock(ORDERS, "ACCESS EXCLUSIVE", 1, at=6),
            lock(ORDERS, "ACCESS EXCLUSIVE", 2),
            lock(ORDERS, "ACCESS EXCLUSIVE", 1, at=2),
            lock(ORDERS, "SHARE", 2, at=2.5),
        )
    )
    assert stretches(lane.reads) == [(0, 3), (6, 7)]
    assert stretches(lane.writes) == [(0, 4.5), (6, 7)]


@pytest.mark.parametrize(
    ("mode", "reads", "writes"),
    [
        ("SHARE UPDATE EXCLUSIVE", [], []),
        ("SHARE", [], [(1, 3)]),
        ("EXCLUSIVE", [], [(1, 3)]),
        ("ACCESS EXCLUSIVE", [(1, 3)], [(1, 3)]),
    ],
)
def test_lock_modes_block_reads_and_writes_as_documented_by_postgresql(
    mode: str, reads: list[tuple[float, float]], writes: list[tuple[float, float]]
) -> None:
    (lane,) = lanes_by_relation(locking(lock(INVOICES, mode, 2, at=1)))
    assert (stretches(lane.reads), stretches(lane.writes)) == (reads, writes)


def test_a_timeline_ends_with_the_last_lock() -> None:
    assert last_end_seconds(locking(lock(ORDERS, "SHARE", 4, at=9))) == 13
    assert last_end_seconds(run(seconds=10)) == 10


def test_relations_of_the_same_name_have_separate_lanes() -> None:
    again = replace(ORDERS, oid=99)
    assert names(locking(lock(ORDERS, "SHARE", 1), lock(again, "SHARE", 1))) == ["public.orders"] * 2


@pytest.mark.parametrize(
    ("seconds", "ticks"),
    [
        (10.0, [0, 2, 4, 6, 8, 10]),
        (43.2, [0, 10, 20, 30, 40]),
        (0.0231, [0, 0.005, 0.01, 0.015, 0.02]),
        (0.412, [0, 0.1, 0.2, 0.3, 0.4]),
        (0.0, [0]),
    ],
)
def test_the_axis_has_round_steps(seconds: float, ticks: list[float]) -> None:
    assert TimeScale(begin=0.0, seconds=seconds).ticks == pytest.approx(ticks)


def test_positions_are_limited_to_the_plot() -> None:
    scale = TimeScale(begin=5.0, seconds=10.0)
    assert [scale.at(moment) for moment in (4.9, 5.0, 10.0, 15.1)] == [0, 0, 50, 100]
    assert scale.share(TimeSpan(begin=0.0, end=30.0)) == 100
    assert TimeScale(begin=5.0, seconds=0.0).at(5.0) == 0
