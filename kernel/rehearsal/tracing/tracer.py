"""Time as production would see it: it stands still while a witness keeps the migration's session busy."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from psycopg import pq

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


class TraceClock:
    """Seconds from `start`, without those spent in `standing`. `stood_seconds` is what they come to."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self.paused_seconds = 0.0

    def start(self) -> None:
        """Count from now on."""
        self._started = time.monotonic()
        self.paused_seconds = 0.0

    def now(self) -> float:
        return self.seconds_at(time.monotonic())

    def seconds_at(self, moment: float) -> float:
        """What it showed at a moment of time.monotonic(), which must lie behind the last time that it stood."""
        return moment - self._started - self.paused_seconds

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stand still for as long as the block takes."""
        since = time.monotonic()
        try:
            yield
        finally:
            self.paused_seconds += time.monotonic() - since


# The Witness of kernel.apply: asks every witness, statement by statement, and keeps what they saw.
#
# One question before a statement at most, and one after it, in the migration's own session; the clock stands still
# meanwhile, so that times are those of a run without witnesses. A lock is held from its statement to the end of the
# transaction, however many statements lie between.


_IDLE, _IN_TRANSACTION = pq.TransactionStatus.IDLE, pq.TransactionStatus.INTRANS

_MANY_NEW_RELATIONS = 100  # so many relations of the migration's own are looked at like all others


class Tracer:
    """Attends one run of db.migrate on a connection. `records` are the migrations begun so far, in their order."""

    def __init__(
        self,
        connection: Connection,
        relations: KnownRelations,
        *,
        clock: TraceClock,
        lookout: LockPoller,
        aside: WalReader,
    ) -> None:
        self._connection = connection
        self._relations = relations
        self._clock = clock
        self._poller = lookout
        self._wal = aside
        self._locks = HeldLocks(relations, clock.seconds_at)
        self._last_states: dict[int, RelationState] = {}  # all relations, as they were seen last
        self._last_states_stale = False  # whether what was seen last may have been rolled back
        self._last_counters: dict[int, RowCounters] = {}  # what the open transaction had done to them by then
        self._newest_oid = 0  # the highest OID when the transaction began: relations get theirs in ascending order
        self._wal_position = 0  # in the log of changes, by then
        self._ledger_oids: frozenset[int] = frozenset()  # what the runner uses itself: the ledger
        self._transaction_seen = False  # whether the open transaction has been looked at yet
        self._current: StatementTrace | None = None
        self._wal_unread: list[StatementTrace] = []
        self.traces: list[MigrationTrace] = []
        connection.add_notice_handler(self._on_notice)

    def begun(self, session: Session, migration: Migration, script: Script) -> None:  # noqa: ARG002 - the hook's signature
        """A migration begins, or begins again."""
        with self._clock.paused():
            view = read_all_relations(self._connection)
            if (
                not self._transaction_seen
            ):  # with --single-transaction the locks of the migrations before are still held
                self._ledger_oids = frozenset(oid for oid, one in view.relations.items() if one.modes)
            self._compare_from(view)
            if self.traces and self.traces[-1].migration == migration:
                self.traces.pop()  # rolled back because of others; what counts is the attempt that stays
            size_bytes = self._measure_growth()
        if not self.traces:
            self._clock.start()
        at = self._clock.now()
        self.traces.append(
            MigrationTrace(
                migration=migration,
                script=script,
                begin_seconds=at,
                end_seconds=at,
                wal_position=self._wal_position,
                size_bytes=size_bytes,
            )
        )

    def before(self, batch: Batch) -> None:
        """A statement will be sent: what was done up to now is not its doing."""
        with self._clock.paused():
            status = self._connection.pgconn.transaction_status
            noted = StatementTrace(
                batch=batch, is_control=is_control_statement(batch), outside_transaction=status == _IDLE
            )
            if not noted.is_control and noted.outside_transaction:
                self._compare_from(read_all_relations_with_totals(self._connection))
            elif not noted.is_control and not self._transaction_seen:
                self._begin_transaction()
            noted.wal_position = self._wal_position
            record = self.traces[-1]
            if record.statements and record.statements[-1].batch == batch:
                record.statements.pop()  # the attempt before this
            record.statements.append(noted)
            self._current = noted
            self._poller.start_statement()
        noted.begin_seconds = self._clock.now()

    def after(self) -> None:
        """It is done, or has failed: then only the lookout's word is left."""
        moment = time.monotonic()
        noted, self._current = self._current, None
        if noted is None:
            return
        self._poller.end_statement()
        noted.poll_gap_seconds = self._poller.gap_seconds
        noted.end_seconds = self.traces[-1].end_seconds = self._clock.seconds_at(moment)
        failed = self._connection.pgconn.transaction_status not in (_IDLE, _IN_TRANSACTION)
        self._last_states_stale = self._last_states_stale or failed or is_rollback(noted.batch)
        with self._clock.paused():
            if not noted.is_control:
                self._inspect(noted)
            if self._connection.pgconn.transaction_status != _IN_TRANSACTION:
                self._finish_transaction(noted.end_seconds)

    def committing(self) -> None:
        """The constraints and triggers that were deferred have run: they belong to the last statement."""
        if self.traces and self.traces[-1].statements and self._transaction_seen:
            with self._clock.paused():
                self._add_changes(self.traces[-1].statements[-1], self._read_locked())

    def ended(self) -> None:
        """A transaction has ended, and its locks with it."""
        moment = self._clock.now()
        with self._clock.paused():
            if self._transaction_seen and self.traces:
                self.traces[-1].end_seconds = moment
            self._finish_transaction(moment)

    def finish(self) -> None:
        """The run is over, one way or another."""
        self._connection.remove_notice_handler(self._on_notice)
        self._measure_growth()

    def _read_locked(self) -> CatalogSnapshot:
        """A file that makes a whole schema makes a lock with every statement: nobody else waits for those."""
        new = [oid for oid in self._last_states if oid > self._newest_oid]
        made = range(self._newest_oid + 1, max(new) + 1) if len(new) > _MANY_NEW_RELATIONS else range(0)
        return read_locked_relations(self._connection, but=made)

    def _begin_transaction(self) -> None:
        """It has done nothing yet: all is as it was seen last, unless something was rolled back since."""
        if self._last_states_stale or self._connection.info.server_version < FLUSH_SERVER_VERSION:
            self._compare_from(read_all_relations(self._connection))
        else:
            known = self._last_states
            self._compare_from(read_locked_relations(self._connection))
            self._last_states = {**known, **self._last_states}

    def _compare_from(self, view: CatalogSnapshot) -> None:
        """What is seen now is what the next statement is compared with."""
        self._relations.add_new(view.relations)
        self._last_states = view.relations
        self._last_states_stale = False
        self._last_counters = {oid: one.counters for oid, one in view.relations.items()}
        self._wal_position = view.wal_position
        self._locks.begin_transaction(view.relations)
        self._newest_oid = max(self._last_states, default=0)
        self._transaction_seen = True

    def _inspect(self, noted: StatementTrace) -> None:
        connection = self._connection
        status = connection.pgconn.transaction_status
        view = None
        if noted.outside_transaction and status == _IDLE:
            view = read_all_relations_with_totals(connection)
        elif status == _IN_TRANSACTION:
            view = read_all_relations(connection) if is_rollback(noted.batch) else self._read_locked()
        if view:
            self._relations.add_new(view.relations)
        own = view.relations if view and not noted.outside_transaction else None
        noted.spans = self._locks.locks_of_statement(
            own, self._poller, started=noted.begin_seconds, ended=noted.end_seconds
        )
        if view and is_rollback(noted.batch):
            self._last_states, self._wal_position = view.relations, view.wal_position
            self._last_counters = {oid: one.counters for oid, one in view.relations.items()}
        elif view:
            if noted.outside_transaction and not runs_server_code(noted.batch):
                known = self._last_states.items()
                noted.retire_indexes(oid for oid, one in known if one.kind == "index" and oid not in view.relations)
            self._add_changes(noted, view)
        else:
            self._wal_position = self._wal.insert_position()
        noted.wal_bytes = self._wal_position - noted.wal_position
        self._wal_unread.append(noted)

    def _add_changes(self, noted: StatementTrace, view: CatalogSnapshot) -> None:
        found = compare_relations(
            self._last_states, view.relations, self._last_counters, rewritten=frozenset(noted.rewritten_oids)
        )
        noted.add_changes(found.without_rows_of(self._ledger_oids), self._relations, self._locks)
        # A dropped relation is nameless here, and one whose row is not among what is locked has not changed.
        named = {oid: one for oid, one in view.relations.items() if one.name is not None}
        gone = view.relations.keys() - named.keys()
        self._last_states = {**{oid: one for oid, one in self._last_states.items() if oid not in gone}, **named}
        self._last_counters = {**self._last_counters, **{oid: one.counters for oid, one in named.items()}}
        self._wal_position = view.wal_position

    def _finish_transaction(self, moment: float) -> None:
        self._locks.end_transaction(moment)
        self._transaction_seen = False
        if self._connection.broken:
            return
        if self._connection.pgconn.transaction_status == _IDLE:
            flush_counters(self._connection)
        if self.traces:
            self._wal_position = self._wal.insert_position()
            self.traces[-1].wal_bytes = self._wal_position - self.traces[-1].wal_position
        add_wal_locks(self._wal_unread, self._wal, self._relations)
        self._wal_unread = []
        self._relations.settle_created_indexes()

    def _measure_growth(self) -> int:
        """The size of the database, which is what the migration before this has left it at."""
        size_bytes = self._wal.database_size_bytes()
        if self.traces:
            self.traces[-1].growth_bytes = size_bytes - self.traces[-1].size_bytes
        return size_bytes

    def _on_notice(self, diagnostic: Diagnostic) -> None:
        noted, message = self._current, diagnostic.message_primary or ""
        if noted is None:
            return
        mark = parse_ddl_notice(message)
        if mark is None:
            noted.notes.append(f"{diagnostic.severity_nonlocalized or 'NOTICE'}: {message}")
        elif mark.rewritten_oid:
            noted.rewritten_oids.add(mark.rewritten_oid)
        elif mark.command not in noted.commands:
            noted.commands.append(mark.command)
