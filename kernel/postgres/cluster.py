"""A cluster: a folder with the data, log and lock of a server. Start the server, wait for it, stop it.

Every process of the server inherits the descriptor of the locked file alive.lock. The lock shows whether the server is
alive where a process ID cannot: after a reboot another process may have the ID in postmaster.pid, and the zombie of a
killed server keeps its ID until it is reaped. PostgreSQL itself refuses to start in both cases.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from kernel.postgres.account import open_private_file
from kernel.postgres.file_lock import file_lock, is_file_locked
from kernel.postgres.initdb import SUPERUSER
from kernel.postgres.process import program_failed_error, run_as_account, spawn_as_account

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kernel.postgres.account import Account
    from kernel.postgres.programs import Programs


POSTMASTER_FILE = "postmaster.pid"
POSTMASTER_READY = "ready"
ANSWER_SECONDS = 1.0

SOCKET_PORT = 5432  # names the socket's file, nothing listens on a network
POLL_SECONDS = 0.005
START_SECONDS = 60.0  # a server that was killed replays its log first
STOP_SECONDS = 60.0  # the last checkpoint

# sh starts the server in the background and exits; init adopts the server. Descriptor 9 is the lock: the server may
# redirect its stdout.
DETACHED_SCRIPT = '"$@" 9>&1 >/dev/null </dev/null &'

# sh reads a pipe whose write end only this process holds. The first line means that the data exists, the second that
# the server has ended and another watchdog has taken over; the end of the pipe means that this process has ended. A
# signal to sh stops the server too. sh is the server's parent, so the process ID that it signals cannot be reused.
# SIGQUIT requests an immediate shutdown; but sh starts background commands with SIGQUIT ignored, so a server that is
# just starting reacts to SIGTERM only, and the forked sh that has not executed the server yet may react to neither:
# both signals are repeated until the process has ended.
WATCHDOG_SCRIPT = """\
sockets=$1; folder=$2; shift 2
trap : HUP INT TERM
if read -r _; then
    "$@" 9>&1 >/dev/null </dev/null &
    exec >/dev/null
    if read -r _; then
        wait $!
        exit
    fi
    server=$!
    kill -QUIT $server; kill -TERM $server
    while sleep 1; [ -d "$sockets" ] && kill -QUIT $server; do kill -TERM $server; done 2>/dev/null &
    trap '' HUP INT TERM
    wait $server
    kill $!
fi
rm -rf -- "$sockets" "$folder" || { sleep 1; rm -rf -- "$sockets" "$folder"; }
"""
SERVE_LINE, LEAVE_LINE = b"serve\n", b"leave\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Postmaster:
    """The main process of a server, as read from postmaster.pid, a file that can outlive the process."""

    pid: int
    port: int
    socket_folder: Path
    status: str

    def answers(self) -> bool:
        """Whether a server accepts connections on the socket; unlike a process ID, a socket is not reused."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(ANSWER_SECONDS)
            try:
                client.connect(str(self.socket_folder / f".s.PGSQL.{self.port}"))
            except OSError:
                return False
            return True


def read_postmaster(data: Path) -> Postmaster | None:
    """Read postmaster.pid in `data`; None when there is no such file, or when it is not complete yet.

    The lines, from PostgreSQL's pidfile.h: process ID, data directory, start time, port, socket directory, listen
    address, shared memory key, status padded with blanks.
    """
    try:
        lines = (data / POSTMASTER_FILE).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return None
    try:
        pid, _, _, port, sockets, _, _, status = lines
        return Postmaster(pid=int(pid), port=int(port), socket_folder=Path(sockets), status=status.strip())
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that accepts connections; `started` when this call started it.

    `conninfo` and `url` are equivalent, and contain no password: the server requires none. `data` is the folder with
    the server's data and log.
    """

    conninfo: str
    url: str
    data: Path
    programs: Programs
    started: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A folder with the data directory `data` and the log and lock of its server."""

    folder: Path
    account: Account

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def alive_lock_path(self) -> Path:
        return self.folder / "alive.lock"

    def is_alive(self) -> bool:
        """Whether a process of a server holds the lock; briefly True while another process checks."""
        return is_file_locked(self.alive_lock_path)

    def start_detached(self, programs: Programs, sockets: Path) -> None:
        """Start a server that outlives this process; call `wait_until_accepting` before using it.

        Raises BlockingIOError while another server holds the lock.
        """
        with self._spawn(programs, sockets, DETACHED_SCRIPT, stdin=subprocess.DEVNULL) as child:
            child.wait()

    def start_watchdog(
        self,
        programs: Programs,
        sockets: Path,
        *,
        kept: bool,
        environ: Mapping[str, str],
    ) -> subprocess.Popen[bytes]:
        """Start the watchdog of a server that does not outlive this process, and return it; it ends after the server.

        SERVE_LINE in its stdin makes it start the server on `data`; the end of the pipe makes it stop the server
        without a checkpoint, then remove the socket folder and, unless `kept`, the cluster's folder. After LEAVE_LINE,
        to be sent when the server has ended, it exits and removes nothing.
        """
        removed = sockets if kept else self.folder
        return self._spawn(programs, sockets, WATCHDOG_SCRIPT, sockets, removed, stdin=subprocess.PIPE, environ=environ)

    def _spawn(
        self,
        programs: Programs,
        sockets: Path,
        script: str,
        *arguments: Path,
        stdin: int,
        environ: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        with file_lock(self.alive_lock_path, wait=False) as lock:
            # The server that wrote them has ended, since this process holds the lock. PostgreSQL would trust the
            # process IDs in them, and their status would be taken for that of the new server.
            (self.data / POSTMASTER_FILE).unlink(missing_ok=True)
            (sockets / f".s.PGSQL.{SOCKET_PORT}.lock").unlink(missing_ok=True)
            # Keep the previous log: it may show why the server crashed.
            if self.log.exists():
                self.log.replace(self.log.with_name("log.before"))
            log = open_private_file(self.log, os.O_WRONLY | os.O_EXCL | os.O_APPEND)
            try:
                return spawn_as_account(
                    self.account,
                    "/bin/sh",
                    "-c",
                    script,
                    "sh",
                    *arguments,
                    programs.bin / "postgres",
                    "-D",
                    self.data,
                    *("-c", f"unix_socket_directories={sockets}"),
                    *("-c", f"port={SOCKET_PORT}"),
                    *("-c", "listen_addresses="),
                    stdin=stdin,
                    stdout=lock,
                    stderr=log,
                    environ=environ,
                )
            finally:
                os.close(log)

    def wait_until_settled(self) -> Postmaster | None:
        """Wait until the server accepts connections, and return it, or until there is none, and return None.

        Raises ServerFailed when it neither accepts connections nor ends in START_SECONDS.
        """
        deadline = time.monotonic() + START_SECONDS
        while self.is_alive():
            server = read_postmaster(self.data)
            if server and server.status == POSTMASTER_READY and server.answers():
                return server
            if time.monotonic() > deadline:
                raise program_failed_error(
                    f"{self.folder}: its server (process {server.pid if server else 'unknown'}) does not answer "
                    f"after {START_SECONDS:.0f} s; run this again if it is still recovering, or end that process",
                    self._read_log(),
                )
            time.sleep(POLL_SECONDS)
        return None

    def wait_until_accepting(self) -> Postmaster:
        """Wait until the server that has just been started accepts connections, and return it.

        Raises ServerFailed, which quotes the log, when it ends or takes longer than START_SECONDS.
        """
        server = self.wait_until_settled()
        if server is None:
            raise program_failed_error(f"{self.folder}: its server did not start", self._read_log())
        return server

    def stop(self) -> bool:
        """Stop the server, disconnecting its clients; False when none was running.

        Returns when its last process has ended. Raises ServerFailed when it does not end.
        """
        server = self.wait_until_settled()
        if server is None:
            return False
        # SIGINT requests a fast shutdown. It is sent as the server's account, so that a forged process ID cannot make
        # root signal a process of another user.
        sent = run_as_account(self.account, "/bin/sh", "-c", 'kill -INT "$1"', "sh", str(server.pid))
        if sent.returncode != 0 and self.is_alive():
            raise program_failed_error(
                f"{self.folder}: its server (process {server.pid}) cannot be stopped", sent.stdout
            )
        deadline = time.monotonic() + STOP_SECONDS
        while self.is_alive():
            if time.monotonic() > deadline:
                message = f"{self.folder}: its server (process {server.pid}) does not end after {STOP_SECONDS:.0f} s"
                raise program_failed_error(message, self._read_log())
            time.sleep(POLL_SECONDS)
        return True

    def describe_server(self, running: Postmaster, programs: Programs, *, database: str, started: bool) -> Server:
        """Describe how libpq connects to `database` on the server `running`."""
        sockets = str(running.socket_folder)
        quoted = sockets.replace("\\", "\\\\").replace("'", "\\'")
        return Server(
            conninfo=f"host='{quoted}' port={running.port} user={SUPERUSER} dbname={database}",
            url=f"postgresql:///{database}?host={quote(sockets, safe='')}&port={running.port}&user={SUPERUSER}",
            data=self.folder,
            programs=programs,
            started=started,
        )

    def _read_log(self) -> str:
        try:
            return self.log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""
