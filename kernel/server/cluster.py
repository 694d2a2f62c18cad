"""One folder with a server's data, its log and its pulse: start it, wait for it, stop it.

The pulse is a locked file whose descriptor every process of the server inherits. It tells the living from the dead
where a process number cannot: after a reboot the number in postmaster.pid may belong to anybody, and the zombie of a
killed server keeps its number for as long as nobody reaps it. PostgreSQL itself refuses to start in both cases.
"""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from kernel.server import locks, postmaster, process
from kernel.server.account import opened
from kernel.server.initialise import SUPERUSER

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kernel.server.account import Account
    from kernel.server.programs import Programs

PORT = 5432  # names the socket's file, nothing listens on a network
POLL_SECONDS = 0.005
START_SECONDS = 60.0  # a server that was killed replays its log first
STOP_SECONDS = 60.0  # the last checkpoint

# sh starts the server in the background and leaves; the server becomes a child of the system. Descriptor 9 is the
# pulse: stdout would not do, the server is free to send that elsewhere.
DETACHED = '"$@" 9>&1 >/dev/null </dev/null &'

# sh stays, reading a pipe that only our process holds: the first line says that the data is there, the second that the
# server has ended and another watchdog is on duty, the end of the pipe that we have left or died. Told to go by a
# signal, it takes the server along. It is the server's parent, so the number that it kills cannot be anybody else's.
# SIGQUIT is the immediate shutdown; but sh starts what runs in the background with SIGQUIT ignored, so that a server
# which is only just starting hears nothing but SIGTERM. What is still sh itself, in the moment before it becomes the
# server, may hear neither: both are sent again for as long as it is there.
WATCHED = """\
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
SERVE, LEAVE = b"serve\n", b"leave\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that accepts connections; `started` when it was this call that started it.

    `conninfo` and `url` say the same thing to libpq, and hold no password: there is none. `data` is the folder that
    holds the server's data and log.
    """

    conninfo: str
    url: str
    data: Path
    programs: Programs
    started: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A folder that holds `data`, PostgreSQL's own, beside the log and the pulse of whoever serves it."""

    folder: Path
    account: Account

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def pulse(self) -> Path:
        return self.folder / "alive.lock"

    def alive(self) -> bool:
        """Whether any process of a server still has the pulse. True for an instant while another process asks."""
        return locks.held(self.pulse)

    def detach(self, programs: Programs, sockets: Path) -> None:
        """Start a server that stays when we leave; call `accepting` before using it.

        Raises BlockingIOError while another one has the pulse.
        """
        with self._spawn(programs, sockets, DETACHED, stdin=subprocess.DEVNULL) as child:
            child.wait()

    def watch(
        self,
        programs: Programs,
        sockets: Path,
        *,
        pipe: int,
        kept: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start the watchdog of a server that does not outlive us; it returns, and is the last of them to end.

        The line SERVE from `pipe` makes it start the server on `data`; the pipe's end makes it end the server, without
        a checkpoint, and remove the folder of the sockets and, unless `kept`, the whole folder of the data. After the
        line LEAVE, for which the server must have ended, it goes and removes nothing. Call `accepting` after SERVE.
        """
        removed = sockets if kept else self.folder
        return self._spawn(programs, sockets, WATCHED, sockets, removed, stdin=pipe, environ=environ)

    def _spawn(
        self,
        programs: Programs,
        sockets: Path,
        script: str,
        *arguments: Path,
        stdin: int,
        environ: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        with locks.inheritable(self.pulse) as pulse:
            # Whoever wrote these is dead, for we have the pulse. PostgreSQL would believe the numbers in them, and we
            # would take the last words of that server for the first ones of this.
            (self.data / postmaster.FILE).unlink(missing_ok=True)
            (sockets / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)
            # The log of the run before stays beside it: it may hold the reason of a crash.
            if self.log.exists():
                self.log.replace(self.log.with_name("log.before"))
            log = opened(self.log, os.O_WRONLY | os.O_EXCL | os.O_APPEND)
            try:
                return process.spawn(
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
                    *("-c", f"port={PORT}"),
                    *("-c", "listen_addresses="),
                    stdin=stdin,
                    pulse=pulse,
                    log=log,
                    environ=environ,
                )
            finally:
                os.close(log)

    def settled(self) -> postmaster.Postmaster | None:
        """The server once it accepts connections, or None once there is none, after waiting for either.

        Raises ServerFailed when it neither starts nor ends in START_SECONDS.
        """
        deadline = time.monotonic() + START_SECONDS
        while self.alive():
            server = postmaster.read(self.data)
            if server and server.status == postmaster.READY and server.answers():
                return server
            if time.monotonic() > deadline:
                raise process.failure(
                    f"{self.folder}: its server (process {server.pid if server else 'unknown'}) does not answer "
                    f"after {START_SECONDS:.0f} s; run this again if it is still recovering, or end that process",
                    self._last_words(),
                )
            time.sleep(POLL_SECONDS)
        return None

    def accepting(self) -> postmaster.Postmaster:
        """The server that has just been started, once it accepts connections.

        Raises ServerFailed, which quotes the log, when it ends instead or takes too long.
        """
        server = self.settled()
        if server is None:
            raise process.failure(f"{self.folder}: its server did not start", self._last_words())
        return server

    def stop(self) -> bool:
        """Stop the server, interrupting whoever is connected; False when none was running.

        Returns when its last process is gone. Raises ServerFailed when it does not end.
        """
        server = self.settled()
        if server is None:
            return False
        # SIGINT is the "fast" shutdown. As the server's account, so that a forged number cannot hit anybody else.
        sent = process.run(self.account, "/bin/sh", "-c", 'kill -INT "$1"', "sh", str(server.pid))
        if sent.returncode != 0 and self.alive():
            raise process.failure(f"{self.folder}: its server (process {server.pid}) cannot be stopped", sent.stdout)
        deadline = time.monotonic() + STOP_SECONDS
        while self.alive():
            if time.monotonic() > deadline:
                what = f"{self.folder}: its server (process {server.pid}) does not end after {STOP_SECONDS:.0f} s"
                raise process.failure(what, self._last_words())
            time.sleep(POLL_SECONDS)
        return True

    def server(self, running: postmaster.Postmaster, programs: Programs, *, database: str, started: bool) -> Server:
        """The value for callers: how libpq reaches `database` on the server `running`."""
        sockets = str(running.sockets)
        quoted = sockets.replace("\\", "\\\\").replace("'", "\\'")
        return Server(
            conninfo=f"host='{quoted}' port={running.port} user={SUPERUSER} dbname={database}",
            url=f"postgresql:///{database}?host={quote(sockets, safe='')}&port={running.port}&user={SUPERUSER}",
            data=self.folder,
            programs=programs,
            started=started,
        )

    def _last_words(self) -> str:
        try:
            return self.log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""
