"""How far a restore by pg_restore is, read from the server: pg_restore itself does not tell.

Rows arrive by COPY, and the server tells how many bytes each connection's COPY has taken in so far.
Source: PostgreSQL documentation, "COPY Progress Reporting" (since PostgreSQL 14).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kernel.rehearsal.dump.dump import Progress

if TYPE_CHECKING:
    from kernel.database import Connection
    from kernel.rehearsal.dump.dump import Report

_SECONDS = 0.5
_SINCE = 140000
_COPIES = """
SELECT pid, relid, relid::regclass::text, bytes_processed FROM pg_stat_progress_copy
WHERE datname = current_database() AND command = 'COPY FROM'
"""


class Gauge:
    """Tells `report` what `connection` sees; `total_bytes` is what all rows take, as good as it is known."""

    def __init__(self, connection: Connection, total_bytes: int, report: Report | None) -> None:
        self._connection = connection
        self._total_bytes = total_bytes
        self._report = report if connection.info.server_version >= _SINCE else None
        self._copied: dict[tuple[int, int], int] = {}  # by connection and table, those that are done too
        self._read_at = 0.0

    def read(self) -> None:
        """Ask the server and tell, at most twice a second. Raises psycopg.Error."""
        if self._report is None or time.monotonic() < self._read_at + _SECONDS:
            return
        self._read_at = time.monotonic()
        what = "schema, indexes and keys"
        for pid, relation, name, count in self._connection.execute(_COPIES).fetchall():
            self._copied[pid, relation] = max(count, self._copied.get((pid, relation), 0))
            what = name
        self.tell(what)

    def tell(self, what: str) -> None:
        """Tell what comes now."""
        if self._report:
            done = min(sum(self._copied.values()), self._total_bytes)
            self._report(Progress(done_bytes=done, total_bytes=self._total_bytes, what=what))
