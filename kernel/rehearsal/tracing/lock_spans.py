"""Locks from when they were granted to when they were released, and for how long they blocked each relation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.lint.lock_modes import LOCK_MODE_STRENGTH, blocks_reads, blocks_writes
from kernel.rehearsal.result import BlockedTime, Lock, Relation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from kernel.rehearsal.result import Run
    from kernel.rehearsal.tracing.catalog import KnownRelations, RelationState
    from kernel.rehearsal.tracing.lock_poller import LockPoller


# A poll may have seen the weaker lock of a statement just before the stronger one.
_SLACK_SECONDS = 0.005


@dataclass(slots=True, kw_only=True)
class LockSpan:
    """A lock on a relation, in seconds of the clock; `end_seconds` is None while it is held."""

    relation: Relation
    mode: str
    begin_seconds: float
    waited_seconds: float = 0.0
    end_seconds: float | None = None

    def covers(self, other: LockSpan, end: float, *, slack_seconds: float) -> bool:
        """Whether it blocks at least what another does, for at least as long; `end` is when all locks end."""
        return (
            self.relation.oid == other.relation.oid
            and LOCK_MODE_STRENGTH[self.mode] >= LOCK_MODE_STRENGTH[other.mode]
            and self.begin_seconds <= other.begin_seconds + slack_seconds
            and (end if self.end_seconds is None else self.end_seconds)
            >= (end if other.end_seconds is None else other.end_seconds)
        )


def significant_locks(statements: Iterable[Iterable[LockSpan]], end: float) -> list[tuple[Lock, ...]]:
    """For each statement the locks that it took, or took in a stronger mode than before, the strongest first."""
    kept: dict[int, list[LockSpan]] = {}
    locks = []
    for spans in statements:
        significant: list[LockSpan] = []
        for span in sorted(spans, key=lambda one: (-LOCK_MODE_STRENGTH[one.mode], one.begin_seconds)):
            earlier = kept.get(span.relation.oid, ())
            if not (
                any(other.covers(span, end, slack_seconds=0) for other in earlier)
                or any(other.covers(span, end, slack_seconds=_SLACK_SECONDS) for other in significant)
            ):
                significant.append(span)
        for span in significant:
            kept.setdefault(span.relation.oid, []).append(span)
        locks.append(tuple(_lock_from_span(span, end) for span in significant))
    return locks


def _lock_from_span(span: LockSpan, end: float) -> Lock:
    return Lock(
        relation=span.relation,
        mode=span.mode,
        at_seconds=span.begin_seconds,
        held_seconds=max(0.0, (end if span.end_seconds is None else span.end_seconds) - span.begin_seconds),
        waited_seconds=span.waited_seconds,
    )


class HeldLocks:
    """The locks of the migration's session, from what it holds after each statement and from the lock poller.

    `seconds_at` converts a moment of time.monotonic() to seconds of the clock.
    """

    def __init__(self, relations: KnownRelations, seconds_at: Callable[[float], float]) -> None:
        self._relations = relations
        self._seconds_at = seconds_at
        self._modes: dict[int, tuple[str, ...]] = {}
        self._open: list[LockSpan] = []

    def begin_transaction(self, held: Mapping[int, RelationState]) -> None:
        """Before a transaction's first statement: locks held now are not its own."""
        self._modes = {oid: state.modes for oid, state in held.items() if state.modes}

    def modes(self, oid: int) -> tuple[str, ...]:
        return self._modes.get(oid, ())

    def locks_of_statement(
        self, held: Mapping[int, RelationState] | None, poller: LockPoller, *, started: float, ended: float
    ) -> list[LockSpan]:
        """The locks that a statement took, including those that it released again.

        `held` is what the session holds at the statement's end, None when it is not known: after an error, and outside
        a transaction, where all locks are released.
        """
        before = self._modes
        spans = []
        seen = {(one.oid, one.mode): one for one in poller.locks}
        if held is not None:
            self._modes = {oid: state.modes for oid, state in held.items() if state.modes}
            taken = [
                (oid, mode) for oid, modes in self._modes.items() for mode in modes if mode not in before.get(oid, ())
            ]
            for oid, mode in taken:
                # A lock that no poll saw was taken after the last poll.
                polled = seen.pop((oid, mode), None)
                since = max(started, self._seconds_at(polled.since if polled else poller.last_poll))
                waited = polled.waited_since if polled else poller.waiting.get((oid, mode))
                spans += self._spans_of_relation(oid, mode, started=started, at=since, until=None, waited=waited)
            self._open += spans
            for span in self._open:
                # Rolled back to a savepoint; relations that the migration creates are not always read.
                if span.mode not in self.modes(span.relation.oid) and not span.relation.created:
                    span.end_seconds = ended
            self._open = [span for span in self._open if span.end_seconds is None]
        for (oid, mode), polled in seen.items():
            if mode not in before.get(oid, ()) and mode not in self.modes(oid):
                since = max(started, self._seconds_at(polled.since))
                until = ended if polled.until is None else self._seconds_at(polled.until)
                waited = polled.waited_since
                spans += self._spans_of_relation(oid, mode, started=started, at=since, until=until, waited=waited)
        return spans

    def end_transaction(self, moment: float) -> None:
        """The transaction ended, and its locks are released."""
        for span in self._open:
            span.end_seconds = moment
        self._open = []
        self._modes = {}

    def _spans_of_relation(
        self, oid: int, mode: str, *, started: float, at: float, until: float | None, waited: float | None
    ) -> list[LockSpan]:
        relation = self._relations.get(oid)
        if relation is None:
            return []
        waited_seconds = 0.0 if waited is None else max(0.0, at - max(started, self._seconds_at(waited)))
        return [
            LockSpan(relation=relation, mode=mode, begin_seconds=at, end_seconds=until, waited_seconds=waited_seconds)
        ]


_NEGLIGIBLE_SECONDS = 1e-9  # between two adjoining intervals, from adding floating-point numbers


def blocking_by_relation(runs: Sequence[Run]) -> tuple[BlockedTime, ...]:
    """The longest blocked time for each migration and each relation that existed before, the longest first.

    Locks on indexes and TOAST tables count for their table: planning a query locks every index of the table, and
    reading a long value its TOAST table.
    """
    tables = {
        lock.relation.name: lock.relation for run in runs for lock in _locks_on_existing(run) if not lock.relation.table
    }
    found = []
    for run in runs:
        blocked: dict[Relation, list[Lock]] = {}
        for lock in _locks_on_existing(run):
            blocked.setdefault(_blocked_table(lock.relation, tables), []).append(lock)
        for relation, locks in blocked.items():
            reads, writes = _longest_interval(locks, blocks_reads), _longest_interval(locks, blocks_writes)
            if writes:
                found.append(
                    BlockedTime(relation=relation, version=run.version, reads_seconds=reads, writes_seconds=writes)
                )
    return tuple(sorted(found, key=lambda one: (-one.reads_seconds, -one.writes_seconds, one.relation.name)))


def _locks_on_existing(run: Run) -> Iterable[Lock]:
    return (lock for statement in run.statements for lock in statement.locks if not lock.relation.created)


def _blocked_table(relation: Relation, tables: dict[str, Relation]) -> Relation:
    """The table that a lock blocks; one of which only an index was locked is known by its name only."""
    if not relation.table:
        return relation
    return tables.get(relation.table) or Relation(oid=0, name=relation.table)


def _longest_interval(locks: Iterable[Lock], blocks: Callable[[str], bool]) -> float:
    longest = start = end = 0.0
    for lock in sorted((one for one in locks if blocks(one.mode)), key=lambda one: one.at_seconds):
        if lock.at_seconds > end + _NEGLIGIBLE_SECONDS:
            start = end = lock.at_seconds
        end = max(end, lock.at_seconds + lock.held_seconds)
        longest = max(longest, end - start)
    return longest
