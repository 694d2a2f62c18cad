"""A server under a watchdog starts again with other settings, and never outlives its process on the way."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from kernel.errors import ServerFailed
from kernel.postgres.account import server_account
from kernel.postgres.cluster import SERVE_LINE, WATCHDOG_SCRIPT
from kernel.postgres.file_lock import is_file_locked
from kernel.postgres.throwaway import THROWAWAY_SETTINGS, open_watched_cluster

if TYPE_CHECKING:
    from kernel.postgres.programs import Programs
    from tests.integration.postgres.conftest import Person

pytestmark = pytest.mark.slow

# Starts a server in the given folder ("" for one of its own) and keeps the data under another name if there is one;
# then starts it again `times` times, and tells after each start.
RESTART = """
import sys
from pathlib import Path
from kernel.postgres.programs import find_programs
from kernel.postgres.throwaway import open_watched_cluster
_, bindir, folder, name, times = sys.argv
SETTINGS = {"fsync": "off"}
with open_watched_cluster(find_programs(Path(bindir)), folder=Path(folder) if folder else None) as guard:
    server = guard.serve(SETTINGS)
    if name:
        guard.stop()
        guard.keep_data_as(Path(name))
        server = guard.serve(SETTINGS)
    print(server.url, server.data, guard.sockets, sep="\\n", flush=True)
    for number in range(int(times)):
        guard.serve({**SETTINGS, "max_connections": str(20 + number)})
    sys.stdin.read()
"""

PATIENCE_SECONDS = 5


def told(command: subprocess.Popen[str]) -> tuple[str, Path, Path]:
    assert command.stdout
    url = command.stdout.readline().strip()
    assert url, command.communicate()[1]
    return url, Path(command.stdout.readline().strip()), Path(command.stdout.readline().strip())


def one(url: str, statement: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(statement.encode()).fetchone()
        return row and row[0]


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def gone(*folders: Path) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(folder.exists() for folder in folders) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(folder.exists() for folder in folders)


def own_folder(open_folder: Path, name: str) -> Path:
    folder = open_folder / name
    folder.mkdir()
    server_account(Path("/")).take_ownership(folder, 0o700)
    return folder


def test_it_starts_again_with_other_settings_and_the_same_data(found: Programs) -> None:
    with open_watched_cluster(found) as guard:
        first = guard.serve({"wal_level": "minimal", "max_wal_senders": "0", "work_mem": "5MB"})
        execute(first.url, "CREATE TABLE here AS SELECT 7 AS i")
        execute(first.url, "ALTER SYSTEM SET maintenance_work_mem = '9MB'")
        assert one(first.url, "SHOW wal_level") == "minimal"
        second = guard.serve({"wal_level": "replica"})
        assert second.url == first.url
        assert one(second.url, "SELECT i FROM here") == 7
        shown = "current_setting('wal_level'), current_setting('work_mem'), current_setting('maintenance_work_mem')"
        assert one(second.url, f"SELECT array[{shown}]") == ["replica", "4MB", "64MB"]
    assert not first.data.exists()


def test_what_is_added_to_the_environment_reaches_the_server(found: Programs) -> None:
    with open_watched_cluster(found, environ={"LOCPATH": "/some/where"}) as guard:
        for _ in range(2):
            server = guard.serve(THROWAWAY_SETTINGS)
            copy = "CREATE TEMP TABLE seen (line text); COPY seen FROM PROGRAM 'echo $LOCPATH'"
            with psycopg.connect(server.url, autocommit=True) as connection:
                connection.execute(copy)
                assert connection.execute("SELECT line FROM seen").fetchall() == [("/some/where",)]


def test_data_in_a_given_folder_goes_unless_it_is_kept(found: Programs, open_folder: Path) -> None:
    place = own_folder(open_folder, "place")
    making = place / "making"
    making.mkdir()
    server_account(Path("/")).take_ownership(making, 0o700)
    with open_watched_cluster(found, folder=making) as guard:
        guard.serve(THROWAWAY_SETTINGS)
    assert not making.exists()


def test_kept_data_is_served_in_place_and_stays(found: Programs, open_folder: Path) -> None:
    place = own_folder(open_folder, "place")
    making = place / "making"
    making.mkdir()
    server_account(Path("/")).take_ownership(making, 0o700)
    with open_watched_cluster(found, folder=making) as guard:
        execute(guard.serve(THROWAWAY_SETTINGS).url, "CREATE TABLE here AS SELECT 7 AS i")
        guard.stop()
        guard.keep_data_as(place / "kept")
    sockets = guard.sockets
    assert (making.exists(), sockets.exists(), (place / "kept").exists()) == (False, False, True)
    for _ in range(2):
        with open_watched_cluster(found, folder=place / "kept") as guard:
            assert one(guard.serve(THROWAWAY_SETTINGS).url, "SELECT i FROM here") == 7
        assert not guard.sockets.exists()
        assert not is_file_locked(place / "kept" / "alive.lock")


def test_settings_it_cannot_start_with_again_quote_the_log_and_leave_nothing(found: Programs) -> None:
    with open_watched_cluster(found) as guard:
        server = guard.serve(THROWAWAY_SETTINGS)
        with pytest.raises(ServerFailed, match="no_such_setting"):
            guard.serve({"no_such_setting": "1"})
        assert one(guard.serve(THROWAWAY_SETTINGS).url, "SELECT 1") == 1
    assert not server.data.exists()


@pytest.mark.slow
def test_started_again_it_does_not_outlive_its_process(person: Person) -> None:
    command = person.begin(RESTART, person.bindir, "", "", 1)
    _, data, _ = told(command)
    command.kill()
    assert gone(data)


@pytest.mark.slow
def test_kept_data_outlives_its_process_and_the_server_does_not(person: Person) -> None:
    place = person.checkout / "place"
    place.mkdir()
    making = place / "making"
    making.mkdir()
    for folder in (place, making):
        server_account(Path("/") if person.account.uid == os.geteuid() else person.checkout).take_ownership(
            folder, 0o700
        )
    command = person.begin(RESTART, person.bindir, making, place / "kept", 0)
    url, data, sockets = told(command)
    execute(url, "CREATE TABLE here AS SELECT 7 AS i")
    command.kill()
    assert gone(sockets)
    assert data == place / "kept"
    assert not is_file_locked(data / "alive.lock")
    again = person.begin(RESTART, person.bindir, place / "kept", "", 0)
    assert one(told(again)[0], "SELECT i FROM here") == 7
    again.communicate(timeout=30)


@pytest.mark.slow
def test_killed_at_any_moment_of_a_restart_it_leaves_nothing(person: Person) -> None:
    chance = random.Random(7)  # noqa: S311 - moments, no secret
    for _ in range(15):
        command = person.begin(RESTART, person.bindir, "", "", 1000)
        _, data, sockets = told(command)
        time.sleep(chance.uniform(0, 0.2))
        command.kill()
        command.wait()
        assert gone(data, sockets)


# As sh is before it becomes the server: what it is told then is lost.
DEAF = """
import signal, sys, time
for number in (signal.SIGQUIT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
print(flush=True, file=sys.stderr)
time.sleep(0.5)
for number in (signal.SIGQUIT, signal.SIGTERM):
    signal.signal(number, signal.SIG_DFL)
time.sleep(60)
"""


@pytest.mark.slow
def test_a_server_that_did_not_hear_the_watchdog_is_told_again(tmp_path: Path) -> None:
    sockets, folder = tmp_path / "sockets", tmp_path / "folder"
    sockets.mkdir()
    folder.mkdir()
    command = ("/bin/sh", "-c", WATCHDOG_SCRIPT, "sh", str(sockets), str(folder), sys.executable, "-c", DEAF)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as watchdog:
        assert watchdog.stdin
        assert watchdog.stderr
        watchdog.stdin.write(SERVE_LINE)
        watchdog.stdin.flush()
        assert watchdog.stderr.readline() == b"\n"
        watchdog.stdin.close()
        assert watchdog.wait(PATIENCE_SECONDS) == 0
    assert gone(sockets, folder)
