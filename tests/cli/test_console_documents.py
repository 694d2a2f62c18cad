"""Documents whose console blocks are real: their commands, run again, print what stands in them."""

from __future__ import annotations

import re
import runpy
import shutil
from typing import TYPE_CHECKING

import pytest

from kernel import errors
from kernel.cli.preflight import BLOCKED_EXIT
from kernel.cli.status import DRIFT_EXIT, PENDING_EXIT
from kernel.errors import KernelError
from tests.cli.conftest import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

INVOKE_EXIT = 1


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["tour.md", "troubleshooting.md"])
def test_the_commands_of_a_document_print_what_stands_in_it(name: str, tmp_path: Path) -> None:
    """Apart from times, sizes, versions and places, which the script knows."""
    committed = CHECKOUT / "docs" / name
    document = tmp_path / name
    shutil.copy(committed, document)
    runpy.run_path(str(CHECKOUT / ".ci/console.py"))["refresh"](document)
    assert document.read_text(encoding="utf-8") == committed.read_text(encoding="utf-8")


def test_every_exit_code_and_every_code_of_an_error_has_its_place_in_troubleshooting() -> None:
    text = (CHECKOUT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### Exit codes? ([0-9]+)(?: and ([0-9]+))?: ", text, re.MULTILINE)
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, KernelError)]
    assert {int(code) for pair in headings for code in pair if code} == {
        INVOKE_EXIT,
        PENDING_EXIT,
        DRIFT_EXIT,
        BLOCKED_EXIT,
        *(error.exit for error in classes),
    }
    assert not [error.code for error in classes if error.code != KernelError.code and f"`{error.code}`" not in text]


def test_every_exit_code_of_the_readme_has_its_row_for_a_deployment() -> None:
    codes = []
    for name in ("README.md", "docs/production.md"):
        section = (CHECKOUT / name).read_text(encoding="utf-8").partition("## Exit codes\n")[2].partition("\n## ")[0]
        codes.append(re.findall(r"^\| ([0-9, ]+) \|", section, re.MULTILINE))
    assert codes[0] == codes[1]
