"""Messages to the server: many statements in one, their results counted, so that the one that failed is known.

The simple protocol (PostgreSQL documentation, "Message Flow") answers each statement of a message in turn and stops at
the first error. Waiting is ours, not libpq's: signals are heard at once, and whoever waits long can be told why.
"""

from __future__ import annotations

import select
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

    from kernel.db.connection import Connection


_STATUS = pq.ExecStatus
_FINISHED = tuple(map(int, (_STATUS.COMMAND_OK, _STATUS.TUPLES_OK, _STATUS.EMPTY_QUERY)))
_SINGLE_ROW = int(_STATUS.SINGLE_TUPLE)
_READ, _WRITE = select.POLLIN, select.POLLOUT
_CANCEL_SECONDS = 5.0


class SimpleQueryProtocol:
    """A connection's messages. `done` counts the statements of the message under way that have finished.

    `rows` are those that `run` was asked to keep, by the number of their statement.
    """

    def __init__(self, connection: Connection, *, idle_seconds: float = 1) -> None:
        self.connection = connection
        self.statements_done = 0
        self.rows: dict[int, pq.abc.PGresult] = {}
        self._poll = select.poll()
        self._pgconn = connection.pgconn
        self._idle: Callable[[], None] | None = None
        self._idle_seconds = idle_seconds

    @contextmanager
    def calling_while_idle(self, idle: Callable[[], None]) -> Iterator[None]:
        """Call `idle` every `idle_seconds` for as long as the server keeps a message waiting."""
        self._idle = idle
        try:
            yield
        finally:
            self._idle = None

    def statements_before_notice(self) -> int:
        """How many statements of the message had finished when the notice that libpq hands over just now was sent.

        It does so at once, even while the result of the statement before waits to be fetched: then it no longer lets
        the results come row by row (libpq documentation, PQsetSingleRowMode).
        """
        try:
            self._pgconn.set_single_row_mode()
        except psycopg.OperationalError:
            return self.statements_done + 1
        return self.statements_done

    def run(
        self, message: bytes, *, kept: Container[int] = (), meanwhile: Callable[[], object] | None = None
    ) -> pq.abc.PGresult | None:
        """Send statements whose rows nobody needs; returns the error that stopped them, None when all are done.

        Of the statements whose numbers, counted from 0, are in `kept`, `rows` has the row afterwards, where there is
        one. `meanwhile` is called while the server works. Raises psycopg.OperationalError when the connection is lost.
        """
        error = None
        self.rows = {}
        with self._cancelled_when_interrupted():
            self._send(message, discard_rows=True)
            if meanwhile:
                meanwhile()
            # Once around for every statement of a file: the names are looked up here, and a status is a plain number.
            is_busy, next_result, get_result = self._pgconn.is_busy, self._next_result, self._pgconn.get_result
            while (result := next_result() if is_busy() else get_result()) is not None:
                status = result.status
                if status in _FINISHED:
                    self.statements_done += 1
                elif status == _SINGLE_ROW:
                    if self.statements_done in kept:
                        self.rows[self.statements_done] = result
                elif status == _STATUS.FATAL_ERROR:
                    error = result
                elif status == _STATUS.COPY_OUT:
                    self._drain()
        return error

    def query(self, message: bytes) -> list[pq.abc.PGresult]:
        """Send statements of our own; their results. Raises psycopg.Error for the first that fails, behind `done`."""
        with self._cancelled_when_interrupted():
            self._send(message)
            results = list(iter(self._next_result, None))
        for result in results:
            if result.status == _STATUS.FATAL_ERROR:
                raise psycopg.errors.error_from_result(result, encoding="utf-8")
            self.statements_done += 1
        return results

    def copy_in(self, statement: bytes, chunks: Iterable[bytes]) -> pq.abc.PGresult | None:
        """Send COPY … FROM stdin and its data; returns the error, None when the data are in.

        The chunks are read to their end in any case.
        """
        error = None
        with self._cancelled_when_interrupted():
            self._send(statement)
            for result in iter(self._next_result, None):
                if result.status == _STATUS.COPY_IN:
                    self._send_data(chunks)
                elif result.status == _STATUS.FATAL_ERROR:
                    error = result
                else:
                    self.statements_done += 1
        for _unsent in chunks:
            pass
        return error

    def _send_data(self, chunks: Iterable[bytes]) -> None:
        try:
            for chunk in chunks:
                self._pgconn.put_copy_data(chunk)
                self._flush()
            self._pgconn.put_copy_end()
            self._flush()
        except psycopg.OperationalError:
            # The server has refused a row and takes no more; its error is the next result.
            if self.connection.broken:
                raise

    def _send(self, message: bytes, *, discard_rows: bool = False) -> None:
        self.statements_done = 0
        self._pgconn.send_query(message)
        if discard_rows:
            self._pgconn.set_single_row_mode()
        self._flush()

    def _next_result(self, *, deadline: float | None = None) -> pq.abc.PGresult | None:
        while self._pgconn.is_busy():
            self._wait(_READ, deadline=deadline)
            self._pgconn.consume_input()
        return self._pgconn.get_result()

    def _drain(self) -> None:
        while True:
            count, _data = self._pgconn.get_copy_data(1)  # 1: do not block
            if count < 0:
                return
            if count == 0:
                self._wait(_READ)
                self._pgconn.consume_input()

    def _flush(self) -> None:
        while self._pgconn.flush():
            if self._wait(_READ | _WRITE) & ~_WRITE:
                self._pgconn.consume_input()

    def _wait(self, events: int, *, deadline: float | None = None) -> int:
        """Wait for the socket, telling `idle` how it drags on; which events came.

        With a `deadline`, of time.monotonic(), nobody is told, and psycopg.OperationalError ends the wait.
        """
        self._poll.register(self._pgconn.socket, events)
        if deadline is not None:
            if not (ready := self._poll.poll(max(0, deadline - time.monotonic()) * 1000)):
                raise psycopg.OperationalError("the server does not answer")
            return ready[0][1]
        while not (ready := self._poll.poll(self._idle_seconds * 1000 if self._idle else None)):
            if self._idle:
                self._idle()
        return ready[0][1]

    @contextmanager
    def _cancelled_when_interrupted(self) -> Iterator[None]:
        """On a signal's exception cancel what runs and read to the end, so that the connection can still roll back."""
        try:
            yield
        except BaseException as reason:
            if not isinstance(reason, psycopg.Error) and not self.connection.broken:
                self._cancel()
            raise

    def _cancel(self) -> None:
        deadline = time.monotonic() + _CANCEL_SECONDS
        try:
            self.connection.cancel_safe(timeout=_CANCEL_SECONDS)
            while (result := self._next_result(deadline=deadline)) is not None:
                if result.status in (_STATUS.COPY_IN, _STATUS.COPY_OUT):
                    break
            else:
                return
        except psycopg.Error:
            pass
        # It does not answer, or is in the middle of COPY data: hang up, and it rolls back by itself.
        self._pgconn.finish()
