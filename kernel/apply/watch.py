"""A second connection that looks at the first: who blocks it, how far its index build is.

It is opened only when a statement takes long, and its absence harms nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import psycopg

from kernel import database
from kernel.errors import KernelError
from kernel.sql import secret

if TYPE_CHECKING:
    from types import TracebackType

    from kernel.database import Connection, Session

_BLOCKERS = """
SELECT format('pid %%s (%%s, %%s for %%s): %%s', pid, coalesce(nullif(application_name, ''), backend_type), state,
  justify_interval(date_trunc('second', clock_timestamp() - coalesce(state_change, backend_start))),
  left(regexp_replace(query, '\\s+', ' ', 'g'), 120))
FROM pg_stat_activity WHERE pid = ANY(pg_blocking_pids(%s)) ORDER BY xact_start
"""
_INDEX_BUILD = """
SELECT format('%%s: %%s%%s', coalesce(index_relid::regclass::text, relid::regclass::text), phase,
  CASE WHEN blocks_total > 0 THEN format(' %%s %%%%', 100 * blocks_done / blocks_total) END)
FROM pg_stat_progress_create_index WHERE pid = %s
"""


_NAME = "SELECT application_name FROM pg_stat_activity WHERE pid = %s"


class Watch:
    """Looks at the backend of a session. Blockers seen last are kept, for the message when the wait was in vain."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._connection: Connection | None = None
        self.blockers: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection:
            self._connection.close()

    def forget(self) -> None:
        """Forget who blocked what ran before."""
        self.blockers = ()

    def look(self) -> tuple[str, ...]:
        """Who blocks the session now, a line each; () when nobody does, or nobody can tell."""
        found = self._lines(_BLOCKERS)
        self.blockers = found or self.blockers
        return found

    def index_build(self) -> str:
        """How far the session's index build is; "" when it builds none."""
        return next(iter(self._lines(_INDEX_BUILD)), "")

    def application_name(self) -> str:
        """What the session calls itself now; "" when nobody can tell."""
        return next(iter(self._lines(_NAME)), "")

    def _lines(self, query: str) -> tuple[str, ...]:
        if self._session.pooled:
            return ()
        try:
            if self._connection is None:
                self._connection = database.connect(self._session.url)
            rows = self._connection.execute(query.encode(), (self._session.connection.info.backend_pid,)).fetchall()
        except (psycopg.Error, KernelError):
            return ()
        return tuple(secret.masked(str(row[0])) for row in rows)  # the beginning of somebody's query is among it
