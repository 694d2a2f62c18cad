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


def turn(*, offset: float = 0.0) -> ScheduledProbe:
    return ScheduledProbe(
        probe=Probe(relation=ORDERS, kind=ProbeKind.READ, statement=b"it"), offset_seconds=offset, pause_seconds=1.0
    )


def test_times_that_several_sessions_waited_count_once() -> None:
    (felt,) = summarize_standstills([ORDERS], [wait(0, 3), wait(1, 2), wait(2, 4), wait(6, 7)])
    assert (felt.reads_longest_seconds, felt.reads_total_seconds, felt.queued) == (3, 5, 2)


def test_reads_and_writes_are_told_apart_and_queue_together() -> None:
    (felt,) = summarize_standstills([ORDERS], [wait(0, 1), wait(0, 2, kind=ProbeKind.WRITE)])
    assert (felt.reads_longest_seconds, felt.writes_longest_seconds, felt.queued) == (1, 2, 2)


def test_attempts_given_up_one_after_the_other_are_one_wait() -> None:
    (felt,) = summarize_standstills([ORDERS], [wait(0, 1), wait(3, 4, since=0), wait(6, 7, since=0)])
    assert (felt.reads_longest_seconds, felt.reads_total_seconds, felt.queued) == (7, 7, 1)


def test_the_worst_comes_first_and_those_that_never_stood_still_are_told_too() -> None:
    first, second = summarize_standstills([QUIET, ORDERS], [wait(0, 1)])
    assert (first.relation, second.relation, second.queued) == ("public.orders", "public.quiet", 0)


@given(some.lists(some.tuples(some.integers(0, 50), some.integers(1, 20)), max_size=12))
def test_total_and_queue_are_what_counting_moment_by_moment_gives(stretches: list[tuple[int, int]]) -> None:
    (felt,) = summarize_standstills([ORDERS], [wait(begin, begin + length) for begin, length in stretches])
    present = [sum(begin <= moment < begin + length for begin, length in stretches) for moment in range(71)]
    assert felt.reads_total_seconds == sum(count > 0 for count in present)
    assert felt.queued == max(present)


def test_an_answer_that_was_long_in_coming_counts_only_if_a_lock_was_in_its_way() -> None:
    one = turn()
    for moment, locked, counts in ((0.0, False, False), (1.0, False, False), (2.0, True, True)):
        one.start(moment)
        one.waited_for_lock = locked
        found = one.finish(moment + (0.001 if moment == 0 else 0.5), gave_up=False)
        assert (found is not None) is counts
        assert found is None or (found.waiting_since, found.began_at, found.ended_at) == (2.0, 2.0, 2.5)


def test_a_wait_that_is_hardly_longer_than_usual_does_not_count() -> None:
    one = turn()
    one.start(0.0)
    assert one.finish(0.2, gave_up=False) is None
    one.start(1.0)
    one.waited_for_lock = True
    assert one.finish(1.2 + NEGLIGIBLE_WAIT_SECONDS / 2, gave_up=False) is None


def test_a_wait_goes_on_over_attempts_until_one_is_answered_at_once() -> None:
    one = turn()
    one.start(0.0)
    one.finish(0.001, gave_up=False)
    since = []
    for moment, gave_up, took in ((1.0, True, 0.1), (2.0, True, 0.1), (3.0, False, 0.001), (4.0, True, 0.1)):
        one.start(moment)
        found = one.finish(moment + took, gave_up=gave_up)
        since.append(found and found.waiting_since)
    assert since == [1.0, 1.0, None, 4.0]


@pytest.mark.parametrize("now", [0.0, 0.3, 0.5, 17.25])
def test_a_turn_keeps_in_step_with_its_offset(now: float) -> None:
    due = turn(offset=0.25).next_due_at(now)
    assert now < due <= now + 1
    assert due % 1 == pytest.approx(0.25)


def test_a_dear_question_is_asked_less_often() -> None:
    one = turn()
    one.start(0.0)
    one.finish(2.0, gave_up=False)
    assert one.next_due_at(2.0) >= 2.0 + 8 * 2.0


def test_turns_come_in_the_order_in_which_they_are_due() -> None:
    early, late, its_round = turn(offset=0.1), turn(offset=0.6), ProbeQueue()
    for one in (late, early):
        its_round.put(one, 0.0)
    assert its_round.take(0.05) is None
    assert its_round.seconds_to_next(0.05) == pytest.approx(0.05)
    assert [its_round.take(2.0), its_round.take(2.0), its_round.take(2.0)] == [early, late, None]
    assert its_round.seconds_to_next(0.0) == float("inf")
