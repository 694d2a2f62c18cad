"""The page in Chromium: light, dark and printed, at the widths of a telephone, a window and a large screen.

Set PAGE_SHOTS to a folder to save a screenshot of each.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kernel.report.html_page.filters import unbroken_figure
from kernel.report.json_rehearsal import rehearsal_document
from kernel.units import format_bytes, format_count, format_seconds
from tests.browser.samples import SAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Dialog, Page

# One worker: each would start a Chromium of its own.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

WIDTHS = (360, 800, 1440)
LOOKS = ("light", "dark", "print")
# Each look at each width, once. The huge page has no element that the others lack, and takes axe five seconds.
VIEWS = [
    *((sample, width, LOOKS[(row + at) % 3])
      for row, sample in enumerate(("passing", "failing", "hostile")) for at, width in enumerate(WIDTHS)),
    ("huge", 1440, "light"),
]  # fmt: skip


@contextmanager
def opened(browser: Browser, path: Path, *, width: int = 1440, look: str = "light") -> Iterator[tuple[Page, list[str]]]:
    """The opened page, and a log of its console messages, errors, dialogs and requests."""
    context = browser.new_context(viewport={"width": width, "height": 900})
    tab = context.new_page()
    log: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        log.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    tab.on("console", lambda message: log.append(f"console: {message.text}"))
    tab.on("pageerror", lambda error: log.append(f"error: {error}"))
    tab.on("request", lambda request: log.append(f"request: {request.url}"))
    tab.on("dialog", dismiss)
    # Print is always light, so it is tested from a dark screen.
    tab.emulate_media(
        media="print" if look == "print" else "screen", color_scheme="light" if look == "light" else "dark"
    )
    tab.goto(path.as_uri(), wait_until="load")
    try:
        yield tab, log
    finally:
        context.close()


def at(pointer: str, found: Any) -> Any:
    """The value at a JSON pointer (RFC 6901)."""
    for step in pointer.split("/")[1:]:
        found = found[int(step)] if isinstance(found, list) else found[step]
    return found


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_page_runs_no_script_and_sends_no_request(browser: Browser, reports: dict[str, Path], sample: str) -> None:
    with opened(browser, reports[sample]) as (tab, log):
        tab.mouse.move(400, 400)
        # Click every fold and every link.
        tab.eval_on_selector_all("summary", "all => all.forEach(one => one.click())")
        tab.eval_on_selector_all("a", "all => all.forEach(one => one.click())")
        assert log == [f"request: {reports[sample].as_uri()}"]
        assert tab.evaluate("document.scripts.length") == 0


@pytest.mark.parametrize("sample", SAMPLES)
def test_displayed_figures_equal_the_json_document(browser: Browser, reports: dict[str, Path], sample: str) -> None:
    document = rehearsal_document(SAMPLES[sample]())
    with opened(browser, reports[sample]) as (tab, _):
        shown = tab.eval_on_selector_all(
            "data[data-figure]", "all => all.map(one => [one.dataset.figure, one.value, one.textContent])"
        )
    assert shown
    for pointer, value, text in shown:
        exact = at(pointer, document)
        assert float(value) == pytest.approx(exact, rel=1e-5), pointer
        written = (
            format_seconds if pointer.endswith("seconds") else format_bytes if "bytes" in pointer else format_count
        )
        assert text.removeprefix("+") == unbroken_figure(written(exact)), pointer


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_axe_finds_no_accessibility_violations(
    browser: Browser, reports: dict[str, Path], axe: str, view: tuple[str, int, str]
) -> None:
    sample, width, look = view
    with opened(browser, reports[sample], width=width, look=look) as (tab, _):
        tab.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
        tab.evaluate(axe)
        found = tab.evaluate("axe.run({resultTypes: ['violations']})")
    violations = [(one["id"], [node["html"][:200] for node in one["nodes"]][:3]) for one in found["violations"]]
    assert violations == []
    assert len(found["passes"]) > 20


@pytest.mark.parametrize("width", [*WIDTHS, 320])
@pytest.mark.parametrize("sample", SAMPLES)
def test_the_page_never_scrolls_sideways(browser: Browser, reports: dict[str, Path], sample: str, width: int) -> None:
    with opened(browser, reports[sample], width=width) as (tab, _):
        tab.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
        assert tab.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("width", [1280, 1024, 800])
def test_no_name_that_fits_a_line_is_broken(browser: Browser, reports: dict[str, Path], width: int) -> None:
    lines = "all => all.map(one => [one.textContent, new Set([...one.getClientRects()].map(box => box.top)).size, "
    lines += "one.getBoundingClientRect().height / parseFloat(getComputedStyle(one).lineHeight)])"
    with opened(browser, reports["failing"], width=width) as (tab, _):
        tab.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
        names = tab.eval_on_selector_all("code.name", lines)
    assert len(names) > 30
    assert [name for name, rows, height in names if rows > 1 or height > 1.9] == []


def test_print_shows_folded_content(browser: Browser, reports: dict[str, Path]) -> None:
    shown = "all => all.map(one => one.checkVisibility())"
    for look, visible in (("light", False), ("print", True)):
        with opened(browser, reports["failing"], look=look) as (tab, _):
            found = tab.eval_on_selector_all("details > :not(summary)", shown)
        assert len(found) > 5
        assert set(found) == {visible}


def test_the_first_tab_stop_skips_to_the_content(browser: Browser, reports: dict[str, Path]) -> None:
    with opened(browser, reports["failing"]) as (tab, _):
        tab.keyboard.press("Tab")
        link = tab.locator(":focus")
        assert link.inner_text() == "Skip to the reasons"
        box = link.bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["height"] > 16
        tab.keyboard.press("Enter")
        assert tab.evaluate("location.hash") == "#content"
        tab.keyboard.press("Tab")
        assert tab.locator(":focus").evaluate("one => one.closest('main') !== null")


def test_bar_lengths_are_proportional_to_time(browser: Browser, reports: dict[str, Path]) -> None:
    with opened(browser, reports["failing"]) as (tab, _):
        plot = tab.locator("#m2 svg.plot[role=img]").first
        whole, bar = plot.bounding_box(), plot.locator("rect.reads").bounding_box()
    assert whole
    assert bar
    assert bar["width"] / whole["width"] == pytest.approx(41.38 / 43.182, abs=0.01)


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_the_background_is_dark_only_on_a_dark_screen(
    browser: Browser, reports: dict[str, Path], view: tuple[str, int, str]
) -> None:
    sample, width, look = view
    folder = os.environ.get("PAGE_SHOTS")
    with opened(browser, reports[sample], width=width, look=look) as (tab, _):
        if folder:
            tab.screenshot(full_page=True, path=Path(folder) / f"{sample}-{width}-{look}.png")
        ground = tab.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert ground == ("rgb(22, 22, 21)" if look == "dark" else "rgb(254, 254, 253)")
