"""Throwaway servers: one for one process, which neither the server nor its data outlives, SIGKILL included.

Fresh data is a copy of a template that initdb made once for each build of PostgreSQL. It lies in memory where there is
room, and is not made to survive anything: no fsync. A child that our process forks without exec inherits the watchdog's
pipe, and keeps the server for as long as it lives.
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
from kernel.postgres.watchdog import WatchedCluster, run_watchdog

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kernel.postgres.cluster import Server
    from kernel.postgres.programs import Programs


MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - a folder below it, made by mkdtemp
FALLBACK_FOLDER = Path("/tmp")  # noqa: S108 - the same
NEEDED_MEMORY_BYTES = 1 << 30  # a container's /dev/shm is 64 MB unless somebody thought of it

# The socket lies in the server's folder, and its path may have 103 bytes on macOS (107 on Linux).
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
    """A server with the database `postgres`, gone with its data when the block or the process ends.

    `settings` go into the configuration over SETTINGS, where ALTER SYSTEM can still change them. The data lies in
    memory when `room_bytes` are free there. Servers from one template share PostgreSQL's system identifier; with
    `unique` this one runs initdb for itself (0.4 s) and has its own. Raises ProgramsMissing, ServerFailed.
    """
    with open_watched_cluster(chosen or find_programs(bindir), room_bytes=room_bytes, unique=unique) as guard:
        yield guard.serve({**THROWAWAY_SETTINGS, **(settings or {})})


@contextmanager
def open_watched_cluster(
    chosen: Programs,
    *,
    folder: Path | None = None,
    room_bytes: int = NEEDED_MEMORY_BYTES,
    unique: bool = False,
    environ: Mapping[str, str] | None = None,
) -> Iterator[WatchedCluster]:
    """A cluster under watch whose server is still to be started, by `serve`, and can be started again.

    It has fresh data, in memory when `room_bytes` are free there, or in `folder`: an existing one of the server's
    account, in a folder of that account. Data that is there already is served as it is, and kept. `unique` as for
    `server`; `environ` is added to what the server sees, such as LOCPATH. Raises ServerFailed.
    """
    account = server_account(Path("/"))
    usable = reachable_programs(chosen, account)
    sockets = _make_server_folder(account, room_bytes if folder is None else 0)
    cluster = Cluster(folder=folder or sockets, account=account)
    guard = WatchedCluster(
        cluster=cluster,
        programs=usable,
        sockets=sockets,
        kept=cluster.data.exists(),
        folder_settings=_shared_memory_settings(cluster.folder),
        environ=environ or {},
    )
    with run_watchdog(guard):
        if not guard.kept:
            try:
                _make_throwaway_data(cluster, usable, unique=unique)
            except OSError as error:
                what = f"{cluster.folder}: {error.strerror}; no throwaway server could be made there"
                raise ServerFailed(what) from error
        yield guard


def _make_server_folder(account: Account, room_bytes: int) -> Path:
    """A new private folder of `account`: in memory, else in TMPDIR, else in /tmp. Raises ServerFailed."""
    for place in (MEMORY_FOLDER, Path(tempfile.gettempdir()), FALLBACK_FOLDER):
        if (
            not place.is_dir()
            or account.first_closed_folder(place)
            or not account.has_permission(place, WRITE_PERMISSION)
        ):
            continue
        if place == MEMORY_FOLDER and shutil.disk_usage(place).free < room_bytes:
            continue
        # PostgreSQL and libpq both take a comma for the end of a path.
        if len(os.fsencode(place)) <= FOLDER_PATH_BYTES and not set(',"') & set(str(place)):
            with suppress(OSError):  # full, or read-only: the next place may do
                folder = Path(tempfile.mkdtemp(prefix="aibos-kernel-", dir=place))
                account.take_ownership(folder, 0o700)
                return folder
    raise ServerFailed(
        f"no folder for a throwaway server: {account.name} can write neither TMPDIR nor {FALLBACK_FOLDER}"
    )


def _make_throwaway_data(cluster: Cluster, usable: Programs, *, unique: bool) -> None:
    """Make the cluster's data: a copy of the template, or `unique`. Raises ServerFailed."""
    if not unique:
        # A cache that is full, not writable or not ours only costs time.
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


def _shared_memory_settings(folder: Path) -> dict[str, str]:
    """In memory, the segments of parallel queries lie among the data: a server that was killed leaves none behind."""
    return {"dynamic_shared_memory_type": "mmap"} if folder.parent == MEMORY_FOLDER else {}
