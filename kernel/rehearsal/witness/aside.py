"""What is asked beside the migration, from another database of its server: sizes, and the log of changes (WAL).

The log has every ACCESS EXCLUSIVE lock, for standbys have to take them too: those of subtransactions that were rolled
back among them, and of moments too short for a look. Source: PostgreSQL's source, LogAccessExclusiveLock;
documentation, "pg_walinspect". It takes PostgreSQL 15, the extension, and wal_level=replica.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psycopg

from kernel.rehearsal.witness.sight import POSITION

if TYPE_CHECKING:
    from kernel.database import Connection

_LOCK = re.compile(r"xid [0-9]+ db ([0-9]+) rel ([0-9]+)")
_LOCKED = """
SELECT pg_wal_lsn_diff(start_lsn, '0/0')::bigint, description
FROM pg_get_wal_records_info('0/0'::pg_lsn + %s::numeric, '0/0'::pg_lsn + %s::numeric)
WHERE resource_manager = 'Standby' AND record_type = 'LOCK'
"""
# A commit that waits for the disk takes along all that was written before it; what is not on disk cannot be read.
_FLUSH = "SELECT pg_logical_emit_message(true, 'rehearsal', '')"


class Aside:
    """A connection that CONCURRENTLY does not wait for, since it stands in another database than `database` (an OID).

    `deaf` says why the log of changes cannot be read, "" when it can. Makes the extension pg_walinspect.
    """

    def __init__(self, connection: Connection, *, database: int) -> None:
        self._connection = connection
        self._database = database
        self.deaf = self._opened()

    def position(self) -> int:
        """Where the log of changes is written now, in bytes."""
        return self._number(f"SELECT {POSITION}")

    def size_bytes(self) -> int:
        """The size of the database on disk."""
        return self._number(f"SELECT pg_database_size({self._database}::oid)")

    def locked(self, start: int, end: int) -> list[tuple[int, int]]:
        """Relations locked ACCESS EXCLUSIVE between two positions of the log: (where it says so, OID)."""
        if self.deaf or end <= start:
            return []
        try:
            self._connection.execute(_FLUSH)
            rows = self._connection.execute(_LOCKED.encode(), (start, end)).fetchall()
        except psycopg.Error as error:  # the server keeps no more of its log than wal_keep_size
            self.deaf = _reason(error)
            return []
        return [
            (position, int(oid))
            for position, description in rows
            for database, oid in _LOCK.findall(description)
            if int(database) == self._database
        ]

    def _opened(self) -> str:
        try:
            row = self._connection.execute("SELECT current_setting('wal_level')").fetchone()
            if row and row[0] == "minimal":
                return "wal_level is minimal"
            self._connection.execute(
                "SET synchronous_commit = local; SET client_min_messages = error; "
                "CREATE EXTENSION IF NOT EXISTS pg_walinspect"
            )
        except psycopg.Error as error:
            return _reason(error)
        return ""

    def _number(self, query: str) -> int:
        row = self._connection.execute(query.encode()).fetchone()
        return int(row[0]) if row else 0


def _reason(error: psycopg.Error) -> str:
    return error.diag.message_primary or " ".join(str(error).split())
