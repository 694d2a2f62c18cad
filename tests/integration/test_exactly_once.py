"""The connection is cut at every message of a run: whatever was under way happens once, and running again ends it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import pytest
from psycopg.conninfo import conninfo_to_dict

from kernel.apply.executor import WaitLimits
from kernel.errors import DatabaseUnreachable, MigrationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from tests.integration.conftest import Project

# Messages that the server answers: a query, or the end of a group of the extended protocol (PostgreSQL documentation,
# "Message Formats").
_ANSWERED = b"QS"


class Wire:
    """A way to the server that is cut at its n-th message, once: before the server hears it, or the answer us."""

    def __init__(self, conninfo: str) -> None:
        server = conninfo_to_dict(conninfo)
        self._server = f"{server['host']}/.s.PGSQL.{server['port']}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = str(self._listener.getsockname()[1])
        self._left = 0
        self._heard = False
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def cut(self, *, at: int, heard: bool) -> None:
        """Be cut at message number `at` from now on; with `heard` the server still gets that message."""
        self._left, self._heard = at, heard

    @property
    def whole(self) -> bool:
        """Whether the place to be cut at has not come yet."""
        return self._left > 0

    def _start(self, run: object, *arguments: socket.socket) -> None:
        thread = threading.Thread(target=run, args=arguments)  # type: ignore[arg-type]  # methods of this class
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                self._start(self._to_server, client, server)
                self._start(self._to_client, client, server)

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            for message in _messages(client):
                if message[:1] in _ANSWERED and self._left:
                    self._left -= 1
                    if not self._left:
                        _close(client)
                        if self._heard:
                            server.sendall(message)
                        break
                server.sendall(message)
        _close(client)
        # As when a process dies: the server reads to the end of what was sent, and then learns that nobody is there.
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _to_client(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError), server:
            while data := server.recv(1 << 16):
                with suppress(OSError):
                    client.sendall(data)
        _close(client)
        client.close()


def _close(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _messages(client: socket.socket) -> Iterator[bytes]:
    """The client's messages whole; the first has no type."""
    with client.makefile("rb") as stream:
        kind = b""
        while length := stream.read(4):
            yield kind + length + stream.read(int.from_bytes(length) - 4)
            kind = stream.read(1)


@pytest.fixture
def wire(project: Project) -> Iterator[Wire]:
    with Wire(project.url) as wire:
        yield wire


def until_applied(project: Project, wire: Wire, schema: str, *, at: int, heard: bool) -> bool:
    """Migrate in a fresh schema, cut at one message; then once more, whole. False when there was no such message."""
    project.rows(f"CREATE SCHEMA {schema}")
    cut = project.reached(
        ledger=f"{schema}.schema_migrations",
        host="127.0.0.1",
        port=wire.port,
        sslmode="disable",
        gssencmode="disable",
        options=f"-csearch_path={schema}",
    )
    wire.cut(at=at, heard=heard)
    waits = WaitLimits(lock_wait_seconds=10, lock_retries=0)
    try:
        cut.migrate(waits=waits)
    except (MigrationFailed, DatabaseUnreachable):
        assert not wire.whole
    was_cut = not wire.whole
    wire.cut(at=0, heard=True)
    cut.migrate(waits=waits)
    return was_cut


@pytest.mark.parametrize("heard", [False, True])
def test_files_in_transactions_are_applied_once(project: Project, wire: Wire, heard: bool) -> None:
    project.put("001_a.sql", "CREATE TABLE t (a int);\nINSERT INTO t VALUES (1);")
    project.put("002_b.sql", "INSERT INTO t VALUES (2);\nCOPY t FROM stdin;\n3\n\\.\nINSERT INTO t VALUES (4);")
    at = 0
    was_cut = True
    while was_cut:
        at += 1
        was_cut = until_applied(project, wire, f"s{at}", at=at, heard=heard)
        assert project.rows(f"SELECT a FROM s{at}.t ORDER BY a") == [(1,), (2,), (3,), (4,)], f"cut at message {at}"
        assert project.rows(f"SELECT version FROM s{at}.schema_migrations ORDER BY 1") == [("001",), ("002",)]
    assert at > 10, "the messages of both files, and those before and after them"


@pytest.mark.slow
@pytest.mark.parametrize("heard", [False, True])
def test_statements_outside_of_a_transaction_are_done_once(project: Project, wire: Wire, heard: bool) -> None:
    project.put(
        "001_a.sql",
        "-- migrate: no-transaction\nCREATE TABLE t (a int);\nINSERT INTO t VALUES (1);\n"
        "COPY t FROM stdin;\n2\n\\.\nBEGIN;\nINSERT INTO t VALUES (3);\nINSERT INTO t VALUES (4);\nCOMMIT;\n"
        "CREATE UNIQUE INDEX CONCURRENTLY t_a ON t (a);\nDROP INDEX CONCURRENTLY t_a;\n"
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS t_b ON t (a);\nVACUUM t;\n",
    )
    at = 0
    was_cut = True
    while was_cut:
        at += 1
        was_cut = until_applied(project, wire, f"s{at}", at=at, heard=heard)
        assert project.rows(f"SELECT a FROM s{at}.t ORDER BY a") == [(1,), (2,), (3,), (4,)], f"cut at message {at}"
        indexes = f"SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = 's{at}.t'::regclass"
        assert project.rows(indexes) == [(f"s{at}.t_b", True)]
        assert project.rows(f"SELECT version FROM s{at}.schema_migrations") == [("001",)]
        assert project.rows(f"SELECT * FROM s{at}.schema_migrations_progress") == []
    assert at > 40, "each statement, the note of it, and its commit"
