"""What is asked beside the migration, from another database of its server: sizes, and the log of changes (WAL).

The log has every ACCESS EXCLUSIVE lock, for standbys have to take them too: those of subtransactions that were rolled
back among them, and of moments too short for a look. Source: PostgreSQL's source, LogAccessExclusiveLock;
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
# A commit that waits for the disk takes along all that was written before it; what is not on disk cannot be read.
_FLUSH_SQL = "SELECT pg_logical_emit_message(true, 'rehearsal', '')"


class WalReader:
    """A connection that CONCURRENTLY does not wait for, since it stands in another database than `database` (an OID).

    `deaf` says why the log of changes cannot be read, "" when it can. Makes the extension pg_walinspect.
    """

    def __init__(self, connection: Connection, *, database: int) -> None:
        self._connection = connection
        self._database = database
        self.unavailable_reason = self._prepare()

    def insert_position(self) -> int:
        """Where the log of changes is written now, in bytes."""
        return self._query_number(f"SELECT {WAL_POSITION_SQL}")

    def database_size_bytes(self) -> int:
        """The size of the database on disk."""
        return self._query_number(f"SELECT pg_database_size({self._database}::oid)")

    def exclusive_locks(self, start: int, end: int) -> list[tuple[int, int]]:
        """Relations locked ACCESS EXCLUSIVE between two positions of the log: (where it says so, OID)."""
        if self.unavailable_reason or end <= start:
            return []
        try:
            self._connection.execute(_FLUSH_SQL)
            rows = self._connection.execute(_LOCK_RECORDS_SQL.encode(), (start, end)).fetchall()
        except psycopg.Error as error:  # the server keeps no more of its log than wal_keep_size
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


# ACCESS EXCLUSIVE locks that nobody saw, from the server's log of changes, attributed to their statements.


# The server describes some 150 MB of its log in a second. A statement that wrote more than this has its locks looked up
# there only if it runs code, or ran outside of a transaction: all others hold theirs to their end, where they are seen.
_READ_BYTES = 16 << 20
_READ_ALL_BYTES = 1 << 30  # and of those, no more than takes some seconds


def add_wal_locks(statements: Sequence[StatementTrace], aside: WalReader, relations: KnownRelations) -> None:
    """Add what the log has beyond what was seen of statements, which are in their order.

    A lock that escaped the lookout was held for no longer than the longest time that it did not look.
    """
    seen: dict[int, list[LockSpan]] = {}
    for span in (span for one in statements for span in one.spans if span.mode == ACCESS_EXCLUSIVE):
        seen.setdefault(span.relation.oid, []).append(span)
    for group in _group_adjoining(one for one in statements if _worth_reading(one)):
        for position, oid in aside.exclusive_locks(group[0].wal_position, group[-1].wal_position + group[-1].wal_bytes):
            noted = group[bisect.bisect(group, position, key=lambda one: one.wal_position) - 1]
            relation = relations.get(oid)
            if (
                relation is None
                or oid in noted.retired_index_oids
                or any(_is_same_lock(span, noted) for span in seen.get(oid, ()))
            ):
                continue
            until = min(noted.end_seconds, noted.begin_seconds + noted.poll_gap_seconds)
            noted.spans.append(
                LockSpan(relation=relation, mode=ACCESS_EXCLUSIVE, begin_seconds=noted.begin_seconds, end_seconds=until)
            )


def _worth_reading(one: StatementTrace) -> bool:
    hidden = one.outside_transaction or runs_server_code(one.batch)
    return 0 < one.wal_bytes <= (_READ_ALL_BYTES if hidden else _READ_BYTES)


def _is_same_lock(span: LockSpan, noted: StatementTrace) -> bool:
    """Whether a lock is the one that the log tells of: taken by this statement, or held since an earlier one."""
    return span.begin_seconds <= noted.end_seconds and (
        span.end_seconds is None or span.end_seconds > noted.begin_seconds
    )


def _group_adjoining(statements: Iterable[StatementTrace]) -> list[list[StatementTrace]]:
    """Statements in groups whose parts of the log adjoin each other: each group is read at once."""
    groups: list[list[StatementTrace]] = []
    for one in statements:
        if groups and groups[-1][-1].wal_position + groups[-1][-1].wal_bytes == one.wal_position:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups
