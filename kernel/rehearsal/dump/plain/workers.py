"""Connections of a load, and the threads that give them jobs: expensive ones first, never two that would deadlock."""

from __future__ import annotations

import re
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq

from kernel.apply.protocol import SimpleQueryProtocol
from kernel.db.connection import open_connection
from kernel.errors import DatabaseUnreachable, RestoreFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from kernel.db.connection import Connection


INSUFFICIENT_PRIVILEGE = "42501"
DEADLOCK_DETECTED = "40P01"
# Insufficient resources, operator intervention, system error, internal error: nothing further will work.
_FATAL_CLASSES = ("53", "57", "58", "XX")
_QUERY_CANCELED = "57014"
_ROW_NUMBER = re.compile(r"\bline (\d+)")
# A value of a row follows; a quoted name has no colon before it.
_ROW_VALUE = re.compile(r": \"|: '| \(")
_CANCEL_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The server's error for a statement, without values of rows; `row` of COPY data, from 1."""

    sqlstate: str
    message: str
    row: int | None = None

    def __str__(self) -> str:
        return f"{self.message} ({self.sqlstate})"


class LoadConnection:
    """A connection of a load. Every method raises RestoreFailed where nothing further can work.

    `states` are DumpIndex.settings; only settings named in `only` are applied, all of them when it is empty.
    """

    def __init__(
        self, connection: Connection, states: tuple[tuple[bytes, ...], ...], *, only: tuple[bytes, ...] = ()
    ) -> None:
        self.connection = connection
        self._exchange = SimpleQueryProtocol(connection)
        self._states = states
        self._only = only
        self._applied: tuple[bytes, ...] = ()

    @property
    def idle(self) -> bool:
        """Whether no transaction is open."""
        return self.connection.pgconn.transaction_status == pq.TransactionStatus.IDLE

    def apply_settings(self, state: int) -> tuple[tuple[bytes, Refusal], ...]:
        """Apply the session settings of a state; returns those that the server refused."""
        wanted = self._states[state]
        if self._only:
            wanted = tuple(statement for statement in wanted if any(name in statement for name in self._only))
        if wanted == self._applied:
            return ()
        known = len(self._applied)
        if wanted[:known] != self._applied:
            self.run(b"RESET ALL")
            known = 0
        self._applied = wanted
        refused = [(statement, self.run(statement)) for statement in wanted[known:]]
        return tuple((statement, refusal) for statement, refusal in refused if refusal)

    def run(self, message: bytes) -> Refusal | None:
        """Run statements; returns the refusal that stopped them."""
        with _lost_connection_raised():
            return _read_refusal(self._exchange.run(message))

    def run_single(self, statement: bytes, authorization: bytes = b"") -> Refusal | None:
        """Run exactly one statement: the server refuses a second one in a message of the extended protocol.

        With `authorization`, a role as SQL writes it, run it as that role, and as the user of the connection when that
        is refused: a role that could grant in production may own nothing here.
        """
        if authorization:
            self.run_single(b"SET SESSION AUTHORIZATION " + authorization)
            refusal = self.run_single(statement)
            self.run_single(b"RESET SESSION AUTHORIZATION")
            if refusal is None:
                return None
        with _lost_connection_raised():
            result = self.connection.pgconn.exec_params(statement, None)
        return _read_refusal(result if result.status == pq.ExecStatus.FATAL_ERROR else None)

    def copy(self, statement: bytes, rows: Iterable[bytes]) -> Refusal | None:
        """Run a COPY ... FROM stdin with these rows."""
        with _lost_connection_raised():
            return _read_refusal(self._exchange.copy_in(statement, rows))


@contextmanager
def _lost_connection_raised() -> Iterator[None]:
    try:
        yield
    except psycopg.OperationalError as error:
        raise RestoreFailed("the connection to the server was lost", hint="see the server's log") from error


@contextmanager
def open_load_connection(url: str, states: tuple[tuple[bytes, ...], ...]) -> Iterator[LoadConnection]:
    """A new connection for a load. Raises DatabaseUnreachable."""
    try:
        connection = open_connection(url)
    except DatabaseUnreachable as error:
        raise DatabaseUnreachable(
            f"{error}",
            hint="the dump is loaded as a role created for it, which pg_hba.conf must admit with its password",
        ) from error
    try:
        yield LoadConnection(connection, states)
    finally:
        connection.close()


def _read_refusal(result: pq.abc.PGresult | None) -> Refusal | None:
    if result is None:
        return None
    sqlstate = _error_field(result, pq.DiagnosticField.SQLSTATE)
    # DETAIL and CONTEXT quote rows, and so may the end of the message.
    message = without_row_values(_error_field(result, pq.DiagnosticField.MESSAGE_PRIMARY))
    if sqlstate.startswith(_FATAL_CLASSES) and sqlstate != _QUERY_CANCELED:
        raise RestoreFailed(f"the server cannot go on: {message} ({sqlstate})", hint="see the server's log")
    row = _ROW_NUMBER.search(_error_field(result, pq.DiagnosticField.CONTEXT))
    return Refusal(sqlstate=sqlstate, message=message, row=int(row[1]) if row else None)


def without_row_values(message: str) -> str:
    """A server's message up to where it quotes a row."""
    return _ROW_VALUE.split(message, maxsplit=1)[0]


def _error_field(result: pq.abc.PGresult, field: pq.DiagnosticField) -> str:
    return (result.error_field(field) or b"").decode(errors="replace")


class WorkStopped(Exception):
    """Raised in a job when another job failed or the user pressed Ctrl-C."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadJob:
    """Work for one connection. It locks tables: `exclusive` against all other jobs, `shared` against exclusive ones.

    The pool knows these locks, because PostgreSQL would leave a connection waiting or, at worst, in a deadlock.
    """

    cost: int
    run: Callable[[LoadConnection], None]
    exclusive: frozenset[bytes] = frozenset()
    shared: frozenset[bytes] = frozenset()


class WorkerPool:
    """Threads, one for each connection: Python releases its lock while libpq and the server work."""

    def __init__(self, connections: Sequence[LoadConnection]) -> None:
        self._connections = connections
        self._change = threading.Condition()
        self._waiting: list[LoadJob] = []
        self._exclusive: Counter[bytes] = Counter()
        self._shared: Counter[bytes] = Counter()
        self._failure: BaseException | None = None

    @property
    def stopped(self) -> bool:
        """Whether jobs must stop."""
        return self._failure is not None

    def run_jobs(self, jobs: Sequence[LoadJob]) -> None:
        """Run all jobs. Raises the exception of the first one that failed; the others are then cancelled."""
        self._waiting = sorted(jobs, key=lambda job: job.cost, reverse=True)
        threads = [
            threading.Thread(target=self._run_worker, args=(connection,), daemon=True)
            for connection in self._connections[: len(jobs)]
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException as reason:
            self._fail(reason)
            for thread in threads:
                if thread.is_alive():
                    thread.join()
            raise
        if self._failure:
            raise self._failure

    def _run_worker(self, connection: LoadConnection) -> None:
        while job := self._take_job():
            try:
                job.run(connection)
            except BaseException as reason:  # noqa: BLE001 - run_jobs raises it in the waiting thread
                self._fail(reason)
            self._finish(job)

    def _take_job(self) -> LoadJob | None:
        """The most expensive job that running jobs do not block; None when none is left."""
        with self._change:
            while self._waiting and not self.stopped:
                for place, job in enumerate(self._waiting):
                    if self._can_start(job):
                        self._exclusive.update(job.exclusive)
                        self._shared.update(job.shared)
                        return self._waiting.pop(place)
                self._change.wait()
            return None

    def _can_start(self, job: LoadJob) -> bool:
        return not (
            any(self._exclusive[table] or self._shared[table] for table in job.exclusive)
            or any(self._exclusive[table] for table in job.shared)
        )

    def _finish(self, job: LoadJob) -> None:
        with self._change:
            self._exclusive.subtract(job.exclusive)
            self._shared.subtract(job.shared)
            self._change.notify_all()

    def _fail(self, reason: BaseException) -> None:
        with self._change:
            if self._failure is None:
                self._failure = reason
            self._change.notify_all()
        for connection in self._connections:
            with suppress(psycopg.Error):
                connection.connection.cancel_safe(timeout=_CANCEL_SECONDS)
