"""python -m bench.clones: what a database of its own costs a test, with kernel.testing and with pytest-postgresql.

One scratch project with the migrations of this checkout, one server in memory, the same test body; the plugins take
turns. A row is the median over all tests but the first of each worker, which pays for the template. It needs
pytest-postgresql, which no extra installs. Exit codes: 0, 2 and 7 no result.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from kernel.config.settings import load_settings
from kernel.postgres.throwaway import throwaway_server
from kernel.rehearsal.prod_copy.databases import clone_database, drop_database
from kernel.testing.databases import open_test_databases
from kernel.testing.server import SERVER_SETTINGS

_MIGRATIONS = Path(__file__).parents[1] / "migrations"
_COMMANDS = 50

# Writes the seconds of each phase of each test, for the process that started pytest.
_CONFTEST = """
import json, os, pathlib
import pytest

SECONDS = []

def pytest_runtest_logreport(report):
    SECONDS.append([report.nodeid, report.when, report.duration, report.outcome])

def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):
        pathlib.Path("seconds.json").write_text(json.dumps(SECONDS))
"""
_TESTS = """
import pytest, time

@pytest.mark.parametrize("number", range({tests}))
def test_tenant({fixture}, number):
    {fixture}.execute("INSERT INTO tenants (slug, name) VALUES ('acme', 'Acme')")
    {fixture}.commit()
    time.sleep({work_seconds})
"""
_POSTGRESQL = """
import pathlib, psycopg
from pytest_postgresql import factories

def load(**parameters):
    with psycopg.connect(**parameters) as connection:
        for path in sorted(pathlib.Path("migrations").glob("*.sql")):
            connection.execute(path.read_bytes())

server = factories.postgresql_noproc(host={host!r}, port={port}, user={user!r}, load=[load])
postgresql = factories.postgresql("server")
"""


def main(arguments: list[str]) -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.clones", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tests", type=int, default=200, metavar="N", help="tests of a run (default: 200)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="workers of xdist (default: 2)")
    parser.add_argument("--rounds", type=int, default=2, metavar="N", help="runs of each plugin (default: 2)")
    parser.add_argument("--work", type=float, default=20, metavar="MS", help="what a test does else (default: 20)")
    options = parser.parse_args(arguments)
    bindir = os.environ.get("KERNEL_PG_BINDIR")
    with (
        throwaway_server(bindir=Path(bindir) if bindir else None, settings=SERVER_SETTINGS) as server,
        tempfile.TemporaryDirectory(prefix="aibos-bench-") as folder,
    ):
        print(f"PostgreSQL {server.programs.version}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
        root = Path(folder)
        (root / "migrations").symlink_to(_MIGRATIONS)
        print(_clones(server.url, root, work_seconds=options.work / 1000))
        (root / "pytest.ini").write_text("[pytest]\n")
        with psycopg.connect(server.conninfo) as connection:
            host, port, user = connection.info.host, connection.info.port, connection.info.user
        conftests = {
            "kernel.testing": ("migrated_connection", _CONFTEST),
            "pytest-postgresql": ("postgresql", _CONFTEST + _POSTGRESQL.format(host=host, port=port, user=user)),
        }
        for _ in range(options.rounds):
            for plugin, (fixture, conftest) in conftests.items():
                (root / "conftest.py").write_text(conftest)
                (root / "test_it.py").write_text(
                    _TESTS.format(tests=options.tests, fixture=fixture, work_seconds=options.work / 1000)
                )
                print(f"{plugin:<18} {_run(root, server.url, options.workers)}", flush=True)
    return 0


def _clones(url: str, root: Path, *, work_seconds: float) -> str:
    """Medians in one process: the statements alone, and what a test waits for when the server works ahead."""
    settings = load_settings(root, {"TEST_DATABASE_URL": url})
    create, drop, waited = [], [], []
    with open_test_databases(settings) as databases:
        databases.drop(databases.clone())
        session = databases.registry.session
        for _ in range(_COMMANDS):
            create.append(clone_database(session, databases.template().name, "bench_clone"))
            began = time.perf_counter()
            drop_database(session, "bench_clone", force=True)
            drop.append(time.perf_counter() - began)
        for _ in range(_COMMANDS):
            began = time.perf_counter()
            clone = databases.clone()
            waited.append(time.perf_counter() - began)
            time.sleep(work_seconds)
            databases.drop(clone)
    milliseconds = [f"{1000 * statistics.median(values):.1f} ms" for values in (create, drop, waited)]
    return "CREATE DATABASE {}, DROP DATABASE {}; a test waits for its clone {}".format(*milliseconds)


def _run(root: Path, url: str, workers: int) -> str:
    """Run the tests, and describe what they took."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", str(workers)],
        cwd=root,
        env=os.environ | {"TEST_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        print(done.stdout, done.stderr, file=sys.stderr)
        raise SystemExit(2)
    reports = json.loads((root / "seconds.json").read_text())
    phases = {
        phase: sorted(duration for _, when, duration, _ in reports if when == phase)[:-workers]
        for phase in ("setup", "teardown")
    }
    setup, teardown = (1000 * statistics.median(phases[phase]) for phase in ("setup", "teardown"))
    return f"setup {setup:6.1f} ms  teardown {teardown:6.1f} ms  whole run {seconds:6.1f} s"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
