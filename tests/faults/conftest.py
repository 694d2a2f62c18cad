"""Servers that may break, a project whose every body leaves its marks, and the table of faults and steps."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults import ground as grounds
from tests.faults import matrix
from tests.faults.breakable import breakable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.breakable import Breakable
    from tests.faults.ground import Ground


@pytest.fixture(scope="session")
def broken_server() -> Iterator[Breakable]:
    """The server that faults happen to."""
    told = os.environ.get("KERNEL_PG_BINDIR")
    with breakable(Path(told) if told else None) as it:
        yield it


@pytest.fixture
def ground(broken_server: Breakable, tmp_path: Path) -> Iterator[Ground]:
    """A fresh database of it with the audit's schemas, and a folder for migrations."""
    with grounds.ground(broken_server, tmp_path / "migrations") as it:
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
