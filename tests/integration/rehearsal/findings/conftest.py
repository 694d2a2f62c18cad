"""A server that practises like production's, for files that are rehearsed to the verdict."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kernel.postgres.throwaway import throwaway_server
from kernel.rehearsal.prod_copy.server_settings import available_memory_bytes, rehearsal_settings
from tests.integration.rehearsal.findings.rehearsals import Ground

if TYPE_CHECKING:
    from collections.abc import Iterator

# The log of what was rehearsed already is nobody's, and lies in memory.
LITTLE_LOG = {"wal_keep_size": "64MB", "max_wal_size": "256MB", "min_wal_size": "64MB"}


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """One for each worker, under the settings that a rehearsal has."""
    told = os.environ.get("KERNEL_PG_BINDIR")
    settings = {**rehearsal_settings(available_memory_bytes()), **LITTLE_LOG}
    with throwaway_server(bindir=Path(told) if told else None, settings=settings) as server:
        yield Ground(server=server, folder=tmp_path_factory.mktemp("ground"))
