"""The application's queries, prepared in a session that stays open over the migrations, as a pool's sessions do."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg.conninfo import make_conninfo

from kernel import database
from kernel.apply.events import Applied
from kernel.rehearsal.queries import query as its_query
from kernel.rehearsal.queries.change import Broken, Dearer, Stale, dearer, finding
from kernel.rehearsal.queries.desk import Desk, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.apply.events import Event, Observer
    from kernel.rehearsal.queries.change import Change, Plan, Refusal
    from kernel.rehearsal.queries.desk import Prepared
    from kernel.rehearsal.queries.query import Query
    from kernel.rehearsal.result import Finding

_NAME = "inv db.snapshot-test: queries"
_EXECUTING_SECONDS = 10.0  # for all queries at the beginning; those that are left are explained only


@dataclass(slots=True, kw_only=True)
class _Held:
    """A query under watch: as it is prepared now, and the plan that later ones are compared with."""

    query: Query
    prepared: Prepared
    plan: Plan
    executed: bool


@contextmanager
def watched(url: str, queries: Sequence[Query]) -> Iterator[Watch]:
    """Prepare, explain, and where that is harmless execute queries in the clone at `url`, before it is migrated.

    The session stays open, idle and without a transaction: no migration waits for it. Raises DatabaseUnreachable.
    """
    with database.session(make_conninfo(url, application_name=_NAME)) as session:
        yield Watch(Desk(session.connection), queries)


class Watch:
    """Looks at queries again and again.

    `left_out` are those that the server refused before anything was migrated, and why: no migration broke them.
    `findings` are what `following` found. `lost` is why nothing is looked at any more, "" while it is.
    """

    def __init__(self, desk: Desk, queries: Sequence[Query]) -> None:
        self._desk = desk
        self._executes_until = time.monotonic() + _EXECUTING_SECONDS
        self.lost = ""
        self.findings: list[Finding] = []
        self.left_out: list[tuple[Query, Refusal]] = []
        self._held: list[_Held] = []
        for one in queries:
            try:
                self._held.append(self._begun(one))
            except psycopg.Error as error:
                self.left_out.append((one, refusal(error)))

    @property
    def watched(self) -> int:
        """How many queries still run."""
        return len(self._held)

    def look(self) -> tuple[Change, ...]:
        """What changed since the last look. A broken query is told once, and not looked at again."""
        changes: list[Change] = []
        for one in tuple(self._held):
            try:
                changes += self._compared(one)
            except psycopg.Error as error:
                if self._desk.lost:
                    self.lost = " ".join(str(error).split())
                    self._held.clear()
                    break
                changes.append(Broken(query=one.query, refusal=refusal(error)))
                self._held.remove(one)
        return tuple(changes)

    def following(self, observer: Observer) -> Observer:
        """An observer of a run, for kernel.migrate, that tells `observer` too and looks after each migration."""

        def told(event: Event) -> None:
            observer(event)
            if isinstance(event, Applied):
                one = event.migration
                found = (finding(change, version=one.version, filename=one.filename) for change in self.look())
                self.findings.extend(found)

        return told

    def _begun(self, query: Query) -> _Held:
        prepared = self._desk.prepare(query)
        harmless = not prepared.parameters and its_query.only_reads(query.text)
        if harmless and time.monotonic() < self._executes_until:
            try:
                plan = self._desk.explain(prepared, executed=True)
            except psycopg.Error:  # it takes too long, or writes by a function: it is explained only
                pass
            else:
                return _Held(query=query, prepared=prepared, plan=plan, executed=True)
        plan = self._desk.explain(prepared, executed=False)
        return _Held(query=query, prepared=prepared, plan=plan, executed=False)

    def _compared(self, one: _Held) -> Iterator[Change]:
        """The changes of a query. Raises psycopg.Error when a session that has just connected cannot run it.

        One that still runs where it was prepared may be such a query: the server looks at its text only once.
        """
        before, stale, plan = one.prepared, None, None
        try:
            plan = self._explained(one)
        except psycopg.Error as error:
            if self._desk.lost:
                raise
            stale = refusal(error)
        one.prepared = self._desk.prepare(one.query)
        plan = plan or self._explained(one)
        self._desk.forget(before)
        if stale:
            yield Stale(query=one.query, refusal=stale, before=before.columns, after=one.prepared.columns)
        if dearer(one.plan, plan):
            yield Dearer(query=one.query, before=one.plan, after=plan)
            one.plan = plan

    def _explained(self, one: _Held) -> Plan:
        if one.executed:
            try:
                return self._desk.explain(one.prepared, executed=True)
            except psycopg.errors.QueryCanceled:  # it takes too long now: its plan tells by how much
                one.executed = False
        return self._desk.explain(one.prepared, executed=False)
