"""A PgBouncer of the tests' own, before a server of theirs. Source of the settings: pgbouncer.ini(5)."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.restartable_server import RestartableServer

_SECONDS = 10.0
_POLL_SECONDS = 0.02
SERVERS = 3  # fewer than there are runners: sessions are shared for certain

_CONFIGURATION = """\
[databases]
* = host={sockets} port=5432 user=postgres

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir = {folder}
auth_type = any
pool_mode = {mode}
default_pool_size = {servers}
max_client_conn = 200
logfile = {folder}/log
"""


def _program() -> str:
    found = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("no pgbouncer: apt-get install pgbouncer")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def pgbouncer(server: RestartableServer, folder: Path, *, mode: str) -> Iterator[str]:
    """The conninfo of a PgBouncer before a server; `mode` is session or transaction. `folder` must be its own.

    It has a Unix socket in the folder as well.
    """
    program = _program()
    port = _free_port()
    folder.mkdir()
    server.account.take_ownership(folder, 0o700)
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(
        _CONFIGURATION.format(sockets=server.sockets, port=port, mode=mode, servers=SERVERS, folder=folder)
    )
    configuration.chmod(0o644)
    account = server.account
    with subprocess.Popen(
        [program, "--quiet", configuration],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        user=account.uid if account.switched else None,
        group=account.gid if account.switched else None,
        extra_groups=[] if account.switched else None,
    ) as process:
        try:
            conninfo = make_conninfo(host="127.0.0.1", port=port, user="postgres", dbname="postgres", sslmode="disable")
            _await(process, conninfo)
            yield conninfo
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=_SECONDS)


def _await(process: subprocess.Popen[bytes], conninfo: str) -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            psycopg.connect(conninfo).close()
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                _, said = process.communicate()
                raise AssertionError(f"PgBouncer does not serve: {error}; it said: {said.decode()}") from error
            time.sleep(_POLL_SECONDS)
        else:
            return
