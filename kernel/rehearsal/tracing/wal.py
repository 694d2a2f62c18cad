"""Read ACCESS EXCLUSIVE locks from the WAL, and sizes, over a connection to another database of the same server.

The WAL has every ACCESS EXCLUSIVE lock, for standbys take them too: also those of subtransactions that were rolled
back, and those too short for a poll. Source: PostgreSQL's source, LogAccessExclusiveLock;
documentation, "pg_walinspect". It takes PostgreSQL 15, the extension, and wal_level=replica.
"""

from __future__ import annotations

import bisect
import re
from typing import TYPE_CHECKING

import psycopg

from kernel.rehearsal.tracing.catalog import WAL_POSITION_SQL
from kernel.rehearsal.tracing.lock_spans import LockSpan
from kernel.rehearsal.tracing.traces import ACCESS_EXCLUSIVE, runs_server_code

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kernel.db.connection import Connection
    from kernel.rehearsal.tracing.catalog import KnownRelations
    from kernel.rehearsal.tracing.traces import StatementTrace


_LOCK_DESCRIPTION = re.compile(r"xid [0-9]+ db ([0-9]+) rel ([0-9]+)")
_LOCK_RECORDS_SQL = """
SELECT pg_wal_lsn_diff(start_lsn, '0/0')::bigint, description
FROM pg_get_wal_records_info('0/0'::pg_lsn + %s::numeric, '0/0'::pg_lsn + %s::numeric)
WHERE resource_manager = 'Standby' AND record_type = 'LOCK'
"""
# A commit that waits for the disk flushes all WAL before it; WAL that is not on disk cannot be read.
_FLUSH_SQL = "SELECT pg_logical_emit_message(true, 'rehearsal', '')"


class WalReader:
    """Reads the WAL and the size of the database `database` (an OID) from a connection to another database.

    `unavailable_reason` is why the WAL cannot be read, or "". Creates the extension pg_walinspect.
    """

    def __init__(self, connection: Connection, *, database: int) -> None:
        self._connection = connection
        self._database = database
        self.unavailable_reason = self._prepare()

    def insert_position(self) -> int:
        """The insert position of the WAL, in bytes."""
        return self._query_number(f"SELECT {WAL_POSITION_SQL}")

    def database_size_bytes(self) -> int:
        """The size of the database on disk."""
        return self._query_number(f"SELECT pg_database_size({self._database}::oid)")

    def exclusive_locks(self, start: int, end: int) -> list[tuple[int, int]]:
        """Relations locked ACCESS EXCLUSIVE between two positions of the WAL: (position, OID)."""
        if self.unavailable_reason or end <= start:
            return []
        try:
            self._connection.execute(_FLUSH_SQL)
            rows = self._connection.execute(_LOCK_RECORDS_SQL.encode(), (start, end)).fetchall()
        except psycopg.Error as error:  # the server may keep no more WAL than wal_keep_size
            self.unavailable_reason = _error_summary(error)
            return []
        return [
            (position, int(oid))
            for position, description in rows
            for database, oid in _LOCK_DESCRIPTION.findall(description)
            if int(database) == self._database
        ]

    def _prepare(self) -> str:
        try:
            row = self._connection.execute("SELECT current_setting('wal_level')").fetchone()
            if row and row[0] == "minimal":
                return "wal_level is minimal"
            self._connection.execute(
                "SET synchronous_commit = local; SET client_min_messages = error; "
                "CREATE EXTENSION IF NOT EXISTS pg_walinspect"
            )
        except psycopg.Error as error:
            return _error_summary(error)
        return ""

    def _query_number(self, query: str) -> int:
        row = self._connection.execute(query.encode()).fetchone()
        return int(row[0]) if row else 0


def _error_summary(error: psycopg.Error) -> str:
    return error.diag.message_primary or " ".join(str(error).split())


# pg_walinspect reads some 150 MB of WAL in a second. The WAL of a statement that wrote more than this is read only if
# it runs code, or ran outside a transaction: all others hold their locks to their end, where the tracer reads them.
_READ_BYTES = 16 << 20
_READ_ALL_BYTES = 1 << 30  # and of those, as much as takes some seconds


def add_wal_locks(statements: Sequence[StatementTrace], wal: WalReader, relations: KnownRelations) -> None:
    """Add the locks that only the WAL shows to their statements, which are in their order.

    A lock that no poll saw was held for no longer than the longest time between polls.
    """
    seen: dict[int, list[LockSpan]] = {}
    for span in (span for trace in statements for span in trace.spans if span.mode == ACCESS_EXCLUSIVE):
        seen.setdefault(span.relation.oid, []).append(span)
    for group in _group_adjoining(trace for trace in statements if _worth_reading(trace)):
        for position, oid in wal.exclusive_locks(group[0].wal_position, group[-1].wal_position + group[-1].wal_bytes):
            trace = group[bisect.bisect(group, position, key=lambda trace: trace.wal_position) - 1]
            relation = relations.get(oid)
            if (
                relation is None
                or oid in trace.retired_index_oids
                or any(_is_same_lock(span, trace) for span in seen.get(oid, ()))
            ):
                continue
            until = min(trace.end_seconds, trace.begin_seconds + trace.poll_gap_seconds)
            trace.spans.append(
                LockSpan(relation=relation, mode=ACCESS_EXCLUSIVE, begin_seconds=trace.begin_seconds, end_seconds=until)
            )


def _worth_reading(trace: StatementTrace) -> bool:
    hidden = trace.outside_transaction or runs_server_code(trace.batch)
    return 0 < trace.wal_bytes <= (_READ_ALL_BYTES if hidden else _READ_BYTES)


def _is_same_lock(span: LockSpan, trace: StatementTrace) -> bool:
    """Whether the WAL record is of a known lock: taken by this statement, or held since an earlier one."""
    return span.begin_seconds <= trace.end_seconds and (
        span.end_seconds is None or span.end_seconds > trace.begin_seconds
    )


def _group_adjoining(statements: Iterable[StatementTrace]) -> list[list[StatementTrace]]:
    """Groups of statements whose ranges of WAL adjoin each other: each group is read with one query."""
    groups: list[list[StatementTrace]] = []
    for trace in statements:
        if groups and groups[-1][-1].wal_position + groups[-1][-1].wal_bytes == trace.wal_position:
            groups[-1].append(trace)
        else:
            groups.append([trace])
    return groups
