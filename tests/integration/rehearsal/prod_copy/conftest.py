"""A dump to copy: a restorer that fills a database with a few rows, and a store in a temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from kernel.postgres.programs import find_programs
from kernel.postgres.throwaway import FALLBACK_FOLDER, MEMORY_FOLDER, NEEDED_MEMORY_BYTES
from kernel.rehearsal.prod_copy import CopyRequest, CopyTarget
from kernel.rehearsal.prod_copy.server_settings import GB
from kernel.rehearsal.prod_copy.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.postgres.programs import Programs

PROJECT = Path(__file__).resolve().parents[4]


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    """The result of a query in a new session."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


@dataclass(kw_only=True)
class Production:
    """Production's rows, how often they were restored, and the printed lines; `also` runs in the restored database."""

    place: Path
    restores: int = 0
    printed: list[str] = field(default_factory=list)
    also: Callable[[psycopg.Connection[Any]], object] = lambda _connection: None

    def restore(self, url: str) -> tuple[str, ...]:
        self.restores += 1
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE orders AS SELECT i AS id FROM generate_series(1, 1000) AS i")
            self.also(connection)
        return ("the extension zombodb is missing",)

    def request(self, *, digest: str = "ab" * 32, schema_only: bool = False, **options: Any) -> CopyRequest:
        """A request for a copy with little memory; `options` are fields of its target, or `settings` and `locale`."""
        dump = {name: options.pop(name) for name in ("settings", "locale") if name in options}
        return CopyRequest(
            target=CopyTarget(**{"store_folder": self.place, **options}),
            digest=digest,
            name="prod.dump",
            schema_only=schema_only,
            programs=self.programs,
            memory_bytes=GB,  # a server with large shared buffers takes longer to start than a test runs
            print_line=self.printed.append,
            **dump,
        )

    @property
    def programs(self) -> Programs:
        bindir = os.environ.get("KERNEL_PG_BINDIR")
        return find_programs(Path(bindir) if bindir else None)

    @property
    def kept(self) -> list[str]:
        """The names of the folders in the store."""
        folder = open_store(self.place).folder
        return [path.name for path in folder.iterdir() if path.is_dir()]


@pytest.fixture
def production() -> Iterator[Production]:
    # A folder that the server's account can enter, unlike pytest's. In memory, where syncing costs nothing.
    roomy = MEMORY_FOLDER.is_dir() and shutil.disk_usage(MEMORY_FOLDER).free > NEEDED_MEMORY_BYTES
    place = Path(tempfile.mkdtemp(prefix="aibos test ü ", dir=MEMORY_FOLDER if roomy else FALLBACK_FOLDER))
    place.chmod(0o755)
    yield Production(place=place)
    shutil.rmtree(place)


@pytest.fixture
def begin() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a small program that uses the project; it ends at the latest with the test."""
    children: list[subprocess.Popen[str]] = []

    def started(script: str, *arguments: object) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
        )
        children.append(child)
        return child

    yield started
    for child in children:
        child.kill()
        child.communicate()
