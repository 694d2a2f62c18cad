"""A session that asks without blocking: one thread drives many of them, and each waits for its own answer."""

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
# The copied database may set limits of its own to its sessions. Not every server knows all of these.
_NO_TIMEOUTS_QUERY = """
SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ('statement_timeout', 'lock_timeout',
  'transaction_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout')
"""
_CANCEL_SECONDS = 5.0
_LOCK_NOT_AVAILABLE = b"55P03"
# Classes of SQLSTATE: feature not supported, no such schema, and syntax, names, types and privileges.
_REFUSED_SQLSTATE_CLASSES = (b"0A", b"3F", b"42")


def connect_without_limits(url: str) -> Connection:
    """A session without limits, which resolves no name but PostgreSQL's own. Raises DatabaseUnreachable."""
    connection = open_connection(make_conninfo(url, application_name=APPLICATION_NAME))
    connection.execute("SET search_path = ''; SET client_min_messages = error")
    connection.execute(_NO_TIMEOUTS_QUERY)
    return connection


class ProbeAnswer(Enum):
    """What came of a question. `REFUSED` is one that the server does not understand: what it asks for is not there."""

    DONE = "done"
    GAVE_UP = "gave up"
    REFUSED = "refused"
    LOST = "lost"


class ProbeSession:
    """A session with one question at a time; `column` is the first one of the answer's rows, `pid` its backend's."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.backend_pid = connection.info.backend_pid
        self.first_column: list[bytes] = []
        self._pgconn = connection.pgconn
        self._socket = self._pgconn.socket  # which libpq does not tell any more once the connection is lost
        self._answer = ProbeAnswer.DONE

    def fileno(self) -> int:
        """The socket on which the answer comes."""
        return self._socket

    def set_lock_timeout(self, milliseconds: int) -> None:
        """Wait for a lock for no longer than this from now on."""
        self.connection.execute(f"SET lock_timeout = {milliseconds}".encode())

    def send(self, statement: bytes) -> bool:
        """Send a statement; whether it could be sent."""
        self._answer = ProbeAnswer.DONE
        try:
            self._pgconn.send_query(statement)
            self._pgconn.flush()
        except psycopg.OperationalError:
            return False
        return True

    def poll_answer(self) -> ProbeAnswer | None:
        """What came of the question, None while that is not known; LOST too when nothing was asked."""
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
        """End the session, and what it is waiting for."""
        if self._pgconn.transaction_status == pq.TransactionStatus.ACTIVE:
            with suppress(psycopg.Error):
                self.connection.cancel_safe(timeout=_CANCEL_SECONDS)
        self.connection.close()


def _classify_error(sqlstate: bytes) -> ProbeAnswer:
    """What an error says. Whatever may not happen the next time, such as a deadlock, is an answer too."""
    if sqlstate == _LOCK_NOT_AVAILABLE:
        return ProbeAnswer.GAVE_UP
    return ProbeAnswer.REFUSED if sqlstate[:2] in _REFUSED_SQLSTATE_CLASSES else ProbeAnswer.DONE


# A long transaction in front of the migrations, as a report or a dump of production would be.
#
# It has read every table that they lock, and holds its snapshot: an ALTER TABLE waits for it, later sessions wait for
# the ALTER TABLE, and CREATE INDEX CONCURRENTLY waits for it too.


@contextmanager
def hold_long_transaction(url: str, probes: Sequence[Probe], *, seconds: float) -> Iterator[None]:
    """Have a reader of all the relations in front for so many seconds, but no longer than the block. 0: nobody.

    Raises DatabaseUnreachable, and psycopg.Error where a relation cannot be read.
    """
    if not seconds:
        yield
        return
    connection = connect_without_limits(url)
    over = threading.Event()

    def leave() -> None:
        over.wait(seconds)
        connection.close()  # the server takes its transaction back

    thread = threading.Thread(target=leave, name="reader", daemon=True)
    try:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        for one in probes:
            if one.kind is ProbeKind.READ:
                connection.execute(one.statement)
        thread.start()
        yield
    finally:
        over.set()
        if thread.ident is None:
            connection.close()
        else:
            thread.join()
