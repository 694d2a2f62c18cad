"""A server with the settings of a rehearsal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kernel.postgres.throwaway import throwaway_server
from kernel.rehearsal.prod_copy.server_settings import available_memory_bytes, rehearsal_settings
from tests.integration.rehearsal.findings.rehearsals import Rehearsals

if TYPE_CHECKING:
    from collections.abc import Iterator

# The WAL of earlier rehearsals is not needed, and is in memory.
LITTLE_WAL = {"wal_keep_size": "64MB", "max_wal_size": "256MB", "min_wal_size": "64MB"}


@pytest.fixture(scope="session")
def rehearsals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsals]:
    """One server for each worker."""
    bindir = os.environ.get("KERNEL_PG_BINDIR")
    settings = {**rehearsal_settings(available_memory_bytes()), **LITTLE_WAL}
    with throwaway_server(bindir=Path(bindir) if bindir else None, settings=settings) as server:
        yield Rehearsals(server=server, folder=tmp_path_factory.mktemp("rehearsals"))
