"""Make the picture of docs/ci.md: `comment_picture.py COMMENT.md docs/ci.png`.

COMMENT.md is what the commands of docs/ci.md write, or the comment of the action. It is rendered by cmark-gfm, GitHub's
own renderer, and looks as a comment there does. Needs the extras dev and browser, and Chromium.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import cmarkgfm
from playwright.sync_api import sync_playwright

STYLE = """
body { margin: 0; padding: 16px; background: #fff; color: #1f2328; width: 912px;
  font: 14px/1.5 -apple-system, "Segoe UI", "Noto Sans", "Liberation Sans", Helvetica, Arial, sans-serif; }
.comment { border: 1px solid #d1d9e0; border-radius: 6px; }
.head { padding: 8px 16px; background: #f6f8fa; border-bottom: 1px solid #d1d9e0; color: #59636e; }
.head b { color: #1f2328; } .body { padding: 0 16px 8px; }
code, pre { font: 12px/1.45 ui-monospace, "DejaVu Sans Mono", "Liberation Mono", monospace; }
code { background: #818b981f; padding: .2em .4em; border-radius: 6px; }
pre { background: #f6f8fa; padding: 12px; border-radius: 6px; overflow: hidden; }
pre code { background: none; padding: 0; }
table { border-collapse: collapse; } th, td { border: 1px solid #d1d9e0; padding: 6px 13px; }
tr:nth-child(2n) td { background: #f6f8fa; } h3 { font-size: 1.25em; } ul { padding-left: 2em; }
"""


def comment_page(markdown: str) -> str:
    """The HTML page of a comment."""
    body = cmarkgfm.github_flavored_markdown_to_html(markdown, options=cmarkgfm.cmark.Options.CMARK_OPT_UNSAFE)
    head = '<div class="head"><b>github-actions</b> bot commented</div>'
    page = f'<div class="comment">{head}<div class="body">{body}</div></div>'
    return f'<!DOCTYPE html><meta charset="utf-8"><style>{STYLE}</style>{page}'


def main() -> None:
    """Render the comment of the first argument into the picture of the second."""
    source, target = map(Path, sys.argv[1:])
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)))
    with sync_playwright() as driver:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = driver.chromium.launch(executable_path=program, args=arguments)
        page = browser.new_page(viewport={"width": 944, "height": 600}, device_scale_factor=1.5)
        page.set_content(comment_page(source.read_text(encoding="utf-8")))
        page.screenshot(path=str(target), full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
