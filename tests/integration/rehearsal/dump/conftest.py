"""Dumps that pg_dump made of a database with one of everything in it, and a server to load them into."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.postgres.cluster import Server

EVERYTHING = Path(__file__).with_name("everything.sql")
ROLES = "CREATE ROLE dump_alice; CREATE ROLE dump_bob"


@pytest.fixture(scope="session")
def dumped(server: Server) -> Iterator[str]:
    """The conninfo of the database with everything in it."""
    with psycopg.connect(server.conninfo, autocommit=True) as administrator:
        administrator.execute(ROLES)
        administrator.execute("CREATE DATABASE dumped TEMPLATE template0")
        conninfo = make_conninfo(server.conninfo, dbname="dumped")
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute(EVERYTHING.read_bytes())
        yield conninfo
        administrator.execute("DROP DATABASE dumped")
        administrator.execute("DROP ROLE dump_alice, dump_bob")


@pytest.fixture(scope="session")
def pg_dump(server: Server) -> Callable[..., bytes]:
    """Run the server's own pg_dump with these options; what it writes."""

    def run(conninfo: str, *options: str) -> bytes:
        command = [str(server.programs.bin / "pg_dump"), *options, f"--dbname={conninfo}"]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return run


@pytest.fixture(scope="session")
def archives(dumped: str, server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The database with everything in it, dumped in every format that pg_restore reads."""
    folder = tmp_path_factory.mktemp("archives")
    for kind in ("custom", "directory", "tar"):
        command = [str(server.programs.bin / "pg_dump"), f"--format={kind}", f"--file={folder / kind}", "-d", dumped]
        subprocess.run(command, check=True)
    return {kind: folder / kind for kind in ("custom", "directory", "tar")}
