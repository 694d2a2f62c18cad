"""Sessions for the traffic: one that sends probes without blocking, and one with a long transaction."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from enum import Enum
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

from kernel.db.connection import open_connection
from kernel.rehearsal.traffic.probe import ProbeKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.db.connection import Connection
    from kernel.rehearsal.traffic.probe import Probe


APPLICATION_NAME = "inv db.snapshot-test: traffic"
# The copied database may have timeouts among its settings. Not every server has all of these.
_NO_TIMEOUTS_QUERY = """
SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ('statement_timeout', 'lock_timeout',
  'transaction_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout')
"""
_CANCEL_SECONDS = 5.0
_LOCK_NOT_AVAILABLE = b"55P03"
# Classes of SQLSTATE: feature not supported, invalid schema name, syntax error or access rule violation.
_REFUSED_SQLSTATE_CLASSES = (b"0A", b"3F", b"42")


def _connect_without_timeouts(url: str) -> Connection:
    """A connection without timeouts and with an empty search_path. Raises DatabaseUnreachable."""
    connection = open_connection(make_conninfo(url, application_name=APPLICATION_NAME))
    connection.execute("SET search_path = ''; SET client_min_messages = error")
    connection.execute(_NO_TIMEOUTS_QUERY)
    return connection


class ProbeAnswer(Enum):
    """The outcome of a statement: done, lock timeout, refused because an object is missing, or connection lost."""

    DONE = "done"
    GAVE_UP = "gave up"
    REFUSED = "refused"
    LOST = "lost"


class ProbeSession:
    """A session that sends one statement at a time without blocking, so that one thread can serve many of them.

    `first_column` holds the values of the last answer's first column. Raises DatabaseUnreachable.
    """

    def __init__(self, url: str) -> None:
        self.connection = _connect_without_timeouts(url)
        self.backend_pid = self.connection.info.backend_pid
        self.first_column: list[bytes] = []
        self._pgconn = self.connection.pgconn
        self._socket = self._pgconn.socket  # libpq does not return it once the connection is lost
        self._answer = ProbeAnswer.DONE

    def fileno(self) -> int:
        """The socket, for a selector."""
        return self._socket

    def set_lock_timeout(self, milliseconds: int) -> None:
        """Set lock_timeout for the session."""
        self.connection.execute(f"SET lock_timeout = {milliseconds}".encode())

    def send(self, statement: bytes) -> bool:
        """Send a statement; return False when the connection is lost."""
        self._answer = ProbeAnswer.DONE
        try:
            self._pgconn.send_query(statement)
            self._pgconn.flush()
        except psycopg.OperationalError:
            return False
        return True

    def poll_answer(self) -> ProbeAnswer | None:
        """The outcome of the statement, None before it is known; LOST also for an idle session."""
        try:
            self._pgconn.consume_input()
            while not self._pgconn.is_busy():
                result = self._pgconn.get_result()
                if result is None:
                    return self._answer if self._pgconn.status == pq.ConnStatus.OK else ProbeAnswer.LOST
                if result.status == pq.ExecStatus.FATAL_ERROR:
                    self._answer = _classify_error(result.error_field(pq.DiagnosticField.SQLSTATE) or b"")
                elif result.nfields:
                    self.first_column = [result.get_value(row, 0) or b"" for row in range(result.ntuples)]
        except psycopg.OperationalError:
            return ProbeAnswer.LOST
        return None

    def close(self) -> None:
        """Cancel the running statement and close the connection."""
        if self._pgconn.transaction_status == pq.TransactionStatus.ACTIVE:
            with suppress(psycopg.Error):
                self.connection.cancel_safe(timeout=_CANCEL_SECONDS)
        self.connection.close()


def _classify_error(sqlstate: bytes) -> ProbeAnswer:
    """The outcome for an error; one that may not happen again, such as a deadlock, is an answer too."""
    if sqlstate == _LOCK_NOT_AVAILABLE:
        return ProbeAnswer.GAVE_UP
    return ProbeAnswer.REFUSED if sqlstate[:2] in _REFUSED_SQLSTATE_CLASSES else ProbeAnswer.DONE


@contextmanager
def hold_long_transaction(url: str, probes: Sequence[Probe], *, seconds: float) -> Iterator[None]:
    """Hold a transaction that has read every relation, as a report or a dump of production would.

    It ends after `seconds` or with the block; 0 does nothing. An ALTER TABLE waits for its locks, later statements wait
    for the ALTER TABLE, and CREATE INDEX CONCURRENTLY waits for its snapshot. Raises DatabaseUnreachable, and
    psycopg.Error where a relation cannot be read.
    """
    if not seconds:
        yield
        return
    connection = _connect_without_timeouts(url)
    block_ended = threading.Event()

    def close_later() -> None:
        block_ended.wait(seconds)
        connection.close()  # the server rolls the transaction back

    thread = threading.Thread(target=close_later, name="reader", daemon=True)
    try:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        for probe in probes:
            if probe.kind is ProbeKind.READ:
                connection.execute(probe.statement)
        thread.start()
        yield
    finally:
        block_ended.set()
        if thread.ident is None:
            connection.close()
        else:
            thread.join()
