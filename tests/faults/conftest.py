"""Servers that may break, a project whose every body leaves its marks, and the table of faults and steps."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults import matrix
from tests.faults.fault_database import open_fault_database
from tests.faults.restartable_server import open_restartable_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.fault_database import FaultDatabase
    from tests.faults.restartable_server import RestartableServer


@pytest.fixture(scope="session")
def restartable_server() -> Iterator[RestartableServer]:
    """The server that faults happen to."""
    bindir = os.environ.get("KERNEL_PG_BINDIR")
    with open_restartable_server(Path(bindir) if bindir else None) as it:
        yield it


@pytest.fixture
def target(restartable_server: RestartableServer, tmp_path: Path) -> Iterator[FaultDatabase]:
    """A fresh database of it with the audit's schemas, and a folder for migrations."""
    with open_fault_database(restartable_server, tmp_path / "migrations") as it:
        yield it


@pytest.fixture
def free_folder() -> Iterator[Path]:
    """A folder that the server's account may enter, as pytest's own, root's alone, is not."""
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print fault x step, a cell for each test that ran."""
    cells = {
        dict(report.user_properties)["cell"]: outcome
        for outcome in ("passed", "failed", "error", "skipped")
        for report in terminalreporter.stats.get(outcome, ())
        if "cell" in dict(report.user_properties)
    }
    if cells:
        terminalreporter.section("fault x step")
        for line in matrix.table(cells, colour=terminalreporter.hasmarkup):
            terminalreporter.write_line(line)
