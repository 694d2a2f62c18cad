"""The embedded development server: one for a checkout, shared by the commands that use it, its data kept.

Three locks, all in the folder of the data. `start.lock` is held alone while deciding, initialising, starting and
stopping. `use.lock` is held together by every command for as long as it uses the server: the last to leave, who finds
it free, stops the server, unless `start` left the file `keep`. `alive.lock` is the server's own pulse (cluster.py).
A command that is killed loses its locks with its life; the server then stays until the next command leaves.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.errors import ProgramsMissing, ServerFailed
from kernel.postgres.account import open_private_file, server_account
from kernel.postgres.cache import reachable_programs
from kernel.postgres.cluster import Cluster
from kernel.postgres.file_lock import exclusive_file_lock, is_file_locked, shared_file_lock
from kernel.postgres.initdb import create_database, data_major_version, run_initdb
from kernel.postgres.programs import find_programs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.postgres.cluster import Server
    from kernel.postgres.programs import Programs


DEVELOPMENT_DATABASE = "kernel"

START_LOCK, USE_LOCK, KEEP_FILE = "start.lock", "use.lock", "keep"

# Short, for a socket's path ends at 103 bytes (macOS) or 107, and entered by its owner alone, for there is no password.
SOCKETS_PARENT = Path("/tmp")  # noqa: S108 - only to make a folder below it, which `_private_sockets` does not trust unseen

PRIVATE_MODE = 0o700

# For a checkout inside root's private home, which the server's account cannot enter.
SYSTEM_DATA_FOLDER = Path("/var/lib/aibos-kernel")


def development_data_folder(root: Path, data_dir: Path | None) -> Path:
    """Where the development server of the checkout `root` keeps its data: absolute, and perhaps not there yet.

    `data_dir` (KERNEL_DATA_DIR) if given; else `.kernel/postgres` in the checkout; else, when the account that
    serves root cannot get there, a folder of /var/lib named after the checkout. Raises ServerFailed when `data_dir`
    cannot be reached, or root finds no account to serve it.
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
def development_server(root: Path, *, data_dir: Path | None = None, bindir: Path | None = None) -> Iterator[Server]:
    """The development server of the checkout `root` for as long as the block runs, started if it is not up.

    Leaving stops it when nobody else uses it and `start` did not ask to keep it. Raises ProgramsMissing, ServerFailed.
    """
    cluster = _development_cluster(root, data_dir)
    with _hold_start_lock(cluster), ExitStack() as entering:
        entering.enter_context(shared_file_lock(cluster.folder / USE_LOCK))
        server = _start_unless_running(cluster, bindir)
        using = entering.pop_all()
    try:
        yield server
    finally:
        using.close()
        with _hold_start_lock(cluster):
            if not (cluster.folder / KEEP_FILE).exists() and not is_file_locked(cluster.folder / USE_LOCK):
                _stop_cluster(cluster)


def start_development_server(root: Path, *, data_dir: Path | None = None, bindir: Path | None = None) -> Server:
    """The development server, started if it is not up and kept running until `stop`.

    Raises ProgramsMissing, ServerFailed.
    """
    cluster = _development_cluster(root, data_dir)
    with _hold_start_lock(cluster):
        server = _start_unless_running(cluster, bindir)
        os.close(open_private_file(cluster.folder / KEEP_FILE, os.O_WRONLY))
        return server


def stop_development_server(root: Path, *, data_dir: Path | None = None) -> bool:
    """Stop the development server; False when none was running. Raises ServerFailed while a command uses it."""
    cluster = _development_cluster(root, data_dir)
    if not cluster.folder.exists():
        return False
    with _hold_start_lock(cluster):
        if is_file_locked(cluster.folder / USE_LOCK):
            raise ServerFailed(f"{cluster.folder}: another command uses its server; wait for it to end, then try again")
        return _stop_cluster(cluster)


def _development_cluster(root: Path, data_dir: Path | None) -> Cluster:
    folder = development_data_folder(root, data_dir)
    return Cluster(folder=folder, account=server_account(folder))


@contextmanager
def _hold_start_lock(cluster: Cluster) -> Iterator[None]:
    """Hold the start lock; what the operating system refuses meanwhile becomes a ServerFailed that names the file."""
    try:
        cluster.account.make_folders(cluster.folder)
        with exclusive_file_lock(cluster.folder / START_LOCK):
            yield
    except OSError as error:
        raise ServerFailed(
            f"{error.filename or cluster.folder}: {error.strerror or error}; "
            f"set KERNEL_DATA_DIR to a folder on a local disk where {cluster.account.name or 'you'} can write",
        ) from error


def _start_unless_running(cluster: Cluster, bindir: Path | None) -> Server:
    chosen = reachable_programs(_programs_for_data(cluster, bindir), cluster.account)
    if present := cluster.wait_until_settled():
        return cluster.describe_server(present, chosen, database=DEVELOPMENT_DATABASE, started=False)
    if not cluster.data.exists():
        _make_data(cluster, chosen)
    (cluster.folder / KEEP_FILE).unlink(missing_ok=True)  # it was said of a server that is no more
    cluster.start_detached(chosen, _make_socket_folder(cluster))
    return cluster.describe_server(cluster.wait_until_accepting(), chosen, database=DEVELOPMENT_DATABASE, started=True)


def _stop_cluster(cluster: Cluster) -> bool:
    stopped = cluster.stop()
    (cluster.folder / KEEP_FILE).unlink(missing_ok=True)
    with suppress(OSError):  # no longer there, or not empty and so not ours
        _socket_folder(cluster).rmdir()
    return stopped


def _programs_for_data(cluster: Cluster, bindir: Path | None) -> Programs:
    """The programs for the data that is there: of its major version and no other, which could not read it."""
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
    """Make the data under another name and rename it: an interrupted initdb leaves nothing that looks complete."""
    making = cluster.folder / "data.making"
    shutil.rmtree(making, ignore_errors=True)
    try:
        run_initdb(chosen, cluster.account, making, sync=True)
        create_database(chosen, cluster.account, making, DEVELOPMENT_DATABASE)
        making.rename(cluster.data)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _socket_folder(cluster: Cluster) -> Path:
    """The folder for the socket: the same for every start, so that a printed URL stays true."""
    return SOCKETS_PARENT / f"aibos-kernel-{_short_digest(f'{cluster.account.uid} {cluster.folder}')}"


def _make_socket_folder(cluster: Cluster) -> Path:
    """That folder, made if missing. Raises ServerFailed when somebody else could have made it or can enter it."""
    folder = _socket_folder(cluster)
    with suppress(FileExistsError):
        folder.mkdir(mode=PRIVATE_MODE)
        cluster.account.take_ownership(folder, PRIVATE_MODE)
    status = folder.lstat()
    if status.st_uid != cluster.account.uid or status.st_mode != stat.S_IFDIR | PRIVATE_MODE:
        raise ServerFailed(f"{folder}: not a private folder of {cluster.account.name}; remove it")
    return folder


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:12]
