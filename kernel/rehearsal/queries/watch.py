"""Watch the application's queries, prepared in a session that stays open over the migrations like a pool's sessions.

Sources: PostgreSQL documentation, "PREPARE" and "EXPLAIN"; RevalidateCachedQuery of plancache.c, which refuses a
statement whose result differs from that at its preparation.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq, sql
from psycopg.conninfo import make_conninfo

from kernel.apply.events import MigrationApplied, MigrationStarted
from kernel.db.connection import open_session
from kernel.lint.finding import Severity
from kernel.migrations.phases import Phase
from kernel.rehearsal.queries.changes import (
    QueryError,
    QueryPlan,
    ResultColumn,
    is_plan_regression,
    make_broken_finding,
    make_plan_finding,
    make_stale_finding,
)
from kernel.rehearsal.queries.corpus import only_reads

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.apply.events import Event
    from kernel.db.connection import Connection
    from kernel.lint.finding import Finding
    from kernel.rehearsal.queries.corpus import ApplicationQuery


_APPLICATION_NAME = "inv db.snapshot-test: queries"
_EXECUTION_BUDGET_SECONDS = 10.0  # for all queries before the migrations; the rest is only explained

# No migration may wait for a query for long, nor a query for a migration.
_SESSION_SETTINGS = """
SET plan_cache_mode = force_generic_plan; SET statement_timeout = '2s'; SET lock_timeout = '2s';
SET idle_in_transaction_session_timeout = 0; SET client_min_messages = error
"""
_TYPE_NAMES_QUERY = (
    "SELECT format_type(oid::oid, modifier) FROM unnest(%s::int8[], %s::int4[]) AS types (oid, modifier)"
)
# Messages of these classes quote names and types (feature not supported, invalid schema name, syntax error or access
# rule violation); messages of the others may quote a row.
_SAFE_MESSAGE_SQLSTATE_CLASSES = ("0A", "3F", "42")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedQuery:
    """A prepared statement of the session, and the columns of its result."""

    name: str
    parameter_count: int
    columns: tuple[ResultColumn, ...]


def query_error(error: psycopg.Error) -> QueryError:
    """The error to report, without a message that may quote a row."""
    code = error.sqlstate or "08006"
    name = type(error).__name__
    return QueryError(
        sqlstate=code, message=(code[:2] in _SAFE_MESSAGE_SQLSTATE_CLASSES and error.diag.message_primary) or name
    )


def _raise_on_error(result: pq.abc.PGresult) -> pq.abc.PGresult:
    if result.status == pq.ExecStatus.FATAL_ERROR:
        raise psycopg.errors.error_from_result(result, encoding="utf-8")
    return result


@dataclass(slots=True, kw_only=True)
class _WatchedQuery:
    """A query, its current prepared statement, and the plan that later plans are compared with."""

    query: ApplicationQuery
    prepared: PreparedQuery
    plan: QueryPlan
    executed: bool


@contextmanager
def watch_queries(
    url: str, queries: Sequence[ApplicationQuery], later_queries: Sequence[ApplicationQuery] = ()
) -> Iterator[QueryWatch]:
    """Prepare, explain, and where that is harmless execute queries in the clone at `url` before it is migrated.

    `later_queries` are those of the version that is deployed between the phases.
    The session stays open without a transaction, so that no migration waits for it. Raises DatabaseUnreachable.
    """
    with open_session(make_conninfo(url, application_name=_APPLICATION_NAME)) as session:
        yield QueryWatch(session.connection, queries, later_queries)


class QueryWatch:
    """Checks queries after each migration, in a session that writes nothing.

    Before the first file of phase `after`, or at the end, the later version of the application takes the place of the
    running one: from there on `later_queries` are checked. Without any, the queries are checked to the end.
    `refused` are those that failed before any migration, with the error. `findings` collects the findings of `observe`.
    `stop_reason` is why the queries are no longer checked, or "".
    """

    def __init__(
        self,
        connection: Connection,
        queries: Sequence[ApplicationQuery],
        later_queries: Sequence[ApplicationQuery] = (),
    ) -> None:
        self._later_queries = tuple(later_queries)
        self._is_later_version = False
        self._connection = connection
        self._type_names: dict[tuple[int, int], str] = {}
        self._count = 0
        connection.execute(_SESSION_SETTINGS)
        self._executes_until = time.monotonic() + _EXECUTION_BUDGET_SECONDS
        self.stop_reason = ""
        self.findings: list[Finding] = []
        self.refused: list[tuple[ApplicationQuery, QueryError]] = []
        self._watched_queries: list[_WatchedQuery] = []
        for one in queries:
            try:
                self._watched_queries.append(self._start_watching(one))
            except psycopg.Error as error:
                self.refused.append((one, query_error(error)))

    def find_changes(self) -> tuple[Finding, ...]:
        """The findings since the last call. A broken query is reported once, and not checked again."""
        changes: list[Finding] = []
        for one in tuple(self._watched_queries):
            try:
                changes += self._compare(one)
            except psycopg.Error as error:
                if self._connection.broken:
                    self.stop_reason = " ".join(str(error).split())
                    self._watched_queries.clear()
                    break
                changes.append(self._broken_finding(one.query, error))
                self._watched_queries.remove(one)
        return tuple(changes)

    def begin_later_version(self) -> None:
        """Check the queries of the later version in place of those of the running one, which have all been checked."""
        if self._is_later_version or self.stop_reason:
            return
        self._is_later_version = True
        if not self._later_queries:
            return
        self._watched_queries.clear()
        for one in self._later_queries:
            try:
                self._watched_queries.append(self._start_watching(one))
            except psycopg.Error as error:
                if self._connection.broken:
                    self.stop_reason = " ".join(str(error).split())
                    return
                self.findings.append(make_broken_finding(one, query_error(error), place="between the phases"))

    def _broken_finding(self, query: ApplicationQuery, error: psycopg.Error) -> Finding:
        """An error; a warning in phase `after` if only the former version may send the query."""
        is_former = self._is_later_version and not self._later_queries
        return make_broken_finding(
            query, query_error(error), severity=Severity.WARNING if is_former else Severity.ERROR
        )

    def observe(self, event: Event) -> None:
        """Observe the run of the migrations: check the queries after each migration, and collect the findings."""
        if isinstance(event, MigrationStarted) and event.migration.phase is Phase.AFTER:
            self.begin_later_version()
        if isinstance(event, MigrationApplied):
            migration = event.migration
            self.findings += [
                replace(one, version=migration.version, filename=migration.filename) for one in self.find_changes()
            ]

    def _start_watching(self, query: ApplicationQuery) -> _WatchedQuery:
        prepared = self._prepare(query)
        harmless = not prepared.parameter_count and only_reads(query.text)
        if harmless and time.monotonic() < self._executes_until:
            try:
                plan = self._explain_prepared(prepared, executed=True)
            except psycopg.Error:  # it takes too long, or a function writes: only explain it
                pass
            else:
                return _WatchedQuery(query=query, prepared=prepared, plan=plan, executed=True)
        plan = self._explain_prepared(prepared, executed=False)
        return _WatchedQuery(query=query, prepared=prepared, plan=plan, executed=False)

    def _compare(self, one: _WatchedQuery) -> Iterator[Finding]:
        """The findings about a query. Raises psycopg.Error when a new session cannot run it.

        It is prepared again even if the prepared statement still runs, since the server parses a text only once.
        """
        before, stale, plan = one.prepared, None, None
        try:
            plan = self._explain(one)
        except psycopg.Error as error:
            if self._connection.broken:
                raise
            stale = query_error(error)
        one.prepared = self._prepare(one.query)
        plan = plan or self._explain(one)
        self._connection.execute(sql.SQL("DEALLOCATE {}").format(sql.Identifier(before.name)))
        if stale:
            yield make_stale_finding(one.query, stale, before.columns, one.prepared.columns)
        if is_plan_regression(one.plan, plan):
            yield make_plan_finding(one.query, one.plan, plan)
            one.plan = plan

    def _explain(self, one: _WatchedQuery) -> QueryPlan:
        if one.executed:
            try:
                return self._explain_prepared(one.prepared, executed=True)
            except psycopg.errors.QueryCanceled:  # it takes too long now: its plan shows the cost
                one.executed = False
        return self._explain_prepared(one.prepared, executed=False)

    def _prepare(self, query: ApplicationQuery) -> PreparedQuery:
        """Prepare a query; the server infers the types of its parameters. Raises psycopg.Error."""
        self._count += 1
        name = f"rehearsed_{self._count}"
        pgconn = self._connection.pgconn
        _raise_on_error(pgconn.prepare(name.encode(), query.text.encode()))
        described = _raise_on_error(pgconn.describe_prepared(name.encode()))
        fields = [
            ((described.fname(at) or b"").decode(), (described.ftype(at), described.fmod(at)))
            for at in range(described.nfields)
        ]
        self._load_type_names({type_key for _, type_key in fields})
        columns = tuple(ResultColumn(name=column, type=self._type_names[type_key]) for column, type_key in fields)
        return PreparedQuery(name=name, parameter_count=described.nparams, columns=columns)

    def _explain_prepared(self, prepared: PreparedQuery, *, executed: bool) -> QueryPlan:
        """The plan of a prepared statement, which `executed` also runs. Raises psycopg.Error."""
        nulls = ", ".join(["NULL"] * prepared.parameter_count)
        statement = sql.SQL("EXECUTE {}{}").format(
            sql.Identifier(prepared.name), sql.SQL(f"({nulls})" if nulls else "")
        )
        with self._read_only_transaction():
            ((plans,),) = self._connection.execute(sql.SQL("EXPLAIN (FORMAT json) ") + statement).fetchall()
            options = sql.SQL("EXPLAIN (ANALYZE, TIMING off, SUMMARY off) " if executed else "EXPLAIN ")
            lines = self._connection.execute(options + statement).fetchall()
        # With a rewrite rule, a query may have several plans, or none.
        cost = sum(one["Plan"]["Total Cost"] for one in plans if "Plan" in one)
        return QueryPlan(cost=cost, text="\n".join(line for (line,) in lines))

    @contextmanager
    def _read_only_transaction(self) -> Iterator[None]:
        """A READ ONLY transaction that is rolled back."""
        self._connection.execute("BEGIN READ ONLY")
        try:
            yield
        finally:
            if not self._connection.broken:
                self._connection.execute("ROLLBACK")

    def _load_type_names(self, types: set[tuple[int, int]]) -> None:
        """Read the names of types by OID and modifier, while the types exist."""
        unknown = sorted(types - self._type_names.keys())
        if unknown:
            rows = self._connection.execute(
                _TYPE_NAMES_QUERY,
                ([oid for oid, _ in unknown], [modifier for _, modifier in unknown]),
            ).fetchall()
            self._type_names |= dict(zip(unknown, (name for (name,) in rows), strict=True))
