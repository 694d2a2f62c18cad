"""The embedded development server: one for each checkout, shared by concurrent commands, with persistent data.

It has three locks in the folder of the data. `start.lock` is exclusive, held while the server is initialised, started
or stopped. `use.lock` is shared, held by each command while it uses the server: the last command that releases it stops
the server, unless start_development_server has created the file `keep`. `alive.lock` is held by the server itself
(cluster.py). The system releases the locks of a killed command; the server then runs until the next command ends.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.errors import ProgramsMissing, ServerFailed
from kernel.postgres.account import open_private_file, server_account
from kernel.postgres.cache import reachable_programs
from kernel.postgres.cluster import Cluster
from kernel.postgres.file_lock import file_lock, is_file_locked
from kernel.postgres.initdb import create_database, data_major_version, run_initdb
from kernel.postgres.programs import find_programs
from kernel.postgres.watchdog import configure_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kernel.postgres.cluster import Server
    from kernel.postgres.programs import Programs


DEVELOPMENT_DATABASE = "kernel"

START_LOCK, USE_LOCK, KEEP_FILE = "start.lock", "use.lock", "keep"

# Short, since a socket's path has at most 103 bytes (macOS) or 107 (Linux). Only its owner may enter the folder below
# it, since the server requires no password.
SOCKETS_PARENT = Path("/tmp")  # noqa: S108 - only to make a folder below it, which `_private_sockets` does not trust unseen

# For a checkout in root's home directory, which the server's account cannot enter.
SYSTEM_DATA_FOLDER = Path("/var/lib/aibos-kernel")


def development_data_folder(root: Path, data_dir: Path | None) -> Path:
    """Return the folder of the development server's data for the checkout `root`, an absolute path that need not exist.

    It is `data_dir` (KERNEL_DATA_DIR) if given; else `.kernel/postgres` in the checkout; else, when the account that
    the server runs as for root cannot enter that, a folder of SYSTEM_DATA_FOLDER named after the checkout. Raises
    ServerFailed when the account cannot enter `data_dir`, or when there is no account for root's server.
    """
    root = root.resolve()
    folder = (root / (data_dir or Path(".kernel/postgres"))).resolve()
    account = server_account(folder)
    closed = account.first_closed_folder(folder)
    if closed is None:
        return folder
    if data_dir is not None or not account.switched:
        raise ServerFailed(
            f"{folder}: {account.name}, who serves it, may not enter {closed}; set KERNEL_DATA_DIR to another folder",
        )
    return SYSTEM_DATA_FOLDER / f"{root.name}-{_short_digest(str(root))}"


@contextmanager
def development_server(
    root: Path,
    *,
    data_dir: Path | None = None,
    bindir: Path | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Use the development server of the checkout `root` in the block, started if it is not running.

    After the block it stops, unless another command uses it or start_development_server has been called. `settings`
    are those of a server that is started here, instead of PostgreSQL's own. Raises ProgramsMissing, ServerFailed.
    """
    cluster = _development_cluster(root, data_dir)
    with _hold_start_lock(cluster), ExitStack() as entering:
        entering.enter_context(file_lock(cluster.folder / USE_LOCK, shared=True))
        server = _start_unless_running(cluster, bindir, settings or {})
        using = entering.pop_all()
    try:
        yield server
    finally:
        using.close()
        with _hold_start_lock(cluster):
            if not (cluster.folder / KEEP_FILE).exists() and not is_file_locked(cluster.folder / USE_LOCK):
                _stop_cluster(cluster)


def start_development_server(root: Path, *, data_dir: Path | None = None, bindir: Path | None = None) -> Server:
    """Start the development server if it is not running, and keep it running until stop_development_server.

    Raises ProgramsMissing, ServerFailed.
    """
    cluster = _development_cluster(root, data_dir)
    with _hold_start_lock(cluster):
        server = _start_unless_running(cluster, bindir, {})
        os.close(open_private_file(cluster.folder / KEEP_FILE, os.O_WRONLY))
        return server


def release_development_server(root: Path, *, data_dir: Path | None = None) -> None:
    """Let the last command that uses the server stop it again, after start_development_server. Raises ServerFailed."""
    cluster = _development_cluster(root, data_dir)
    with _hold_start_lock(cluster):
        (cluster.folder / KEEP_FILE).unlink(missing_ok=True)


def stop_development_server(root: Path, *, data_dir: Path | None = None) -> bool:
    """Stop the development server; False when none was running. Raises ServerFailed while a command uses it."""
    cluster = _development_cluster(root, data_dir)
    if not cluster.folder.exists():
        return False
    with _hold_start_lock(cluster):
        if is_file_locked(cluster.folder / USE_LOCK):
            raise ServerFailed(f"{cluster.folder}: another command uses its server; wait for it to end, then try again")
        return _stop_cluster(cluster)


def stop_when_unused(folder: Path) -> None:
    """Wait until no command uses the server in `folder`, and stop it unless it is kept; return when there is none.

    A command that is killed lets go of its lock and stops nothing. Raises ServerFailed, OSError.
    """
    cluster = Cluster(folder=folder, account=server_account(folder))
    while cluster.is_alive():
        with file_lock(folder / USE_LOCK):
            pass  # let go at once: a command that begins holds the start lock while it waits for this one
        with _hold_start_lock(cluster):
            if (folder / KEEP_FILE).exists():
                return
            if not is_file_locked(folder / USE_LOCK):
                _stop_cluster(cluster)


def _development_cluster(root: Path, data_dir: Path | None) -> Cluster:
    folder = development_data_folder(root, data_dir)
    return Cluster(folder=folder, account=server_account(folder))


@contextmanager
def _hold_start_lock(cluster: Cluster) -> Iterator[None]:
    """Hold the start lock; an OSError in the block becomes a ServerFailed that names the file."""
    try:
        cluster.account.make_folders(cluster.folder)
        with file_lock(cluster.folder / START_LOCK):
            yield
    except OSError as error:
        raise ServerFailed(
            f"{error.filename or cluster.folder}: {error.strerror or error}; "
            f"set KERNEL_DATA_DIR to a folder on a local disk where {cluster.account.name or 'you'} can write",
        ) from error


def _start_unless_running(cluster: Cluster, bindir: Path | None, settings: Mapping[str, str]) -> Server:
    chosen = reachable_programs(_programs_for_data(cluster, bindir), cluster.account)
    if present := cluster.wait_until_settled():
        return cluster.describe_server(present, chosen, database=DEVELOPMENT_DATABASE, started=False)
    if not cluster.data.exists():
        _make_data(cluster, chosen)
    (cluster.folder / KEEP_FILE).unlink(missing_ok=True)  # it concerned a server that has ended
    if settings:
        configure_cluster(cluster, settings)
    cluster.start_detached(chosen, _make_socket_folder(cluster))
    return cluster.describe_server(cluster.wait_until_accepting(), chosen, database=DEVELOPMENT_DATABASE, started=True)


def _stop_cluster(cluster: Cluster) -> bool:
    stopped = cluster.stop()
    (cluster.folder / KEEP_FILE).unlink(missing_ok=True)
    with suppress(OSError):  # it does not exist, or holds files of another process
        _socket_folder(cluster).rmdir()
    return stopped


def _programs_for_data(cluster: Cluster, bindir: Path | None) -> Programs:
    """Find the programs for the existing data: only those of the major version that created it can read it."""
    if (cluster.folder / "PG_VERSION").exists():
        raise ServerFailed(f"{cluster.folder}: the data of another PostgreSQL; set KERNEL_DATA_DIR to a new folder")
    if not cluster.data.exists():
        return find_programs(bindir)
    major = data_major_version(cluster.data)
    try:
        return find_programs(bindir, major=major)
    except ProgramsMissing as missing:
        raise ProgramsMissing(
            f"{cluster.data}: made by PostgreSQL {major}, which is needed to read it: {missing}; "
            f"or remove {cluster.folder} and the data in it",
        ) from missing


def _make_data(cluster: Cluster, chosen: Programs) -> None:
    """Create the data under another name and rename it: an interrupted initdb leaves nothing that looks complete."""
    making = cluster.folder / "data.making"
    shutil.rmtree(making, ignore_errors=True)
    try:
        run_initdb(chosen, cluster.account, making, sync=True)
        create_database(chosen, cluster.account, making, DEVELOPMENT_DATABASE)
        making.rename(cluster.data)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _socket_folder(cluster: Cluster) -> Path:
    """Return the folder of the socket: the same for every start, so that a printed URL stays valid."""
    return SOCKETS_PARENT / f"aibos-kernel-{_short_digest(f'{cluster.account.uid} {cluster.folder}')}"


def _make_socket_folder(cluster: Cluster) -> Path:
    """Create the folder of the socket if it is missing. Raises ServerFailed when it is not private."""
    folder = _socket_folder(cluster)
    cluster.account.make_private_folder(folder)
    return folder


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:12]
