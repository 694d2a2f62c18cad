"""A server that tests may bring down and start again, on the same data and at the same address."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import psycopg
from psycopg.conninfo import make_conninfo

from kernel.postgres.account import server_account
from kernel.postgres.cluster import POSTMASTER_FILE, read_postmaster
from kernel.postgres.process import program_environment
from kernel.postgres.throwaway import throwaway_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.postgres.account import Account
    from kernel.postgres.cluster import Server
    from kernel.postgres.programs import Programs

_SECONDS = 30.0
_POLL_SECONDS = 0.01
# What was reported as applied has to be there after a crash of the server, as it is in production.
SETTINGS = {"synchronous_commit": "on", "restart_after_crash": "on"}


@dataclass(slots=True, kw_only=True)
class RestartableServer:
    """A throwaway server; after `shut_down` its processes are ours, its folder and address stay."""

    server: Server
    account: Account
    sockets: Path
    again: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return next(self.sockets.glob(".s.PGSQL.*[0-9]"), self.sockets / ".s.PGSQL.5432")

    def conninfo(self, **parameters: str) -> str:
        return make_conninfo(self.server.conninfo, **parameters)

    def shut_down(self) -> None:
        """An immediate shutdown: every process is told to quit, nothing is written any more."""
        data = self.server.data / "data"
        running = read_postmaster(data)
        assert running, "it runs"
        os.kill(running.pid, signal.SIGQUIT)
        if self.again:
            self.again.wait(_SECONDS)
        deadline = time.monotonic() + _SECONDS
        while (data / POSTMASTER_FILE).exists():
            assert time.monotonic() < deadline, "it does not shut down"
            time.sleep(_POLL_SECONDS)

    def start(self) -> None:
        """Start it again; returns once it has recovered."""
        with (self.server.data / "log").open("ab") as log:
            self.again = serve(self.server.programs, self.account, self.server.data / "data", self.sockets, log)
        deadline = time.monotonic() + _SECONDS
        while not self._answers():
            assert time.monotonic() < deadline, "it does not start again"
            time.sleep(_POLL_SECONDS)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.server.conninfo).close()
        except psycopg.OperationalError:
            return False
        return True


def serve(programs: Programs, account: Account, data: Path, sockets: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start `postgres` on a folder of data; it may not answer yet, and it is the caller's to end."""
    return subprocess.Popen(
        [
            programs.bin / "postgres",
            *("-D", data),
            *("-c", f"unix_socket_directories={sockets}"),
            *("-c", "listen_addresses="),
        ],
        env=program_environment(),
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=log,
        umask=0o077,
        user=account.uid if account.switched else None,
        group=account.gid if account.switched else None,
        extra_groups=[] if account.switched else None,
    )


@contextmanager
def open_restartable_server(bindir: Path | None = None, **settings: str) -> Iterator[RestartableServer]:
    """A server that ends with the block, however often it was started again."""
    with throwaway_server(bindir=bindir, settings={**SETTINGS, **settings}) as server:
        running = read_postmaster(server.data / "data")
        assert running, "it has just been started"
        it = RestartableServer(server=server, account=server_account(Path("/")), sockets=running.socket_folder)
        try:
            yield it
        finally:
            if it.again and it.again.poll() is None:
                it.again.send_signal(signal.SIGQUIT)
                it.again.wait(_SECONDS)
