"""Traces of statements and migrations while they run, until they become values: a Run of TracedStatements."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kernel.lint.lock_modes import strongest_lock_mode
from kernel.migrations.script import column_at
from kernel.migrations.transactions import RunMode
from kernel.rehearsal.result import RowsWritten, Run, Scan, TracedStatement
from kernel.rehearsal.tracing.lock_spans import significant_locks
from kernel.sql.classify import StatementEffect, statement_effect
from kernel.sql.passwords import mask_passwords
from kernel.sql.tokens import first_tokens
from kernel.units import clip_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel.apply.batches import Batch
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Script
    from kernel.rehearsal.result import Relation
    from kernel.rehearsal.tracing.catalog import KnownRelations
    from kernel.rehearsal.tracing.lock_spans import HeldLocks, LockSpan
    from kernel.rehearsal.tracing.relation_changes import RelationChanges


_SHOWN_CHARACTERS = 4000  # of a statement; longer ones are INSERTs of many rows
_CONTROL_EFFECTS = frozenset(
    {
        StatementEffect.BEGIN,
        StatementEffect.COMMIT,
        StatementEffect.ROLLBACK,
        StatementEffect.SETTING,
        StatementEffect.LEXICAL,
    }
)
_CODE_COMMANDS = frozenset({"DO", "CALL", "SELECT", "WITH", "EXECUTE"})


def statement_text(batch: Batch) -> str:
    """The statement, passwords masked; of several INSERTs the first, and how many more there are."""
    first = mask_passwords(batch.statements[0].sql[: 4 * _SHOWN_CHARACTERS].decode(errors="replace"))
    first = clip_text(first, _SHOWN_CHARACTERS)
    more = len(batch.statements) - 1
    return f"{first}\n-- and {more} more INSERT{'s' if more > 1 else ''}" if more else first


def is_control_statement(batch: Batch) -> bool:
    """Whether it begins or ends a transaction, or changes a setting: such a statement is not traced.

    A query of the tracer between BEGIN and SET TRANSACTION would make SET TRANSACTION fail.
    """
    sql = batch.statements[0].sql
    words = first_tokens(sql, limit=2)
    return statement_effect(sql) in _CONTROL_EFFECTS or (
        words[:1] in (("SET",), ("RESET",)) and words[1:] != ("CONSTRAINTS",)
    )


def is_rollback(batch: Batch) -> bool:
    """Whether it rolls back to a savepoint, or the whole transaction."""
    return first_tokens(batch.statements[0].sql, limit=1) in (("ROLLBACK",), ("ABORT",))


def runs_server_code(batch: Batch) -> bool:
    """Whether it runs code on the server, which may take locks in subtransactions and roll them back."""
    return bool(_CODE_COMMANDS.intersection(first_tokens(batch.statements[0].sql, limit=1)))


ACCESS_EXCLUSIVE = "ACCESS EXCLUSIVE"


@dataclass(slots=True, kw_only=True)
class StatementTrace:
    """A statement that runs or has run. Times are seconds of the clock, positions bytes in the WAL.

    `rewritten_oids` are tables for which the server reported a rewrite, `retired_index_oids` indexes that CONCURRENTLY
    made unused before it locked them.
    """

    batch: Batch
    is_control: bool
    outside_transaction: bool
    begin_seconds: float = 0.0
    end_seconds: float = 0.0
    poll_gap_seconds: float = 0.0
    wal_position: int = 0
    wal_bytes: int = 0
    spans: list[LockSpan] = field(default_factory=list)
    rewrites: list[Relation] = field(default_factory=list)
    index_rebuilds: list[Relation] = field(default_factory=list)
    scanned: dict[Relation, Scan] = field(default_factory=dict)
    written: dict[Relation, RowsWritten] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    rewritten_oids: set[int] = field(default_factory=set)
    retired_index_oids: frozenset[int] = frozenset()
    notes: list[str] = field(default_factory=list)

    def add_changes(self, changes: RelationChanges, relations: KnownRelations, held: HeldLocks) -> None:
        """Add changes to those that are recorded."""
        self.rewrites += relations.get_all(changes.rewrites)
        self.index_rebuilds += relations.get_all(changes.index_rebuilds)
        for relation in relations.get_all(changes.scanned_rows):
            under = strongest_lock_mode(held.modes(relation.oid))
            rows = changes.scanned_rows[relation.oid] + (self.scanned[relation].rows if relation in self.scanned else 0)
            self.scanned[relation] = Scan(relation=relation, rows=rows, held_lock_mode=under)
        for relation in relations.get_all(changes.written):
            had, more = self.written.get(relation, RowsWritten(relation=relation)), changes.written[relation.oid]
            self.written[relation] = RowsWritten(
                relation=relation,
                inserted=had.inserted + more.inserted,
                updated=had.updated + more.updated,
                deleted=had.deleted + more.deleted,
            )

    def retire_indexes(self, indexes: Iterable[int]) -> None:
        """CONCURRENTLY waited until no session used these indexes: their last lock blocked no session."""
        self.retired_index_oids = frozenset(indexes)
        self.spans = [
            one for one in self.spans if one.relation.oid not in self.retired_index_oids or one.mode != ACCESS_EXCLUSIVE
        ]

    def scans(self) -> tuple[Scan, ...]:
        """The scans, with the strongest lock known, also from the WAL, which is read later."""
        seen: dict[int, tuple[str, ...]] = {}
        for span in self.spans:
            seen[span.relation.oid] = (*seen.get(span.relation.oid, ()), span.mode)
        return tuple(
            replace(
                one,
                held_lock_mode=strongest_lock_mode(
                    (*filter(None, [one.held_lock_mode]), *seen.get(one.relation.oid, ()))
                ),
            )
            for one in self.scanned.values()
        )


@dataclass(slots=True, kw_only=True)
class MigrationTrace:
    """A migration that runs or has run; `size_bytes` is the size of the database when it began."""

    migration: Migration
    script: Script
    begin_seconds: float
    wal_position: int
    size_bytes: int
    end_seconds: float = 0.0
    wal_bytes: int = 0
    growth_bytes: int = 0
    statements: list[StatementTrace] = field(default_factory=list)

    def to_run(self, end: float) -> Run:
        """The Run; `end` is when the locks end that are still held."""
        locks = significant_locks((one.spans for one in self.statements), end)
        return Run(
            version=self.migration.version,
            filename=self.migration.filename,
            transactional=self.script.mode is RunMode.TRANSACTION,
            at_seconds=self.begin_seconds,
            seconds=self.end_seconds - self.begin_seconds,
            statements=tuple(
                TracedStatement(
                    line=one.batch.statements[0].line,
                    column=column_at(self.migration.path, one.batch.statements[0].offset),
                    offset=one.batch.statements[0].offset,
                    sql=statement_text(one.batch),
                    at_seconds=one.begin_seconds,
                    seconds=one.end_seconds - one.begin_seconds,
                    locks=statement_locks,
                    rewrites=tuple(one.rewrites),
                    index_rebuilds=tuple(one.index_rebuilds),
                    scans=one.scans(),
                    written=tuple(one.written.values()),
                    wal_bytes=one.wal_bytes,
                    commands=tuple(one.commands),
                    dropped=tuple(one.dropped),
                    notes=tuple(one.notes),
                )
                for one, statement_locks in zip(self.statements, locks, strict=True)
            ),
            wal_bytes=self.wal_bytes,
            growth_bytes=self.growth_bytes,
        )
