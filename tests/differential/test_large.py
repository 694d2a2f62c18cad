"""Very large files need no more memory than small ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from kernel.postgres.throwaway import throwaway_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.postgres.cluster import Server

PROJECT = Path(__file__).parents[2]

_MEGABYTE = 1_000_000
_LIMIT_BYTES = 150 * _MEGABYTE
_SERVER_BYTES = 4 << 30  # table, WAL and what the server keeps spare of it; more than a small /dev/shm has
_BLOCK = 1000  # lines written at a time
_TABLE = "CREATE UNLOGGED TABLE entry (id bigint, body text);\n"
_BODY = "carried over; it's from last year's books -- page"

# The peak of a process includes that of the process that starts it. So a small process starts the runner and prints the
# peak of its only child, which is in kilobytes everywhere except on macOS.
_MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=sys.stderr)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(peak * (1 if sys.platform == "darwin" else 1024))
sys.exit(code)
"""


def lines(template: str, size_bytes: int) -> Iterator[str]:
    """Numbered lines of `size_bytes` in total, in blocks."""
    number = written = 0
    while written < size_bytes:
        block = "".join(template.format(number + n) for n in range(_BLOCK))
        number += _BLOCK
        written += len(block)
        yield block


def inserts() -> Iterator[str]:
    """60 MB in statements of about 100 bytes."""
    yield _TABLE
    yield from lines("INSERT INTO entry VALUES ({0}, '" + _BODY.replace("'", "''") + " {0}');\n", 60 * _MEGABYTE)


def copied() -> Iterator[str]:
    """300 MB of COPY data, and a statement after them."""
    yield _TABLE + "COPY entry FROM stdin;\n"
    yield from lines("{0}\t" + _BODY + " {0}\n", 300 * _MEGABYTE)
    yield "\\.\nCREATE TABLE total AS SELECT count(*) AS rows FROM entry;\n"


@pytest.fixture
def separate_server() -> Iterator[Server]:
    """A separate server: these files would fill the memory of the shared one."""
    bindir = os.environ.get("KERNEL_PG_BINDIR")
    with throwaway_server(bindir=Path(bindir) if bindir else None, room_bytes=_SERVER_BYTES) as started:
        yield started


@pytest.mark.slow
@pytest.mark.parametrize("script", [inserts, copied])
def test_a_large_file_takes_no_more_memory_than_a_small_one(
    separate_server: Server, tmp_path: Path, script: Callable[[], Iterator[str]]
) -> None:
    path = tmp_path / "001_large.sql"
    with path.open("x", encoding="utf-8") as file:
        file.writelines(script())
    completed = subprocess.run(
        [sys.executable, "-c", _MEASURE, sys.executable, "-m", "invoke", "db.migrate"],
        cwd=PROJECT,
        env=os.environ | {"MIGRATION_DATABASE_URL": separate_server.url, "KERNEL_MIGRATIONS_DIR": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    assert int(completed.stdout) < _LIMIT_BYTES, "bytes"
    with psycopg.connect(separate_server.conninfo) as connection:
        rows, last = connection.execute("SELECT count(*), max(id) FROM entry").fetchone() or (0, 0)
    assert rows == last + 1
