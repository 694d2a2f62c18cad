"""Locks on files belong to processes, and go with the last of them."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from kernel.postgres.file_lock import file_lock, is_file_locked, remove_unlocked_file

PROJECT = Path(__file__).resolve().parents[3]

HOLD = """
import sys
from pathlib import Path
from kernel.postgres.file_lock import file_lock
with file_lock(Path(sys.argv[1]), shared=True):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_is_held_for_as_long_as_its_block(tmp_path: Path) -> None:
    assert not is_file_locked(tmp_path / "lock")
    with file_lock(tmp_path / "lock"):
        assert is_file_locked(tmp_path / "lock")
    assert not is_file_locked(tmp_path / "lock")


def test_sharers_do_not_wait_for_each_other(tmp_path: Path) -> None:
    with file_lock(tmp_path / "lock", shared=True), file_lock(tmp_path / "lock", shared=True):
        assert is_file_locked(tmp_path / "lock")


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(PROJECT)}
    ) as child:
        assert child.stdout
        assert child.stdout.readline() == "held\n"
        assert is_file_locked(tmp_path / "lock")
        child.kill()
        child.wait()
        assert not is_file_locked(tmp_path / "lock")


def test_a_child_keeps_the_lock_that_it_was_lent(tmp_path: Path) -> None:
    with file_lock(tmp_path / "lock", wait=False) as descriptor:
        child = subprocess.Popen(["/bin/sleep", "60"], stdout=descriptor)
    assert is_file_locked(tmp_path / "lock")
    child.kill()
    child.wait()
    assert not is_file_locked(tmp_path / "lock")


def test_other_children_inherit_no_lock(tmp_path: Path) -> None:
    with file_lock(tmp_path / "lock"):
        child = subprocess.Popen(["/bin/sleep", "60"])
    assert not is_file_locked(tmp_path / "lock")
    child.kill()
    child.wait()


def test_a_waiting_process_locks_the_file_that_has_the_path_now(tmp_path: Path) -> None:
    path, waiting = tmp_path / "lock", Event()

    def wait_for_lock() -> bool:
        with file_lock(path, before_wait=waiting.set) as descriptor:
            return path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())

    with ThreadPoolExecutor(1) as pool:
        with file_lock(path):
            waiter = pool.submit(wait_for_lock)
            assert waiting.wait(10)
            path.unlink()
        assert waiter.result(10)


def test_a_lock_file_in_use_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with file_lock(path):
        remove_unlocked_file(path)
        assert path.exists()
    remove_unlocked_file(path)
    assert not path.exists()


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        is_file_locked(tmp_path / "lock")
    assert not (tmp_path / "elsewhere").exists()
