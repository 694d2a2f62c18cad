"""Find out whether a pooler shares its sessions between connections, as PgBouncer does in transaction mode."""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING, Any

import psycopg

from kernel.errors import DatabaseUnreachable, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    Connection = psycopg.Connection[tuple[Any, ...]]

_PROBE_ROUNDS = 3
_PROBE_SECONDS = 2.0


def pooler_dedicates_session(connection: Connection, pid: int, open_other: Callable[[], Connection]) -> bool:
    """Whether a pooler keeps the server's session `pid` for this connection alone, as in session mode.

    `open_other` opens another connection to the same address.

    In transaction mode the session is free between transactions. A second connection that begins a transaction then
    gets this session, which poolers prefer as the one used last, or another client has it, and this connection goes on
    in another one. In session mode neither happens, and a second connection for which the pool has no session left
    waits while this one is served. When in doubt the answer is False, which forbids more and harms nothing.
    """
    for _ in range(_PROBE_ROUNDS):
        try:
            other = open_other()
        except (DatabaseUnreachable, SettingsError):
            return False
        try:
            other.pgconn.send_query(b"BEGIN; SELECT pg_backend_pid()")
            other_pid = _wait_for_pid(other, seconds=_PROBE_SECONDS)
            connection.pgconn.send_query(b"SELECT pg_backend_pid()")
            own_pid = _wait_for_pid(connection, seconds=_PROBE_SECONDS)
        except psycopg.Error:
            return False
        finally:
            other.close()
        if own_pid is None:  # it waited for the session of the other, which is free now
            _wait_for_pid(connection, seconds=None)
        if own_pid != pid or other_pid == pid:
            return False
        if other_pid is None:
            return True
    return True


def _wait_for_pid(connection: Connection, *, seconds: float | None) -> int | None:
    """The answer to a query for the pid; None when there is none within `seconds`. Raises psycopg.Error."""
    pgconn = connection.pgconn
    deadline = None if seconds is None else time.monotonic() + seconds
    pid: int | None = None
    while True:
        while pgconn.is_busy():
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([pgconn.socket], [], [], left)[0]:
                return None
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            return pid
        if result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
            raise psycopg.errors.error_from_result(result)
        if result.ntuples:
            pid = int(result.get_value(0, 0) or 0)
