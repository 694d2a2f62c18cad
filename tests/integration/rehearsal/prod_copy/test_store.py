"""The store of copies stays within its limits, is private, and is not trusted after a crash of the machine."""

from __future__ import annotations

import os
import stat
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from kernel.postgres.file_lock import file_lock
from kernel.rehearsal.prod_copy import open_copy, store
from kernel.rehearsal.prod_copy.store import (
    INCOMPLETE_PREFIX,
    REMOVED_PREFIX,
    STORE_LOCK_FILE,
    RemovedEntries,
    open_store,
)
from kernel.rehearsal.prod_copy.store_entry import IN_USE_FILE, LOCK_FILE
from tests.integration.rehearsal.prod_copy.conftest import rows

if TYPE_CHECKING:
    from pathlib import Path

    from kernel.rehearsal.prod_copy.store import CopyStore
    from tests.integration.rehearsal.prod_copy.conftest import Production


pytestmark = pytest.mark.slow  # each makes databases of its own; the quick suite rehearses end to end in tests/cli


@pytest.fixture
def kept(production: Production) -> CopyStore:
    return open_store(production.place)


def put(kept: CopyStore, name: str, *, size_bytes: int = 0, used_at: float = 0.0) -> Path:
    """An entry with some bytes in it, last used then."""
    folder = kept.folder / name
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "file").write_bytes(os.urandom(size_bytes))
    (folder / LOCK_FILE).touch()
    for path in (folder, folder / "data"):
        kept.account.take_ownership(path, 0o700)
    os.utime(folder, (used_at, used_at))
    return folder


def test_the_store_is_closed_to_others(production: Production, kept: CopyStore) -> None:
    status = kept.folder.stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (kept.account.uid, 0o700)
    with open_copy(production.request(keep=True), restore=production.restore):
        (folder,) = [path for path in kept.folder.iterdir() if path.is_dir()]
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_store_that_others_could_have_made_is_not_used(production: Production, kept: CopyStore) -> None:
    kept.folder.chmod(0o777)
    with pytest.raises(PermissionError, match=r"not a private folder of .*; remove it"):
        open_store(production.place)


def test_a_copy_that_was_in_use_when_the_machine_went_down_is_made_again(
    production: Production, kept: CopyStore
) -> None:
    request = production.request(keep=True)
    with open_copy(request, restore=production.restore):
        pass
    (entry,) = kept.entries()
    assert not (entry.folder / IN_USE_FILE).exists()
    (entry.folder / IN_USE_FILE).write_text("another boot", encoding="ascii")
    with open_copy(request, restore=production.restore) as copy:
        assert not copy.restored.reused
    assert production.restores == 2
    assert "the machine went down while it was in use; it is restored again" in production.printed[0]
    assert len(kept.entries()) == 1


@pytest.mark.slow
def test_a_copy_that_does_not_start_is_made_again(production: Production, kept: CopyStore) -> None:
    request = production.request(keep=True)
    with open_copy(request, restore=production.restore):
        pass
    (entry,) = kept.entries()
    (entry.folder / "data" / "global" / "pg_control").write_bytes(b"torn")
    with open_copy(request, restore=production.restore) as copy:
        assert rows(copy.url, "SELECT count(*) FROM orders") == [(1000,)]
    assert production.restores == 2
    assert "cannot be opened; it is restored again" in production.printed[0]


def test_forgetting_removes_unused_copies_and_names_those_in_use(production: Production, kept: CopyStore) -> None:
    put(kept, "old", size_bytes=100_000)
    with open_copy(production.request(keep=True), restore=production.restore):
        forgotten = kept.remove_unused()
        assert [(entry.name, entry.size_bytes >= 100_000) for entry in forgotten.removed] == [("old", True)]
        assert [(entry.name, why) for entry, why in forgotten.not_removed] == [("prod.dump", "in use")]
    stale = kept.folder / f".gone{STORE_LOCK_FILE}"
    stale.touch()
    assert [entry.name for entry in kept.remove_unused().removed] == ["prod.dump"]
    assert [path.name for path in kept.folder.iterdir()] == [STORE_LOCK_FILE]


def test_what_killed_processes_left_half_made_is_removed_and_what_is_being_made_is_not(kept: CopyStore) -> None:
    put(kept, f"{INCOMPLETE_PREFIX}abandoned")
    put(kept, f"{REMOVED_PREFIX}half removed")
    busy = put(kept, f"{INCOMPLETE_PREFIX}busy")
    with file_lock(busy / LOCK_FILE):
        assert kept.remove_unused() == RemovedEntries(removed=(), not_removed=())
    assert [path for path in kept.folder.iterdir() if path.is_dir()] == [busy]


def test_over_the_limit_what_was_not_used_for_longest_goes_first(
    kept: CopyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, used_at in (("b", 2.0), ("a", 3.0), ("c", 1.0)):
        put(kept, name, size_bytes=100_000, used_at=used_at)
    monkeypatch.setattr(store, "MAX_STORE_BYTES", 250_000)
    kept.trim()
    assert [entry.name for entry in kept.entries()] == ["a", "b"]
    with file_lock(kept.folder / "b" / LOCK_FILE):
        monkeypatch.setattr(store, "MAX_STORE_BYTES", 150_000)
        kept.trim()
    assert [entry.name for entry in kept.entries()] == ["b"]


def test_half_of_what_is_free_stays_free(kept: CopyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put(kept, "a", size_bytes=100_000)
    for free, fits in ((150_000, True), (50_000, False)):
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr("shutil.disk_usage", lambda _, usage=usage: usage)
        assert kept.fits(folder) is fits


def test_a_copy_larger_than_the_limit_is_used_and_not_kept(
    production: Production, kept: CopyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_STORE_BYTES", 1000)
    with open_copy(production.request(keep=True), restore=production.restore) as copy:
        assert rows(copy.url, "SELECT count(*) FROM orders") == [(1000,)]
    assert kept.entries() == ()
    assert production.printed == [
        "the copy of prod.dump is not kept: it is larger than what the store may take",
    ]
