"""A project of its own for each test: tasks.py, a folder of migrations, a database, and the tasks as users run them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kernel.db.advisory_lock import FIND_HOLDER
from tests.cli.in_process import run_in_this_process

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).resolve().parents[2]

# In every URL of these tests, and in none of their outputs. The server trusts whoever comes over its socket.
SECRET = "opensesame4711"  # noqa: S105 - of nothing

PATIENCE_SECONDS = 20

# What a run that was refused must leave as it is: every object with the transaction that made or changed it, and the
# records with theirs.
_OBJECTS = """
SELECT 'class', oid::regclass::text, oid, xmin::text FROM pg_class WHERE oid >= 16384
UNION ALL SELECT 'column', attrelid::regclass || '.' || attname, attnum, xmin::text FROM pg_attribute
  WHERE attrelid >= 16384
UNION ALL SELECT 'function', proname, oid, xmin::text FROM pg_proc WHERE oid >= 16384
UNION ALL SELECT 'schema', nspname, oid, xmin::text FROM pg_namespace WHERE oid >= 16384
"""
_LOCKED = """
EXISTS (SELECT FROM pg_locks JOIN pg_database d ON d.oid = database
  WHERE locktype = 'advisory' AND d.datname = current_database())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A run of `inv` that has ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """What stdout holds: one JSON document and nothing else, or this raises."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The error in that document."""
        error = self.document["error"]
        assert error["exit"] == self.code
        return error


# A locale without UTF-8, forced on Python. It does not find its modules then in a folder that ASCII cannot name.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"} if sys.prefix.isascii() else {}


@dataclass(kw_only=True)
class Project:
    """A folder with the tasks and migrations of its own, and a database that nobody else uses."""

    root: Path
    url: str
    connection: psycopg.Connection[Any]
    only_processes: bool = False
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def migrations(self) -> Path:
        return self.root / "migrations"

    def write(self, name: str, script: str | bytes = "SELECT 1;\n") -> Path:
        """Write a migration; "revert/…" is one that undoes it."""
        path = self.migrations / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(script if isinstance(script, bytes) else script.encode())
        return path

    def url_with(self, **parameters: str | int) -> str:
        """The database's URL, some of its parameters changed."""
        return make_conninfo(self.url, **parameters)

    def environment(self, **environ: str) -> dict[str, str]:
        """The whole environment of a task: PATH, HOME, DATABASE_URL and `environ`."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.root), "DATABASE_URL": self.url, **environ}

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Start `inv` as a process."""
        child = subprocess.Popen(
            [sys.executable, "-m", "invoke", *arguments],
            cwd=self.root,
            env=self.environment(**environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        self.running.append(child)
        return child

    def inv(self, *arguments: str, **environ: str) -> Completed:
        """Run `inv` to its end."""
        return self.ended(self.start(*arguments, **environ))

    def ended(self, child: subprocess.Popen[str]) -> Completed:
        """Wait for a run, which ends without a traceback and without the password whatever the test is about."""
        out, err = child.communicate(timeout=PATIENCE_SECONDS)
        return _completed(child.returncode, out, err)

    def call(self, *arguments: str, **environ: str) -> Completed:
        """Run what `inv` runs, without starting a process for it: Invoke's program, tasks.py and all below.

        For the preparation of a test, and for further flags of a task whose process another test starts. With
        --cli-processes it is the same as `inv`.
        """
        if self.only_processes:
            return self.inv(*arguments, **environ)
        return _completed(*run_in_this_process(self.root, arguments, self.environment(**environ)))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query, asked by a superuser; () from a statement without any."""
        cursor = self.connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []

    def value(self, query: str) -> Any:
        """The one value that a query yields."""
        ((value,),) = self.rows(query)
        return value

    def recorded(self) -> list[str]:
        """The versions in schema_migrations."""
        return [version for (version,) in self.rows("SELECT version FROM schema_migrations ORDER BY version")]

    def tables(self) -> set[str]:
        """The names of the tables in public, the ledger left out."""
        found = self.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {name for (name,) in found} - {"schema_migrations", "schema_migrations_progress"}

    def state(self) -> object:
        """What is in the database, down to the transaction that made it."""
        objects = sorted(self.rows(_OBJECTS))
        if self.value("SELECT to_regclass('public.schema_migrations') IS NULL"):
            return objects, []
        return objects, sorted(self.rows("SELECT xmin::text, m::text FROM schema_migrations m"))

    def until(self, query: str) -> Any:
        """Wait until a query yields a value that is true, and return it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (value := self.value(query)):
            assert time.monotonic() < deadline, query
            time.sleep(0.01)
        return value

    def until_asleep(self, application: str = "%") -> int:
        """Wait until a migration is in pg_sleep; the pid of its backend."""
        return int(
            self.until(
                "SELECT max(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep' "
                f"AND application_name LIKE '{application}'"
            )
        )

    def until_waiting(self, runners: int) -> None:
        """Wait until so many runners have asked who holds the lock that they wait for."""
        beginning = FIND_HOLDER.partition("%s")[0].strip().replace("'", "''")
        self.until(
            f"SELECT count(*) = {runners} FROM pg_stat_activity WHERE datname = current_database() "
            f"AND application_name = 'inv db' AND state = 'idle' AND strpos(query, '{beginning}') > 0"
        )

    def until_unlocked(self) -> None:
        """Wait until no runner holds the lock."""
        self.until(f"SELECT NOT ({_LOCKED})")

    def locked(self) -> bool:
        """Whether a runner holds the lock."""
        return bool(self.value(f"SELECT {_LOCKED}"))


def _completed(code: int, out: str, err: str) -> Completed:
    for text in (out, err):
        assert "Traceback" not in text
        assert SECRET not in text
    return Completed(code=code, out=out, err=err)


@pytest.fixture
def project(database: str, tmp_path: Path, pytestconfig: pytest.Config) -> Iterator[Project]:
    root = tmp_path / "project"
    (root / "migrations").mkdir(parents=True)
    shutil.copy(CHECKOUT / "tasks.py", root)
    with psycopg.connect(database, autocommit=True, prepare_threshold=None) as connection:
        its_project = Project(
            root=root,
            url=make_conninfo(database, password=SECRET),
            connection=connection,
            only_processes=pytestconfig.getoption("--cli-processes"),
        )
        yield its_project
        for child in its_project.running:
            child.kill()
            child.communicate()


@pytest.fixture
def three(project: Project) -> Project:
    """A project with three pending migrations, each of which makes a table."""
    for version, name in (("001", "one"), ("002", "two"), ("003", "three")):
        project.write(f"{version}_{name}.sql", f"CREATE TABLE {name} (id int);\n")
    return project


@pytest.fixture
def role(project: Project) -> Iterator[str]:
    """A role that may log in and has no privilege of its own."""
    name = f"{project.value('SELECT current_database()')}_role"
    project.rows(f"CREATE ROLE {name} LOGIN")
    yield name
    project.rows(f"DROP OWNED BY {name}; DROP ROLE {name}")
