"""The settings of a server of our own follow its memory, and a rehearsal's are production's where it matters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.rehearsal.prod_copy import server_settings
from kernel.rehearsal.prod_copy.server_settings import (
    GB,
    MB,
    available_memory_bytes,
    loading_settings,
    rehearsal_settings,
    storage_settings,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("memory", "shared", "maintenance"),
    [(512 * MB, "128MB", "64MB"), (GB + 512 * MB, "192MB", "96MB"), (256 * GB, "256MB", "512MB")],
)
def test_a_loading_server_takes_its_share_of_the_memory(memory: int, shared: str, maintenance: str) -> None:
    settings = loading_settings(memory)
    assert (settings["shared_buffers"], settings["maintenance_work_mem"]) == (shared, maintenance)


@pytest.mark.parametrize(("memory", "shared"), [(512 * MB, "128MB"), (4 * GB, "512MB"), (256 * GB, "2048MB")])
def test_a_rehearsing_server_takes_more_of_it(memory: int, shared: str) -> None:
    assert rehearsal_settings(memory)["shared_buffers"] == shared


def test_a_rehearsal_writes_the_log_that_production_would() -> None:
    loading, practice = loading_settings(GB), rehearsal_settings(GB)
    assert (loading["wal_level"], practice["wal_level"]) == ("minimal", "replica")
    assert (loading["full_page_writes"], practice["full_page_writes"]) == ("off", "on")
    assert practice["autovacuum"] == "off"
    assert practice["wal_keep_size"] == "4GB"


def test_put_away_it_keeps_no_log() -> None:
    assert storage_settings(GB)["wal_keep_size"] == "0"


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(server_settings, "CGROUP_MEMORY_LIMITS", (limit,))
    whole = available_memory_bytes()
    limit.write_text("max\n", encoding="ascii")
    assert available_memory_bytes() == whole
    limit.write_text("104857600\n", encoding="ascii")
    assert available_memory_bytes() == 100 * MB
