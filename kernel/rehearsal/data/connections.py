"""Sessions in the template database and in the clone, which read at the same time; and arrays copied between them."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from kernel.db.connection import open_session, with_runner_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.db.connection import Connection


Row = tuple[Any, ...]
# With an empty search_path no copied object shadows a function of PostgreSQL. Row security hides no row, parallel
# workers start even for a small table, a range of blocks uses a TID range scan. JIT takes longer than most queries.
_SETTINGS = """
SELECT set_config(name, value, false) FROM (VALUES ('search_path', ''), ('row_security', 'off'), ('jit', 'off'),
  ('statement_timeout', '0'), ('lock_timeout', '0'), ('idle_in_transaction_session_timeout', '0'),
  ('enable_tidscan', 'on'), ('parallel_setup_cost', '0'), ('parallel_tuple_cost', '0.001'), ('work_mem', '128MB'),
  ('max_parallel_workers_per_gather', %s::text), ('default_transaction_read_only', %s::text)) AS own (name, value)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionPair:
    """A session in each database; `search_path` are the schemas that the database's own sessions search."""

    template: Connection
    clone: Connection
    pool: ThreadPoolExecutor
    search_path: tuple[str, ...]

    def query_both(self, template: sql.Composed, clone: sql.Composed) -> tuple[list[Row], list[Row]]:
        """The rows of two queries that run at the same time. Raises psycopg.Error, the template's first."""
        waiting = self.pool.submit(fetch_rows, self.template, template)
        try:
            found = fetch_rows(self.clone, clone)
        except BaseException:
            # The session will be closed: its query must not go on, and its result is not needed.
            self.template.cancel_safe()
            if (failure := waiting.exception()) is not None and not isinstance(failure, psycopg.errors.QueryCanceled):
                raise failure from None
            raise
        return waiting.result(), found


def comma_list(items: Iterable[sql.Composable]) -> sql.Composed:
    """The items with commas between them."""
    return sql.SQL(", ").join(items)


def fetch_rows(connection: Connection, query: sql.SQL | sql.Composed) -> list[Row]:
    """All rows of a query. Raises psycopg.Error."""
    return connection.execute(query).fetchall()


@contextmanager
def open_connection_pair(template: str, clone: str, *, jobs: int) -> Iterator[ConnectionPair]:
    """Sessions in both databases, the template's read-only; `jobs` server processes in total work for them.

    Raises DatabaseUnreachable, SettingsError, and DatabaseRefused for what the server refuses inside the block.
    """
    workers = max(0, jobs // 2 - 1)  # a session is a process itself
    with open_session(template) as one, open_session(clone) as other, ThreadPoolExecutor(1) as pool:
        (path,) = one.connection.execute("SELECT current_schemas(false)::text[]").fetchall()
        for session, read_only in ((one, "on"), (other, "off")):
            # With these settings the server cancels the query of a killed process.
            with_runner_settings(session, statement_timeout_ms=0)
            session.connection.execute(_SETTINGS, (str(workers), read_only))
        yield ConnectionPair(template=one.connection, clone=other.connection, pool=pool, search_path=tuple(path[0]))


# A backend reports its counts of written rows at most once a second, and for the last time when it ends, a moment after
# its client disconnected. It leaves pg_stat_activity after that: with no other client there, the counts are complete.
# Source: PostgreSQL documentation, "The Cumulative Statistics System".
_OTHER_CLIENTS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_STATISTICS_TIMEOUT_SECONDS = 5.0
_STATISTICS_POLL_SECONDS = 0.01
# Before, a separate process collected the counts, and readers got those of half a second ago.
_SHARED_STATISTICS_VERSION = 150000
_STATISTICS_COLLECTOR_SECONDS = 0.6


def wait_for_statistics(connection: Connection) -> bool:
    """Wait until the rows that other sessions wrote are counted; False when another session stays connected."""
    deadline = time.monotonic() + _STATISTICS_TIMEOUT_SECONDS
    while connection.execute(_OTHER_CLIENTS.encode()).fetchall() != [(0,)]:
        if time.monotonic() > deadline:
            return False
        time.sleep(_STATISTICS_POLL_SECONDS)
    if connection.info.server_version < _SHARED_STATISTICS_VERSION:
        time.sleep(_STATISTICS_COLLECTOR_SECONDS)
    return True


# Rows of bigints are copied from one database into a temporary table of another as arrays: a message for each row would
# cost the client more than the server. The template's session reads its table in batches of blocks and makes an array
# of each column; the clone's unnests them. No process holds more than a batch in memory.
# A batch is some ten thousand rows: an array stays below a megabyte; reading it takes far longer than a round trip.
_BATCH_BLOCKS = 128
# Older servers have no TID range scan, and other access methods than heap may have no blocks.
_TID_RANGE_SCAN_VERSION = 140000
_IS_HEAP = "SELECT amname = 'heap' FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE c.oid = {}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayTable:
    """A temporary table of the connection that made it, of arrays under the names of `columns`."""

    table: sql.Identifier
    columns: tuple[sql.Identifier, ...]

    def create(self, connection: Connection) -> None:
        """Create the table, without compression: hashes do not compress."""
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(self.table))
        connection.execute(
            sql.SQL("CREATE TEMP TABLE {} ({})").format(
                self.table, comma_list(sql.SQL("{} bigint[]").format(column) for column in self.columns)
            )
        )
        connection.execute(
            sql.SQL("ALTER TABLE {} {}").format(
                self.table,
                comma_list(sql.SQL("ALTER {} SET STORAGE EXTERNAL").format(column) for column in self.columns),
            )
        )

    @property
    def unnest_query(self) -> sql.Composed:
        """A query of the rows that the arrays hold."""
        columns = comma_list(sql.SQL("unnest({0}) AS {0}").format(column) for column in self.columns)
        return sql.SQL("SELECT {} FROM {}").format(columns, self.table)


def copy_arrays(origin: Connection, target: Connection, batches: ArrayTable, query: sql.Composed) -> None:
    """Copy the rows of a query of bigint arrays into the table."""
    read = sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(query)
    write = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(batches.table)
    with origin.cursor().copy(read) as source, target.cursor().copy(write) as sink:
        for block in source:
            sink.write(block)


def array_query(
    connection: Connection,
    leaf: tuple[int, sql.Composed],
    columns: list[sql.Composable],
    *,
    only: sql.Composed,
) -> sql.Composed:
    """A query of the rows of a leaf (RowSource) for which `only` holds, an array for each column."""
    oid, leaf_rows = leaf
    integers = [sql.SQL("({})::bigint").format(one) for one in columns]
    if connection.info.server_version < _TID_RANGE_SCAN_VERSION or fetch_rows(
        connection, sql.SQL(_IS_HEAP).format(oid)
    ) != [(True,)]:
        each = comma_list(sql.SQL("ARRAY[{}]").format(one) for one in integers)
        return sql.SQL("SELECT {} FROM {} WHERE {}").format(each, leaf_rows, only)
    return sql.SQL(
        "SELECT batch.* FROM generate_series(0, pg_relation_size({oid}) / current_setting('block_size')::bigint,"
        " {blocks}) AS block (first), LATERAL (SELECT {arrays} FROM {rows} WHERE {only}"
        " AND r.ctid >= format('(%s,0)', block.first)::tid"
        " AND r.ctid < format('(%s,0)', block.first + {blocks})::tid) AS batch"
    ).format(
        oid=oid,
        blocks=_BATCH_BLOCKS,
        arrays=comma_list(
            sql.SQL("array_agg({}) AS {}").format(one, sql.Identifier(f"a{at}")) for at, one in enumerate(integers)
        ),
        rows=leaf_rows,
        only=only,
    )
