"""One kept golden copy: a folder with a server's data, and beside it its lock, its mark and what is known of it.

A server runs without fsync. Data that was in use when the machine went down is worthless, and is known by the mark
of the boot that it was used in; data that was put away has been written to the disk before.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.postgres.account import current_account, open_private_file
from kernel.postgres.cluster import Cluster
from kernel.postgres.file_lock import inheritable_file_lock
from kernel.postgres.process import run_as_account

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.postgres.account import Account
    from kernel.postgres.programs import Programs


# Which start of the machine this is: what was only in its memory is lost when the next one begins.


LINUX_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MACOS_BOOT_ID = ("/usr/sbin/sysctl", "-n", "kern.bootsessionuuid")


@cache
def boot_identifier() -> str:
    """The same until the machine starts again; where the system does not tell, a word that equals no other."""
    try:
        return LINUX_BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        if Path(MACOS_BOOT_ID[0]).exists():
            return run_as_account(current_account(), *MACOS_BOOT_ID).stdout.strip()
        return uuid.uuid4().hex


LOCK_FILE, IN_USE_FILE, INFO_FILE = "use.lock", "in-use", "about.json"
BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's own is

# A server whose process was killed needs a moment to end; its entry is free after that.
SERVER_STOP_SECONDS = 5.0
POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryInfo:
    """What is known of an entry: the `name` of its dump, how long it took to make, and what is to be said of it.

    `shared` and `roles` are what all its databases have in common, as shared.py tells it.
    """

    name: str
    seconds: float
    warnings: tuple[str, ...] = ()
    shared: str = ""
    roles: tuple[str, ...] = ()


def flag_in_use(folder: Path) -> None:
    """Say, before anything changes in it, that an entry is in use; on the disk, so that a crash cannot undo it."""
    _write_text(folder / IN_USE_FILE, boot_identifier())
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def sync_and_release(folder: Path, programs: Programs, account: Account) -> str:
    """Write the data of a server that was stopped cleanly to the disk, and unmark it; what went wrong, "" for nothing.

    The last use counts from now.
    """
    done = run_as_account(account, programs.bin / "initdb", "--sync-only", f"--pgdata={folder / 'data'}")
    if done.returncode != 0:
        return done.stdout.strip()
    (folder / IN_USE_FILE).unlink(missing_ok=True)
    os.utime(folder)
    return ""


def write_entry_info(folder: Path, known: EntryInfo) -> None:
    """Leave beside the data what is known of it."""
    _write_text(folder / INFO_FILE, json.dumps(asdict(known)))


def read_entry_info(folder: Path) -> EntryInfo:
    """What `describe` left."""
    try:
        known = json.loads(_read_text(folder / INFO_FILE) or "")
        return EntryInfo(
            name=known["name"],
            seconds=float(known["seconds"]),
            warnings=tuple(known["warnings"]),
            shared=known["shared"],
            roles=tuple(known["roles"]),
        )
    except (ValueError, KeyError, TypeError):
        return EntryInfo(name=folder.name, seconds=0.0)


def was_in_use_at_crash(folder: Path) -> bool:
    """Whether an entry was in use when the machine went down, so that some of it never reached the disk."""
    used_in = _read_text(folder / IN_USE_FILE)
    return used_in is not None and used_in != boot_identifier()


@contextmanager
def lock_entry(folder: Path) -> Iterator[bool]:
    """Hold the lock of an entry for the block, if it is there and free; whether it is ours."""
    lock = folder / LOCK_FILE
    with ExitStack() as holding:
        ours = False
        with suppress(FileNotFoundError, NotADirectoryError, BlockingIOError):
            lock.lstat()
            descriptor = holding.enter_context(inheritable_file_lock(lock))
            # Between the two the entry may have been removed, and another made that has another file for its lock.
            ours = os.path.samestat(os.fstat(descriptor), lock.lstat())
        yield ours


def server_is_running(folder: Path, account: Account) -> bool:
    """Whether a server, which may be about to end, is still there after a moment."""
    deadline = time.monotonic() + SERVER_STOP_SECONDS
    cluster = Cluster(folder=folder, account=account)
    while cluster.is_alive():
        if time.monotonic() > deadline:
            return True
        time.sleep(POLL_SECONDS)
    return False


def folder_size_bytes(folder: Path) -> int:
    """What a folder takes on the disk; files that vanish meanwhile take nothing."""
    total = 0
    for parent, _, files in os.walk(folder):
        for file in files:
            with suppress(FileNotFoundError):
                total += (Path(parent) / file).lstat().st_blocks * BLOCK_BYTES
    return total


def _read_text(path: Path) -> str | None:
    """A small file of ours, None when it is not there."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _write_text(path: Path, text: str) -> None:
    with os.fdopen(open_private_file(path, os.O_WRONLY | os.O_TRUNC), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
