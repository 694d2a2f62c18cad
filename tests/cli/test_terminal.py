"""What a terminal shows: colour unless NO_COLOR asks for none."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Project

RED = "\x1b[31m"


@pytest.mark.parametrize(("environ", "red"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_an_error_is_red_on_a_terminal_only(three: Project, environ: dict[str, str], red: bool) -> None:
    ours, its = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "invoke", "db.migrate", "--to", "9"],
        cwd=three.root,
        env={"PATH": os.defpath, "HOME": str(three.root), "TERM": "xterm", "DATABASE_URL": three.url, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=its,
    )
    os.close(its)
    assert child.wait(20) == 2
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "error: --to 9: no migration file has this version" in shown
    assert (RED in shown) == red
