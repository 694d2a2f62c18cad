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
from kernel.server import cache, initialise, locks, programs
from kernel.server.account import opened, serving
from kernel.server.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.server.cluster import Server
    from kernel.server.programs import Programs

DATABASE = "kernel"

START, USE, KEEP = "start.lock", "use.lock", "keep"

# Short, for a socket's path ends at 103 bytes (macOS) or 107, and entered by its owner alone, for there is no password.
SOCKETS = Path("/tmp")  # noqa: S108 - only to make a folder below it, which `_private_sockets` does not trust unseen

PRIVATE = 0o700

# For a checkout inside root's private home, which the server's account cannot enter.
SYSTEM = Path("/var/lib/aibos-kernel")


def data_directory(root: Path, data_dir: Path | None) -> Path:
    """Where the development server of the checkout `root` keeps its data: absolute, and perhaps not there yet.

    `data_dir` (KERNEL_DATA_DIR) if given; else `.kernel/postgres` in the checkout; else, when the account that
    serves root cannot get there, a folder of /var/lib named after the checkout. Raises ServerFailed when `data_dir`
    cannot be reached, or root finds no account to serve it.
    """
    root = root.resolve()
    folder = (root / (data_dir or Path(".kernel/postgres"))).resolve()
    account = serving(folder)
    closed = account.closed(folder)
    if closed is None:
        return folder
    if data_dir is not None or not account.switched:
        raise ServerFailed(
            f"{folder}: {account.name}, who serves it, may not enter {closed}; set KERNEL_DATA_DIR to another folder",
        )
    return SYSTEM / f"{root.name}-{_digest(str(root))}"


@contextmanager
def running(root: Path, *, data_dir: Path | None = None, bindir: Path | None = None) -> Iterator[Server]:
    """The development server of the checkout `root` for as long as the block runs, started if it is not up.

    Leaving stops it when nobody else uses it and `start` did not ask to keep it. Raises ProgramsMissing, ServerFailed.
    """
    cluster = _cluster(root, data_dir)
    with _deciding(cluster), ExitStack() as entering:
        entering.enter_context(locks.shared(cluster.folder / USE))
        server = _serve(cluster, bindir)
        using = entering.pop_all()
    try:
        yield server
    finally:
        using.close()
        with _deciding(cluster):
            if not (cluster.folder / KEEP).exists() and not locks.held(cluster.folder / USE):
                _stop(cluster)


def start(root: Path, *, data_dir: Path | None = None, bindir: Path | None = None) -> Server:
    """The development server, started if it is not up and kept running until `stop`.

    Raises ProgramsMissing, ServerFailed.
    """
    cluster = _cluster(root, data_dir)
    with _deciding(cluster):
        server = _serve(cluster, bindir)
        os.close(opened(cluster.folder / KEEP, os.O_WRONLY))
        return server


def stop(root: Path, *, data_dir: Path | None = None) -> bool:
    """Stop the development server; False when none was running. Raises ServerFailed while a command uses it."""
    cluster = _cluster(root, data_dir)
    if not cluster.folder.exists():
        return False
    with _deciding(cluster):
        if locks.held(cluster.folder / USE):
            raise ServerFailed(f"{cluster.folder}: another command uses its server; wait for it to end, then try again")
        return _stop(cluster)


def _cluster(root: Path, data_dir: Path | None) -> Cluster:
    folder = data_directory(root, data_dir)
    return Cluster(folder=folder, account=serving(folder))


@contextmanager
def _deciding(cluster: Cluster) -> Iterator[None]:
    """Hold the start lock; what the operating system refuses meanwhile becomes a ServerFailed that names the file."""
    try:
        cluster.account.make(cluster.folder)
        with locks.exclusive(cluster.folder / START):
            yield
    except OSError as error:
        raise ServerFailed(
            f"{error.filename or cluster.folder}: {error.strerror or error}; "
            f"set KERNEL_DATA_DIR to a folder on a local disk where {cluster.account.name or 'you'} can write",
        ) from error


def _serve(cluster: Cluster, bindir: Path | None) -> Server:
    chosen = cache.within_reach(_programs(cluster, bindir), cluster.account)
    if present := cluster.settled():
        return cluster.server(present, chosen, database=DATABASE, started=False)
    if not cluster.data.exists():
        _initialise(cluster, chosen)
    (cluster.folder / KEEP).unlink(missing_ok=True)  # it was said of a server that is no more
    cluster.detach(chosen, _private_sockets(cluster))
    return cluster.server(cluster.accepting(), chosen, database=DATABASE, started=True)


def _stop(cluster: Cluster) -> bool:
    stopped = cluster.stop()
    (cluster.folder / KEEP).unlink(missing_ok=True)
    with suppress(OSError):  # no longer there, or not empty and so not ours
        _sockets(cluster).rmdir()
    return stopped


def _programs(cluster: Cluster, bindir: Path | None) -> Programs:
    """The programs for the data that is there: of its major version and no other, which could not read it."""
    if (cluster.folder / "PG_VERSION").exists():
        raise ServerFailed(f"{cluster.folder}: the data of another PostgreSQL; set KERNEL_DATA_DIR to a new folder")
    if not cluster.data.exists():
        return programs.find(bindir)
    major = initialise.major(cluster.data)
    try:
        return programs.find(bindir, major=major)
    except ProgramsMissing as missing:
        raise ProgramsMissing(
            f"{cluster.data}: made by PostgreSQL {major}, which is needed to read it: {missing}; "
            f"or remove {cluster.folder} and the data in it",
        ) from missing


def _initialise(cluster: Cluster, chosen: Programs) -> None:
    """Make the data under another name and rename it: an interrupted initdb leaves nothing that looks complete."""
    making = cluster.folder / "data.making"
    shutil.rmtree(making, ignore_errors=True)
    try:
        initialise.initialise(chosen, cluster.account, making, sync=True)
        initialise.create_database(chosen, cluster.account, making, DATABASE)
        making.rename(cluster.data)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _sockets(cluster: Cluster) -> Path:
    """The folder for the socket: the same for every start, so that a printed URL stays true."""
    return SOCKETS / f"aibos-kernel-{_digest(f'{cluster.account.uid} {cluster.folder}')}"


def _private_sockets(cluster: Cluster) -> Path:
    """That folder, made if missing. Raises ServerFailed when somebody else could have made it or can enter it."""
    folder = _sockets(cluster)
    with suppress(FileExistsError):
        folder.mkdir(mode=PRIVATE)
        cluster.account.own(folder, PRIVATE)
    status = folder.lstat()
    if status.st_uid != cluster.account.uid or status.st_mode != stat.S_IFDIR | PRIVATE:
        raise ServerFailed(f"{folder}: not a private folder of {cluster.account.name}; remove it")
    return folder


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:12]
