"""What a running server says about itself: the file postmaster.pid in its data, and whether its socket answers."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

FILE = "postmaster.pid"
READY = "ready"
ANSWER_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Postmaster:
    """The first process of a server; the file it is read from may have outlived it."""

    pid: int
    port: int
    sockets: Path
    status: str

    def answers(self) -> bool:
        """Whether somebody listens on the socket: proof of life that a reused process number cannot forge."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(ANSWER_SECONDS)
            try:
                client.connect(str(self.sockets / f".s.PGSQL.{self.port}"))
            except OSError:
                return False
            return True


def read(data: Path) -> Postmaster | None:
    """The server that says it runs on `data`; None when there is none, or when it has not said all of it yet.

    The lines, from PostgreSQL's pidfile.h: process number, data, start time, port, folder of the socket, listen
    address, shared memory key, status padded with blanks.
    """
    try:
        lines = (data / FILE).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return None
    try:
        pid, _, _, port, sockets, _, _, status = lines
        return Postmaster(pid=int(pid), port=int(port), sockets=Path(sockets), status=status.strip())
    except ValueError:
        return None
