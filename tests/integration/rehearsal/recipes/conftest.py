"""A database with the tables of docs/recipes.md and a million rows, loaded once for each worker."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kernel.postgres.throwaway import throwaway_server
from kernel.rehearsal.prod_copy.server_settings import available_memory_bytes, rehearsal_settings
from tests.integration.rehearsal.recipes.production import Production, load_production
from tests.recipes import PAGE, read_page

if TYPE_CHECKING:
    from collections.abc import Iterator

# The WAL of earlier rehearsals is not needed, nor is its volume measured here.
LITTLE_WAL = {"wal_keep_size": "64MB", "max_wal_size": "1GB", "min_wal_size": "64MB", "full_page_writes": "off"}


@pytest.fixture(scope="session")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    bindir = os.environ.get("KERNEL_PG_BINDIR")
    settings = {**rehearsal_settings(available_memory_bytes()), **LITTLE_WAL}
    with throwaway_server(bindir=Path(bindir) if bindir else None, settings=settings) as server:
        given = read_page(PAGE.read_text(encoding="utf-8")).given
        yield load_production(server, given, tmp_path_factory.mktemp("recipes"))
