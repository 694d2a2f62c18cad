"""Where the contest takes place: a throwaway server as careful as production's, a fresh database for each run."""

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
    from collections.abc import Iterator

    from bench.contest import Copies
    from kernel.postgres.cluster import Server

# PostgreSQL's own defaults, which a throwaway server turns off.
_DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
_NEVER_IN_MEMORY = 1 << 62  # bytes that no /dev/shm has free
_MOUNTS = Path("/proc/self/mounts")
_IN_MEMORY = ("tmpfs", "ramfs")
_ORIGIN = "template1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A running server, and the connection that makes databases on it."""

    server: Server
    administrator: psycopg.Connection[tuple[Any, ...]] = field(repr=False)
    _copied: dict[Copies, tuple[str, str]] = field(default_factory=dict, repr=False)
    _recorded: dict[Path, str] = field(default_factory=dict, repr=False)
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)

    @contextmanager
    def database(self, applied: Path | None) -> Iterator[str]:
        """The name of a fresh database, in which the files of the folder `applied` are recorded, gone at the end."""
        name = self._create(self._template(applied) if applied else _ORIGIN)
        # What was written to make it must not fall due while a contestant runs.
        self.administrator.execute("CHECKPOINT")
        try:
            yield name
        finally:
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
            self.administrator.execute(drop.format(sql.Identifier(name)))

    def copied(self, copies: Copies) -> tuple[str, str]:
        """The names of the golden copy and of its clone, made once: whoever gets them only reads."""
        if copies not in self._copied:
            others = [golden for one, (golden, _) in self._copied.items() if one.golden == copies.golden]
            golden = others[0] if others else self._create(_ORIGIN)
            if not others:
                self._run(golden, *copies.golden)
            clone = self._create(golden)
            self._run(clone, *([copies.migration] if copies.migration else []))
            self.administrator.execute("CHECKPOINT")
            self._copied[copies] = golden, clone
        return self._copied[copies]

    def environment(self, database: str) -> dict[str, str]:
        """How psql, psycopg and the project's settings reach a database of the server."""
        parameters = conninfo_to_dict(self.server.conninfo, dbname=database)
        named = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGDATABASE": "dbname"}
        # The strongest of the settings' URLs, so that a developer's .env files cannot send us elsewhere.
        url = {"MIGRATION_DATABASE_URL": self.server.url.replace("/postgres?", f"/{database}?", 1)}
        return url | {variable: str(parameters[name]) for variable, name in named.items()}

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
def opened(bindir: Path | None) -> Iterator[Stage]:
    """A stage on the PostgreSQL of `bindir`, or the one found. Raises ProgramsMissing, ServerFailed."""
    with (
        throwaway_server(bindir=bindir, settings=_DURABLE, room_bytes=_NEVER_IN_MEMORY) as server,
        psycopg.connect(server.conninfo, autocommit=True) as administrator,
    ):
        yield Stage(server=server, administrator=administrator)


def on_disk(folder: Path) -> bool:
    """Whether a folder lies on a disk, as far as the system tells (Linux): in memory, waiting for it costs nothing."""
    if not sys.platform.startswith("linux"):
        return True
    mounts = [line.split() for line in _MOUNTS.read_text(encoding="utf-8").splitlines()]
    above = [(mount, kind) for _, mount, kind, *_ in mounts if folder.is_relative_to(mount)]
    # The longest holds the folder, and of several mounted there the last.
    _, kind = max(reversed(above), key=lambda one: len(one[0]))
    return kind not in _IN_MEMORY
