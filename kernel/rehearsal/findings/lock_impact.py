"""What a statement did to those who use the database: whom it shut out, how long, what it read or wrote meanwhile.

Only relations that were there before count: nobody waits for what the migration has made itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.lint.lock_modes import blocks_reads, blocks_writes
from kernel.rehearsal.findings.statements import is_concurrent, is_same_relation, unqualified_name
from kernel.units import format_bytes, format_count, format_quantity, format_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.rehearsal.result import Lock, Relation, Run, Scan, TracedStatement


_PAIR = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LockImpact:
    """The harm of one statement. `locks` are those that shut somebody out, the longest first.

    `scans` are rows read under such a lock, `rewrites` and `rebuilds` tables and indexes with rows that were written
    anew, the indexes of rewritten tables not told again.
    """

    locks: tuple[Lock, ...] = ()
    scans: tuple[Scan, ...] = ()
    rewrites: tuple[Relation, ...] = ()
    index_rebuilds: tuple[Relation, ...] = ()

    @property
    def grows_with_rows(self) -> bool:
        """Whether it takes longer, the more rows there are."""
        return bool(self.scans or self.rewrites or self.index_rebuilds)

    @property
    def blocked_seconds(self) -> float:
        """For how long at most somebody was shut out of something."""
        return max((lock.held_seconds for lock in self.locks), default=0.0)

    @property
    def main_relation(self) -> str:
        """The table that was worked on, or else shut the longest; "" when nothing was."""
        worked = (*self.rewrites, *(scan.relation for scan in self.scans), *self.index_rebuilds)
        felt_on = [one.table or one.name for one in worked] or [locked_table(lock) for lock in self.locks]
        return felt_on[0] if felt_on else ""

    def describe(self, about: str = "") -> str:
        """What was measured; the relation that the sentence is `about` is not named again."""
        told = (*self._describe_work(about), *self._describe_blocking(about))
        return ", ".join(told) or "nothing read, nobody shut out"

    def _describe_work(self, about: str) -> Iterator[str]:
        if self.rewrites:
            first = self.rewrites[0]
            yield f"{_name_unless_about('', first.name, about)}written anew ({format_bytes(first.size_bytes)}){_and_more(self.rewrites)}"
        rewritten = {one.name for one in self.rewrites}
        scans = sorted(
            (one for one in self.scans if one.relation.name not in rewritten),
            key=lambda one: (not is_same_relation(one.relation.name, about), -one.rows),
        )
        if scans:
            read = f"{format_quantity(scans[0].rows, 'row')} {_name_unless_about('of ', scans[0].relation.name, about)}read"
            others = sum(one.rows for one in scans[1:])
            where = scans[1].relation.name if len(scans) == _PAIR else f"{len(scans) - 1} more tables"
            yield f"{read}, and {format_count(others)} of {where}" if others else read
        if self.index_rebuilds:
            yield f"index {unqualified_name(self.index_rebuilds[0].name)}{_and_more(self.index_rebuilds)} built anew"

    def _describe_blocking(self, about: str) -> Iterator[str]:
        longest = {locked_table(lock): lock for lock in reversed(self.locks)}
        order = sorted(longest, key=lambda name: (not is_same_relation(name, about), -longest[name].held_seconds))
        if order:
            lock = longest[order[0]]
            who = "reads and writes" if blocks_reads(lock.mode) else "writes"
            yield f"{who} {_name_unless_about('of ', order[0], about)}shut out for {format_seconds(lock.held_seconds)}"
        if len(order) > 1:
            yield f"{order[1] if len(order) == _PAIR else f'{len(order) - 1} more tables'} too"


def _name_unless_about(before: str, name: str, about: str) -> str:
    return "" if is_same_relation(name, about) else f"{before}{name} "


def _and_more(several: tuple[Relation, ...]) -> str:
    return f" and {len(several) - 1} more" if len(several) > 1 else ""


def locked_table(lock: Lock) -> str:
    """The table that a lock is felt on: planning a query locks every index of its tables."""
    return lock.relation.table or lock.relation.name


def measure_impact(statement: TracedStatement) -> LockImpact:
    """The harm of a statement. What CONCURRENTLY reads and builds, it does while others work."""
    locks = sorted(_blocking_locks(statement.locks), key=lambda lock: (-lock.held_seconds, bool(lock.relation.table)))
    if is_concurrent(statement):
        return LockImpact(locks=tuple(locks))
    rewrites = tuple(one for one in statement.rewrites if not one.created and (one.rows or one.size_bytes))
    rewritten = {one.name for one in statement.rewrites}
    scans = [scan for scan in statement.scans if scan.rows and not scan.relation.created]
    read = {scan.relation.name for scan in scans}
    return LockImpact(
        locks=tuple(locks),
        scans=tuple(scan for scan in scans if _blocks_sessions(scan.relation, scan.held_lock_mode)),
        rewrites=rewrites,
        index_rebuilds=tuple(
            one
            for one in statement.index_rebuilds
            if not one.created and one.table not in rewritten and (one.rows or one.table in read)
        ),
    )


def _blocks_sessions(relation: Relation, mode: str) -> bool:
    """Whether somebody waits for a lock of this mode, "" for none; only REFRESH writes to a materialized view."""
    if not mode:
        return False
    only_read = relation.kind == "materialized view"
    return blocks_reads(mode) if only_read else blocks_writes(mode)


def _blocking_locks(locks: Iterable[Lock]) -> Iterator[Lock]:
    return (lock for lock in locks if not lock.relation.created and _blocks_sessions(lock.relation, lock.mode))


def locks_held_before(run: Run, statement: TracedStatement) -> tuple[Lock, ...]:
    """The locks that shut somebody out and that earlier statements of the migration still held when this one began."""
    return tuple(
        lock
        for one in run.statements
        if one is not statement and one.at_seconds < statement.at_seconds
        for lock in _blocking_locks(one.locks)
        if lock.at_seconds + lock.held_seconds > statement.at_seconds
    )
