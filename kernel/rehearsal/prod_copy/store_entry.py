"""One entry of the store: a folder with a server's data, a lock file, an in-use flag and a description.

A server runs without fsync. Data that was in use when the machine crashed is lost, and is recognised by the boot
identifier in its flag; data that was returned to the store had been written to disk before.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.postgres.account import current_account, write_private_file
from kernel.postgres.cluster import Cluster
from kernel.postgres.file_lock import file_lock
from kernel.postgres.process import run_as_account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.postgres.account import Account
    from kernel.postgres.programs import Programs


LOCK_FILE, IN_USE_FILE, INFO_FILE = "use.lock", "in-use", "about.json"
BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's block size

# The server of a process that was killed takes a moment to stop; then the entry is free.
SERVER_STOP_SECONDS = 5.0
POLL_SECONDS = 0.01

LINUX_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MACOS_BOOT_ID = ("/usr/sbin/sysctl", "-n", "kern.bootsessionuuid")


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryInfo:
    """The description of an entry: the `name` of its dump, and the warnings about the copy.

    `globals_digest` and `roles` are what the databases of its server shared when it was stored.
    """

    name: str
    warnings: tuple[str, ...] = ()
    globals_digest: str = ""
    roles: tuple[str, ...] = ()


def write_entry_info(folder: Path, info: EntryInfo) -> None:
    """Write the description of an entry into its folder. Raises OSError."""
    document = {"name": info.name, "warnings": info.warnings, "shared": info.globals_digest, "roles": info.roles}
    write_private_file(folder / INFO_FILE, json.dumps(document), sync=True)


def read_entry_info(folder: Path) -> EntryInfo:
    """The description of an entry; only its name when the description is missing or damaged."""
    try:
        document = json.loads(_read_text(folder / INFO_FILE) or "")
        return EntryInfo(
            name=document["name"],
            warnings=tuple(document["warnings"]),
            globals_digest=document["shared"],
            roles=tuple(document["roles"]),
        )
    except (ValueError, KeyError, TypeError):
        return EntryInfo(name=folder.name)


@cache
def boot_identifier() -> str:
    """A text that changes when the machine restarts; a random one on a system that does not provide it."""
    try:
        return LINUX_BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        if Path(MACOS_BOOT_ID[0]).exists():
            return run_as_account(current_account(), *MACOS_BOOT_ID).stdout.strip()
        return uuid.uuid4().hex


def flag_in_use(folder: Path) -> None:
    """Flag an entry as in use before anything in it changes; on disk, so that the flag survives a crash."""
    write_private_file(folder / IN_USE_FILE, boot_identifier(), sync=True)
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def was_in_use_at_crash(folder: Path) -> bool:
    """Whether an entry was in use when the machine crashed, so that part of it was never written to disk."""
    used_in = _read_text(folder / IN_USE_FILE)
    return used_in is not None and used_in != boot_identifier()


def sync_and_release(folder: Path, programs: Programs, account: Account) -> str:
    """Write the data of a stopped server to disk, and remove the in-use flag; return the error message or "".

    The time of the last use is now.
    """
    done = run_as_account(account, programs.bin / "initdb", "--sync-only", f"--pgdata={folder / 'data'}")
    if done.returncode != 0:
        return done.stdout.strip()
    (folder / IN_USE_FILE).unlink(missing_ok=True)
    os.utime(folder)
    return ""


@contextmanager
def lock_entry(folder: Path, *, wait: bool = False, before_wait: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Try to hold the lock of an entry for the block; yield whether it is held. `before_wait` as for file_lock."""
    lock = folder / LOCK_FILE
    with ExitStack() as stack:
        held = False
        with suppress(FileNotFoundError, NotADirectoryError, BlockingIOError):
            lock.lstat()
            stack.enter_context(file_lock(lock, wait=wait, before_wait=before_wait))
            held = True
        yield held


def server_is_running(folder: Path, account: Account) -> bool:
    """Whether the server of an entry still runs after the time that a server takes to stop."""
    deadline = time.monotonic() + SERVER_STOP_SECONDS
    cluster = Cluster(folder=folder, account=account)
    while cluster.is_alive():
        if time.monotonic() > deadline:
            return True
        time.sleep(POLL_SECONDS)
    return False


def folder_size_bytes(folder: Path) -> int:
    """The disk space of a folder; files that disappear meanwhile count nothing."""
    total = 0
    for parent, _, files in os.walk(folder):
        for file in files:
            with suppress(FileNotFoundError):
                total += (Path(parent) / file).lstat().st_blocks * BLOCK_BYTES
    return total


def _read_text(path: Path) -> str | None:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None
