"""Locks on files: gone with the last process that has the descriptor, however that process ended.

flock(2), not lockf: it belongs to the open file, so that two locks in one process are two, and a child that inherits
the descriptor inherits the lock. The files stay; only the locks come and go.
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
    """Hold `path` alone, after waiting for all others. Raises OSError where files cannot be made or locked."""
    with _open_lock_file(path) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextmanager
def shared_file_lock(path: Path) -> Iterator[None]:
    """Hold `path` together with others. Raises OSError where files cannot be made or locked."""
    with _open_lock_file(path) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield


@contextmanager
def inheritable_file_lock(path: Path) -> Iterator[int]:
    """Hold `path` alone and lend the descriptor to a child, which keeps the lock when we leave.

    Raises BlockingIOError at once when it is held, OSError where files cannot be made or locked.
    """
    with _open_lock_file(path) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor


def is_file_locked(path: Path) -> bool:
    """Whether somebody, ourselves included, holds `path` at this moment."""
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
