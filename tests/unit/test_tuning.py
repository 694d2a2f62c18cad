"""The settings of a server of our own follow its memory, and a rehearsal's are production's where it matters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.rehearsal.golden import tuning
from kernel.rehearsal.golden.tuning import GB, MB

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("memory", "shared", "maintenance"),
    [(512 * MB, "128MB", "64MB"), (4 * GB, "512MB", "256MB"), (256 * GB, "2048MB", "512MB")],
)
def test_a_loading_server_takes_its_share_of_the_memory(memory: int, shared: str, maintenance: str) -> None:
    settings = tuning.loading(memory)
    assert (settings["shared_buffers"], settings["maintenance_work_mem"]) == (shared, maintenance)


def test_a_rehearsal_writes_the_log_that_production_would() -> None:
    loading, practice = tuning.loading(GB), tuning.practice(GB)
    assert (loading["wal_level"], practice["wal_level"]) == ("minimal", "replica")
    assert (loading["full_page_writes"], practice["full_page_writes"]) == ("off", "on")
    assert practice["autovacuum"] == "off"
    assert practice["wal_keep_size"] == "4GB"


def test_put_away_it_keeps_no_log() -> None:
    assert tuning.resting(GB)["wal_keep_size"] == "0"


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(tuning, "LIMITS", (limit,))
    whole = tuning.memory_bytes()
    limit.write_text("max\n", encoding="ascii")
    assert tuning.memory_bytes() == whole
    limit.write_text("104857600\n", encoding="ascii")
    assert tuning.memory_bytes() == 100 * MB
