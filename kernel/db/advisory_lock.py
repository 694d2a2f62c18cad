"""One runner at a time: a session-level advisory lock, and its holder.

The connection that does the work holds the lock, so that both end together. The lock is polled: a session that waits in
pg_advisory_lock holds a snapshot, for which CREATE INDEX CONCURRENTLY waits in turn, and the two deadlock.
Source: PostgreSQL documentation, "Advisory Locks".
"""

from __future__ import annotations

import hashlib
import random
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.errors import LockBusy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from kernel.db.connection import Session
    from kernel.db.ledger import Ledger


_POLL_SECONDS = (0.05, 0.25)
# Of a session of another role the server shows the pid, the role and the application_name; the rest is NULL, unless
# this role is a member of it or of pg_read_all_stats. Source: PostgreSQL documentation, "pg_stat_activity".
FIND_HOLDER = """
SELECT l.pid, a.application_name, coalesce(host(a.client_addr), 'local'), a.backend_start AT TIME ZONE 'UTC',
  coalesce(a.usename, 'unknown')
FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND ((l.classid::bigint << 32) | l.objid::bigint) = %s AND l.objsubid = 1 AND l.granted
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockHolder:
    """The session that holds the lock. `connected_at` is UTC, None where the server hides it from this role."""

    pid: int
    application_name: str | None
    host: str
    connected_at: datetime | None
    role: str

    def __str__(self) -> str:
        name = self.application_name or "unnamed"
        if self.connected_at is None:
            return f"pid {self.pid} ({name}) of role {self.role}"
        return f"pid {self.pid} ({name}) from {self.host}, connected {self.connected_at:%H:%M:%S} UTC"


def advisory_lock_key(schema: str, table: str) -> int:
    """The lock's 64-bit key for a ledger: the first 8 bytes, signed, of a digest of its schema and name.

    Two ledgers of one database do not exclude each other.
    """
    digest = hashlib.sha256(f"db.migrate\0{schema}\0{table}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)


@contextmanager
def hold_advisory_lock(
    session: Session, ledger: Ledger, *, wait_seconds: float, waiting: Callable[[LockHolder], None]
) -> Iterator[None]:
    """Hold the lock of a ledger. Wait for it at most `wait_seconds`: 0 is not at all, negative is without limit.

    `waiting` is called with each holder that the session waits for. Raises LockBusy, which names the holder.
    Through a pooler the session may change, and no lock is taken: there each file takes one for its transaction.
    """
    if session.pooled:
        yield
        return
    number = advisory_lock_key(ledger.schema, ledger.table)
    poll_for_lock(
        session, number, lambda: try_advisory_lock(session, number), wait_seconds=wait_seconds, waiting=waiting
    )
    try:
        yield
    finally:
        if not session.connection.closed and not session.connection.broken:
            session.connection.rollback()
            session.connection.execute("SELECT pg_advisory_unlock_all()")


def poll_for_lock(
    session: Session,
    number: int,
    attempt: Callable[[], bool],
    *,
    wait_seconds: float,
    waiting: Callable[[LockHolder], None],
) -> None:
    """Poll `attempt` until it has taken the lock. Raises LockBusy, which names the holder, after `wait_seconds`."""
    deadline = time.monotonic() + wait_seconds
    named: LockHolder | None = None
    while not attempt():
        holder = find_lock_holder(session, number)
        if holder and holder != named:
            named = holder
            if wait_seconds:
                waiting(holder)
        if wait_seconds >= 0 and time.monotonic() >= deadline:
            raise _lock_busy_error(session, named)
        time.sleep(random.uniform(*_POLL_SECONDS))  # noqa: S311 - jitter, no secret


def _lock_busy_error(session: Session, holder: LockHolder | None) -> LockBusy:
    if holder is None:
        return LockBusy(f"another runner holds the lock of {session.name}; try again")
    who = "" if holder.connected_at else f" as {holder.role} or a superuser"
    return LockBusy(
        f"another runner holds the lock of {session.name}: {holder}; wait longer with --lock-wait, "
        f"or end it{who}: SELECT pg_terminate_backend({holder.pid})"
    )


def try_lock_statement(number: int) -> bytes:
    """The SELECT that takes the lock if it is free, or again if the session holds it; true if the session holds it."""
    return b"SELECT pg_catalog.pg_try_advisory_lock(%d)" % number


def try_advisory_lock(session: Session, number: int) -> bool:
    """Take the lock if it is free, or again if this session holds it; returns whether it holds it now."""
    row = session.connection.execute(try_lock_statement(number)).fetchone()
    return bool(row and row[0])


def find_lock_holder(session: Session, number: int) -> LockHolder | None:
    """The session that holds the lock; None when it has just been released."""
    row = session.connection.execute(FIND_HOLDER, (number,)).fetchone()
    if row is None:
        return None
    pid, application_name, host, connected_at, role = row
    return LockHolder(pid=pid, application_name=application_name, host=host, connected_at=connected_at, role=role)
