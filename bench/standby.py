"""A streaming standby of a server, next to it on this machine, and how far it is behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg.conninfo import make_conninfo

from kernel.postgres.process import program_environment
from kernel.postgres.throwaway import open_watched_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kernel.postgres.cluster import Server

# What a primary needs beyond PostgreSQL's own defaults, in a throwaway server.
PRIMARY_SETTINGS = {"wal_level": "replica", "max_wal_senders": "4", "wal_keep_size": "256MB"}
STANDBY_NAME = "standby"
_POLL_SECONDS = 0.1
_BEHIND = """
SELECT coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)), 0)::bigint FROM pg_stat_replication
"""


@contextmanager
def open_standby(primary: Server, settings: Mapping[str, str], *, room_bytes: int) -> Iterator[Server]:
    """Make a base backup of `primary`, and stream to it until the block ends. Raises ServerFailed."""
    with open_watched_cluster(primary.programs, room_bytes=room_bytes) as watched:
        data, account = watched.cluster.data, watched.cluster.account
        shutil.rmtree(data)
        command = (
            str(primary.programs.bin / "pg_basebackup"),
            "--checkpoint=fast",
            "--no-sync",
            f"--pgdata={data}",
            f"--dbname={primary.conninfo}",
        )
        subprocess.run(command, check=True, env=program_environment())
        for path in (data, *data.rglob("*")):
            os.chown(path, account.uid, account.gid)
        (data / "standby.signal").touch()
        source = make_conninfo(primary.conninfo, application_name=STANDBY_NAME)
        standby = watched.serve({**settings, "primary_conninfo": source})
        with psycopg.connect(primary.conninfo, autocommit=True) as connection:
            while connection.execute("SELECT FROM pg_stat_replication WHERE state = 'streaming'").fetchone() is None:
                threading.Event().wait(_POLL_SECONDS)
        yield standby


class LagWatch:
    """The most WAL, in bytes, that a standby was behind while the block ran: it had not replayed that yet."""

    def __init__(self, primary: Server) -> None:
        self._conninfo = primary.conninfo
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.largest_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        connection: psycopg.Connection[tuple[Any, ...]]
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            while not self._ended.wait(_POLL_SECONDS):
                row = connection.execute(_BEHIND).fetchone()
                self.largest_bytes = max(self.largest_bytes, row[0] if row else 0)
