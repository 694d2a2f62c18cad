"""Production as docs/recipes.md describes it: databases of a million rows, and an application that uses them."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg.conninfo import make_conninfo

from kernel.apply.executor import WaitLimits
from kernel.db.connection import open_session
from kernel.migrations.migration import require_migrations
from kernel.operations.migrate import MigrateOptions, migrate
from kernel.rehearsal.prod_copy import ProdCopy
from kernel.rehearsal.prod_copy.databases import clone_database, drop_database
from kernel.rehearsal.prod_copy.server_globals import list_roles
from kernel.rehearsal.queries.corpus import read_query_file
from kernel.rehearsal.rehearse import rehearse_on_copy
from kernel.rehearsal.request import RehearsalRequest, Reporter
from kernel.rehearsal.result import DumpSource, Rehearsal, Restore
from kernel.sql.lexer import split_script

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from kernel.migrations.phases import Phase
    from kernel.postgres.cluster import Server
    from kernel.rehearsal.queries.corpus import ApplicationQuery
    from tests.recipes import Recipe

ROWS = 1_000_000
NO_PAUSES = WaitLimits(batch_pauses=False)  # a rehearsal runs the batches of a backfill without pauses too
_TEMPLATE = "loaded"
_LOAD = f"""
INSERT INTO customers (email, name)
    SELECT 'customer' || n || '@example.org', 'Given' || n || ' Family' || n FROM generate_series(1, {ROWS // 10}) AS n;
INSERT INTO orders (customer_id, status, quantity, total, note, recipient, reference, placed_at)
    SELECT n % {ROWS // 10} + 1, CASE WHEN n % 3 = 0 THEN 'paid' ELSE 'open' END::order_status, n % 5 + 1, n * 1.23,
        CASE WHEN n % 3 = 0 THEN 'Note ' || n END,
        CASE WHEN n % 2 = 0 THEN 'Given' || n % 1000 || ' Family ' || n % 777 END, 'R' || n,
        timestamptz '2026-01-01 00:00Z' + n * interval '10 seconds'
    FROM generate_series(1, {ROWS}) AS n;
"""
_SESSIONS = 3
_USED_ROWS = ROWS // 10
_STRIDE = 7919  # a prime: the rows in use are spread over the table
_PAUSE_SECONDS = 0.005


class Application:
    """Sessions that send the queries of a version in turn, each for another order; a failed query is kept in `errors`.

    `longest_seconds` is the longest time that a query took.
    """

    def __init__(self, url: str, queries: str) -> None:
        self.errors: list[str] = []
        self.longest_seconds = 0.0
        self.sent = 0
        self._url = url
        self._queries = [part.sql.decode() for part in split_script(_reader(queries))]
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(_SESSIONS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        order = number
        with psycopg.connect(self._url, autocommit=True, cursor_factory=psycopg.RawCursor) as connection:
            while not self._stopping.is_set():
                order = (order + _STRIDE) % _USED_ROWS
                for query in self._queries:
                    values = (order + 1,) if "$1" in query else None
                    began = time.monotonic()
                    try:
                        connection.execute(query.encode(), values)
                    except psycopg.Error as error:
                        self.errors.append(f"{query}: {error}")
                    self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)
                    self.sent += 1
                self._stopping.wait(_PAUSE_SECONDS)


def _reader(text: str) -> Any:
    content = [text.encode()]
    return lambda _size: content.pop() if content else b""


@dataclass(kw_only=True)
class Production:
    """The server with the loaded database, and the folder of its migrations."""

    server: Server
    folder: Path
    given: Recipe
    roles: tuple[str, ...] = ()

    @contextmanager
    def database(self, name: str) -> Iterator[Live]:
        """A copy of the loaded database, which a test changes."""
        folder = self.folder / name
        folder.mkdir()
        with ExitStack() as stack:
            with open_session(self.server.conninfo) as session:
                clone_database(session, _TEMPLATE, name)
            stack.callback(self._drop, name)
            live = Live(production=self, name=name, folder=folder)
            live.put(self.given)
            yield live

    def _drop(self, name: str) -> None:
        with open_session(self.server.conninfo) as session:
            drop_database(session, name, force=True)


@dataclass(kw_only=True)
class Live:
    """A database in use, and the folder of its migrations."""

    production: Production
    name: str
    folder: Path
    lines: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return make_conninfo(self.production.server.conninfo, dbname=self.name)

    def put(self, recipe: Recipe) -> None:
        """Add the files of a recipe."""
        for name, text in recipe.files.items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def rehearse(self, recipe: Recipe) -> Rehearsal:
        """Rehearse what is pending, with the queries of both versions of the application."""
        copy = ProdCopy(
            server_url=self.production.server.conninfo,
            variable="the server",
            template=self.name,
            key="",
            restored=Restore(seconds=0.0, size_bytes=0),
            roles=self.production.roles,
        )
        return rehearse_on_copy(
            require_migrations(self.folder),
            copy,
            DumpSource(name="production.dump", kind="plain dump", size_bytes=0),
            RehearsalRequest(waits=NO_PAUSES),
            Reporter(print_line=self.lines.append),
            queries=self._read_queries(recipe.queries),
            later_queries=self._read_queries(recipe.later_queries),
        )

    def _read_queries(self, text: str) -> tuple[ApplicationQuery, ...]:
        if not text:
            return ()
        path = self.folder / "queries.txt"
        path.write_text(text, encoding="utf-8")
        return read_query_file(path)

    def application(self, *versions: str) -> Application:
        """The application with the queries of these versions, as while one replaces the other."""
        return Application(self.url, "".join(versions))

    def migrate(self, phase: Phase) -> tuple[str, ...]:
        """Apply the files of a phase; return their names."""
        with open_session(self.url) as session:
            result = migrate(
                session,
                require_migrations(self.folder),
                MigrateOptions(phase=phase, waits=NO_PAUSES),
                lambda _event: None,
            )
        return tuple(one.migration.filename for one in result.applied)


def load_production(server: Server, given: Recipe, folder: Path) -> Production:
    """Create the tables and load the rows."""
    with open_session(server.conninfo) as session:
        session.connection.execute(f"CREATE DATABASE {_TEMPLATE}".encode())
        production = Production(server=server, folder=folder, given=given, roles=list_roles(session.connection))
    live = Live(production=production, name=_TEMPLATE, folder=folder / _TEMPLATE)
    live.folder.mkdir()
    live.put(given)
    with open_session(live.url) as session:
        migrate(session, require_migrations(live.folder), MigrateOptions(), lambda _event: None)
        session.connection.execute(_LOAD.encode())
        session.connection.execute("VACUUM ANALYZE")
    return production
