"""A machine that vanished: both ends ask whether the other is still there, long before the system would."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

import psycopg
import pytest

from kernel.db.connection import CLIENT_KEEPALIVES, open_connection
from tests.faults import audit, runner
from tests.faults.proxy import Stop, open_proxy

if TYPE_CHECKING:
    from tests.faults.fault_database import FaultDatabase

if sys.platform == "darwin":
    IDLE = socket.TCP_KEEPALIVE
else:
    IDLE = socket.TCP_KEEPIDLE


def test_a_connection_asks_for_signs_of_life_after_half_a_minute(target: FaultDatabase) -> None:
    with (
        open_proxy(target.server.socket) as proxy,
        open_connection(target.through(proxy)) as connection,
        socket.socket(fileno=connection.pgconn.socket) as ours,
    ):
        asks = ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle_seconds = ours.getsockopt(socket.IPPROTO_TCP, IDLE)
        ours.detach()
    assert (bool(asks), idle_seconds) == (True, 30)


def test_a_url_has_the_last_word_about_signs_of_life(target: FaultDatabase) -> None:
    with open_proxy(target.server.socket) as proxy:
        url = psycopg.conninfo.make_conninfo(target.through(proxy), keepalives_idle=7)
        with open_connection(url) as connection, socket.socket(fileno=connection.pgconn.socket) as ours:
            idle_seconds = ours.getsockopt(socket.IPPROTO_TCP, IDLE)
            ours.detach()
    assert idle_seconds == 7


@pytest.mark.slow
def test_the_server_is_told_to_ask_before_the_first_file_runs(target: FaultDatabase) -> None:
    audit.write(target.folder, audit.FIRST)
    with open_proxy(target.server.socket, Stop(at=CLIENT_KEEPALIVES[0])) as proxy:
        process = runner.start(target.folder, target.through(proxy))
        assert proxy.reached.wait(20)
        assert audit.recorded(target.observer) == set()
        proxy.release()
        assert runner.finish(process)[0] == 0
