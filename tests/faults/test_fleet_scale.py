"""A fleet of many schemas and databases on two servers, of which one fails, one has drift, one is gone and one is slow.

`TARGETS=1000 python -m pytest tests/faults/test_fleet_scale.py -m slow -n 0 -s` takes a thousand schemas and 200
databases, and prints how long that took.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kernel.postgres.throwaway import throwaway_server
from tests.faults.runner import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGETS = int(os.environ.get("TARGETS", "40"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180 + TARGETS)]

FILES, PER_SERVER = 5, 4
MOST_BYTES = 200_000_000
AUDIT = """
CREATE SCHEMA audit;
CREATE TABLE audit.marks (target text, version text);
CREATE TABLE audit.delays (target text, seconds float);
"""
BODY = """
INSERT INTO audit.marks VALUES (current_schema(), '{version}');
CREATE TABLE part_{version} (id int);
"""
DELAY = "SELECT pg_sleep(seconds) FROM audit.delays WHERE target = current_schema();\n"
DRIFT = """
CREATE TABLE t_drift.schema_migrations (version varchar(255) PRIMARY KEY, filename varchar(255) NOT NULL,
  applied_at timestamp NOT NULL DEFAULT now(), checksum varchar(64) NOT NULL);
INSERT INTO t_drift.schema_migrations VALUES ('001', '001_part.sql', now(), 'x');
"""
INVENTORY = f"""
at_a_time = {2 * PER_SERVER}
per_server = {PER_SERVER}
max_failures = "50%"
timeout = "7s"
[[targets]]
url = "$FIRST"
schemas = "t_*"
[[targets]]
name = "gone"
url = "postgresql://127.0.0.1:1/gone"
"""
BACKENDS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'inv db%'"
LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"


@dataclass
class Fleet:
    """A project with two servers; `highest` are the most sessions and bytes that were seen while a task ran."""

    folder: Path
    urls: dict[str, str]
    looks: dict[str, psycopg.Connection[tuple[Any, ...]]]
    databases: dict[str, list[str]] = field(default_factory=dict)
    highest: Counter[str] = field(default_factory=Counter)

    def run(self, *arguments: str) -> tuple[int, dict[str, Any], str]:
        """(exit code, document, messages) of a task, which is watched from outside."""
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(self.folder), **self.urls}
        command = (sys.executable, "-m", "invoke", *arguments, "--json")
        output, errors = self.folder / "output", self.folder / "errors"
        with output.open("wb") as out, errors.open("wb") as err:
            running = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=out, stderr=err)
            while running.poll() is None:
                self._look(running.pid)
                time.sleep(0.01)
        return running.returncode, json.loads(output.read_text()), errors.read_text()

    def _look(self, pid: int) -> None:
        seen = {name: int(look.execute(BACKENDS).fetchall()[0][0]) for name, look in self.looks.items()}
        status = Path(f"/proc/{pid}/status")
        if status.exists():
            lines = [line.split() for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
            seen["bytes"] = int(lines[0][1]) * 1024 if lines else 0
        self.highest |= Counter(seen)

    def marks(self) -> Counter[tuple[str, ...]]:
        """How often each body ran in each target."""
        places = [(url, name) for key, url in self.urls.items() for name in ("", *self.databases[key])]
        found: Counter[tuple[str, ...]] = Counter()
        for url, name in places:
            with psycopg.connect(make_conninfo(url, **({"dbname": name} if name else {}))) as connection:
                if connection.execute("SELECT to_regclass('audit.marks') IS NOT NULL").fetchone() == (True,):
                    found.update((name, *row) for row in connection.execute("SELECT * FROM audit.marks"))
        return found


@pytest.fixture
def fleet(database: str, tmp_path: Path) -> Iterator[Fleet]:
    shutil.copy(ROOT / "tasks.py", tmp_path)
    (tmp_path / "migrations").mkdir()
    for number in range(1, FILES + 1):
        text = BODY.format(version=f"00{number}") + (DELAY if number == FILES else "")
        (tmp_path / "migrations" / f"00{number}_part.sql").write_text(text)
    with throwaway_server(unique=True) as second:
        urls = {"FIRST": database, "SECOND": second.conninfo}
        looks = {name: psycopg.connect(url, autocommit=True) for name, url in urls.items()}
        made = Fleet(tmp_path, urls, looks)
        prefix = looks["FIRST"].info.dbname
        inventory = INVENTORY
        for name, look in looks.items():
            template = f"{prefix}_template"
            look.execute(f"CREATE DATABASE {template}".encode())
            with psycopg.connect(make_conninfo(urls[name], dbname=template), autocommit=True) as filled:
                filled.execute(AUDIT.encode())
            made.databases[name] = [f"{prefix}_{name.lower()}_{one}" for one in range(TARGETS // 10)]
            for one in made.databases[name]:
                look.execute(f"CREATE DATABASE {one} TEMPLATE {template}".encode())
                inventory += f'[[targets]]\nname = "{one}"\nurl = "${name}"\ndatabase = "{one}"\n'
        looks["FIRST"].execute(AUDIT.encode())
        for schema in ("t_fail", "t_drift", "t_slow", *(f"t_{one}" for one in range(TARGETS - 3))):
            looks["FIRST"].execute(f"CREATE SCHEMA {schema}".encode())
        (tmp_path / "fleet.toml").write_text(inventory)
        yield made
        for name, look in looks.items():
            for one in (f"{prefix}_template", *made.databases[name]):
                look.execute(f"DROP DATABASE IF EXISTS {one} WITH (FORCE)".encode())
            look.close()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system has no /proc")
def test_each_of_many_targets_gets_its_own_state_whatever_becomes_of_the_others(fleet: Fleet) -> None:
    first = fleet.looks["FIRST"]
    first.execute("CREATE VIEW t_fail.part_003 AS SELECT 1")
    first.execute(DRIFT.encode())
    first.execute("INSERT INTO audit.delays VALUES ('t_slow', 60)")
    total = TARGETS + 2 * (TARGETS // 10) + 1
    began = time.monotonic()
    code, document, messages = fleet.run("fleet.migrate")
    sys.stdout.write(f"{total} targets in {time.monotonic() - began:.1f} s, {fleet.highest['bytes'] / 1e6:.0f} MB\n")
    states = {one["name"]: one["state"] for one in document["targets"]}
    odd = {"t_fail": "failed", "t_drift": "drift", "t_slow": "timed_out", "gone": "unreachable"}
    assert {name: state for name, state in states.items() if state != "applied"} == odd
    assert (code, len(states)) == (6, total)
    assert "t_slow: slow, running for " in messages
    assert fleet.highest["FIRST"] <= PER_SERVER
    assert fleet.highest["SECOND"] <= PER_SERVER
    assert 0 < fleet.highest["bytes"] < MOST_BYTES
    began = time.monotonic()
    assert fleet.run("fleet.status", "--check")[0] == 4
    sys.stdout.write(f"fleet.status in {time.monotonic() - began:.1f} s\n")

    first.execute("DROP VIEW t_fail.part_003; DROP TABLE t_drift.schema_migrations; DELETE FROM audit.delays")
    code, document, _ = fleet.run("fleet.migrate", "--failed")
    states = {one["name"]: one["state"] for one in document["targets"]}
    assert states == {"t_fail": "applied", "t_drift": "applied", "t_slow": "applied", "gone": "unreachable"}
    marks = fleet.marks()
    assert (set(marks.values()), len(marks)) == ({1}, (total - 1) * FILES)
    assert all(look.execute(LOCKS).fetchone() == (0,) for look in fleet.looks.values())
