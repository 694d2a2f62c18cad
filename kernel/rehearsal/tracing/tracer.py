"""The tracer: hooks of `kernel.apply` that record what each statement does, on a clock that excludes their own queries.

At most one query before a statement and one after it, in the migration's own session. A lock is held from its statement
to the end of the transaction, however many statements lie between.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from psycopg import pq

from kernel.db.ledger import find_ledger
from kernel.rehearsal.tracing.catalog import (
    FLUSH_SERVER_VERSION,
    flush_counters,
    read_all_relations,
    read_all_relations_with_totals,
    read_locked_relations,
)
from kernel.rehearsal.tracing.ddl_events import parse_ddl_notice
from kernel.rehearsal.tracing.lock_spans import HeldLocks
from kernel.rehearsal.tracing.relation_changes import compare_relations
from kernel.rehearsal.tracing.traces import (
    MigrationTrace,
    StatementTrace,
    is_control_statement,
    is_rollback,
    runs_server_code,
)
from kernel.rehearsal.tracing.wal import add_wal_locks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.errors import Diagnostic

    from kernel.apply.batches import Batch
    from kernel.db.connection import Connection, Session
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Script
    from kernel.rehearsal.tracing.catalog import CatalogSnapshot, KnownRelations, RelationState, RowCounters
    from kernel.rehearsal.tracing.lock_poller import LockPoller
    from kernel.rehearsal.tracing.wal import WalReader


_IDLE, _IN_TRANSACTION = pq.TransactionStatus.IDLE, pq.TransactionStatus.INTRANS
_RUNNER_RELATIONS = """
WITH tables AS (SELECT oid FROM pg_class WHERE oid IN (to_regclass(%s), to_regclass(%s)))
SELECT oid::bigint FROM tables UNION SELECT indexrelid::bigint FROM pg_index WHERE indrelid IN (SELECT oid FROM tables)
"""
_MANY_NEW_RELATIONS = 100  # more relations than this that the migration created are not read one by one


class TraceClock:
    """A clock in seconds that excludes the tracer's own queries."""

    def __init__(self, begin_seconds: float = 0.0) -> None:
        self._begin_seconds = begin_seconds
        self.start()

    def start(self) -> None:
        """Count from now on."""
        self._started = time.monotonic() - self._begin_seconds
        self.paused_seconds = 0.0

    def now(self) -> float:
        return self.seconds_at(time.monotonic())

    def seconds_at(self, moment: float) -> float:
        """The clock's time at a moment of time.monotonic(), which must be after the last pause."""
        return moment - self._started - self.paused_seconds

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock for the duration of the block."""
        since = time.monotonic()
        try:
            yield
        finally:
            self.paused_seconds += time.monotonic() - since


@dataclass(slots=True, kw_only=True)
class _Baseline:
    """The state that the next statement is compared with.

    `relations` are all relations as last read, `counters` what the open transaction had done to them by then;
    `newest_oid` is the highest OID when the transaction began: relations get theirs in ascending order. `stale` says
    that a rollback may have undone what was read.
    """

    relations: dict[int, RelationState] = field(default_factory=dict)
    counters: dict[int, RowCounters] = field(default_factory=dict)
    newest_oid: int = 0
    wal_position: int = 0
    stale: bool = True

    def replace(self, view: CatalogSnapshot) -> None:
        """Take a snapshot of all relations."""
        self.relations = view.relations
        self.counters = {oid: state.counters for oid, state in view.relations.items()}
        self.wal_position = view.wal_position

    def update(self, view: CatalogSnapshot) -> None:
        """Take a snapshot of the locked relations; a dropped one has no name, and an unlocked one has not changed."""
        named = {oid: state for oid, state in view.relations.items() if state.name is not None}
        dropped = view.relations.keys() - named.keys()
        self.relations = {**{oid: one for oid, one in self.relations.items() if oid not in dropped}, **named}
        self.counters.update((oid, state.counters) for oid, state in named.items())
        self.wal_position = view.wal_position

    def created_range(self) -> range:
        """The OIDs that the transaction created, where they are many: no other session waits for these locks."""
        new = [oid for oid in self.relations if oid > self.newest_oid]
        return range(self.newest_oid + 1, max(new) + 1) if len(new) > _MANY_NEW_RELATIONS else range(0)


class Tracer:
    """Traces one run of `db.migrate` on a connection; `traces` are the migrations begun so far, in their order."""

    def __init__(
        self,
        connection: Connection,
        relations: KnownRelations,
        *,
        clock: TraceClock,
        poller: LockPoller,
        wal: WalReader,
    ) -> None:
        self._connection = connection
        self._relations = relations
        self._clock = clock
        self._poller = poller
        self._wal = wal
        self._locks = HeldLocks(relations, clock.seconds_at)
        self._baseline = _Baseline()
        self._transaction_read = False  # whether the baseline is of the open transaction
        self._ledger_oids: frozenset[int] = frozenset()  # relations that the runner itself uses
        self._current: StatementTrace | None = None
        self._wal_unread: list[StatementTrace] = []
        self.traces: list[MigrationTrace] = []
        connection.add_notice_handler(self._on_notice)

    def begun(self, session: Session, migration: Migration, script: Script) -> None:
        """A migration begins, or is retried."""
        with self._clock.paused():
            view = read_all_relations(self._connection)
            if not self._transaction_read:  # else the locks of earlier migrations are held: --single-transaction
                self._ledger_oids = frozenset(oid for oid, state in view.relations.items() if state.modes)
                if script.backfill:  # its batches write to them between the hooks around its statement
                    self._ledger_oids = _runner_relations(session)
            self._start_from(view)
            if self.traces and self.traces[-1].migration == migration:
                self.traces.pop()  # a retry after a rollback: the last attempt counts
            size_bytes = self._measure_growth()
        if not self.traces:
            self._clock.start()
        now = self._clock.now()
        self.traces.append(
            MigrationTrace(
                migration=migration,
                script=script,
                begin_seconds=now,
                end_seconds=now,
                wal_position=self._baseline.wal_position,
                size_bytes=size_bytes,
            )
        )

    def before(self, batch: Batch) -> None:
        """A statement is about to be sent: earlier changes are not its own."""
        with self._clock.paused():
            status = self._connection.pgconn.transaction_status
            trace = StatementTrace(
                batch=batch, is_control=is_control_statement(batch), outside_transaction=status == _IDLE
            )
            if not trace.is_control and trace.outside_transaction:
                self._start_from(read_all_relations_with_totals(self._connection))
            elif not trace.is_control and not self._transaction_read:
                self._begin_transaction()
            trace.wal_position = self._baseline.wal_position
            statements = self.traces[-1].statements
            if statements and statements[-1].batch == batch:
                statements.pop()  # the failed attempt before this one
            statements.append(trace)
            self._current = trace
            self._poller.start_statement()
        trace.begin_seconds = self._clock.now()

    def after(self) -> None:
        """The statement ended, or failed: then only the poller has seen its locks."""
        moment = time.monotonic()
        trace, self._current = self._current, None
        if trace is None:
            return
        self._poller.end_statement()
        trace.poll_gap_seconds = self._poller.gap_seconds
        trace.end_seconds = self.traces[-1].end_seconds = self._clock.seconds_at(moment)
        failed = self._connection.pgconn.transaction_status not in (_IDLE, _IN_TRANSACTION)
        self._baseline.stale = self._baseline.stale or failed or is_rollback(trace.batch)
        with self._clock.paused():
            if not trace.is_control:
                self._inspect(trace)
            if self._connection.pgconn.transaction_status != _IN_TRANSACTION:
                self._finish_transaction(trace.end_seconds)

    def committing(self) -> None:
        """Deferred constraints and triggers have run: they belong to the last statement."""
        if self.traces and self.traces[-1].statements and self._transaction_read:
            with self._clock.paused():
                self._add_changes(self.traces[-1].statements[-1], self._read_locked())

    def ended(self) -> None:
        """A transaction ended, and its locks are released."""
        moment = self._clock.now()
        with self._clock.paused():
            if self._transaction_read and self.traces:
                self.traces[-1].end_seconds = moment
            self._finish_transaction(moment)

    def add_note(self, note: str) -> None:
        """Add a note to the last statement."""
        if self.traces and self.traces[-1].statements:
            self.traces[-1].statements[-1].notes.append(note)

    def finish(self) -> None:
        """The run ended."""
        self._connection.remove_notice_handler(self._on_notice)
        self._measure_growth()

    def _read_locked(self) -> CatalogSnapshot:
        return read_locked_relations(self._connection, but=self._baseline.created_range())

    def _begin_transaction(self) -> None:
        """A transaction that has changed nothing yet: the last state is valid, unless something was rolled back."""
        if self._baseline.stale or self._connection.info.server_version < FLUSH_SERVER_VERSION:
            self._start_from(read_all_relations(self._connection))
        else:
            view = read_locked_relations(self._connection)
            self._start_from(view, {**self._baseline.relations, **view.relations})

    def _start_from(self, view: CatalogSnapshot, relations: dict[int, RelationState] | None = None) -> None:
        """Compare the next statement with this snapshot, of `relations` where it has only the locked ones."""
        self._relations.add_new(view.relations)
        self._baseline.replace(view)
        self._baseline.relations = relations or view.relations
        self._baseline.newest_oid = max(self._baseline.relations, default=0)
        self._baseline.stale = False
        self._locks.begin_transaction(view.relations)
        self._transaction_read = True

    def _inspect(self, trace: StatementTrace) -> None:
        connection = self._connection
        status = connection.pgconn.transaction_status
        rolled_back = is_rollback(trace.batch)
        view = None
        if trace.outside_transaction and status == _IDLE:
            view = read_all_relations_with_totals(connection)
        elif status == _IN_TRANSACTION:
            view = read_all_relations(connection) if rolled_back else self._read_locked()
        if view:
            self._relations.add_new(view.relations)
        held = view.relations if view and not trace.outside_transaction else None
        spans = self._locks.locks_of_statement(held, self._poller, started=trace.begin_seconds, ended=trace.end_seconds)
        trace.spans = [span for span in spans if span.relation.oid not in self._ledger_oids]
        if view is None:
            self._baseline.wal_position = self._wal.insert_position()
        elif rolled_back:
            self._baseline.replace(view)
        else:
            if trace.outside_transaction and not runs_server_code(trace.batch):
                before = self._baseline.relations.items()
                trace.retire_indexes(
                    oid for oid, state in before if state.kind == "index" and oid not in view.relations
                )
            self._add_changes(trace, view)
        trace.wal_bytes = self._baseline.wal_position - trace.wal_position
        self._wal_unread.append(trace)

    def _add_changes(self, trace: StatementTrace, view: CatalogSnapshot) -> None:
        changes = compare_relations(
            self._baseline.relations,
            view.relations,
            self._baseline.counters,
            rewritten=frozenset(trace.rewritten_oids),
        )
        trace.add_changes(changes.without_rows_of(self._ledger_oids), self._relations, self._locks)
        self._baseline.update(view)

    def _finish_transaction(self, moment: float) -> None:
        self._locks.end_transaction(moment)
        self._transaction_read = False
        if self._connection.broken:
            return
        if self._connection.pgconn.transaction_status == _IDLE:
            flush_counters(self._connection)
        if self.traces:
            self._baseline.wal_position = self._wal.insert_position()
            self.traces[-1].wal_bytes = self._baseline.wal_position - self.traces[-1].wal_position
        add_wal_locks(self._wal_unread, self._wal, self._relations)
        self._wal_unread = []
        self._relations.settle_created_indexes()

    def _measure_growth(self) -> int:
        """The size of the database in bytes, from which the growth of the last migration follows."""
        size_bytes = self._wal.database_size_bytes()
        if self.traces:
            self.traces[-1].growth_bytes = size_bytes - self.traces[-1].size_bytes
        return size_bytes

    def _on_notice(self, diagnostic: Diagnostic) -> None:
        trace, message = self._current, diagnostic.message_primary or ""
        if trace is None:
            return
        event = parse_ddl_notice(message)
        if event is None:
            trace.notes.append(f"{diagnostic.severity_nonlocalized or 'NOTICE'}: {message}")
        elif isinstance(event, int):
            trace.rewritten_oids.add(event)
        elif isinstance(event, tuple):
            trace.dropped += event
        elif event not in trace.commands:
            trace.commands.append(event)


def _runner_relations(session: Session) -> frozenset[int]:
    """The OIDs of the ledger, of the table of progress, and of their indexes."""
    ledger = find_ledger(session)
    rows = session.connection.execute(_RUNNER_RELATIONS, (ledger.name, ledger.progress_name)).fetchall()
    return frozenset(oid for (oid,) in rows)
