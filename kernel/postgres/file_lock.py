"""File locks, which the system releases when the last process with the descriptor ends, even by SIGKILL.

They use flock(2) rather than the filelock package: a server inherits the descriptor and with it the lock, commands
share a lock, and root's lock files belong to the owner of their folder. Two locks of one process on one file are
independent. The lock files are not removed.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kernel.postgres.account import open_private_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def exclusive_file_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock, waiting for it. Raises OSError where files cannot be created or locked."""
    with _open_lock_file(path) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextmanager
def shared_file_lock(path: Path) -> Iterator[None]:
    """Hold a shared lock, waiting for it. Raises OSError where files cannot be created or locked."""
    with _open_lock_file(path) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield


@contextmanager
def inheritable_file_lock(path: Path) -> Iterator[int]:
    """Hold an exclusive lock and yield its descriptor; a child that inherits it keeps the lock.

    Raises BlockingIOError at once when it is held, OSError where files cannot be created or locked.
    """
    with _open_lock_file(path) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor


def is_file_locked(path: Path) -> bool:
    """Whether any process, this one included, holds a lock on `path`."""
    try:
        with inheritable_file_lock(path):
            return False
    except BlockingIOError:
        return True


@contextmanager
def _open_lock_file(path: Path) -> Iterator[int]:
    descriptor = open_private_file(path, os.O_RDWR)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
