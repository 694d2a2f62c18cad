"""The simple query protocol: many statements in one message; their command tags are counted, to know which one failed.

The server answers each statement of a message in turn and stops at the first error. A statement may return any number
of results, where rules rewrite it, and ends with exactly one command tag (PostgreSQL documentation, "Message Flow").
This module waits for the socket itself, not libpq: signals are handled at once, and a long wait is reported.
"""

from __future__ import annotations

import select
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import psycopg
from psycopg import pq

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

    from psycopg.errors import Diagnostic

    from kernel.db.connection import Connection


_STATUS = pq.ExecStatus
# An int compares faster than a member of an Enum.
_TAGGED = tuple(map(int, (_STATUS.COMMAND_OK, _STATUS.EMPTY_QUERY)))
_TUPLES_OK, _SINGLE_ROW = int(_STATUS.TUPLES_OK), int(_STATUS.SINGLE_TUPLE)
_READ, _WRITE = select.POLLIN, select.POLLOUT
_CANCEL_SECONDS = 5.0


class Notice(NamedTuple):
    """A NOTICE or WARNING of the server."""

    severity: str
    message: str
    detail: str


class SimpleQueryProtocol:
    """Messages on a connection. `statements_done` counts the statements of the latest message that have finished.

    `rows` are those that `run` keeps, by the number of their statement, and `row_counts` how many it returned.
    """

    def __init__(self, connection: Connection, *, idle_seconds: float = 1) -> None:
        self.connection = connection
        self.statements_done = 0
        self.rows: dict[int, pq.abc.PGresult] = {}
        self.row_counts: dict[int, int] = {}
        self._poll = select.poll()
        self._pgconn = connection.pgconn
        self._idle: Callable[[], None] | None = None
        self._idle_seconds = idle_seconds
        self._notice: Callable[[int, Notice], None] | None = None
        self._early_notices: list[Notice] = []
        self._discards_rows = False

    @contextmanager
    def monitored(self, *, idle: Callable[[], None], notice: Callable[[int, Notice], None]) -> Iterator[None]:
        """Call `idle` every `idle_seconds` for as long as the server keeps a message waiting, and `notice` for notices.

        `notice` receives the number of statements that had finished when the server sent it.
        """

        def receive(diagnostic: Diagnostic) -> None:
            # libpq frees it when this function returns.
            received = Notice(
                severity=diagnostic.severity_nonlocalized or "NOTICE",
                message=diagnostic.message_primary or "",
                detail=diagnostic.message_detail or "",
            )
            if self._result_waits():
                self._early_notices.append(received)
            else:
                notice(self.statements_done, received)

        self._idle, self._notice = idle, notice
        self.connection.add_notice_handler(receive)
        try:
            yield
        finally:
            self.connection.remove_notice_handler(receive)
            self._idle = self._notice = None

    def _result_waits(self) -> bool:
        """Whether libpq hands over a notice before the result that the server sent before it.

        It does so while that result waits to be fetched: then PQsetSingleRowMode, which `run` has called already, fails
        (libpq documentation). Only that result tells whether its statement had finished.
        """
        if not self._discards_rows:
            return False
        try:
            self._pgconn.set_single_row_mode()
        except psycopg.OperationalError:
            return True
        return False

    def _report_early_notices(self) -> None:
        early, self._early_notices = self._early_notices, []
        for received in early:
            if self._notice:
                self._notice(self.statements_done, received)

    def run(
        self, message: bytes, *, kept: Container[int] = (), meanwhile: Callable[[], object] | None = None
    ) -> pq.abc.PGresult | None:
        """Send statements and discard their rows; returns the error that stopped them, None when all are done.

        `rows` keeps the last row of the statements whose numbers, counted from 0, are in `kept`. `meanwhile` is called
        while the server works. Raises psycopg.OperationalError when the connection is lost.
        """
        error = None
        self.rows, self.row_counts = {}, {}
        with self._cancelled_when_interrupted():
            self._send(message, discard_rows=True)
            if meanwhile:
                meanwhile()
            # This loop runs once per statement: the lookups of attributes stay outside of it.
            is_busy, next_result, get_result = self._pgconn.is_busy, self._next_result, self._pgconn.get_result
            while (result := next_result() if is_busy() else get_result()) is not None:
                status = result.status
                if status in _TAGGED or (status == _TUPLES_OK and result.command_status):
                    self.statements_done += 1
                elif status == _SINGLE_ROW:
                    if self.statements_done in kept:
                        self.rows[self.statements_done] = result
                        self.row_counts[self.statements_done] = self.row_counts.get(self.statements_done, 0) + 1
                elif status == _TUPLES_OK:  # of a statement that a rule added; the statement's own rows may follow
                    self.rows.pop(self.statements_done, None)
                    self.row_counts.pop(self.statements_done, None)
                elif status == _STATUS.FATAL_ERROR:
                    error = result
                elif status == _STATUS.COPY_OUT:
                    self._drain()
                if self._early_notices:
                    self._report_early_notices()
        return error

    def query(self, message: bytes) -> list[pq.abc.PGresult]:
        """Send statements of the runner; returns their results. Raises psycopg.Error for the first that fails."""
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
        self._discards_rows = discard_rows
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
        """Wait for the socket, calling `idle` regularly; returns the events.

        With a `deadline`, of time.monotonic(), `idle` is not called. Raises psycopg.OperationalError at the deadline.
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
        """On the exception of a signal handler cancel the statement, so that the connection can still roll back."""
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
        # The server does not answer, or expects COPY data: closing the connection makes it roll back.
        self._pgconn.finish()
