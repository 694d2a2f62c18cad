"""One kept golden copy: a folder with a server's data, and beside it its lock, its mark and what is known of it.

A server runs without fsync. Data that was in use when the machine went down is worthless, and is known by the mark
of the boot that it was used in; data that was put away has been written to the disk before.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.rehearsal.golden import boot
from kernel.server import locks, process
from kernel.server.account import opened
from kernel.server.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.server.account import Account
    from kernel.server.programs import Programs

LOCK, IN_USE, ABOUT = "use.lock", "in-use", "about.json"
BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's own is

# A server whose process was killed needs a moment to end; its entry is free after that.
LINGER_SECONDS = 5.0
POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is known of an entry: the `name` of its dump, how long it took to make, and what is to be said of it.

    `shared` and `roles` are what all its databases have in common, as shared.py tells it.
    """

    name: str
    seconds: float
    warnings: tuple[str, ...] = ()
    shared: str = ""
    roles: tuple[str, ...] = ()


def mark(folder: Path) -> None:
    """Say, before anything changes in it, that an entry is in use; on the disk, so that a crash cannot undo it."""
    _write(folder / IN_USE, boot.identifier())
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def put_away(folder: Path, programs: Programs, account: Account) -> str:
    """Write the data of a server that was stopped cleanly to the disk, and unmark it; what went wrong, "" for nothing.

    The last use counts from now.
    """
    done = process.run(account, programs.bin / "initdb", "--sync-only", f"--pgdata={folder / 'data'}")
    if done.returncode != 0:
        return done.stdout.strip()
    (folder / IN_USE).unlink(missing_ok=True)
    os.utime(folder)
    return ""


def describe(folder: Path, known: About) -> None:
    """Leave beside the data what is known of it."""
    _write(folder / ABOUT, json.dumps(asdict(known)))


def about(folder: Path) -> About:
    """What `describe` left."""
    try:
        known = json.loads(_text(folder / ABOUT) or "")
        return About(
            name=known["name"],
            seconds=float(known["seconds"]),
            warnings=tuple(known["warnings"]),
            shared=known["shared"],
            roles=tuple(known["roles"]),
        )
    except (ValueError, KeyError, TypeError):
        return About(name=folder.name, seconds=0.0)


def lost(folder: Path) -> bool:
    """Whether an entry was in use when the machine went down, so that some of it never reached the disk."""
    used_in = _text(folder / IN_USE)
    return used_in is not None and used_in != boot.identifier()


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold the lock of an entry for the block, if it is there and free; whether it is ours."""
    lock = folder / LOCK
    with ExitStack() as holding:
        ours = False
        with suppress(FileNotFoundError, NotADirectoryError, BlockingIOError):
            lock.lstat()
            descriptor = holding.enter_context(locks.inheritable(lock))
            # Between the two the entry may have been removed, and another made that has another file for its lock.
            ours = os.path.samestat(os.fstat(descriptor), lock.lstat())
        yield ours


def serving(folder: Path, account: Account) -> bool:
    """Whether a server, which may be about to end, is still there after a moment."""
    deadline = time.monotonic() + LINGER_SECONDS
    cluster = Cluster(folder=folder, account=account)
    while cluster.alive():
        if time.monotonic() > deadline:
            return True
        time.sleep(POLL_SECONDS)
    return False


def size_bytes(folder: Path) -> int:
    """What a folder takes on the disk; files that vanish meanwhile take nothing."""
    total = 0
    for parent, _, files in os.walk(folder):
        for file in files:
            with suppress(FileNotFoundError):
                total += (Path(parent) / file).lstat().st_blocks * BLOCK_BYTES
    return total


def _text(path: Path) -> str | None:
    """A small file of ours, None when it is not there."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _write(path: Path, text: str) -> None:
    with os.fdopen(opened(path, os.O_WRONLY | os.O_TRUNC), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
