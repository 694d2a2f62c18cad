"""File locks, which the system releases when the last process with the descriptor ends, even by SIGKILL.

They use flock(2) rather than the filelock package: a server inherits the descriptor and with it the lock, commands
share a lock, and root's lock files belong to the owner of their folder. Two locks of one process on one file are
independent. The lock files are not removed.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from kernel.postgres.account import open_private_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextmanager
def file_lock(
    path: Path, *, shared: bool = False, wait: bool = True, before_wait: Callable[[], None] = lambda: None
) -> Iterator[int]:
    """Hold a lock, exclusive unless `shared`, and yield its descriptor; a child that inherits it keeps the lock.

    `before_wait` is called when it is held. Raises OSError where files cannot be created or locked; without `wait`,
    BlockingIOError at once when it is held.
    """
    mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    descriptor = _open_locked(path, mode, wait=wait, before_wait=before_wait)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_locked(path: Path, mode: int, *, wait: bool, before_wait: Callable[[], None]) -> int:
    """Open and lock the file that has the path once it is locked: its holder may have removed the one that was opened.

    Raises as `file_lock`.
    """
    while True:
        descriptor = open_private_file(path, os.O_RDWR)
        try:
            try:
                fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    raise
                before_wait()
                fcntl.flock(descriptor, mode)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.lstat()):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def remove_unlocked_file(path: Path) -> None:
    """Remove a lock file, while its lock is held, unless a process holds it. Raises OSError."""
    with suppress(BlockingIOError), file_lock(path, wait=False):
        path.unlink()


def is_file_locked(path: Path) -> bool:
    """Whether any process, this one included, holds a lock on `path`."""
    try:
        with file_lock(path, wait=False):
            return False
    except BlockingIOError:
        return True
