"""A real PostgreSQL for the tests: one throwaway server for each worker, one fresh database for each test that asks.

KERNEL_PG_BINDIR chooses the PostgreSQL, as it does for the project. A developer's own database, environment and .env
files are never reached.
"""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from kernel.postgres.programs import find_programs
from kernel.postgres.throwaway import throwaway_server

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from kernel.postgres.cluster import Server

# A failure found by chance once must be found again by everybody.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")

# Root and others, one major version and another, file systems and platforms exclude each other.
_NOT_HERE = (
    "only root",
    "root never",
    "needs PostgreSQL",
    "this PostgreSQL",
    "only one major version",
    "no PostgreSQL with locales",
    "no small file system",
    "the file system takes",
    "/dev/full",
)

_names = (f"test_{number}" for number in itertools.count(1))


def pytest_report_header() -> str:
    found = find_programs(_bindir())
    return f"PostgreSQL {found.version} ({found.origin}), psycopg {psycopg.__version__}, libpq {psycopg.pq.version()}"


def _bindir() -> Path | None:
    told = os.environ.get("KERNEL_PG_BINDIR")
    return Path(told) if told else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,  # noqa: ARG001 - the hook's signature
    call: pytest.CallInfo[None],  # noqa: ARG001 - likewise
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a test that cannot run is a failure, unless no single run could run it."""
    report = yield
    if os.environ.get("CI") and report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(_NOT_HERE):
            report.outcome = "failed"
            report.longrepr = f"skipped in CI, where everything a test needs has to be there: {reason}"
    return report


@pytest.fixture(scope="session", autouse=True)
def _neutral_environment() -> Iterator[None]:
    """Nothing of the developer's own: no database URL, no setting, no default of libpq or git."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("KERNEL_", "PG", "GIT_", "INVOKE_")) and name != "KERNEL_PG_BINDIR":
                patch.delenv(name)
        for name in ("DATABASE_URL", "SUPABASE_DB_URL", "MIGRATION_DATABASE_URL", "PROD_DB", "TEST_DB", "NO_COLOR"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server that ends with the tests, SIGKILL included."""
    with throwaway_server(bindir=_bindir()) as started:
        yield started


@pytest.fixture(scope="session")
def administrator(server: Server) -> Iterator[psycopg.Connection]:
    """A superuser's connection to the server's first database, in autocommit."""
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        yield connection


@pytest.fixture
def database(server: Server, administrator: psycopg.Connection) -> Iterator[str]:
    """The conninfo of a fresh, empty database, dropped after the test; its user is a superuser."""
    name = sql.Identifier(next(_names))
    administrator.execute(sql.SQL("CREATE DATABASE {}").format(name))
    yield make_conninfo(server.conninfo, dbname=name.as_string().strip('"'))
    administrator.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


@pytest.fixture(scope="session")
def psql(server: Server) -> Path:
    """The psql that belongs to the server."""
    found = server.programs.bin / "psql"
    if found.exists():
        return found
    other = shutil.which("psql")
    assert other, f"no psql in {server.programs.bin} or on PATH"
    return Path(other)
