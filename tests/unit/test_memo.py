"""The digest of a dump is remembered until anything about the dump is another."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from kernel.rehearsal.dump import acquire
from kernel.rehearsal.dump.acquire import DIGESTS_FILE, cached_digest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every file had been written a while ago."""
    monkeypatch.setattr(acquire, "SETTLED_SECONDS", -1.0)


class Reader:
    """Computes another digest each time."""

    def __init__(self) -> None:
        self.reads = 0

    def __call__(self) -> str:
        self.reads += 1
        return f"digest {self.reads}"


@pytest.fixture
def read() -> Reader:
    return Reader()


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    path = tmp_path / "prod\udce4.dump"
    path.write_bytes(b"rows")
    return path


def test_a_file_that_is_the_same_is_not_read_again(dump: Path, tmp_path: Path, read: Reader) -> None:
    assert [cached_digest(dump, read, folder=tmp_path / "cache") for _ in range(2)] == ["digest 1"] * 2


def test_a_file_that_changed_is_read_even_with_its_size_and_time_set_back(
    dump: Path, tmp_path: Path, read: Reader
) -> None:
    cached_digest(dump, read, folder=tmp_path)
    before = dump.stat()
    time.sleep(0.02)  # a tick of the file system's clock
    dump.write_bytes(b"ROWS")
    os.utime(dump, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cached_digest(dump, read, folder=tmp_path) == "digest 2"


def test_a_folder_is_read_again_when_one_of_its_files_changed(tmp_path: Path, read: Reader) -> None:
    folder = tmp_path / "dump"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "3001.dat").write_bytes(b"rows")
    assert [cached_digest(folder, read, folder=tmp_path) for _ in range(2)] == ["digest 1"] * 2
    (folder / "deep" / "3001.dat").write_bytes(b"more rows")
    assert cached_digest(folder, read, folder=tmp_path) == "digest 2"


def test_a_file_that_was_written_just_now_is_not_remembered(
    dump: Path, tmp_path: Path, read: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acquire, "SETTLED_SECONDS", 60.0)
    assert [cached_digest(dump, read, folder=tmp_path) for _ in range(2)] == ["digest 1", "digest 2"]


@pytest.mark.parametrize("memory", ["", "{", "[]", '{"a": 1}', '{"a": []}'])
def test_a_memory_that_is_damaged_only_costs_time(dump: Path, tmp_path: Path, read: Reader, memory: str) -> None:
    (tmp_path / DIGESTS_FILE).write_text(memory, encoding="ascii")
    assert [cached_digest(dump, read, folder=tmp_path) for _ in range(2)] == ["digest 1"] * 2


def test_a_memory_that_cannot_be_written_only_costs_time(dump: Path, read: Reader, tmp_path: Path) -> None:
    nowhere = tmp_path / "file" / "cache"
    (tmp_path / "file").touch()
    assert [cached_digest(dump, read, folder=nowhere) for _ in range(2)] == ["digest 1", "digest 2"]


def test_the_oldest_are_forgotten(tmp_path: Path, read: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acquire, "MAX_DIGESTS", 2)
    dumps = [tmp_path / name for name in "abc"]
    for path in dumps:
        path.touch()
        cached_digest(path, read, folder=tmp_path)
    assert [cached_digest(path, read, folder=tmp_path) for path in reversed(dumps)] == [
        "digest 3",
        "digest 2",
        "digest 4",
    ]


def test_the_memory_is_private(dump: Path, tmp_path: Path, read: Reader) -> None:
    cached_digest(dump, read, folder=tmp_path)
    assert (tmp_path / DIGESTS_FILE).stat().st_mode & 0o777 == 0o600


def test_what_computing_raises_is_raised(tmp_path: Path) -> None:
    def fail() -> str:
        raise LookupError

    with pytest.raises(LookupError):
        cached_digest(tmp_path / "absent", fail, folder=tmp_path)
