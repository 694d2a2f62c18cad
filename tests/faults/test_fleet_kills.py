"""Kill points at random of a fleet: the coordinator, and the workers of a cluster. Every body runs once.

`KILLS=200 python -m pytest tests/faults/test_fleet_kills.py -m slow` takes two hundred of each.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.dask_cluster import LOGS, dask_cluster
from tests.faults.runner import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

KILLS = int(os.environ.get("KILLS", "4"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240 + 60 * KILLS)]

SCHEMAS_A_KILL, FILES = 6, 4
LIFE_SECONDS = (0.5, 3.0)
END_SECONDS = 120
PER_SERVER = 4
MARKS = "SELECT target, version, count(*) FROM public.marks GROUP BY 1, 2"
LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
BACKENDS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'inv db%'"
)


class Fleet:
    """A project with files that mark their bodies, and schemas that are made kill by kill."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.look: psycopg.Connection[tuple[Any, ...]] = psycopg.connect(url, autocommit=True)
        self.made = 0
        shutil.copy(ROOT / "tasks.py", folder)
        (folder / "migrations").mkdir()
        self.look.execute("CREATE TABLE public.marks (target text, version text)")
        for number in range(1, FILES + 1):
            (folder / "migrations" / f"00{number}_part.sql").write_text(
                f"INSERT INTO public.marks VALUES (current_schema(), '00{number}');\n"
                f"CREATE TABLE part_{number} (id int);\nSELECT pg_sleep(0.03);\n"
            )
        (folder / "fleet.toml").write_text(
            f'per_server = {PER_SERVER}\nmax_failures = "100%"\n[[targets]]\nurl = "$URL"\nschemas = "t_*"\n'
        )

    def make_schemas(self) -> None:
        for number in range(self.made, self.made + SCHEMAS_A_KILL):
            self.look.execute(f"CREATE SCHEMA t_{number}".encode())
        self.made += SCHEMAS_A_KILL

    @property
    def environment(self) -> dict[str, str]:
        path = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        return path | {"HOME": str(self.folder), "URL": self.url}

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = (sys.executable, "-m", "invoke", "fleet.migrate", *arguments)
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)

    def finish(self, *arguments: str) -> None:
        """Run to the end, and check that every body ran once and that nothing is left behind."""
        seconds = END_SECONDS + self.made  # on a busy machine, the runs that were killed have done little
        assert self.start(*arguments).wait(seconds) == 0, (self.folder / "log").read_text()[-3000:]
        found = {(target, version): count for target, version, count in self.look.execute(MARKS.encode())}
        expected = [(f"t_{one}", f"00{file}") for one in range(self.made) for file in range(1, FILES + 1)]
        assert found == dict.fromkeys(expected, 1)
        assert self.look.execute(LOCKS.encode()).fetchone() == (0,)


@pytest.fixture
def fleet(database: str, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path, database)
    yield made
    made.look.close()


def test_a_coordinator_killed_at_any_moment_loses_nothing_and_runs_nothing_twice(fleet: Fleet) -> None:
    moments = random.Random(4711)  # noqa: S311 - moments, no secrets
    highest = 0
    for _ in range(KILLS):
        fleet.make_schemas()
        running = fleet.start()
        end = time.monotonic() + moments.uniform(*LIFE_SECONDS)
        while time.monotonic() < end and running.poll() is None:
            ((backends,),) = fleet.look.execute(BACKENDS.encode()).fetchall()
            highest = max(highest, backends)
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        running.wait()
        deadline = time.monotonic() + END_SECONDS  # the server notices within a second that a runner was killed
        while fleet.look.execute(BACKENDS.encode()).fetchone() != (0,):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    fleet.finish()
    assert highest <= PER_SERVER


def _worker_pids(fleet: Fleet) -> list[int]:
    """The worker processes of the cluster: those in its folder that a nanny has started."""
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
                folder = (entry / "cwd").readlink()
            except OSError:
                continue
            if b"spawn_main" in command and folder == fleet.folder:
                pids.append(int(entry.name))
    return pids


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="this system has no /proc")
def test_workers_of_a_cluster_killed_at_any_moment_run_nothing_twice(fleet: Fleet) -> None:
    pytest.importorskip("distributed")
    moments = random.Random(4712)  # noqa: S311 - moments, no secrets
    killed = 0
    environment = fleet.environment | {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1000"}
    with dask_cluster(fleet.folder, environment) as address:
        fleet.make_schemas()
        deadline = time.monotonic() + END_SECONDS
        while fleet.start("--cluster", address).wait(END_SECONDS):  # until there are workers
            assert time.monotonic() < deadline, (fleet.folder / "log").read_text()[-3000:]
        while killed < KILLS:
            for _ in range(3):
                fleet.make_schemas()
            running = fleet.start("--cluster", address)
            while running.poll() is None and killed < KILLS:
                time.sleep(moments.uniform(*LIFE_SECONDS))
                if pids := _worker_pids(fleet):
                    os.kill(moments.choice(pids), signal.SIGKILL)
                    killed += 1
            running.wait(END_SECONDS)
        fleet.finish("--cluster", address)
        logs = "".join((fleet.folder / name).read_text() for name in ("log", *LOGS))
        assert fleet.url not in logs
