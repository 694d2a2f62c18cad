"""ANALYZE, table by table: what the planner knows of production, it is to know of the copy."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from psycopg import sql

from kernel.db.connection import open_session
from kernel.rehearsal.dump.identify import RestoreOutcome
from kernel.rehearsal.dump.plain.classify import StatementKind
from kernel.rehearsal.dump.plain.constraints import add_foreign_keys, build_indexes
from kernel.rehearsal.dump.plain.contents import DumpStatement, RowBlock
from kernel.rehearsal.dump.plain.load_order import StepMode, plan_load
from kernel.rehearsal.dump.plain.load_state import LoadState
from kernel.rehearsal.dump.plain.rows import TargetTable, load_table, load_tables
from kernel.rehearsal.dump.plain.workers import LoadJob, open_load_connection
from kernel.rehearsal.dump.roles import acquire_loading_role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.rehearsal.dump.identify import ProgressCallback
    from kernel.rehearsal.dump.plain.contents import DumpIndex
    from kernel.rehearsal.dump.plain.load_order import LoadPlan, LoadStep
    from kernel.rehearsal.dump.plain.workers import LoadConnection


# A partitioned table brings its partitions along. What belongs to somebody else is an extension's.
_ANALYZED_TABLES = """
SELECT quote_ident(nspname) || '.' || quote_ident(relname), pg_relation_size(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind = ANY(%s::"char"[]) AND NOT relispartition AND relpersistence <> 't'
  AND nspname <> 'information_schema' AND nspname NOT LIKE 'pg\\_%%' AND pg_has_role(relowner, 'USAGE')
"""
_TABLE_KINDS, _VIEW_KINDS = "rp", "m"


class AnalyzeJobs:
    """Which tables are analyzed already."""

    def __init__(self) -> None:
        self._done: set[str] = set()

    def for_tables(self, hand: LoadConnection) -> Sequence[LoadJob]:
        """Jobs for the tables as they are now, which go beside others: they lock as names in the dump would."""
        return self._jobs(hand, _TABLE_KINDS)

    def for_remaining(self, hand: LoadConnection) -> Sequence[LoadJob]:
        """Jobs for every table that has none yet, materialized views included."""
        return self._jobs(hand, _TABLE_KINDS + _VIEW_KINDS)

    def _jobs(self, hand: LoadConnection, kinds: str) -> Sequence[LoadJob]:
        found = hand.connection.execute(_ANALYZED_TABLES, (list(kinds),)).fetchall()
        return [self._job(name, size_bytes) for name, size_bytes in found if name not in self._done]

    def _job(self, table: str, size_bytes: int) -> LoadJob:
        def run(one: LoadConnection) -> None:
            # As the table's owner, so that the worst it meets is a missing statistic. An index's expressions are
            # evaluated, and may call what is still to be made: then it is tried once more at the end.
            if one.run(f"ANALYZE {table}".encode()) is None:
                self._done.add(table)

        return LoadJob(cost=size_bytes, run=run, exclusive=frozenset({table.encode()}))


# Load a plain dump: its schema in order, rows and indexes and keys side by side, and say what did not come along.


def load_plain_dump(
    index: DumpIndex, url: str, *, jobs: int = 2, schema_only: bool = False, progress: ProgressCallback | None = None
) -> RestoreOutcome:
    """Load the dump into the database at `url`, over `jobs` connections, and ANALYZE it.

    What the server refuses is skipped and told, as psql would go on. Raises DatabaseUnreachable, RestoreFailed when
    the server cannot go on, DatabaseRefused (see role). The database is to be fresh: nothing in it is dropped.
    """
    begun = time.monotonic()
    plan = plan_load(index.items, schema_only=schema_only)
    with open_session(url) as session:
        with acquire_loading_role(session) as loading, ExitStack() as stack:
            hands = [
                stack.enter_context(open_load_connection(loading.url, index.settings)) for _ in range(max(1, jobs))
            ]
            site = LoadState(index, loading, session, hands, progress)
            _run_plan(site, plan)
        # The role is gone; nothing of ours may run DDL from here on.
        for statement in plan.event_triggers:
            site.run_as_assistant(statement)
    return RestoreOutcome(
        read_bytes=index.text.size_bytes,
        seconds=time.monotonic() - begun,
        harmless=site.losses.harmless,
        lost=site.losses.lost,
    )


def _run_plan(site: LoadState, plan: LoadPlan) -> None:
    for item in site.index.items:
        if isinstance(item, DumpStatement) and item.kind is StatementKind.REMOTE:
            site.losses.add_left_out(item)
    _create_extensions(site, plan.first)
    statistics = AnalyzeJobs()
    for stretch in plan.steps:
        _run_step(site, stretch, statistics)
    if not site.main.idle:
        site.main.run(b"ROLLBACK")
        site.losses.add_open_transaction()
    site.report_progress("statistics")
    site.workers.run_jobs(statistics.for_remaining(site.main))
    site.report_progress("owners and privileges")
    for statement in (*site.deferred, *plan.privileges):
        site.run_as_assistant(statement)


def _create_extensions(site: LoadState, statements: Sequence[DumpStatement]) -> None:
    for statement in statements:
        if statement.kind is StatementKind.EXTENSION:
            site.run_as_assistant(statement)
        else:
            site.run(site.main, statement)
    if site.loading.has_superuser:
        # What a superuser made, nobody else may use; the role's end takes it away again.
        superuser = site.assistant.connection
        for (name,) in superuser.execute("SELECT fdwname::text FROM pg_foreign_data_wrapper").fetchall():
            superuser.execute(
                sql.SQL("GRANT USAGE ON FOREIGN DATA WRAPPER {} TO {}").format(
                    sql.Identifier(name), sql.Identifier(site.loading.name)
                )
            )


def _run_step(site: LoadState, stretch: LoadStep, statistics: AnalyzeJobs) -> None:
    statements = [item for item in stretch.items if isinstance(item, DumpStatement)]
    if not site.main.idle or stretch.mode is StepMode.IN_ORDER:
        # In a transaction of the dump's own, no other connection would see what it made so far.
        for item in stretch.items:
            if isinstance(item, RowBlock):
                load_table(site, site.main, [item], TargetTable())
            else:
                site.run(site.main, item)
    elif stretch.mode is StepMode.ROWS:
        load_tables(site, [item for item in stretch.items if isinstance(item, RowBlock)])
    elif stretch.mode is StepMode.INDEXES:
        site.report_progress("indexes")
        build_indexes(site, statements)
    else:
        site.report_progress("foreign keys")
        add_foreign_keys(site, statements, besides=statistics.for_tables(site.main) if stretch.data_complete else ())
    for statement in stretch.after:
        site.run(site.main, statement)
