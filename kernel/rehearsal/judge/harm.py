"""What a statement did to those who use the database: whom it shut out, how long, what it read or wrote meanwhile.

Only relations that were there before count: nobody waits for what the migration has made itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel import units
from kernel.rehearsal import modes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.rehearsal.result import Lock, Relation, Run, Scan, Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """The harm of one statement. `locks` are those that shut somebody out, the longest first.

    `scans` are rows read under such a lock, `rewrites` and `rebuilds` tables and indexes written anew, the indexes of
    rewritten tables not told again.
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

    def __str__(self) -> str:
        """What was measured, in a sentence without an end."""
        return "; ".join([*self._works(), *self._shut()])

    def _works(self) -> Iterator[str]:
        for relation in self.rewrites:
            yield f"{relation.name} was written anew ({units.size(relation.size_bytes)})"
        for relation in self.rebuilds:
            yield f"index {relation.name} was built anew"
        rewritten = {relation.name for relation in self.rewrites}
        for scan in self.scans:
            if scan.relation.name not in rewritten:
                yield f"{scan.rows:,} rows of {scan.relation.name} were read under {scan.under}"

    def _shut(self) -> Iterator[str]:
        told: set[str] = set()
        for lock in self.locks:
            name = felt(lock)
            if name not in told:
                told.add(name)
                who = "reads and writes" if modes.shuts_out_reads(lock.mode) else "writes"
                yield f"{who} of {name} were shut out for {units.seconds(lock.held_seconds)} ({lock.mode})"


def felt(lock: Lock) -> str:
    """The table that a lock is felt on: planning a query locks every index of its tables."""
    return lock.relation.table or lock.relation.name


def of(statement: Statement) -> Harm:
    """The harm of a statement."""
    locks = sorted(_shutting(statement.locks), key=lambda lock: (-lock.held_seconds, bool(lock.relation.table)))
    rewrites = tuple(one for one in statement.rewrites if not one.created)
    rewritten = {one.name for one in rewrites}
    return Harm(
        locks=tuple(locks),
        scans=tuple(
            scan for scan in statement.scans if scan.rows and not scan.relation.created and shuts_out(scan.under)
        ),
        rewrites=rewrites,
        rebuilds=tuple(one for one in statement.index_rebuilds if not one.created and one.table not in rewritten),
    )


def shuts_out(mode: str) -> bool:
    """Whether reads or writes wait for a lock of this mode, "" for none."""
    return bool(mode) and modes.shuts_out_writes(mode)


def _shutting(locks: Iterable[Lock]) -> Iterator[Lock]:
    return (lock for lock in locks if not lock.relation.created and shuts_out(lock.mode))


def held_before(run: Run, statement: Statement) -> tuple[Lock, ...]:
    """The locks that shut somebody out and that earlier statements of the migration still held when this one began."""
    return tuple(
        lock
        for one in run.statements
        if one is not statement and one.at_seconds < statement.at_seconds
        for lock in _shutting(one.locks)
        if lock.at_seconds + lock.held_seconds > statement.at_seconds
    )
