"""Pairs of databases on the server of the tests."""

from __future__ import annotations

import itertools
import shutil
from typing import TYPE_CHECKING

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.differential.databases import DatabasePair

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import psycopg

    from kernel.postgres.cluster import Server

# Roles belong to the whole server; scripts grant privileges to these.
_ROLES = ("app_owner", "app_reader")
_NEEDED = ("psql", "pg_dump")

_names = (f"pair_{number}" for number in itertools.count(1))


@pytest.fixture(scope="session")
def clients(server: Server, administrator: psycopg.Connection) -> Path:
    """The folder of psql and pg_dump, which must have the server's version. Creates the roles."""
    absent = [name for name in _NEEDED if not shutil.which(name, path=str(server.programs.bin))]
    if absent:
        pytest.skip(
            f"no {' and '.join(absent)} in {server.programs.bin}; set KERNEL_PG_BINDIR to a complete PostgreSQL"
        )
    for role in _ROLES:
        administrator.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
    return server.programs.bin


@pytest.fixture
def databases(
    server: Server, administrator: psycopg.Connection, clients: Path, tmp_path: Path
) -> Iterator[DatabasePair]:
    """Two fresh databases with the same settings."""
    names = (next(_names), next(_names))
    for name in names:
        administrator.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    psql_conninfo, kernel_conninfo = (make_conninfo(server.conninfo, dbname=name) for name in names)
    yield DatabasePair(psql_conninfo=psql_conninfo, kernel_conninfo=kernel_conninfo, folder=tmp_path, programs=clients)
    for name in names:
        administrator.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def empty(
    server: Server, administrator: psycopg.Connection, clients: Path, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The dump of an empty database."""
    name = next(_names)
    administrator.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    conninfo = make_conninfo(server.conninfo, dbname=name)
    folder = tmp_path_factory.mktemp("empty")
    pair = DatabasePair(psql_conninfo=conninfo, kernel_conninfo=conninfo, folder=folder, programs=clients)
    return pair.dump_contents(conninfo)
