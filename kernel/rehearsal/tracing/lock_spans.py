"""Locks from when they were granted to when they were let go of, and which of them are worth telling."""

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


# A statement may have been seen with its weaker lock one look before the stronger one that it took just behind it.
_SLACK_SECONDS = 0.005


@dataclass(slots=True, kw_only=True)
class LockSpan:
    """A lock on a relation from `at`, in seconds of the clock, until `until`, None while it is held."""

    relation: Relation
    mode: str
    begin_seconds: float
    waited_seconds: float = 0.0
    end_seconds: float | None = None

    def covers(self, other: LockSpan, end: float, *, slack_seconds: float) -> bool:
        """Whether it shuts out at least what another does, for at least as long; `end` is when everything ends."""
        return (
            self.relation.oid == other.relation.oid
            and LOCK_MODE_STRENGTH[self.mode] >= LOCK_MODE_STRENGTH[other.mode]
            and self.begin_seconds <= other.begin_seconds + slack_seconds
            and (end if self.end_seconds is None else self.end_seconds)
            >= (end if other.end_seconds is None else other.end_seconds)
        )


def significant_locks(statements: Iterable[Iterable[LockSpan]], end: float) -> list[tuple[Lock, ...]]:
    """For each statement the locks that it took, or took more strongly than before, the strongest first."""
    kept: dict[int, list[LockSpan]] = {}
    locks = []
    for spans in statements:
        own: list[LockSpan] = []
        for span in sorted(spans, key=lambda one: (-LOCK_MODE_STRENGTH[one.mode], one.begin_seconds)):
            earlier = kept.get(span.relation.oid, ())
            if not (
                any(other.covers(span, end, slack_seconds=0) for other in earlier)
                or any(other.covers(span, end, slack_seconds=_SLACK_SECONDS) for other in own)
            ):
                own.append(span)
        for span in own:
            kept.setdefault(span.relation.oid, []).append(span)
        locks.append(tuple(_lock_from_span(span, end) for span in own))
    return locks


def _lock_from_span(span: LockSpan, end: float) -> Lock:
    return Lock(
        relation=span.relation,
        mode=span.mode,
        at_seconds=span.begin_seconds,
        held_seconds=max(0.0, (end if span.end_seconds is None else span.end_seconds) - span.begin_seconds),
        waited_seconds=span.waited_seconds,
    )


# The locks that the migration's session holds, statement after statement, by its own word and by the lookout's.


class HeldLocks:
    """What is held since when. `at` makes seconds of the clock of a moment of time.monotonic()."""

    def __init__(self, relations: KnownRelations, at: Callable[[float], float]) -> None:
        self._relations = relations
        self._seconds_at = at
        self._modes: dict[int, tuple[str, ...]] = {}
        self._open: list[LockSpan] = []

    def begin_transaction(self, own: Mapping[int, RelationState]) -> None:
        """Before a transaction's first statement: what is held now is not its doing."""
        self._modes = {oid: one.modes for oid, one in own.items() if one.modes}

    def modes(self, oid: int) -> tuple[str, ...]:
        return self._modes.get(oid, ())

    def locks_of_statement(
        self, own: Mapping[int, RelationState] | None, lookout: LockPoller, *, started: float, ended: float
    ) -> list[LockSpan]:
        """The locks that a statement took, those among them that it let go of again included.

        `own` is what the session says it holds at the statement's end, None when it cannot say: after an error, and
        outside of a transaction, where nothing is held any more.
        """
        before = self._modes
        spans = []
        seen = {(one.oid, one.mode): one for one in lookout.locks}
        if own is not None:
            self._modes = {oid: one.modes for oid, one in own.items() if one.modes}
            for oid, mode in _new_modes(self._modes, without=before):
                # One that the lookout never saw was taken after its last look.
                sighting = seen.pop((oid, mode), None)
                since = max(started, self._seconds_at(sighting.since if sighting else lookout.last_poll))
                waited = sighting.waited_since if sighting else lookout.waiting.get((oid, mode))
                spans += self._spans_of_relation(oid, mode, started=started, at=since, until=None, waited=waited)
            self._open += spans
            for span in self._open:
                # Rolled back to a savepoint; but what the migration makes is not looked at for ever.
                if span.mode not in self.modes(span.relation.oid) and not span.relation.created:
                    span.end_seconds = ended
            self._open = [span for span in self._open if span.end_seconds is None]
        for (oid, mode), sighting in seen.items():
            if mode not in before.get(oid, ()) and mode not in self.modes(oid):
                since = max(started, self._seconds_at(sighting.since))
                until = ended if sighting.until is None else self._seconds_at(sighting.until)
                waited = sighting.waited_since
                spans += self._spans_of_relation(oid, mode, started=started, at=since, until=until, waited=waited)
        return spans

    def end_transaction(self, moment: float) -> None:
        """The transaction has ended, and its locks with it."""
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


def _new_modes(
    modes: Mapping[int, tuple[str, ...]], *, without: Mapping[int, tuple[str, ...]]
) -> list[tuple[int, str]]:
    return [(oid, mode) for oid, its_modes in modes.items() for mode in its_modes if mode not in without.get(oid, ())]


# For how long reads and writes were shut out of each relation: the figure that an application feels.


_NEGLIGIBLE_SECONDS = 1e-9  # what adding up floating-point numbers may leave between two stretches that touch


def blocking_by_relation(runs: Sequence[Run]) -> tuple[BlockedTime, ...]:
    """The longest stretch for each migration and each relation that was there before, the longest first.

    Locks on indexes and TOAST tables count for their table: planning a query locks every index of the table, and
    reading a long value its TOAST table.
    """
    tables = {
        lock.relation.name: lock.relation for run in runs for lock in _locks_on_existing(run) if not lock.relation.table
    }
    found = []
    for run in runs:
        felt: dict[Relation, list[Lock]] = {}
        for lock in _locks_on_existing(run):
            felt.setdefault(_blocked_table(lock.relation, tables), []).append(lock)
        for relation, locks in felt.items():
            reads, writes = _longest_stretch(locks, blocks_reads), _longest_stretch(locks, blocks_writes)
            if writes:
                found.append(
                    BlockedTime(relation=relation, version=run.version, reads_seconds=reads, writes_seconds=writes)
                )
    return tuple(sorted(found, key=lambda one: (-one.reads_seconds, -one.writes_seconds, one.relation.name)))


def _locks_on_existing(run: Run) -> Iterable[Lock]:
    return (lock for statement in run.statements for lock in statement.locks if not lock.relation.created)


def _blocked_table(relation: Relation, tables: dict[str, Relation]) -> Relation:
    """The table that a lock is felt on; one of which nothing but an index was locked is known by its name only."""
    if not relation.table:
        return relation
    return tables.get(relation.table) or Relation(oid=0, name=relation.table)


def _longest_stretch(locks: Iterable[Lock], shuts_out: Callable[[str], bool]) -> float:
    longest = start = end = 0.0
    for lock in sorted((one for one in locks if shuts_out(one.mode)), key=lambda one: one.at_seconds):
        if lock.at_seconds > end + _NEGLIGIBLE_SECONDS:
            start = end = lock.at_seconds
        end = max(end, lock.at_seconds + lock.held_seconds)
        longest = max(longest, end - start)
    return longest
