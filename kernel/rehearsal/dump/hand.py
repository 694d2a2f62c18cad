"""One connection of a load: it brings itself into the settings that a statement needs, and runs it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq

from kernel import database
from kernel.apply.messages import Exchange
from kernel.errors import DatabaseUnreachable, RestoreFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.database import Connection

_FIELD = pq.DiagnosticField
INSUFFICIENT_PRIVILEGE = "42501"
DEADLOCK = "40P01"
# Out of disk, memory or connections; told to stop; a file of its own that it cannot read: nothing further will work.
_HOPELESS = ("53", "57", "58", "XX")
_CANCELLED = "57014"
_ROW = re.compile(r"\bline (\d+)")
# What follows is a value out of somebody's row; a name stands in quotes as well, but without the colon.
_VALUE = re.compile(r": \"|: '| \(")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What the server said of a statement that it would not run: no value of any row; `row` of COPY data, from 1."""

    sqlstate: str
    message: str
    row: int | None = None

    def __str__(self) -> str:
        return f"{self.message} ({self.sqlstate})"


class Hand:
    """A connection as the role that loads. Every method raises RestoreFailed where nothing further can work.

    `states` are those of Index.settings; only the ones named in `only` are brought about, of all when it is empty.
    """

    def __init__(
        self, connection: Connection, states: tuple[tuple[bytes, ...], ...], *, only: tuple[bytes, ...] = ()
    ) -> None:
        self.connection = connection
        self._exchange = Exchange(connection)
        self._states = states
        self._only = only
        self._settled: tuple[bytes, ...] = ()

    @property
    def idle(self) -> bool:
        """Whether no transaction is open."""
        return self.connection.pgconn.transaction_status == pq.TransactionStatus.IDLE

    def settle(self, state: int) -> tuple[tuple[bytes, Refusal], ...]:
        """Bring about the settings of a state; those that the server refused, which changes nothing."""
        wanted = self._states[state]
        if self._only:
            wanted = tuple(statement for statement in wanted if any(name in statement for name in self._only))
        if wanted == self._settled:
            return ()
        known = len(self._settled)
        if wanted[:known] != self._settled:
            self.run(b"RESET ALL")
            known = 0
        self._settled = wanted
        refused = [(statement, self.run(statement)) for statement in wanted[known:]]
        return tuple((statement, refusal) for statement, refusal in refused if refusal)

    def run(self, message: bytes) -> Refusal | None:
        """Run statements; the refusal that stopped them."""
        with _connected():
            return _refusal(self._exchange.run(message))

    def alone(self, statement: bytes) -> Refusal | None:
        """Run what must be one statement: the server itself refuses a second one in a message of this kind."""
        with _connected():
            result = self.connection.pgconn.exec_params(statement, None)
        return _refusal(result if result.status == pq.ExecStatus.FATAL_ERROR else None)

    def copy(self, statement: bytes, rows: Iterable[bytes]) -> Refusal | None:
        """Run a COPY … FROM stdin with these rows."""
        with _connected():
            return _refusal(self._exchange.copy(statement, rows))


@contextmanager
def _connected() -> Iterator[None]:
    try:
        yield
    except psycopg.OperationalError as error:
        raise RestoreFailed("the connection to the server was lost", hint="see the server's log") from error


@contextmanager
def connected(url: str, states: tuple[tuple[bytes, ...], ...]) -> Iterator[Hand]:
    """A hand with a connection of its own. Raises DatabaseUnreachable."""
    try:
        connection = database.connect(url)
    except DatabaseUnreachable as error:
        raise DatabaseUnreachable(
            f"{error}",
            hint="the dump is loaded as a role made for it, which pg_hba.conf has to admit with its password",
        ) from error
    try:
        yield Hand(connection, states)
    finally:
        connection.close()


def _refusal(result: pq.abc.PGresult | None) -> Refusal | None:
    if result is None:
        return None
    sqlstate = _text(result, _FIELD.SQLSTATE)
    # DETAIL and CONTEXT quote rows, and so may the end of the message.
    message = _VALUE.split(_text(result, _FIELD.MESSAGE_PRIMARY), maxsplit=1)[0]
    if sqlstate.startswith(_HOPELESS) and sqlstate != _CANCELLED:
        raise RestoreFailed(f"the server cannot go on: {message} ({sqlstate})", hint="see the server's log")
    row = _ROW.search(_text(result, _FIELD.CONTEXT))
    return Refusal(sqlstate=sqlstate, message=message, row=int(row[1]) if row else None)


def _text(result: pq.abc.PGresult, field: pq.DiagnosticField) -> str:
    return (result.error_field(field) or b"").decode(errors="replace")
