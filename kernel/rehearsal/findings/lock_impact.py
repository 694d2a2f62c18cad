"""Impact of a statement on other sessions: blocked reads and writes, duration, and the I/O done under the lock.

Only relations that existed before count: no other session uses what the migration itself creates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.lint.lock_modes import blocks_reads, blocks_writes
from kernel.rehearsal.findings.statements import is_concurrent, is_same_relation, unqualified_name
from kernel.units import format_bytes, format_count, format_quantity, format_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kernel.rehearsal.result import Lock, Relation, Run, Scan, TracedStatement


@dataclass(frozen=True, slots=True, kw_only=True)
class LockImpact:
    """The impact of one statement. `locks` are those that block other sessions, the longest first.

    `scans` are rows read under such a lock, `rewrites` and `index_rebuilds` tables and indexes with rows that were
    rewritten; the indexes of rewritten tables are not listed again.
    """

    locks: tuple[Lock, ...] = ()
    scans: tuple[Scan, ...] = ()
    rewrites: tuple[Relation, ...] = ()
    index_rebuilds: tuple[Relation, ...] = ()

    @property
    def grows_with_rows(self) -> bool:
        """Whether its duration grows with the number of rows."""
        return bool(self.scans or self.rewrites or self.index_rebuilds)

    @property
    def blocked_seconds(self) -> float:
        """The longest time that a lock blocked other sessions."""
        return max((lock.held_seconds for lock in self.locks), default=0.0)

    @property
    def main_relation(self) -> str:
        """The table that was rewritten or read, or else blocked the longest; "" for none."""
        worked_on = (*self.rewrites, *(scan.relation for scan in self.scans), *self.index_rebuilds)
        tables = [one.table or one.name for one in worked_on] or [locked_table(lock) for lock in self.locks]
        return tables[0] if tables else ""

    def describe(self, about: str = "") -> str:
        """What was measured, as a phrase for a sentence `about` a relation, which is not named again."""
        phrases = (*self._describe_work(about), *self._describe_blocking(about))
        return ", ".join(phrases) or "nothing read, nothing blocked"

    def _describe_work(self, about: str) -> Iterator[str]:
        if self.rewrites:
            first = self.rewrites[0]
            name = _name_unless_about("", first.name, about)
            yield f"{name}rewritten ({format_bytes(first.size_bytes)}){_and_more(self.rewrites)}"
        rewritten = {one.name for one in self.rewrites}
        scans = sorted(
            (one for one in self.scans if one.relation.name not in rewritten),
            key=lambda one: (not is_same_relation(one.relation.name, about), -one.rows),
        )
        if scans:
            first_scan, *others = scans
            name = _name_unless_about("of ", first_scan.relation.name, about)
            read = f"{format_quantity(first_scan.rows, 'row')} {name}read"
            rows = sum(scan.rows for scan in others)
            yield (
                f"{read}, and {format_count(rows)} of {_one_or_count([scan.relation.name for scan in others])}"
                if (rows)
                else read
            )
        if self.index_rebuilds:
            yield f"index {unqualified_name(self.index_rebuilds[0].name)}{_and_more(self.index_rebuilds)} rebuilt"

    def _describe_blocking(self, about: str) -> Iterator[str]:
        longest = {locked_table(lock): lock for lock in reversed(self.locks)}
        order = sorted(longest, key=lambda name: (not is_same_relation(name, about), -longest[name].held_seconds))
        if order:
            lock = longest[order[0]]
            waiting = "reads and writes" if blocks_reads(lock.mode) else "writes"
            name = _name_unless_about("of ", order[0], about)
            yield f"{waiting} {name}blocked for {format_seconds(lock.held_seconds)}"
        if others := order[1:]:
            yield f"{_one_or_count(others)} too"


def _name_unless_about(before: str, name: str, about: str) -> str:
    return "" if is_same_relation(name, about) else f"{before}{name} "


def _one_or_count(tables: Sequence[str]) -> str:
    return tables[0] if len(tables) == 1 else f"{len(tables)} more tables"


def _and_more(several: tuple[Relation, ...]) -> str:
    return f" and {len(several) - 1} more" if len(several) > 1 else ""


def locked_table(lock: Lock) -> str:
    """The table that a lock blocks: planning a query locks every index of its tables."""
    return lock.relation.table or lock.relation.name


def measure_impact(statement: TracedStatement) -> LockImpact:
    """The impact of a statement; CONCURRENTLY reads and builds without blocking other sessions."""
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
    """Whether a lock of this mode blocks other sessions; applications only read from a materialized view."""
    return blocks_reads(mode) if relation.kind == "materialized view" else blocks_writes(mode)


def _blocking_locks(locks: Iterable[Lock]) -> Iterator[Lock]:
    return (lock for lock in locks if not lock.relation.created and _blocks_sessions(lock.relation, lock.mode))


def locks_held_before(run: Run, statement: TracedStatement) -> tuple[Lock, ...]:
    """The blocking locks that earlier statements of the migration still held when this one began."""
    return tuple(
        lock
        for one in run.statements
        if one is not statement and one.at_seconds < statement.at_seconds
        for lock in _blocking_locks(one.locks)
        if lock.at_seconds + lock.held_seconds > statement.at_seconds
    )
