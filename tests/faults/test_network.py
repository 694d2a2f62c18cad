"""A machine that vanished: both ends ask whether the other is still there, long before the system would."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

import psycopg
import pytest

from kernel.db.connection import open_connection
from tests.faults import audit, runner
from tests.faults.proxy import Stop, proxy

if TYPE_CHECKING:
    from tests.faults.ground import Ground

if sys.platform == "darwin":
    IDLE = socket.TCP_KEEPALIVE
else:
    IDLE = socket.TCP_KEEPIDLE


def test_a_connection_asks_for_signs_of_life_after_half_a_minute(ground: Ground) -> None:
    with (
        proxy(ground.server.socket) as its_proxy,
        open_connection(ground.through(its_proxy)) as connection,
        socket.socket(fileno=connection.pgconn.socket) as ours,
    ):
        asks = ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle_seconds = ours.getsockopt(socket.IPPROTO_TCP, IDLE)
        ours.detach()
    assert (bool(asks), idle_seconds) == (True, 30)


def test_a_url_has_the_last_word_about_signs_of_life(ground: Ground) -> None:
    with proxy(ground.server.socket) as its_proxy:
        url = psycopg.conninfo.make_conninfo(ground.through(its_proxy), keepalives_idle=7)
        with open_connection(url) as connection, socket.socket(fileno=connection.pgconn.socket) as ours:
            idle_seconds = ours.getsockopt(socket.IPPROTO_TCP, IDLE)
            ours.detach()
    assert idle_seconds == 7


@pytest.mark.slow
def test_the_server_is_told_to_ask_before_the_first_file_runs(ground: Ground) -> None:
    audit.write(ground.folder, audit.FIRST)
    with proxy(ground.server.socket, Stop(at=b"SET tcp_keepalives_idle = 30")) as its_proxy:
        process = runner.start(ground.folder, ground.through(its_proxy))
        assert its_proxy.reached.wait(20)
        assert audit.recorded(ground.look) == set()
        its_proxy.release()
        assert runner.finish(process)[0] == 0
