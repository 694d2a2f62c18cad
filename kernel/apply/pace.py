"""The pace of a backfill: the size of its batches, and the pauses between them, by what other sessions and standbys do.

After each batch the runner pauses for three times as long as the batch took, or for what `pause=` says: where others
keep the server busy, its batches take longer, and so do its pauses. It goes on once no standby
lags by more than `lag=` allows. Sessions that wait for a batch make the next ones smaller.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psycopg

from kernel.apply.events import BackfillWaiting, BatchesShrunk
from kernel.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.apply.executor import Executor
    from kernel.migrations.backfill import BatchOptions
    from kernel.migrations.migration import Migration


# The sessions that wait for this one, asked before COMMIT lets them go on.
WAITING_SESSIONS = (
    b"SELECT pg_catalog.count(DISTINCT pid) FROM pg_catalog.pg_locks "
    b"WHERE NOT granted AND pg_catalog.pg_backend_pid() = ANY (pg_catalog.pg_blocking_pids(pid))"
)
# NULL without the privilege to see it (pg_monitor), and for a base backup.
_BEHIND = b"""
SELECT coalesce(nullif(application_name, ''), 'unnamed'), pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint
FROM pg_stat_replication WHERE replay_lsn IS NOT NULL ORDER BY 2 DESC LIMIT 1
"""
_LEAST_ROWS = 100
_GROWTH = 1.25
_PAUSE_FACTOR = 3
_STEP_SECONDS = 0.05
_POLL_SECONDS = 0.2


class Pace:
    """`rows` is the size of the next batch: it halves when sessions waited for one, and grows again afterwards."""

    def __init__(self, executor: Executor, migration: Migration, options: BatchOptions) -> None:
        self._executor = executor
        self._migration = migration
        self._options = options
        self._sees_standbys = True
        self.rows = options.rows

    def shrink(self) -> None:
        """Halve the batches, down to a hundred rows."""
        self.rows = max(min(_LEAST_ROWS, self._options.rows), self.rows // 2)

    def adapt(self, waiting_sessions: int) -> None:
        """Take note of how many sessions waited for the end of the batch."""
        if not waiting_sessions:
            self.rows = min(self._options.rows, int(self.rows * _GROWTH) + 1)
            return
        self.shrink()
        shrunk = BatchesShrunk(migration=self._migration, waiting_sessions=waiting_sessions, rows=self.rows)
        self._executor.observer(shrunk)

    def rest(self, batch_seconds: float, *, stopped: Callable[[], object]) -> None:
        """Pause after a batch until it is time for the next one, or until it is `stopped`."""
        if not self._executor.waits.batch_pauses:
            return
        pause_ms = self._options.pause_ms
        until = time.monotonic() + (_PAUSE_FACTOR * batch_seconds if pause_ms is None else pause_ms / 1000)
        while (left := until - time.monotonic()) > 0 and not stopped():
            time.sleep(min(left, _STEP_SECONDS))
        while not stopped() and (standby := self._standby_behind()):
            self._executor.observer(BackfillWaiting(migration=self._migration, standby=standby))
            time.sleep(_POLL_SECONDS)

    def _standby_behind(self) -> str:
        """The standby with the largest replication lag, and the lag; "" when it is allowed."""
        limit, connection = self._options.lag_bytes, self._executor.session.connection
        if limit is None or not self._sees_standbys:
            return ""
        try:
            row = connection.execute(_BEHIND).fetchone()
        except psycopg.DatabaseError:  # services that keep the WAL elsewhere do not have these functions
            if connection.broken:
                raise
            self._sees_standbys = False
            return ""
        if row is None or row[1] <= limit:
            return ""
        return (
            f"the standby {row[0]} ({format_bytes(row[1])} of replication lag, {format_bytes(limit)} allowed; "
            "-- migrate: lag=off does not wait)"
        )
