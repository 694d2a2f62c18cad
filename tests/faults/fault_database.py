"""What a fault test stands on: a fresh database, a folder for migrations, and a session that looks on."""

from __future__ import annotations

import itertools
import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.faults import audit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.audit import Observer
    from tests.faults.proxy import Proxy
    from tests.faults.restartable_server import RestartableServer

_names = (f"fault_{number}" for number in itertools.count(1))
_DISK_BYTES = 48 << 20  # a database of PostgreSQL 18 is 8 MB when it is empty


@dataclass(slots=True, kw_only=True)
class FaultDatabase:
    """A database of a server, by its name, and everything around it."""

    server: RestartableServer
    name: str
    folder: Path
    observer: Observer

    @property
    def url(self) -> str:
        """The way to the database that no fault lies on."""
        return self.server.conninfo(dbname=self.name)

    def through(self, proxy: Proxy) -> str:
        """The way to the database that leads through a proxy, which reads what passes."""
        return make_conninfo(self.url, host="127.0.0.1", port=proxy.port, sslmode="disable", gssencmode="disable")

    def reconnect_observer(self) -> None:
        """Connect the observer again, when the server went down under it."""
        self.observer.close()
        self.observer = psycopg.connect(self.url, autocommit=True)


@contextmanager
def open_fault_database(
    server: RestartableServer, folder: Path, *, tablespace: str = "pg_default"
) -> Iterator[FaultDatabase]:
    """A fresh database with the audit's schemas, dropped at the end."""
    name = next(_names)
    folder.mkdir()
    database = sql.Identifier(name)
    with psycopg.connect(server.conninfo(), autocommit=True) as administrator:
        create = sql.SQL("CREATE DATABASE {} TABLESPACE {}").format(database, sql.Identifier(tablespace))
        administrator.execute(create)
    observer = psycopg.connect(server.conninfo(dbname=name), autocommit=True)
    audit.prepare(observer)
    it = FaultDatabase(server=server, name=name, folder=folder, observer=observer)
    try:
        yield it
    finally:
        it.observer.close()
        with psycopg.connect(server.conninfo(), autocommit=True) as administrator:
            administrator.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))


@contextmanager
def small_disk(server: RestartableServer, folder: Path) -> Iterator[str]:
    """A tablespace on a disk of 48 MB, mounted on `folder`. Skips where we may not mount one."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:  # a container's root may not, and only Linux has tmpfs
        pytest.skip(f"only root can mount a small disk, and here not even root: {mounted.stderr.strip()}")
    try:
        place = folder / "space"
        place.mkdir()
        server.account.take_ownership(place, 0o700)
        name = sql.Identifier(folder.name)
        with psycopg.connect(server.conninfo(), autocommit=True) as administrator:
            administrator.execute(sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(name, str(place)))
            try:
                yield folder.name
            finally:
                administrator.execute(sql.SQL("DROP TABLESPACE {}").format(name))
    finally:
        subprocess.run(["umount", folder], check=True)
