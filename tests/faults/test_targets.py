"""Servers that take no writes: they are told by what they are, and nothing is tried on them."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from kernel.postgres.account import server_account
from kernel.postgres.process import run_as_account
from tests.faults import audit, runner
from tests.faults.restartable_server import serve

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.faults.fault_database import FaultDatabase

pytestmark = pytest.mark.slow

_SECONDS = 30.0


@pytest.fixture
def standby(target: FaultDatabase, free_folder: Path) -> Iterator[str]:
    """The conninfo of a standby of the test's server, with the test's database on it."""
    server = target.server.server
    copy = server.programs.bin / "pg_basebackup"
    if not copy.exists():
        pytest.skip(f"no pg_basebackup in {server.programs.bin}")
    account = server_account(Path("/"))
    account.take_ownership(free_folder, 0o700)
    data, sockets = free_folder / "data", free_folder
    flags = ("-R", "-X", "stream", "-c", "fast", "--no-sync")
    copied = run_as_account(account, copy, "-d", server.conninfo, "-D", data, *flags)
    assert copied.returncode == 0, copied.stdout
    with (
        (free_folder / "log").open("wb") as log,
        serve(server.programs, account, data, sockets, log) as running,
    ):
        try:
            conninfo = make_conninfo(target.url, host=str(sockets))
            _await(conninfo, running)
            yield conninfo
        finally:
            running.send_signal(signal.SIGQUIT)
            running.wait(_SECONDS)


def _await(conninfo: str, running: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            psycopg.connect(conninfo).close()
        except psycopg.OperationalError:
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return


def test_a_standby_is_named_as_one_and_left_alone(target: FaultDatabase, standby: str) -> None:
    audit.write(target.folder, audit.FIRST)
    code, _, err = runner.run(target.folder, standby)
    assert code == 7
    assert "is a standby, which takes no writes; give the URL of its primary" in err
    assert audit.recorded(target.observer) == set()


def test_of_several_hosts_the_one_that_takes_writes_is_migrated(target: FaultDatabase, standby: str) -> None:
    audit.write(target.folder, audit.FIRST)
    hosts = f"{conninfo_to_dict(standby)['host']},{target.server.sockets}"
    several = make_conninfo(target.url, host=hosts, port="5432,5432")
    code, _, err = runner.run(target.folder, several)
    assert code == 0, err
    assert audit.recorded(target.observer) == {"001"}


def test_a_read_only_database_is_named_as_one_and_left_alone(target: FaultDatabase) -> None:
    audit.write(target.folder, audit.FIRST)
    read_only = make_conninfo(target.url, options="-c default_transaction_read_only=on")
    code, _, err = runner.run(target.folder, read_only)
    assert code == 7
    assert (
        "is read-only (default_transaction_read_only is on, by the connection); take it out of the options of the URL"
        in err
    )
    assert audit.recorded(target.observer) == set()
