"""What is noted of a migration while it runs, until it becomes a Run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kernel.files.script import Mode
from kernel.rehearsal import modes
from kernel.rehearsal.result import Run, Scan, Statement, Written
from kernel.rehearsal.witness import spans, wording

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel.apply.batch import Batch
    from kernel.files.migration import Migration
    from kernel.files.script import Script
    from kernel.rehearsal.result import Failed, Relation
    from kernel.rehearsal.witness.changes import Changes
    from kernel.rehearsal.witness.held import Held
    from kernel.rehearsal.witness.relations import Relations
    from kernel.rehearsal.witness.spans import Span

STRONGEST = "ACCESS EXCLUSIVE"


@dataclass(slots=True, kw_only=True)
class Noted:
    """A statement under way or done. Times are the clock's, positions those of the log of changes, in bytes.

    `outside` tells that it ran outside of a transaction, `silent` that there is nothing to see of it. `rewritten` are
    OIDs of tables that the server said it rewrites, `retired` those of indexes that CONCURRENTLY took out of use
    before it locked them for good.
    """

    batch: Batch
    silent: bool
    outside: bool
    at: float = 0.0
    ended: float = 0.0
    gap_seconds: float = 0.0
    position: int = 0
    wal_bytes: int = 0
    spans: list[Span] = field(default_factory=list)
    rewrites: list[Relation] = field(default_factory=list)
    index_rebuilds: list[Relation] = field(default_factory=list)
    scanned: dict[Relation, Scan] = field(default_factory=dict)
    written: dict[Relation, Written] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    rewritten: set[int] = field(default_factory=set)
    retired: frozenset[int] = frozenset()
    notes: list[str] = field(default_factory=list)

    def add(self, found: Changes, relations: Relations, held: Held) -> None:
        """Take in what was found to have changed, on top of what is noted already."""
        self.rewrites += relations.named(found.rewrites)
        self.index_rebuilds += relations.named(found.index_rebuilds)
        for relation in relations.named(found.scanned):
            under = modes.strongest(held.modes(relation.oid))
            rows = found.scanned[relation.oid] + (self.scanned[relation].rows if relation in self.scanned else 0)
            self.scanned[relation] = Scan(relation=relation, rows=rows, under=under)
        for relation in relations.named(found.written):
            had, more = self.written.get(relation, Written(relation=relation)), found.written[relation.oid]
            self.written[relation] = Written(
                relation=relation,
                inserted=had.inserted + more.inserted,
                updated=had.updated + more.updated,
                deleted=had.deleted + more.deleted,
            )

    def retire(self, indexes: Iterable[int]) -> None:
        """CONCURRENTLY has waited for everybody to forget these indexes: their last lock shut nobody out."""
        self.retired = frozenset(indexes)
        self.spans = [one for one in self.spans if one.relation.oid not in self.retired or one.mode != STRONGEST]

    def scans(self) -> tuple[Scan, ...]:
        """What was read, under the strongest lock that anybody has seen: the log of changes is read late."""
        seen: dict[int, tuple[str, ...]] = {}
        for span in self.spans:
            seen[span.relation.oid] = (*seen.get(span.relation.oid, ()), span.mode)
        return tuple(
            replace(one, under=modes.strongest((*filter(None, [one.under]), *seen.get(one.relation.oid, ()))))
            for one in self.scanned.values()
        )


@dataclass(slots=True, kw_only=True)
class Record:
    """A migration under way or done; `size_bytes` is the database's when it began."""

    migration: Migration
    script: Script
    at: float
    position: int
    size_bytes: int
    ended: float = 0.0
    wal_bytes: int = 0
    growth_bytes: int = 0
    noted: list[Noted] = field(default_factory=list)
    failed: Failed | None = None

    def run(self, end: float) -> Run:
        """The value; `end` is when locks end that were held to the last."""
        locks = spans.told((one.spans for one in self.noted), end)
        return Run(
            version=self.migration.version,
            filename=self.migration.filename,
            transactional=self.script.mode is Mode.TRANSACTION,
            at_seconds=self.at,
            seconds=self.ended - self.at,
            statements=tuple(
                Statement(
                    line=one.batch.statements[0].line,
                    sql=wording.text(one.batch),
                    at_seconds=one.at,
                    seconds=one.ended - one.at,
                    locks=its_locks,
                    rewrites=tuple(one.rewrites),
                    index_rebuilds=tuple(one.index_rebuilds),
                    scans=one.scans(),
                    written=tuple(one.written.values()),
                    wal_bytes=one.wal_bytes,
                    commands=tuple(one.commands),
                    notes=tuple(one.notes),
                )
                for one, its_locks in zip(self.noted, locks, strict=True)
            ),
            wal_bytes=self.wal_bytes,
            growth_bytes=self.growth_bytes,
            failed=self.failed,
        )
