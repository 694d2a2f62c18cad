"""A real PostgreSQL for tests: one throwaway server for each worker, a fresh database for each test that uses one.

KERNEL_PG_BINDIR chooses the PostgreSQL, as it does for the project. A developer's database, environment and .env files
are not used.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from kernel.config.settings import load_settings
from kernel.postgres.programs import find_programs
from kernel.postgres.throwaway import throwaway_server

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from kernel.config.settings import Settings
    from kernel.postgres.cluster import Server

pytest_plugins = ["aibos_kernel_pytest"]  # in an installation too that is older than its entry point

PROJECT = Path(__file__).resolve().parents[1]

# A failure that random data found must be reproducible.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")

# Skips that CI allows, since no single machine can run both: root and not root, one major version and another.
_ALLOWED_SKIPS = (
    "only root",
    "root never",
    "needs PostgreSQL",
    "this PostgreSQL",
    "only one major version",
    "no PostgreSQL with locales",
    "no small file system",
    "no container builder answers",
    "the file system takes",
    "/dev/full",
)

_STRATEGY_SINCE = 150000

_names = (f"test_{number}" for number in itertools.count(1))


def pytest_addoption(parser: pytest.Parser) -> None:
    """CI asks for what takes too long for the usual tests."""
    parser.addoption(
        "--cli-processes",
        action="store_true",
        help="in tests/cli, start a process for every task, also where the usual tests call Invoke's program",
    )


def pytest_report_header() -> str:
    found = find_programs(_bindir())
    return f"PostgreSQL {found.version} ({found.origin}), psycopg {psycopg.__version__}, libpq {psycopg.pq.version()}"


def _bindir() -> Path | None:
    bindir = os.environ.get("KERNEL_PG_BINDIR")
    return Path(bindir) if bindir else None


@pytest.fixture(autouse=True)
def _sigint_interrupts() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt in a test and ends the processes it starts, as at a terminal.

    `nohup` and some CI systems start pytest with SIGINT ignored, which child processes inherit.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,  # noqa: ARG001 - the hook's signature
    call: pytest.CallInfo[None],  # noqa: ARG001 - likewise
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test is a failure, except for the allowed reasons."""
    report = yield
    if os.environ.get("CI") and report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(_ALLOWED_SKIPS):
            report.outcome = "failed"
            report.longrepr = f"skipped in CI, where all requirements of the tests must be installed: {reason}"
    return report


@pytest.fixture(scope="session", autouse=True)
def _neutral_environment() -> Iterator[None]:
    """Remove the developer's database URLs, settings, and defaults of libpq and git."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("KERNEL_", "PG", "GIT_", "INVOKE_")) and name != "KERNEL_PG_BINDIR":
                patch.delenv(name)
        urls = ("DATABASE_URL", "SUPABASE_DB_URL", "MIGRATION_DATABASE_URL", "PROD_DB", "TEST_DB", "TEST_DATABASE_URL")
        for name in (*urls, "NO_COLOR"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def kernel_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The defaults, for the fixtures of kernel.testing: a developer's .env files are not read."""
    defaults = load_settings(tmp_path_factory.mktemp("no-settings"), os.environ)
    return replace(defaults, root=PROJECT, migrations_dir=PROJECT / "migrations")


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server that ends with the tests, even if they are killed."""
    with throwaway_server(bindir=_bindir(), settings={"max_prepared_transactions": "4"}) as started:
        yield started


@pytest.fixture(scope="session")
def administrator(server: Server) -> Iterator[psycopg.Connection]:
    """A superuser's connection to the database postgres, in autocommit."""
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        yield connection


@pytest.fixture
def database(server: Server, administrator: psycopg.Connection) -> Iterator[str]:
    """The conninfo of a fresh, empty database, dropped after the test; its user is a superuser."""
    name = sql.Identifier(next(_names))
    # Copied files cost the server less than a logged copy, which is the only way before PostgreSQL 15.
    strategy = "STRATEGY FILE_COPY" if administrator.info.server_version >= _STRATEGY_SINCE else ""
    administrator.execute(sql.SQL("CREATE DATABASE {} {}").format(name, sql.SQL(strategy)))
    yield make_conninfo(server.conninfo, dbname=name.as_string().strip('"'))
    administrator.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


@pytest.fixture(scope="session")
def psql(server: Server) -> Path:
    """The psql of the server's version, or the one on PATH."""
    program = server.programs.bin / "psql"
    if program.exists():
        return program
    other = shutil.which("psql")
    assert other, f"no psql in {server.programs.bin} or on PATH"
    return Path(other)
