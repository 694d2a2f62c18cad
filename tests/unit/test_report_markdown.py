"""Hostile names and messages stay text when GitHub's own renderer turns a report into HTML."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.lint.rules import Severity
from kernel.report.markdown import MAX_CHARACTERS, markdown_text
from kernel.report.rehearsal import changed_receipts
from kernel.report.rehearsal_report import rehearsal_report
from kernel.report.task_report import ReportFinding, ReportRule, ReportTable, TaskReport
from tests.browser.samples import SAMPLES, sample_with_known_rules

cmarkgfm = pytest.importorskip("cmarkgfm", reason="cmarkgfm is not installed: pip install -e '.[dev]'")

HOSTILE = (
    "a|b",
    "a\\|b\\",
    "`code` ``more``",
    "<img src=x onerror=alert(1)>",
    "<!-- comment",
    "-->",
    "</details></table>",
    "[click](http://evil.example)",
    "![image](http://evil.example/x.png)",
    "http://evil.example www.evil.example WWW.EVIL.EXAMPLE a@evil.example https://github.com/o/r/issues/1",
    "@octocat @org/team",
    "#1 GH-1 o/r#2 !3 $4 &5 %6 ~label",
    "&lt;script&gt; &#64;octocat",
    "line\n\n# heading\n- item\n> quote\n```\n",
    "\r\n| a | b |\n|---|---|",
    "**bold** __bold__ ~~gone~~ _x_ *y*",
    "$$x$$ :smile: \u202edesrever\u2066",
    "    indented",
    "~~~\n```",
    "```\n# heading\n<img src=x>\n",
    "",
    " ",
    "-",
    "--",
    "- item",
    "=",
    "12. item",
    "1) item",
    ". - =",
)
OWN_TAGS = {"h3", "h4", "p", "strong", "code", "pre", "br", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"}


class Rendered(HTMLParser):
    """The tags of a page, and its text outside code."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.prose = ""
        self._code = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert {name for name, _ in attrs} <= {"align", "lang", "class"}
        self._code += tag in ("code", "pre")

    def handle_endtag(self, tag: str) -> None:
        self._code -= tag in ("code", "pre")

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_data(self, data: str) -> None:
        if not self._code:
            self.prose += data


def render(text: str) -> Rendered:
    """The report with one text in every place, rendered with raw HTML, which GitHub filters only afterwards."""
    finding = ReportFinding(
        rule=ReportRule(id=text, name=text, condition=text),
        severity=Severity.ERROR,
        message=text,
        remedy=text,
        file=text,
        line=3,
        excerpt=text,
    )
    report = TaskReport(
        task="db.lint",
        failed=True,
        scope=text,
        verdict=text,
        directory="migrations",
        files=(text, text),
        findings=(finding, replace(finding, excerpt="")),
        tables=(ReportTable(title="Data", header=("table", "rows"), rows=((text, text),) * 2, more=text),),
        notes=(text,),
    )
    return to_html(markdown_text(report))


def to_html(markdown: str) -> Rendered:
    options = cmarkgfm.cmark.Options.CMARK_OPT_UNSAFE
    return Rendered(cmarkgfm.github_flavored_markdown_to_html(markdown, options=options))


@pytest.mark.parametrize("name", SAMPLES)
def test_a_rehearsal_is_told_in_order_and_its_names_are_text(name: str) -> None:
    rehearsal = sample_with_known_rules(name)
    text = markdown_text(rehearsal_report(rehearsal, "migrations"))
    assert len(text) < MAX_CHARACTERS
    assert set(to_html(text).tags) <= OWN_TAGS
    verdict = "FAIL" if rehearsal.reasons else "PASS"
    parts = ["pending in", f"**{verdict}**", "| migration | time | reads blocked", "**Data**", "#### Findings"]
    places = [text.find(part) for part in parts if part != "**Data**" or changed_receipts(rehearsal)]
    assert -1 not in places[: 5 if rehearsal.findings else -1]
    assert places == sorted(places) or not rehearsal.findings


def check(text: str) -> None:
    page = render(text)
    assert set(page.tags) <= OWN_TAGS
    assert (page.tags.count("tr"), page.tags.count("td"), page.tags.count("h4")) == (3, 4, 1)
    assert page.tags.count("li") == 3
    assert not re.search(r"[@#!$&~](?=\w)|%(?=[0-9\"])|GH-[0-9]", page.prose)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_makes_no_tag_link_mention_or_reference(text: str) -> None:
    check(text)


@pytest.mark.slow
@given(st.text(st.sampled_from("`|\\<>&@#_*[]()!~-+=:./ \n\t\"'$%^{}aGHw1é"), max_size=30))
def test_any_text_makes_no_tag_link_mention_or_reference(text: str) -> None:
    check(text)
