"""A rehearsal in a process of its own, stopped where the test wants it, and all that it started and made."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import make_conninfo

if TYPE_CHECKING:
    from kernel.postgres.cluster import Server

CHECKOUT = Path(__file__).resolve().parents[2]

# The specification's table, empty: production knows the migrations and has applied none of them.
PRODUCTION = """
CREATE TABLE schema_migrations (version varchar(255) PRIMARY KEY, filename varchar(255) NOT NULL,
    applied_at timestamp NOT NULL DEFAULT now(), checksum varchar(64) NOT NULL);
CREATE TABLE orders (id int PRIMARY KEY);
INSERT INTO orders SELECT generate_series(1, 10);
"""
FAST = "CREATE OR REPLACE FUNCTION slow(int) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END'"
SLOW = """
CREATE OR REPLACE FUNCTION slow(int) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN true; END';
"""
_CHECK = "ALTER TABLE orders ADD CONSTRAINT slow CHECK (public.slow(id))"
_SECOND_TIME = """
DO $$ BEGIN
  IF to_regclass('once') IS NOT NULL THEN PERFORM pg_sleep(60); END IF;
  CREATE TABLE IF NOT EXISTS once ();
END $$;
"""
_AMONG_OTHERS = """
CREATE INDEX ON orders (id);
DO $$ BEGIN IF current_database() LIKE '%traffic' THEN PERFORM pg_sleep(60); END IF; END $$;
"""
# What makes a stage last: in production, and in the migration. One is of a dump, the others of PROD_DB.
STAGES = {
    "dumping": ("BEGIN; LOCK TABLE orders", "SELECT 1;\n"),
    "restoring": (f"{_CHECK}; {SLOW}", "SELECT 1;\n"),
    "loading": (f"{_CHECK}; {SLOW}", "SELECT 1;\n"),
    "running": ("SELECT 1", "CREATE TABLE half (id int);\nSELECT pg_sleep(60);\n"),
    "comparing": (SLOW, f"{_CHECK} NOT VALID;\n"),
    "among others": ("SELECT 1", _AMONG_OTHERS),
    "trying again": ("SELECT 1", _SECOND_TIME),
}
_IN_DUMP = """
SELECT FROM pg_stat_activity WHERE application_name LIKE '%copying production%' AND wait_event_type = 'Lock'
"""
_ASLEEP = "SELECT FROM pg_stat_activity WHERE application_name LIKE 'inv db%' AND wait_event = 'PgSleep'"

_SECONDS = 30.0
_POLL_SECONDS = 0.02


@dataclass(kw_only=True)
class Rehearsing:
    """A project with one migration, production and a name for TEST_DB on `server`, and the rehearsals begun.

    `temporary` is their TMPDIR, which the account of a server of root's can use too. `processes` and `folders` are what
    the rehearsal had at the moment when it was looked at.
    """

    root: Path
    temporary: Path
    server: Server
    production: psycopg.Connection[Any]
    test_db: str
    children: list[subprocess.Popen[str]] = field(default_factory=list)
    processes: set[int] = field(default_factory=set)
    folders: set[Path] = field(default_factory=set)

    def prepare(self, migration: str) -> None:
        """Write the project, with a migration that is pending."""
        (self.root / "migrations").mkdir(parents=True)
        self.temporary.chmod(0o1777)
        shutil.copy(CHECKOUT / "tasks.py", self.root)
        self.write(migration)
        self.production.execute(PRODUCTION.encode())
        self.production.execute(FAST)

    def write(self, migration: str) -> None:
        """Make this the script of the pending migration."""
        (self.root / "migrations" / "001_work.sql").write_text(migration)

    def dump(self) -> str:
        """A plain dump of production."""
        path = self.root / "production.sql"
        command = [str(self.server.programs.bin / "pg_dump"), f"--file={path}", f"--dbname={self._production}"]
        subprocess.run(command, check=True)
        return str(path)

    @property
    def _production(self) -> str:
        return make_conninfo(self.server.conninfo, dbname=self.production.info.dbname)

    def start(self, *flags: str, **environ: str) -> subprocess.Popen[str]:
        """Start a rehearsal of production with nothing of the developer's own in its environment."""
        child = subprocess.Popen(
            [sys.executable, "-m", "invoke", "db.snapshot-test", *flags],
            cwd=self.root,
            env={
                **{name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ},
                "HOME": str(self.root),
                "TMPDIR": str(self.temporary),
                "KERNEL_PG_BINDIR": str(self.server.programs.bin),
                "PROD_DB": self._production,
                **environ,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.children.append(child)
        return child

    def at(self, stage: str, child: subprocess.Popen[str], *, own: bool) -> None:
        """Wait until the rehearsal is in the middle of a stage, on its `own` server or on ours, and look at it."""
        deadline = time.monotonic() + _SECONDS
        while not self._asleep(child, stage, own=own):
            assert child.poll() is None, child.communicate()
            assert time.monotonic() < deadline, f"never seen {stage}"
            time.sleep(_POLL_SECONDS)
        told = _descendants(child.pid)
        self.processes = {child.pid, *told}
        self.folders = {Path(name) for line in told.values() for name in re.findall(r"/\S*?/aibos-kernel-\w+", line)}

    def _asleep(self, child: subprocess.Popen[str], stage: str, *, own: bool) -> bool:
        if stage == "dumping":
            return _any(self.server.conninfo, _IN_DUMP)
        if not own:
            return _any(self.server.conninfo, _ASLEEP)
        for line in _descendants(child.pid).values():
            if sockets := re.search(r"/postgres -D \S+ .*unix_socket_directories=(\S+)", line):
                return _any(make_conninfo(self.server.conninfo, host=sockets[1]), _ASLEEP)
        return False

    def gone(self) -> None:
        """Assert that within moments nothing that was looked at is left, and nobody is in production but us."""
        deadline = time.monotonic() + _SECONDS
        while left := [*self._running(), *self._folders(), *self._sessions()]:
            assert time.monotonic() < deadline, f"left behind: {left}"
            time.sleep(_POLL_SECONDS)

    def _running(self) -> list[str]:
        return [line for pid, (_, line) in _table().items() if pid in self.processes and "<defunct>" not in line]

    def _folders(self) -> list[Path]:
        return [*(folder for folder in self.folders if folder.exists()), *self.temporary.iterdir()]

    def _sessions(self) -> list[Any]:
        query = """
        SELECT application_name FROM pg_stat_activity
        WHERE datname IN (current_database(), %s) AND pid <> pg_backend_pid()
        """
        with psycopg.connect(self._production) as observer:
            found = observer.execute(query, (self.test_db,)).fetchall()
            return [name for (name,) in found if name != self.production.info.parameter_status("application_name")]

    def databases(self) -> dict[str, str]:
        """TEST_DB and what stands beside it, with their comments."""
        with psycopg.connect(self.server.conninfo) as observer:
            query = """
            SELECT datname, coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database
            WHERE starts_with(datname, %s)
            """
            return dict(observer.execute(query, (self.test_db,)).fetchall())


def _any(conninfo: str, query: str) -> bool:
    """Whether the query yields a row; False also while nobody answers, as between two starts of a server."""
    try:
        with psycopg.connect(conninfo) as observer:
            return observer.execute(query.encode()).fetchone() is not None
    except psycopg.OperationalError:
        return False


def _table() -> dict[int, tuple[int, str]]:
    """Every process: its parent and its command line."""
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, check=True)
    lines = [line.split(maxsplit=2) for line in listed.stdout.decode(errors="replace").splitlines()]
    return {int(pid): (int(parent), rest[0] if rest else "") for pid, parent, *rest in lines}


def _descendants(pid: int) -> dict[int, str]:
    """The processes below one, with their command lines."""
    table = _table()
    found: dict[int, str] = {}
    parents = {pid}
    while parents:
        below = {child: line for child, (parent, line) in table.items() if parent in parents}
        found |= below
        parents = set(below)
    return found
