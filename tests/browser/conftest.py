"""A browser for the page: the Chromium of the system, driven by Playwright (the extra `browser`)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kernel.report.html_page.page import render_page
from kernel.report.output_file import write_report
from tests.browser.samples import SAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium; CHROMIUM is the path of its program where PATH does not have it."""
    driver = pytest.importorskip("playwright.sync_api", reason="needs the extra: pip install -e '.[browser]'")
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if not program:
        pytest.skip("needs Chromium: install the package chromium, or name its program in CHROMIUM")
    # As root Chromium refuses its sandbox; the page that it opens is ours, and has no script.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with driver.sync_playwright() as playwright:
        started: Browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield started
        started.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core; AXE_CORE_JS is the path of its axe.min.js (npm pack axe-core)."""
    path = os.environ.get("AXE_CORE_JS")
    if not path:
        pytest.skip("needs axe-core: its axe.min.js in AXE_CORE_JS")
    return Path(path).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The samples' pages, written as db.snapshot-test writes them."""
    folder = tmp_path_factory.mktemp("reports")
    written = {name: folder / f"{name}.html" for name in SAMPLES}
    for name, path in written.items():
        write_report(path, render_page(SAMPLES[name]()))
    return written
