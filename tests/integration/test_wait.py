"""--wait: a server that starts later is waited for; what waiting does not change is an error at once."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import make_conninfo

from kernel.db.connection import open_connection, wait_for_server
from kernel.errors import DatabaseUnreachable
from kernel.postgres.cluster import read_postmaster
from kernel.postgres.programs import find_programs
from kernel.postgres.throwaway import open_watched_cluster
from tests.faults.restartable_server import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.postgres.cluster import Server
    from kernel.postgres.watchdog import WatchedCluster

LONG_SECONDS = 60.0


@pytest.fixture
def stopped(server: Server) -> Iterator[WatchedCluster]:
    """A server that is not started yet."""
    with open_watched_cluster(find_programs(server.programs.bin)) as cluster:
        yield cluster


def conninfo(cluster: WatchedCluster) -> str:
    return make_conninfo(host=str(cluster.sockets), port=5432, user="postgres", dbname="postgres")


def test_a_server_that_starts_later_is_waited_for(stopped: WatchedCluster) -> None:
    lines: list[str] = []
    started = threading.Event()

    def say(line: str) -> None:
        lines.append(line)
        started.set()

    def start() -> None:
        assert started.wait(LONG_SECONDS)
        stopped.serve({})

    thread = threading.Thread(target=start)
    thread.start()
    wait_for_server(conninfo(stopped), variable="DATABASE_URL", seconds=LONG_SECONDS, say=say)
    thread.join()
    assert lines[0].startswith("waiting for the server: ")
    assert "No such file or directory" in lines[0]
    open_connection(conninfo(stopped)).close()


def test_a_server_that_never_starts_is_unreachable_when_the_time_is_over(stopped: WatchedCluster) -> None:
    lines: list[str] = []
    with pytest.raises(DatabaseUnreachable, match="No such file or directory"):
        wait_for_server(conninfo(stopped), variable="DATABASE_URL", seconds=0.6, say=lines.append)
    assert len(lines) == 1, "the same reason is shown once"


@pytest.mark.parametrize("parameters", [{"dbname": "nonesuch"}, {"user": "no_such_user"}])
def test_what_waiting_does_not_change_is_an_error_at_once(server: Server, parameters: dict[str, str]) -> None:
    lines: list[str] = []
    url = make_conninfo(server.conninfo, **parameters)
    with pytest.raises(DatabaseUnreachable):
        wait_for_server(url, variable="DATABASE_URL", seconds=LONG_SECONDS, say=lines.append)
    assert lines == []


@pytest.mark.slow
def test_a_server_that_is_starting_up_is_waited_for_in_any_language(stopped: WatchedCluster) -> None:
    """A standby that admits no queries has the SQLSTATE of a server that is starting up."""
    stopped.serve({"hot_standby": "off"})
    stopped.stop()
    (stopped.cluster.data / "standby.signal").touch()
    with (stopped.cluster.folder / "log").open("ab") as log:
        process = serve(stopped.programs, stopped.cluster.account, stopped.cluster.data, stopped.sockets, log)
    try:
        while (running := read_postmaster(stopped.cluster.data)) is None or running.status != "standby":
            assert process.poll() is None, stopped.cluster.log.read_text()
            time.sleep(0.01)
        lines: list[str] = []
        with pytest.raises(DatabaseUnreachable):
            wait_for_server(conninfo(stopped), variable="DATABASE_URL", seconds=0.6, say=lines.append)
        assert len(lines) == 1
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait()
