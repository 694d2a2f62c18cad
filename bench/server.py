"""The server of the benchmark: a throwaway one with the durability of production, and a fresh database for each run."""

from __future__ import annotations

import itertools
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from bench import files
from kernel.postgres.throwaway import throwaway_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bench.model import ClonedDatabase
    from kernel.postgres.cluster import Server

# PostgreSQL's own defaults, which a throwaway server turns off.
_DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
_MORE_THAN_MEMORY_BYTES = 1 << 62  # more than any /dev/shm has, so that the data are on disk
_MOUNTS = Path("/proc/self/mounts")
_IN_MEMORY = ("tmpfs", "ramfs")
_ORIGIN = "template1"


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkServer:
    """A running server, and the connection that creates databases on it."""

    server: Server
    administrator: psycopg.Connection[tuple[Any, ...]] = field(repr=False)
    _cloned: dict[ClonedDatabase, tuple[str, str]] = field(default_factory=dict, repr=False)
    _recorded: dict[Path, str] = field(default_factory=dict, repr=False)
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)

    @contextmanager
    def database(self, applied: Path | None) -> Iterator[str]:
        """The name of a fresh database, in which the files of the folder `applied` are recorded; dropped at the end."""
        name = self._create(self._template(applied) if applied else _ORIGIN)
        # Its dirty pages must not be written while a program runs.
        self.administrator.execute("CHECKPOINT")
        try:
            yield name
        finally:
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
            self.administrator.execute(drop.format(sql.Identifier(name)))

    def cloned_database(self, wanted: ClonedDatabase) -> tuple[str, str]:
        """The names of a template database and its clone, created once for all programs, which only read them."""
        if wanted not in self._cloned:
            templates = [names[0] for other, names in self._cloned.items() if other.template == wanted.template]
            template = templates[0] if templates else self._create(_ORIGIN)
            if not templates:
                self._run(template, *wanted.template)
            clone = self._create(template)
            self._run(clone, *([wanted.migration] if wanted.migration else []))
            self.administrator.execute("CHECKPOINT")
            self._cloned[wanted] = template, clone
        return self._cloned[wanted]

    def environment(self, database: str) -> dict[str, str]:
        """How psql, psycopg and the project's settings reach a database of the server."""
        parameters = conninfo_to_dict(self.server.conninfo, dbname=database)
        variables = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGDATABASE": "dbname"}
        # The URL setting of the highest priority, so that a developer's .env files have no effect.
        url = {"MIGRATION_DATABASE_URL": self.server.url.replace("/postgres?", f"/{database}?", 1)}
        return url | {variable: str(parameters[name]) for variable, name in variables.items()}

    def connect(self, database: str) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection in autocommit."""
        return psycopg.connect(self.server.conninfo, dbname=database, autocommit=True)

    def _create(self, template: str) -> str:
        name = f"bench_{next(self._numbers)}"
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        self.administrator.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
        return name

    def _run(self, database: str, *statements: str) -> None:
        with self.connect(database) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def _template(self, applied: Path) -> str:
        if applied not in self._recorded:
            name = self._create(_ORIGIN)
            with self.connect(name) as connection, connection.transaction():
                connection.execute(files.LEDGER.encode())
                for path in sorted(applied.glob("*.sql")):
                    connection.execute(files.record(path).encode())
            self._recorded[applied] = name
        return self._recorded[applied]


@contextmanager
def open_benchmark_server(bindir: Path | None, settings: Mapping[str, str] | None = None) -> Iterator[BenchmarkServer]:
    """Start a server of the PostgreSQL in `bindir`, or of the installed one. Raises ProgramsMissing, ServerFailed."""
    durable = {**_DURABLE, **(settings or {})}
    with (
        throwaway_server(bindir=bindir, settings=durable, room_bytes=_MORE_THAN_MEMORY_BYTES) as server,
        psycopg.connect(server.conninfo, autocommit=True) as administrator,
    ):
        yield BenchmarkServer(server=server, administrator=administrator)


def is_on_disk(folder: Path) -> bool:
    """Whether a folder is on a disk and not in memory, where commits do not wait; True where it is not known."""
    if not sys.platform.startswith("linux"):
        return True
    mounts = [line.split() for line in _MOUNTS.read_text(encoding="utf-8").splitlines()]
    parents = [(mount, kind) for _, mount, kind, *_ in mounts if folder.is_relative_to(mount)]
    # The longest path contains the folder; of several mounts at that path, the last is in effect.
    _, kind = max(reversed(parents), key=lambda parent: len(parent[0]))
    return kind not in _IN_MEMORY
