"""Throwaway servers: each belongs to one process; neither the server nor its data outlives it, even after SIGKILL.

New data is a copy of a template that initdb created once for each build of PostgreSQL. It is in memory if there is
enough free space, and is not durable: fsync is off. A child that this process forks without exec inherits the pipe of
the watchdog, and keeps the server running until it ends.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.errors import ServerFailed
from kernel.postgres.account import WRITE_PERMISSION, Account, server_account
from kernel.postgres.cache import cached_folder, programs_cache_key, reachable_programs
from kernel.postgres.cluster import Cluster
from kernel.postgres.initdb import run_initdb
from kernel.postgres.process import run_as_account
from kernel.postgres.programs import find_programs
from kernel.postgres.watchdog import WatchedCluster

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kernel.postgres.cluster import Server
    from kernel.postgres.programs import Programs


MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - a folder below it, made by mkdtemp
FALLBACK_FOLDER = Path("/tmp")  # noqa: S108 - the same
NEEDED_MEMORY_BYTES = 1 << 30  # a container's /dev/shm is 64 MB by default

# The socket is in the server's folder, and its path has at most 103 bytes on macOS (107 on Linux).
FOLDER_PATH_BYTES = 103 - len("/aibos-kernel-12345678/.s.PGSQL.5432")

THROWAWAY_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
}


@contextmanager
def throwaway_server(
    chosen: Programs | None = None,
    *,
    bindir: Path | None = None,
    settings: Mapping[str, str] | None = None,
    room_bytes: int = NEEDED_MEMORY_BYTES,
    unique: bool = False,
) -> Iterator[Server]:
    """Run a server with the database `postgres`; it is removed with its data when the block or the process ends.

    `settings` override THROWAWAY_SETTINGS in the configuration file, so that ALTER SYSTEM can change them. The data is
    in memory when `room_bytes` are free there. Servers from one template have the same system identifier; with
    `unique`, initdb runs for this server (0.4 s), which gives it its own. Raises ProgramsMissing, ServerFailed.
    """
    with open_watched_cluster(chosen or find_programs(bindir), room_bytes=room_bytes, unique=unique) as watched:
        yield watched.serve({**THROWAWAY_SETTINGS, **(settings or {})})


@contextmanager
def open_watched_cluster(
    chosen: Programs,
    *,
    folder: Path | None = None,
    room_bytes: int = NEEDED_MEMORY_BYTES,
    unique: bool = False,
    environ: Mapping[str, str] | None = None,
) -> Iterator[WatchedCluster]:
    """Create a cluster under a watchdog; call `serve` to start its server, and again to restart it.

    It has new data, in memory when `room_bytes` are free there, or in `folder`: an existing folder of the server's
    account, in a folder of that account. Existing data is used unchanged, and kept. `unique` as for throwaway_server;
    `environ`, such as LOCPATH, is added to the server's environment. Raises ServerFailed.
    """
    account = server_account(Path("/"))
    usable = reachable_programs(chosen, account)
    sockets = _make_server_folder(account, room_bytes if folder is None else 0)
    cluster = Cluster(folder=folder or sockets, account=account)
    watched = WatchedCluster(
        cluster=cluster,
        programs=usable,
        sockets=sockets,
        kept=cluster.data.exists(),
        # Shared memory of parallel queries in the data folder if that is in memory, so that both are removed.
        folder_settings={"dynamic_shared_memory_type": "mmap"} if cluster.folder.parent == MEMORY_FOLDER else {},
        environ=environ or {},
    )
    with watched.run_watchdog():
        if not watched.kept:
            try:
                _make_throwaway_data(cluster, usable, unique=unique)
            except OSError as error:
                message = f"{cluster.folder}: {error.strerror}; no throwaway server could be made there"
                raise ServerFailed(message) from error
        yield watched


def _make_server_folder(account: Account, room_bytes: int) -> Path:
    """Create a private folder of `account`: in memory, else in TMPDIR, else in /tmp. Raises ServerFailed."""
    for place in (MEMORY_FOLDER, Path(tempfile.gettempdir()), FALLBACK_FOLDER):
        if (
            not place.is_dir()
            or account.first_closed_folder(place)
            or not account.has_permission(place, WRITE_PERMISSION)
        ):
            continue
        if place == MEMORY_FOLDER and shutil.disk_usage(place).free < room_bytes:
            continue
        # PostgreSQL and libpq both treat a comma as the end of a path.
        if len(os.fsencode(place)) <= FOLDER_PATH_BYTES and not set(',"') & set(str(place)):
            with suppress(OSError):  # full or read-only: try the next folder
                folder = Path(tempfile.mkdtemp(prefix="aibos-kernel-", dir=place))
                account.take_ownership(folder, 0o700)
                return folder
    raise ServerFailed(
        f"no folder for a throwaway server: {account.name} can write neither TMPDIR nor {FALLBACK_FOLDER}"
    )


def _make_throwaway_data(cluster: Cluster, usable: Programs, *, unique: bool) -> None:
    """Create the cluster's data: a copy of the template or, with `unique`, by initdb. Raises ServerFailed."""
    if not unique:
        # Without a usable cache (full, not writable, of another account) initdb only takes longer.
        with suppress(OSError, ServerFailed):
            template = cached_folder(
                f"templates/{programs_cache_key(usable)}-{cluster.account.uid}",
                cluster.account,
                lambda path: run_initdb(usable, cluster.account, path, sync=False),
            )
            copied = run_as_account(cluster.account, "/bin/cp", "-a", template, cluster.data)
            if copied.returncode == 0:
                return
            shutil.rmtree(cluster.data, ignore_errors=True)
    run_initdb(usable, cluster.account, cluster.data, sync=False)
