"""Pages of db.docs as a reader sees them: Markdown by marked and diagrams by Mermaid, in a real browser."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from kernel.db.connection import open_session
from kernel.schema import read_schema
from kernel.schema_docs.files import choose_layout, make_files
from kernel.schema_docs.mermaid import LOOKALIKES
from kernel.schema_docs.model import document_schema
from tests.hostile_schema import TEXTS, statements

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

PROJECT = Path(__file__).parents[2]
SHOW = """
async text => {
    document.body.innerHTML = marked.parse(text, {gfm: true});
    for (const code of document.querySelectorAll("code.language-mermaid")) {
        const drawing = document.createElement("div");
        drawing.className = "mermaid";
        drawing.textContent = code.textContent;
        code.parentNode.replaceWith(drawing);
    }
    mermaid.initialize({startOnLoad: false});
    await mermaid.run();
}
"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page with both libraries; MARKDOWN_MODULES is the folder that npm has installed them in."""
    modules = os.environ.get("MARKDOWN_MODULES")
    if not modules:
        pytest.skip(
            "needs marked and mermaid: npm install marked@15 mermaid@11, and their node_modules in MARKDOWN_MODULES"
        )
    opened = browser.new_page(viewport={"width": 1280, "height": 1400})
    opened.set_content("<!doctype html><meta charset=utf-8><body></body>")
    for library in ("marked/lib/marked.umd.js", "mermaid/dist/mermaid.min.js"):
        opened.add_script_tag(path=Path(modules) / library)
    yield opened
    opened.close()


@pytest.mark.slow
def test_the_diagram_of_this_project_shows_every_table(page: Page) -> None:
    page.evaluate(SHOW, (PROJECT / "migrations/SCHEMA.md").read_text(encoding="utf-8"))
    assert page.locator(".mermaid svg").count() == 1
    drawn = page.locator(".mermaid svg").text_content() or ""
    for heading in page.locator("h2").all_inner_texts():
        if heading.startswith("public."):
            assert heading in drawn
    assert page.locator("td", has_text="changed 015").count() > 0


@pytest.mark.slow
def test_names_and_comments_are_shown_as_they_are_and_nothing_else_happens(
    page: Page, database: str, tmp_path: Path
) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(statements())
    with open_session(database) as session:
        schema = document_schema(read_schema(session), {})
    layout = choose_layout(schema, root=tmp_path, migrations_dir=tmp_path / "migrations", output="SCHEMA.md")
    files = make_files(schema, layout, title="Schema", migrations_dir=tmp_path / "migrations")
    page.evaluate(SHOW, files[layout.index])
    assert page.evaluate("window.attacked") is None
    assert page.locator("img, script[src], a[href^=javascript]").count() == 0
    first = page.locator("table").first
    purposes = {text.strip() for text in first.locator("td:nth-child(2)").all_inner_texts()}
    assert purposes == {text.replace("\u202e", "⟨U+202E⟩") for text in TEXTS}
    drawn = " ".join((page.locator(".mermaid svg").text_content() or "").split())
    for relation in schema.tables:
        name = " ".join(relation.name.replace("\u202e", "⟨U+202E⟩").split())
        assert name in drawn or name.translate(LOOKALIKES) in drawn
        assert page.locator("h2", has_text=name).count() >= 1
