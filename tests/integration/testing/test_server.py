"""Where the embedded server of tests keeps its data, and what becomes of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from kernel.postgres.file_lock import is_file_locked
from kernel.postgres.unused_server import WATCH_LOCK
from kernel.testing import server as module
from kernel.testing.server import ALIVE_LOCK, keep_running, open_test_server, stop_test_servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.config.settings import Settings

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture
def embedded(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A checkout whose server finds no room in memory, and a TMPDIR that all accounts can enter."""
    folder = Path(tempfile.mkdtemp(prefix="aibos-test-", dir="/tmp"))
    folder.chmod(0o1777)
    monkeypatch.setattr(module, "NEEDED_MEMORY_BYTES", 1 << 62)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield replace(settings, test_database_url=None)
    stop_test_servers(settings.root)
    until(lambda: not remains(folder))


USES_SERVER = """
import sys, tempfile, time
from dataclasses import replace
from pathlib import Path
from kernel.config.settings import load_settings
from kernel.testing import server as module
module.NEEDED_MEMORY_BYTES = 1 << 62
tempfile.tempdir = sys.argv[2]
with module.open_test_server(replace(load_settings(Path(sys.argv[1]), {}), test_database_url=None)) as server:
    print(server.url, flush=True)
    time.sleep(600)
"""


@contextmanager
def another_process(settings: Settings) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that uses the server of a checkout, and the URL; killed at the end."""
    command = [sys.executable, "-c", USES_SERVER, str(settings.root), tempfile.gettempdir()]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, encoding="utf-8") as child:
        assert child.stdout
        try:
            yield child, child.stdout.readline().strip()
        finally:
            child.kill()


def remains(folder: Path) -> bool:
    """Remove a folder, in which a process that watches a server may be about to make its lock."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder.exists()


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_the_server_of_killed_processes_is_stopped_and_that_of_living_ones_is_not(embedded: Settings) -> None:
    with another_process(embedded) as (first, url), another_process(embedded) as (second, same):
        assert url == same
        assert runs(url)
        first.kill()
        first.wait()
        time.sleep(0.5)
        assert runs(url)
        second.kill()
        second.wait()
        until(lambda: not runs(url))
    folder = next(Path(tempfile.gettempdir()).glob("aibos-kernel-tests-*/*"))
    until(lambda: not any(is_file_locked(folder / name) for name in (WATCH_LOCK, ALIVE_LOCK)))
    with open_test_server(embedded) as server:
        assert runs(server.url)


@pytest.mark.slow
def test_a_killed_process_does_not_end_a_server_that_is_kept_for_a_look(embedded: Settings) -> None:
    with open_test_server(embedded) as server:
        keep_running(embedded, server, keep=True)
    assert server.data
    watch_lock = server.data / WATCH_LOCK
    with another_process(embedded) as (child, url):
        until(lambda: is_file_locked(watch_lock))
        child.kill()
        child.wait()
        until(lambda: not is_file_locked(watch_lock))
        assert runs(url)
    assert stop_test_servers(embedded.root) is True


def runs(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.mark.slow
def test_without_room_in_memory_the_data_is_in_tmpdir_until_the_checkout_is_gone(embedded: Settings) -> None:
    with open_test_server(embedded) as server:
        assert server.data is not None
        assert server.data.is_relative_to(tempfile.gettempdir())
        assert runs(server.url)
        with open_test_server(embedded) as shared:
            assert shared == server
        assert runs(server.url)
    assert not runs(server.url)
    assert server.data.is_dir()
    other = replace(embedded, root=embedded.root / "other")
    other.root.mkdir()
    with open_test_server(other):
        assert server.data.is_dir()
    (server.data / "origin").write_text("/nowhere\n")
    with open_test_server(other):
        assert not server.data.exists()


@pytest.mark.slow
def test_a_server_that_runs_on_is_stopped_by_its_checkout_alone_and_not_while_it_is_used(embedded: Settings) -> None:
    with open_test_server(embedded) as server:
        keep_running(embedded, server, keep=True)
        assert stop_test_servers(embedded.root) is False
    assert runs(server.url)
    assert stop_test_servers(embedded.root / "other") is False
    assert runs(server.url)
    assert stop_test_servers(embedded.root) is True
    assert not runs(server.url)
