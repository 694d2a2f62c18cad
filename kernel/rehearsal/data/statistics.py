"""Whether the server's counts of written rows can be relied on yet.

A backend adds up what it wrote at most once a second, and for the last time when it ends, which is a moment after its
client has gone. It leaves pg_stat_activity after that, so that nobody there means that nothing is missing.
Source: PostgreSQL documentation, "The Cumulative Statistics System".
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernel.database import Connection

_OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_PATIENCE_SECONDS = 5.0
_PAUSE_SECONDS = 0.01
_SHARED_SINCE = 150000  # before, a process of its own gathered them, and readers took what was half a second old
_COLLECTED_SECONDS = 0.6


def complete(connection: Connection) -> bool:
    """Wait until what others wrote in this database is counted; False when somebody stays connected."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while connection.execute(_OTHERS.encode()).fetchall() != [(0,)]:
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE_SECONDS)
    if connection.info.server_version < _SHARED_SINCE:
        time.sleep(_COLLECTED_SECONDS)
    return True
