"""A session that asks without blocking: one thread drives many of them, and each waits for its own answer."""

from __future__ import annotations

from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

from kernel import database

if TYPE_CHECKING:
    from kernel.database import Connection

NAME = "inv db.snapshot-test: traffic"
# The copied database may set limits of its own to its sessions. Not every server knows all of these.
_UNLIMITED = """
SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ('statement_timeout', 'lock_timeout',
  'transaction_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout')
"""
_CANCEL_SECONDS = 5.0
_LOCK_NOT_AVAILABLE = b"55P03"
# Classes of SQLSTATE: feature not supported, no such schema, and syntax, names, types and privileges.
_NOT_UNDERSTOOD = (b"0A", b"3F", b"42")


def connect(url: str) -> Connection:
    """A session without limits, which resolves no name but PostgreSQL's own. Raises DatabaseUnreachable."""
    connection = database.connect(make_conninfo(url, application_name=NAME))
    connection.execute("SET search_path = ''; SET client_min_messages = error")
    connection.execute(_UNLIMITED)
    return connection


class Answer(Enum):
    """What came of a question. `REFUSED` is one that the server does not understand: what it asks for is not there."""

    DONE = "done"
    GAVE_UP = "gave up"
    REFUSED = "refused"
    LOST = "lost"


class Caller:
    """A session with one question at a time; `column` is the first one of the answer's rows, `pid` its backend's."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.pid = connection.info.backend_pid
        self.column: list[bytes] = []
        self._pgconn = connection.pgconn
        self._socket = self._pgconn.socket  # which libpq does not tell any more once the connection is lost
        self._answer = Answer.DONE

    def fileno(self) -> int:
        """The socket on which the answer comes."""
        return self._socket

    def give_up_after(self, milliseconds: int) -> None:
        """Wait for a lock for no longer than this from now on."""
        self.connection.execute(f"SET lock_timeout = {milliseconds}".encode())

    def ask(self, statement: bytes) -> bool:
        """Send a statement; whether it could be sent."""
        self._answer = Answer.DONE
        try:
            self._pgconn.send_query(statement)
            self._pgconn.flush()
        except psycopg.OperationalError:
            return False
        return True

    def answer(self) -> Answer | None:
        """What came of the question, None while that is not known; LOST too when nothing was asked."""
        try:
            self._pgconn.consume_input()
            while not self._pgconn.is_busy():
                result = self._pgconn.get_result()
                if result is None:
                    return self._answer if self._pgconn.status == pq.ConnStatus.OK else Answer.LOST
                if result.status == pq.ExecStatus.FATAL_ERROR:
                    self._answer = _told(result.error_field(pq.DiagnosticField.SQLSTATE) or b"")
                elif result.nfields:
                    self.column = [result.get_value(row, 0) or b"" for row in range(result.ntuples)]
        except psycopg.OperationalError:
            return Answer.LOST
        return None

    def close(self) -> None:
        """End the session, and what it is waiting for."""
        if self._pgconn.transaction_status == pq.TransactionStatus.ACTIVE:
            with suppress(psycopg.Error):
                self.connection.cancel_safe(timeout=_CANCEL_SECONDS)
        self.connection.close()


def _told(sqlstate: bytes) -> Answer:
    """What an error says. Whatever may not happen the next time, such as a deadlock, is an answer too."""
    if sqlstate == _LOCK_NOT_AVAILABLE:
        return Answer.GAVE_UP
    return Answer.REFUSED if sqlstate[:2] in _NOT_UNDERSTOOD else Answer.DONE
