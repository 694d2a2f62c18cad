"""What a statement did to those who use the database: whom it shut out, how long, what it read or wrote meanwhile.

Only relations that were there before count: nobody waits for what the migration has made itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel import units
from kernel.rehearsal import modes
from kernel.rehearsal.judge import deed, names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.rehearsal.result import Lock, Relation, Run, Scan, Statement

_PAIR = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """The harm of one statement. `locks` are those that shut somebody out, the longest first.

    `scans` are rows read under such a lock, `rewrites` and `rebuilds` tables and indexes with rows that were written
    anew, the indexes of rewritten tables not told again.
    """

    locks: tuple[Lock, ...] = ()
    scans: tuple[Scan, ...] = ()
    rewrites: tuple[Relation, ...] = ()
    rebuilds: tuple[Relation, ...] = ()

    @property
    def worked(self) -> bool:
        """Whether it takes longer, the more rows there are."""
        return bool(self.scans or self.rewrites or self.rebuilds)

    @property
    def seconds(self) -> float:
        """For how long at most somebody was shut out of something."""
        return max((lock.held_seconds for lock in self.locks), default=0.0)

    @property
    def relation(self) -> str:
        """The table that was worked on, or else shut the longest; "" when nothing was."""
        worked = (*self.rewrites, *(scan.relation for scan in self.scans), *self.rebuilds)
        felt_on = [one.table or one.name for one in worked] or [felt(lock) for lock in self.locks]
        return felt_on[0] if felt_on else ""

    def told(self, about: str = "") -> str:
        """What was measured; the relation that the sentence is `about` is not named again."""
        told = (*self._works(about), *self._shut(about))
        return ", ".join(told) or "nothing read, nobody shut out"

    def _works(self, about: str) -> Iterator[str]:
        if self.rewrites:
            first = self.rewrites[0]
            yield f"{_named('', first.name, about)}written anew ({units.size(first.size_bytes)}){_more(self.rewrites)}"
        rewritten = {one.name for one in self.rewrites}
        scans = sorted(
            (one for one in self.scans if one.relation.name not in rewritten),
            key=lambda one: (not names.same(one.relation.name, about), -one.rows),
        )
        if scans:
            read = f"{units.several(scans[0].rows, 'row')} {_named('of ', scans[0].relation.name, about)}read"
            others = sum(one.rows for one in scans[1:])
            where = scans[1].relation.name if len(scans) == _PAIR else f"{len(scans) - 1} more tables"
            yield f"{read}, and {units.count(others)} of {where}" if others else read
        if self.rebuilds:
            yield f"index {names.bare(self.rebuilds[0].name)}{_more(self.rebuilds)} built anew"

    def _shut(self, about: str) -> Iterator[str]:
        longest = {felt(lock): lock for lock in reversed(self.locks)}
        order = sorted(longest, key=lambda name: (not names.same(name, about), -longest[name].held_seconds))
        if order:
            lock = longest[order[0]]
            who = "reads and writes" if modes.shuts_out_reads(lock.mode) else "writes"
            yield f"{who} {_named('of ', order[0], about)}shut out for {units.seconds(lock.held_seconds)}"
        if len(order) > 1:
            yield f"{order[1] if len(order) == _PAIR else f'{len(order) - 1} more tables'} too"


def _named(before: str, name: str, about: str) -> str:
    return "" if names.same(name, about) else f"{before}{name} "


def _more(several: tuple[Relation, ...]) -> str:
    return f" and {len(several) - 1} more" if len(several) > 1 else ""


def felt(lock: Lock) -> str:
    """The table that a lock is felt on: planning a query locks every index of its tables."""
    return lock.relation.table or lock.relation.name


def of(statement: Statement) -> Harm:
    """The harm of a statement. What CONCURRENTLY reads and builds, it does while others work."""
    locks = sorted(_shutting(statement.locks), key=lambda lock: (-lock.held_seconds, bool(lock.relation.table)))
    if deed.concurrently(statement):
        return Harm(locks=tuple(locks))
    rewrites = tuple(one for one in statement.rewrites if not one.created and (one.rows or one.size_bytes))
    rewritten = {one.name for one in statement.rewrites}
    scans = [scan for scan in statement.scans if scan.rows and not scan.relation.created]
    read = {scan.relation.name for scan in scans}
    return Harm(
        locks=tuple(locks),
        scans=tuple(scan for scan in scans if _shuts(scan.relation, scan.under)),
        rewrites=rewrites,
        rebuilds=tuple(
            one
            for one in statement.index_rebuilds
            if not one.created and one.table not in rewritten and (one.rows or one.table in read)
        ),
    )


def _shuts(relation: Relation, mode: str) -> bool:
    """Whether somebody waits for a lock of this mode, "" for none; only REFRESH writes to a materialized view."""
    if not mode:
        return False
    only_read = relation.kind == "materialized view"
    return modes.shuts_out_reads(mode) if only_read else modes.shuts_out_writes(mode)


def _shutting(locks: Iterable[Lock]) -> Iterator[Lock]:
    return (lock for lock in locks if not lock.relation.created and _shuts(lock.relation, lock.mode))


def held_before(run: Run, statement: Statement) -> tuple[Lock, ...]:
    """The locks that shut somebody out and that earlier statements of the migration still held when this one began."""
    return tuple(
        lock
        for one in run.statements
        if one is not statement and one.at_seconds < statement.at_seconds
        for lock in _shutting(one.locks)
        if lock.at_seconds + lock.held_seconds > statement.at_seconds
    )
