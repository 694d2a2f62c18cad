"""The Witness of kernel.apply: asks every witness, statement by statement, and keeps what they saw.

One question before a statement at most, and one after it, in the migration's own session; the clock stands still
meanwhile, so that times are those of a run without witnesses. A lock is held from its statement to the end of the
transaction, however many statements lie between.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from psycopg import pq

from kernel.rehearsal.witness import changes, journal, marks, sight, wording
from kernel.rehearsal.witness.held import Held
from kernel.rehearsal.witness.record import Noted, Record

if TYPE_CHECKING:
    from psycopg.errors import Diagnostic

    from kernel.apply.batch import Batch
    from kernel.database import Connection, Session
    from kernel.files.migration import Migration
    from kernel.files.script import Script
    from kernel.rehearsal.witness.aside import Aside
    from kernel.rehearsal.witness.clock import Clock
    from kernel.rehearsal.witness.lookout import Lookout
    from kernel.rehearsal.witness.relations import Relations
    from kernel.rehearsal.witness.sight import Counters, Sight, View

_IDLE, _IN_TRANSACTION = pq.TransactionStatus.IDLE, pq.TransactionStatus.INTRANS

_MADE = 100  # so many relations of the migration's own are looked at like all others


class Attendant:
    """Attends one run of db.migrate on a connection. `records` are the migrations begun so far, in their order."""

    def __init__(
        self, connection: Connection, relations: Relations, *, clock: Clock, lookout: Lookout, aside: Aside
    ) -> None:
        self._connection = connection
        self._relations = relations
        self._clock = clock
        self._lookout = lookout
        self._aside = aside
        self._held = Held(relations, clock.at)
        self._known: dict[int, Sight] = {}  # all relations, as they were seen last
        self._undone = False  # whether what was seen last may have been rolled back
        self._counted: dict[int, Counters] = {}  # what the open transaction had done to them by then
        self._newest = 0  # the highest OID when the transaction began: relations get theirs in ascending order
        self._position = 0  # in the log of changes, by then
        self._ours: frozenset[int] = frozenset()  # what the runner uses itself: the ledger
        self._seen = False  # whether the open transaction has been looked at yet
        self._under_way: Noted | None = None
        self._unread: list[Noted] = []
        self.records: list[Record] = []
        connection.add_notice_handler(self._noticed)

    def begun(self, session: Session, migration: Migration, script: Script) -> None:  # noqa: ARG002 - the hook's signature
        """A migration begins, or begins again."""
        with self._clock.standing():
            view = sight.everything(self._connection)
            if not self._seen:  # with --single-transaction the locks of the migrations before are still held
                self._ours = frozenset(oid for oid, one in view.sights.items() if one.modes)
            self._begin(view)
            if self.records and self.records[-1].migration == migration:
                self.records.pop()  # rolled back because of others; what counts is the attempt that stays
            size_bytes = self._sized()
        if not self.records:
            self._clock.start()
        at = self._clock.now()
        self.records.append(
            Record(
                migration=migration,
                script=script,
                at=at,
                ended=at,
                position=self._position,
                size_bytes=size_bytes,
            )
        )

    def before(self, batch: Batch) -> None:
        """A statement will be sent: what was done up to now is not its doing."""
        with self._clock.standing():
            status = self._connection.pgconn.transaction_status
            noted = Noted(batch=batch, silent=wording.silent(batch), outside=status == _IDLE)
            if not noted.silent and noted.outside:
                self._begin(sight.ever(self._connection))
            elif not noted.silent and not self._seen:
                self._begin_transaction()
            noted.position = self._position
            record = self.records[-1]
            if record.noted and record.noted[-1].batch == batch:
                record.noted.pop()  # the attempt before this
            record.noted.append(noted)
            self._under_way = noted
            self._lookout.watch()
        noted.at = self._clock.now()

    def after(self) -> None:
        """It is done, or has failed: then only the lookout's word is left."""
        moment = time.monotonic()
        noted, self._under_way = self._under_way, None
        if noted is None:
            return
        self._lookout.rest()
        noted.gap_seconds = self._lookout.gap_seconds
        noted.ended = self.records[-1].ended = self._clock.at(moment)
        failed = self._connection.pgconn.transaction_status not in (_IDLE, _IN_TRANSACTION)
        self._undone = self._undone or failed or wording.undoes(noted.batch)
        with self._clock.standing():
            if not noted.silent:
                self._look(noted)
            if self._connection.pgconn.transaction_status != _IN_TRANSACTION:
                self._let_go(noted.ended)

    def committing(self) -> None:
        """The constraints and triggers that were deferred have run: they belong to the last statement."""
        if self.records and self.records[-1].noted and self._seen:
            with self._clock.standing():
                self._compare(self.records[-1].noted[-1], self._held_now())

    def ended(self) -> None:
        """A transaction has ended, and its locks with it."""
        moment = self._clock.now()
        with self._clock.standing():
            if self._seen and self.records:
                self.records[-1].ended = moment
            self._let_go(moment)

    def finish(self) -> None:
        """The run is over, one way or another."""
        self._connection.remove_notice_handler(self._noticed)
        self._sized()

    def _held_now(self) -> View:
        """A file that makes a whole schema makes a lock with every statement: nobody else waits for those."""
        new = [oid for oid in self._known if oid > self._newest]
        made = range(self._newest + 1, max(new) + 1) if len(new) > _MADE else range(0)
        return sight.held(self._connection, but=made)

    def _begin_transaction(self) -> None:
        """It has done nothing yet: all is as it was seen last, unless something was rolled back since."""
        if self._undone or self._connection.info.server_version < sight.FLUSHES_SINCE:
            self._begin(sight.everything(self._connection))
        else:
            known = self._known
            self._begin(sight.held(self._connection))
            self._known = {**known, **self._known}

    def _begin(self, view: View) -> None:
        """What is seen now is what the next statement is compared with."""
        self._relations.meet(view.sights)
        self._known = view.sights
        self._undone = False
        self._counted = {oid: one.counters for oid, one in view.sights.items()}
        self._position = view.position
        self._held.begin(view.sights)
        self._newest = max(self._known, default=0)
        self._seen = True

    def _look(self, noted: Noted) -> None:
        connection = self._connection
        status = connection.pgconn.transaction_status
        view = None
        if noted.outside and status == _IDLE:
            view = sight.ever(connection)
        elif status == _IN_TRANSACTION:
            view = sight.everything(connection) if wording.undoes(noted.batch) else self._held_now()
        if view:
            self._relations.meet(view.sights)
        own = view.sights if view and not noted.outside else None
        noted.spans = self._held.took(own, self._lookout, started=noted.at, ended=noted.ended)
        if view and wording.undoes(noted.batch):
            self._known, self._position = view.sights, view.position
            self._counted = {oid: one.counters for oid, one in view.sights.items()}
        elif view:
            if noted.outside and not wording.opaque(noted.batch):
                known = self._known.items()
                noted.retire(oid for oid, one in known if one.kind == "index" and oid not in view.sights)
            self._compare(noted, view)
        else:
            self._position = self._aside.position()
        noted.wal_bytes = self._position - noted.position
        self._unread.append(noted)

    def _compare(self, noted: Noted, view: View) -> None:
        found = changes.compare(self._known, view.sights, self._counted, rewritten=frozenset(noted.rewritten))
        noted.add(found.without(self._ours), self._relations, self._held)
        # A dropped relation is nameless here, and one whose row is not among what is locked has not changed.
        named = {oid: one for oid, one in view.sights.items() if one.name is not None}
        gone = view.sights.keys() - named.keys()
        self._known = {**{oid: one for oid, one in self._known.items() if oid not in gone}, **named}
        self._counted = {**self._counted, **{oid: one.counters for oid, one in named.items()}}
        self._position = view.position

    def _let_go(self, moment: float) -> None:
        self._held.release(moment)
        self._seen = False
        if self._connection.broken:
            return
        if self._connection.pgconn.transaction_status == _IDLE:
            sight.flush(self._connection)
        if self.records:
            self._position = self._aside.position()
            self.records[-1].wal_bytes = self._position - self.records[-1].position
        journal.complete(self._unread, self._aside, self._relations)
        self._unread = []
        self._relations.settle()

    def _sized(self) -> int:
        """The size of the database, which is what the migration before this has left it at."""
        size_bytes = self._aside.size_bytes()
        if self.records:
            self.records[-1].growth_bytes = size_bytes - self.records[-1].size_bytes
        return size_bytes

    def _noticed(self, diagnostic: Diagnostic) -> None:
        noted, message = self._under_way, diagnostic.message_primary or ""
        if noted is None:
            return
        mark = marks.read(message)
        if mark is None:
            noted.notes.append(f"{diagnostic.severity_nonlocalized or 'NOTICE'}: {message}")
        elif mark.rewritten:
            noted.rewritten.add(mark.rewritten)
        elif mark.command not in noted.commands:
            noted.commands.append(mark.command)
