"""Runs of pytest in a project that has nothing of ours but a folder of migrations."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from kernel.testing.server import stop_test_servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.config.settings import Settings
    from kernel.postgres.cluster import Server

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).resolve().parents[3]
USES = """
import os, psycopg, pytest, signal, time

@pytest.mark.parametrize("number", range({tests}))
def test_user(migrated_connection, number):
    migrated_connection.execute("INSERT INTO users VALUES (1, 'ada')")
    migrated_connection.commit()
    assert migrated_connection.execute("SELECT count(*) FROM users").fetchone() == (1,)
"""
FAILS = """
import os

def test_fails(migrated_connection):
    migrated_connection.execute("INSERT INTO users VALUES (1, 'ada')")
    migrated_connection.commit()
    assert os.environ.get("FIXED")
"""
WAITS = """
import pathlib, time

def test_waits(migrated_database, schema_at):
    pathlib.Path("worker").write_text(str(os.getpid()))
    time.sleep(60)
""".replace("import pathlib", "import os, pathlib")


@dataclass(kw_only=True)
class Application:
    """A project in `root`; its tests run on the server at `url`, or on an embedded one."""

    root: Path
    url: str | None = None

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", "pytest.ini", *arguments],
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
            | {"PYTHONPATH": str(CHECKOUT)}
            | ({"TEST_DATABASE_URL": self.url} if self.url else {})
            | environ,
        )

    def run(self, *arguments: str, **environ: str) -> str:
        """The output of a run."""
        return self.start(*arguments, **environ).communicate()[0]

    def write(self, test: str) -> None:
        (self.root / "test_application.py").write_text(test)


@pytest.fixture
def application(settings: Settings, server: Server) -> Application:
    (settings.root / "pytest.ini").write_text("[pytest]\naddopts = -p aibos_kernel_pytest\n")
    return Application(root=settings.root, url=server.url)


@pytest.fixture
def embedded(application: Application) -> Iterator[Application]:
    application.url = None
    yield application
    stop_test_servers(application.root)


def databases(connection: psycopg.Connection, kind: str) -> list[str]:
    """The databases of the registry of this kind, whose comment says so too."""
    rows = connection.execute(
        "SELECT datname FROM pg_database WHERE datname LIKE 'kernel\\_test\\_%%'"
        " AND shobj_description(oid, 'pg_database') LIKE '%%: ' || %s || '%%' ORDER BY 1",
        [kind],
    )
    return [name for (name,) in rows]


def test_a_project_that_does_not_use_the_fixtures_loads_nothing_for_them(tmp_path: Path) -> None:
    """It may even have a package of the same name."""
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p aibos_kernel_pytest\npythonpath = .\n")
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/__init__.py").write_text("OURS = True\n")
    (tmp_path / "test_it.py").write_text(
        "import sys\nimport kernel\ndef test_it():\n    assert kernel.OURS\n"
        "    assert 'aibos_kernel_pytest' in sys.modules\n    assert 'kernel.testing' not in sys.modules\n"
    )
    assert "1 passed" in Application(root=tmp_path).run("-n", "0")


def test_contracts_without_a_date_get_one(schema_at: Callable[[str], str], migrate_to: Callable[[str], None]) -> None:
    """A test of a data migration of this project, as docs/testing.md shows it."""
    url = schema_at("012")
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO tenants (slug, name) VALUES ('acme', 'Acme')")
        connection.execute(
            "INSERT INTO data_contracts (tenant_id, name, effective_from) SELECT id, 'orders', NULL FROM tenants"
        )
    migrate_to("013")
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT effective_from = created_at FROM data_contracts").fetchone()
    assert row == (True,)


@pytest.mark.timeout(600)
def test_two_hundred_tests_on_two_workers_run_the_migrations_once(
    application: Application, administrator: psycopg.Connection
) -> None:
    (application.root / "migrations" / "003_count.sql").write_text(
        "DO $$ BEGIN EXECUTE format('CREATE ROLE built_%s', pg_current_xact_id()); END $$;\n"
    )
    application.write(USES.format(tests=200))
    for _ in range(2):
        assert "200 passed" in application.run("-n", "2")
        roles = administrator.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'built%'").fetchall()
        assert len(roles) == 1
    administrator.execute(f"DROP ROLE {roles[0][0]}".encode())


@pytest.mark.timeout(600)
def test_nothing_is_left_by_a_worker_that_was_killed_after_the_next_run(
    application: Application, administrator: psycopg.Connection
) -> None:
    application.write(WAITS + USES.format(tests=4))
    before = databases(administrator, "")
    first = application.start("-n", "2", "-p", "no:timeout")
    worker = application.root / "worker"
    while not (worker.exists() and worker.read_text()):
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.05)
    assert databases(administrator, "a clone")
    os.kill(int(worker.read_text()), signal.SIGKILL)
    first.kill()
    first.communicate()
    application.write(USES.format(tests=4))
    assert "4 passed" in application.run("-n", "2")
    known = {*before, *databases(administrator, "the registry")}
    deadline = time.monotonic() + 60  # the worker that was not killed may be ending
    while (left := {*databases(administrator, "")} - known) != {*databases(administrator, "the template")} - known:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


@pytest.mark.timeout(600)
def test_the_database_of_a_failed_test_can_be_looked_at_until_it_passes(embedded: Application) -> None:
    embedded.write(FAILS)
    urls = []
    for _ in range(2):
        out = embedded.run("-n", "2")
        assert "1 failed" in out
        (url,) = re.findall(r"^postgresql:///\S+$", out, re.MULTILINE)
        urls.append(url)
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT * FROM users").fetchall() == [(1, "ada", None)]
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(urls[0])
    assert "1 passed" in embedded.run("-n", "0", FIXED="yes")
    with pytest.raises(psycopg.OperationalError, match="No such file"):  # the server has stopped
        psycopg.connect(urls[1])
