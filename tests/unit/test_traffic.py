"""Waits of single probes become standstills, and each probe is sent in step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kernel.rehearsal.result import Relation
from kernel.rehearsal.traffic.probe import Probe, ProbeKind, ProbeWait, summarize_standstills
from kernel.rehearsal.traffic.schedule import NEGLIGIBLE_WAIT_SECONDS, ProbeQueue, ScheduledProbe

ORDERS = Relation(oid=1, name="public.orders")
QUIET = Relation(oid=2, name="public.quiet")


def wait(began: float, ended: float, *, since: float | None = None, kind: ProbeKind = ProbeKind.READ) -> ProbeWait:
    return ProbeWait(
        relation=ORDERS, kind=kind, waiting_since=began if since is None else since, began_at=began, ended_at=ended
    )


def scheduled(*, offset: float = 0.0) -> ScheduledProbe:
    return ScheduledProbe(
        probe=Probe(relation=ORDERS, kind=ProbeKind.READ, statement=b"it"), offset_seconds=offset, pause_seconds=1.0
    )


def test_overlapping_waits_of_several_sessions_count_once() -> None:
    (standstill,) = summarize_standstills([ORDERS], [wait(0, 3), wait(1, 2), wait(2, 4), wait(6, 7)])
    assert (standstill.reads_longest_seconds, standstill.reads_total_seconds, standstill.queued) == (3, 5, 2)


def test_reads_and_writes_are_distinguished_and_queue_together() -> None:
    (standstill,) = summarize_standstills([ORDERS], [wait(0, 1), wait(0, 2, kind=ProbeKind.WRITE)])
    assert (standstill.reads_longest_seconds, standstill.writes_longest_seconds, standstill.queued) == (1, 2, 2)


def test_attempts_given_up_one_after_the_other_are_one_wait() -> None:
    (standstill,) = summarize_standstills([ORDERS], [wait(0, 1), wait(3, 4, since=0), wait(6, 7, since=0)])
    assert (standstill.reads_longest_seconds, standstill.reads_total_seconds, standstill.queued) == (7, 7, 1)


def test_the_longest_comes_first_and_relations_without_waits_are_listed() -> None:
    first, second = summarize_standstills([QUIET, ORDERS], [wait(0, 1)])
    assert (first.relation, second.relation, second.queued) == ("public.orders", "public.quiet", 0)


@given(some.lists(some.tuples(some.integers(0, 50), some.integers(1, 20)), max_size=12))
def test_total_and_queue_are_what_counting_moment_by_moment_gives(stretches: list[tuple[int, int]]) -> None:
    (standstill,) = summarize_standstills([ORDERS], [wait(begin, begin + length) for begin, length in stretches])
    present = [sum(begin <= moment < begin + length for begin, length in stretches) for moment in range(71)]
    assert standstill.reads_total_seconds == sum(count > 0 for count in present)
    assert standstill.queued == max(present)


def test_a_late_answer_counts_only_after_a_wait_for_a_lock() -> None:
    one = scheduled()
    for moment, locked, counts in ((0.0, False, False), (1.0, False, False), (2.0, True, True)):
        one.start(moment)
        one.waited_for_lock = locked
        found = one.finish(moment + (0.001 if moment == 0 else 0.5), gave_up=False)
        assert (found is not None) is counts
        assert found is None or (found.waiting_since, found.began_at, found.ended_at) == (2.0, 2.0, 2.5)


def test_a_wait_that_is_little_longer_than_usual_does_not_count() -> None:
    one = scheduled()
    one.start(0.0)
    assert one.finish(0.2, gave_up=False) is None
    one.start(1.0)
    one.waited_for_lock = True
    assert one.finish(1.2 + NEGLIGIBLE_WAIT_SECONDS / 2, gave_up=False) is None


def test_a_wait_continues_over_attempts_until_one_is_answered_at_once() -> None:
    one = scheduled()
    one.start(0.0)
    one.finish(0.001, gave_up=False)
    since = []
    for moment, gave_up, took in ((1.0, True, 0.1), (2.0, True, 0.1), (3.0, False, 0.001), (4.0, True, 0.1)):
        one.start(moment)
        found = one.finish(moment + took, gave_up=gave_up)
        since.append(found and found.waiting_since)
    assert since == [1.0, 1.0, None, 4.0]


@pytest.mark.parametrize("now", [0.0, 0.3, 0.5, 17.25])
def test_a_probe_stays_in_step_with_its_offset(now: float) -> None:
    due = scheduled(offset=0.25).next_due_at(now)
    assert now < due <= now + 1
    assert due % 1 == pytest.approx(0.25)


def test_an_expensive_probe_is_sent_less_often() -> None:
    one = scheduled()
    one.start(0.0)
    one.finish(2.0, gave_up=False)
    assert one.next_due_at(2.0) >= 2.0 + 8 * 2.0


def test_probes_come_in_the_order_in_which_they_are_due() -> None:
    early, late, queue = scheduled(offset=0.1), scheduled(offset=0.6), ProbeQueue()
    for one in (late, early):
        queue.put(one, 0.0)
    assert queue.take(0.05) is None
    assert queue.seconds_to_next(0.05) == pytest.approx(0.05)
    assert [queue.take(2.0), queue.take(2.0), queue.take(2.0)] == [early, late, None]
    assert queue.seconds_to_next(0.0) == float("inf")
