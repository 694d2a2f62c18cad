"""Fault x step: whatever happens to a run, each body runs once or not at all, and the next run finishes."""

from __future__ import annotations

import os
from contextlib import closing, contextmanager, nullcontext
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.faults import audit, matrix, runner
from tests.faults.fault_database import open_fault_database, small_disk
from tests.faults.faults import FAULTS, FULL_DISK, Stopped
from tests.faults.pgbouncer import pgbouncer
from tests.faults.proxy import open_proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.faults.fault_database import FaultDatabase
    from tests.faults.faults import Fault
    from tests.faults.matrix import Step
    from tests.faults.restartable_server import RestartableServer

pytestmark = pytest.mark.slow

_REACHED_SECONDS = 30


@pytest.fixture
def disk(free_folder: Path) -> Path:
    """Where the small disk is mounted; its name is the tablespace's too."""
    return free_folder / "small_disk"


@pytest.fixture
def stage(restartable_server: RestartableServer, tmp_path: Path, disk: Path, fault: Fault) -> Iterator[FaultDatabase]:
    """A database with the first file applied and three pending; on a small disk when that is to be filled."""
    folder = tmp_path / "migrations"
    place = small_disk(restartable_server, disk) if fault is FULL_DISK else nullcontext("pg_default")
    with place as tablespace, open_fault_database(restartable_server, folder, tablespace=tablespace) as it:
        audit.write(folder, audit.FIRST)
        assert runner.run(folder, it.url)[0] == 0
        audit.write(folder, audit.IN_TRANSACTION, audit.IN_STEPS, audit.LAST)
        yield it


@pytest.fixture
def reached_socket(stage: FaultDatabase, free_folder: Path, fault: Fault) -> Iterator[Path]:
    """The socket that a run connects to: the server's, or that of a PgBouncer in session mode before it."""
    if not fault.pooled:
        yield stage.server.socket
        return
    folder = free_folder / "pgbouncer"
    with pgbouncer(stage.server, folder, mode="session"):
        yield next(folder.glob(".s.PGSQL.*[0-9]"))


@contextmanager
def _stopped(stage: FaultDatabase, step: Step, socket: Path, pipe: Path, disk: Path) -> Iterator[Stopped]:
    """A run of the pending files that stands still at a step."""
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with (
        os.fdopen(reading, "rb", buffering=0) as out,
        open_proxy(socket, step.stop) as proxy,
        _obstacle(stage, step) as let_go,
    ):
        with pipe.open("wb") as stdout:
            process = runner.start(stage.folder, stage.through(proxy), stdout=stdout)
        try:
            if step.reached:
                audit.await_row(stage.observer, step.reached)
            else:
                assert proxy.reached.wait(_REACHED_SECONDS), f"never came to: {step.name}"
            yield Stopped(
                target=stage,
                process=process,
                proxy=proxy,
                version=step.version,
                pipe=pipe,
                out=out,
                disk=disk,
                let_go=let_go,
            )
            audit.await_free_lock(stage.observer)
        finally:
            process.kill()
            process.communicate()


@contextmanager
def _obstacle(stage: FaultDatabase, step: Step) -> Iterator[Callable[[], None]]:
    """The transaction that the step waits for; what is yielded ends it."""
    with closing(psycopg.connect(stage.url)) as connection:
        if step.obstacle:
            connection.execute(step.obstacle.encode())
        yield connection.close


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@pytest.mark.parametrize("step", matrix.STEPS, ids=lambda step: step.name)
def test_each_body_runs_once_or_not_at_all_and_the_next_run_finishes(
    *,
    stage: FaultDatabase,
    step: Step,
    fault: Fault,
    reached_socket: Path,
    tmp_path: Path,
    disk: Path,
    record_property: Callable[[str, object], None],
) -> None:
    record_property("cell", matrix.cell(step, fault))
    with _stopped(stage, step, reached_socket, tmp_path / "stdout", disk) as run:
        fault.happen(run)
    audit.check(stage.observer)
    code, _, err = runner.run(stage.folder, stage.url)
    assert code == 0, err
    audit.check_finished(stage.observer)
