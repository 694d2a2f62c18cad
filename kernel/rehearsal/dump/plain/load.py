"""Load a plain dump: its schema in order, rows, indexes and foreign keys over several connections, then ANALYZE.

What the server refuses is skipped and reported, as psql goes on after an error.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from kernel.db.connection import open_session
from kernel.rehearsal.dump.common.model import RestoreOutcome
from kernel.rehearsal.dump.common.roles import acquire_loading_role, grant_foreign_data_wrappers
from kernel.rehearsal.dump.plain.classify import StatementKind, classify_statement
from kernel.rehearsal.dump.plain.contents import DumpStatement, RowBlock
from kernel.rehearsal.dump.plain.load_order import StepMode, plan_load
from kernel.rehearsal.dump.plain.load_state import LoadState
from kernel.rehearsal.dump.plain.rows import TargetTable, load_table, load_tables
from kernel.rehearsal.dump.plain.workers import LoadJob, open_load_connection
from kernel.schema.queries_tables import SERVER_OPTIONS
from kernel.units import format_quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.rehearsal.dump.common.model import DumpContents, ProgressCallback
    from kernel.rehearsal.dump.plain.contents import DumpIndex
    from kernel.rehearsal.dump.plain.load_order import LoadPlan, LoadStep
    from kernel.rehearsal.dump.plain.workers import LoadConnection


# ANALYZE of a partitioned table includes its partitions. A table of another owner belongs to an extension.
_ANALYZED_TABLES = """
SELECT quote_ident(nspname) || '.' || quote_ident(relname), pg_relation_size(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p', 'm') AND NOT relispartition AND relpersistence <> 't'
  AND nspname <> 'information_schema' AND nspname NOT LIKE 'pg\\_%' AND pg_has_role(relowner, 'USAGE')
"""


def load_plain_dump(
    index: DumpIndex, url: str, *, jobs: int = 2, schema_only: bool = False, progress: ProgressCallback | None = None
) -> RestoreOutcome:
    """Load the dump into the database at `url`, over `jobs` connections, and ANALYZE it.

    The database must be new: nothing in it is dropped. Raises DatabaseUnreachable, DatabaseRefused (see common.roles),
    and RestoreFailed when the server cannot go on.
    """
    plan = plan_load(index.items, schema_only=schema_only, ledger=index.ledger)
    with open_session(url) as session:
        with acquire_loading_role(session) as loading, ExitStack() as stack:
            connections = [
                stack.enter_context(open_load_connection(loading.url, index.settings)) for _ in range(max(1, jobs))
            ]
            state = LoadState(index, loading, session, connections, progress)
            _run_plan(state, plan)
        # Last, without the role: dropping it is DDL, which would fire them.
        for statement in plan.event_triggers:
            state.run_as_assistant(statement)
    return RestoreOutcome(harmless=tuple(state.losses.harmless), lost=state.losses.lost)


def _run_plan(state: LoadState, plan: LoadPlan) -> None:
    state.losses.harmless.update(dict.fromkeys(state.index.describe_left_out()))
    if columns := state.index.server_option_count:
        state.losses.harmless[_describe_server_options(columns, state.index.contents)] = None
    _create_extensions(state, plan.first)
    for step in plan.steps:
        _run_step(state, step)
    if not state.main.idle:
        state.main.run(b"ROLLBACK")
        state.losses.add_open_transaction()
    state.report_progress("statistics")
    tables = state.main.connection.execute(_ANALYZED_TABLES).fetchall()
    # As the table's owner: expressions of indexes are evaluated. At worst a statistic is missing.
    state.workers.run_jobs([LoadJob(cost=size_bytes, run=partial(_analyze, table=name)) for name, size_bytes in tables])
    state.report_progress("owners and privileges")
    for statement in (*state.deferred, *plan.privileges):
        state.run_as_assistant(statement)


def _describe_server_options(columns: int, contents: DumpContents) -> str:
    """The sentence about options that were left out, and why the dump has them."""
    client, server = contents.client_version or "its pg_dump", contents.server_version or "its server"
    return (
        f"{' and '.join(SERVER_OPTIONS)} of {format_quantity(columns, 'column')}: left out, as only a server sets it; "
        f"pg_dump {client} wrote it, which is older than the server's release ({server})"
    )


def _create_extensions(state: LoadState, statements: Sequence[DumpStatement]) -> None:
    for statement in statements:
        if statement.kind is StatementKind.EXTENSION:
            state.run_as_assistant(statement)
        else:
            state.run(state.main, statement)
    if state.loading.has_superuser:
        grant_foreign_data_wrappers(state.assistant.connection, state.loading.name)


def _run_step(state: LoadState, step: LoadStep) -> None:
    if not state.main.idle or step.mode is StepMode.IN_ORDER:
        # Other connections do not see what a transaction of the dump has made so far.
        for item in step.items:
            if isinstance(item, RowBlock):
                load_table(state, state.main, [item], TargetTable())
            else:
                state.run(state.main, item)
    elif step.mode is StepMode.ROWS:
        load_tables(state, [item for item in step.items if isinstance(item, RowBlock)])
    else:
        state.report_progress("indexes" if step.mode is StepMode.INDEXES else "foreign keys")
        _run_side_by_side(state, [item for item in step.items if isinstance(item, DumpStatement)])
    for statement in step.after:
        state.run(state.main, statement)


def _run_side_by_side(state: LoadState, statements: Sequence[DumpStatement]) -> None:
    """Build indexes or add foreign keys over all connections, as far as their locks allow; after a deadlock again."""
    deadlocked: list[DumpStatement] = []
    state.workers.run_jobs([_statement_job(state, statement, deadlocked) for statement in statements])
    for statement in deadlocked:
        state.run(state.main, statement)


def _statement_job(state: LoadState, statement: DumpStatement, deadlocked: list[DumpStatement]) -> LoadJob:
    _kind, match = classify_statement(state.index.sql(statement))
    groups = match.groupdict() if match else {}
    shared = {groups["table"]} if groups.get("table") else set()
    exclusive = {groups[name] for name in ("exclusive", "other") if groups.get(name)}
    return LoadJob(
        cost=sum(state.table_bytes[table] for table in shared | exclusive),
        run=lambda connection: state.run(connection, statement, deadlocked),
        shared=frozenset(shared),
        exclusive=frozenset(exclusive),
    )


def _analyze(connection: LoadConnection, table: str) -> None:
    connection.run(f"ANALYZE {table}".encode())
