"""The golden copy and the clone, read at the same time: two sessions, the cores shared between them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from kernel import database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import sql

    from kernel.database import Connection

Row = tuple[Any, ...]
# Nothing of the copied schema stands in for a function of PostgreSQL, row security hides nothing, and workers begin
# even for a small table. JIT compiles longer than most of these queries run. A range of blocks is found as one.
_SETTINGS = """
SELECT set_config(name, value, false) FROM (VALUES ('search_path', ''), ('row_security', 'off'), ('jit', 'off'),
  ('statement_timeout', '0'), ('lock_timeout', '0'), ('idle_in_transaction_session_timeout', '0'),
  ('enable_tidscan', 'on'), ('parallel_setup_cost', '0'), ('parallel_tuple_cost', '0.001'), ('work_mem', '128MB'),
  ('max_parallel_workers_per_gather', %s::text), ('default_transaction_read_only', %s::text)) AS own (name, value)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """A session in each database; `path` are the schemas that bare names are looked up in, but for here."""

    golden: Connection
    clone: Connection
    pool: ThreadPoolExecutor
    path: tuple[str, ...]

    def both(self, golden: sql.Composed, clone: sql.Composed) -> tuple[list[Row], list[Row]]:
        """The rows of two queries that run side by side. Raises psycopg.Error of the golden one first."""
        waiting = self.pool.submit(rows, self.golden, golden)
        try:
            found = rows(self.clone, clone)
        except BaseException:
            # The session is to be closed: nothing may run on in it, and nobody asks any more what came of it.
            self.golden.cancel_safe()
            if (failure := waiting.exception()) is not None and not isinstance(failure, psycopg.errors.QueryCanceled):
                raise failure from None
            raise
        return waiting.result(), found


def rows(connection: Connection, query: sql.Composed) -> list[Row]:
    """All rows of a query. Raises psycopg.Error."""
    return connection.execute(query).fetchall()


@contextmanager
def opened(golden: str, clone: str, *, jobs: int) -> Iterator[Sides]:
    """Sessions in both databases, of which the golden one only reads; `jobs` server processes in all work for them.

    Raises DatabaseUnreachable, SettingsError, and DatabaseRefused for what the server refuses inside the block.
    """
    workers = max(0, jobs // 2 - 1)  # a session is a process itself
    with database.session(golden) as one, database.session(clone) as other, ThreadPoolExecutor(1) as pool:
        (path,) = one.connection.execute("SELECT current_schemas(false)::text[]").fetchall()
        for session, read_only in ((one, "on"), (other, "off")):
            database.settled(session, statement_timeout_ms=0)  # killed, we leave no query behind on TEST_DB's server
            session.connection.execute(_SETTINGS, (str(workers), read_only))
        yield Sides(golden=one.connection, clone=other.connection, pool=pool, path=tuple(path[0]))
