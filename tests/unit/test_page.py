"""The page as parsed HTML: its content, its escaping, and its figures compared with the JSON document."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kernel.rehearsal.result import TableContent
from kernel.report import html_page
from kernel.report.html_page.filters import unbroken_figure
from kernel.report.html_page.page import render_page
from kernel.report.json_rehearsal import rehearsal_document
from kernel.report.safe_text import show_hidden_characters
from kernel.units import format_bytes, format_count, format_seconds
from tests.browser.samples import DEARER, HOSTILE, LOSS, ORDERS, SAMPLES, failing, huge, passing, suggested, untouched
from tests.unit.runs import lock, run, statement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.rehearsal.result import Rehearsal

NO_FIGURE = "\N{EN DASH}"
STYLE_SHEET = Path(html_page.__file__).parent / "templates" / "style.css"
_VOID = ("meta", "link", "br", "hr")
# All elements of the page; none of them runs code or loads anything by itself.
_ELEMENTS = {
    "html",
    "head",
    "meta",
    "link",
    "title",
    "style",
    "body",
    "a",
    "header",
    "main",
    "nav",
    "section",
    "article",
    "h1",
    "h2",
    "h3",
    "h4",
    "p",
    "span",
    "strong",
    "small",
    "code",
    "pre",
    "ul",
    "ol",
    "li",
    "dl",
    "dt",
    "dd",
    "div",
    "details",
    "summary",
    "table",
    "caption",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "data",
    "time",
    "svg",
    "desc",
    "rect",
    "line",
    "text",
}


@dataclass
class Element:
    """An HTML element with its attributes, children and text."""

    name: str
    attributes: dict[str, str | None]
    parts: list[Element | str] = field(default_factory=list)

    def walk(self) -> Iterator[Element]:
        yield self
        for part in self.parts:
            if isinstance(part, Element):
                yield from part.walk()

    def find(self, name: str) -> list[Element]:
        return [one for one in self.walk() if one.name == name]

    @property
    def text(self) -> str:
        return "".join(part if isinstance(part, str) else part.text for part in self.parts)


class Tree(HTMLParser):
    """A strict parser: every element must be closed, in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({key for key, _ in attrs}) == len(attrs)
        element = Element(tag, dict(attrs))
        self.open[-1].parts.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().name == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].parts.append(data)


def parsed(rehearsal: Rehearsal) -> Element:
    tree = Tree()
    tree.feed(render_page(rehearsal))
    tree.close()
    (root,) = tree.open
    return root


@pytest.fixture(scope="module", params=SAMPLES)
def sample(request: pytest.FixtureRequest) -> tuple[Rehearsal, Element]:
    rehearsal = SAMPLES[request.param]()
    return rehearsal, parsed(rehearsal)


def at(pointer: str, found: Any) -> Any:
    """The value at a JSON pointer (RFC 6901)."""
    for step in pointer.split("/")[1:]:
        found = found[int(step)] if isinstance(found, list) else found[step]
    return found


def test_every_figure_of_the_page_equals_the_json_document(sample: tuple[Rehearsal, Element]) -> None:
    rehearsal, root = sample
    document = rehearsal_document(rehearsal)
    pointed = [one for one in root.find("data") if one.attributes.get("data-figure")]
    assert len(pointed) > 10
    for one in pointed:
        pointer = str(one.attributes["data-figure"])
        value = at(pointer, document)
        assert float(str(one.attributes["value"])) == pytest.approx(value, rel=1e-5), pointer
        shown = format_seconds if pointer.endswith("seconds") else format_bytes if "bytes" in pointer else format_count
        assert one.text.removeprefix("+") == unbroken_figure(shown(value)), pointer


def test_migrations_blocked_relations_and_changed_tables_show_their_figures() -> None:
    pointed = {one.attributes.get("data-figure") for one in parsed(failing()).find("data")}
    migrations = {f"/migrations/{at}/{key}" for at in range(3) for key in ("seconds", "wal_bytes", "growth_bytes")}
    # Where reads and writes are blocked for the same time, there is one figure for both.
    blocked = {
        *(f"/blocked/{at}/writes_seconds" for at in range(3)),
        *(f"/blocked/{at}/reads_seconds" for at in (1, 3)),
    }
    tables = {"/tables/1/rows_before", "/tables/1/rows_after", "/tables/1/removed", "/tables/3/columns/0/rows"}
    traffic = {"/traffic/0/reads_longest_seconds", "/traffic/0/queued", "/traffic/1/writes_total_seconds"}
    assert migrations | blocked | tables | traffic <= pointed


def test_the_page_has_no_scripts_and_loads_no_resources(sample: tuple[Rehearsal, Element]) -> None:
    for one in sample[1].walk():
        assert one.name in {"", *_ELEMENTS}
        for key, value in one.attributes.items():
            assert not key.startswith("on")
            assert key not in ("style", "src", "srcset", "action", "autofocus")
            assert key != "href" or str(value).startswith("#") or one.attributes.get("rel") == "icon"
    policy = next(one for one in sample[1].find("meta") if "http-equiv" in one.attributes)
    assert str(policy.attributes["content"]).startswith("default-src 'none'; ")
    sheet = sample[1].find("style")[0].text
    assert "url(" not in sheet
    assert "@import" not in sheet


def test_ids_are_unique_and_every_link_and_label_has_its_target(sample: tuple[Rehearsal, Element]) -> None:
    ids = [one.attributes["id"] for one in sample[1].walk() if "id" in one.attributes]
    assert len(set(ids)) == len(ids)
    wanted = {str(one.attributes["href"])[1:] for one in sample[1].find("a")}
    labels = [one.attributes["aria-labelledby"] for one in sample[1].walk() if "aria-labelledby" in one.attributes]
    wanted.update(key for label in labels for key in str(label).split())
    assert wanted <= set(ids)


def test_heading_levels_descend_by_single_steps(sample: tuple[Rehearsal, Element]) -> None:
    levels = [int(one.name[1]) for one in sample[1].walk() if re.fullmatch("h[1-6]", one.name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_the_page_contains_no_hidden_characters(sample: tuple[Rehearsal, Element]) -> None:
    shown = sample[1].text.replace("\n", "").replace("\t", "")
    assert not {"Cc", "Cf", "Zl", "Zp", "Cs"} & {unicodedata.category(character) for character in shown}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_displayed_as_text(name: str) -> None:
    codes = {one.text for one in parsed(SAMPLES["hostile"]()).find("code")}
    assert show_hidden_characters(name) in codes


def test_the_verdict_and_its_reasons_come_first() -> None:
    root = parsed(failing())
    assert root.find("h1")[0].text == "Fail"
    titles = [one.text for one in root.find("h2")]
    assert titles[:3] == ["Reasons", "Migrations", "Timeline"]
    reasons = root.find("section")[0].text
    places = [reasons.index(word) for word in ("Failed", "Error", "Error", "Warning", "Warning")]
    assert places == sorted(places)
    assert len(root.find("ol")[0].parts) == len(failing().reasons)


def test_empty_sections_are_left_out() -> None:
    bare = replace(passing(), blocked=(), receipts=(), schema=(), practices=(), traffic=(), findings=(), environment=())
    titles = [one.text for one in parsed(bare).find("h2")]
    assert titles == ["Migrations", "Timeline", "Environment"]


def test_a_rehearsal_without_migrations_or_statements_has_a_page() -> None:
    assert parsed(replace(passing(), runs=(), blocked=())).find("h1")[0].text == "Pass"
    idle = replace(passing().runs[0], statements=(), seconds=0.0)
    assert "No statements." in parsed(replace(passing(), runs=(idle,))).text


def test_each_plot_has_a_title_and_a_description() -> None:
    titles = [one.text for one in parsed(failing()).find("title")[1:]]
    assert titles == [
        "Locks on public.orders",
        "Locks on public.orders, enlarged",
        "Locks on public.orders",
        "Locks on billing.invoices",
        "Locks on public.users",
        "Locks on public.orders, original",
        "Locks on billing.invoices, original",
        "Locks on public.users, original",
        "Locks on public.orders, suggested",
        "Locks on billing.invoices, suggested",
    ]
    assert parsed(failing()).find("desc")[2].text == (
        "ACCESS EXCLUSIVE by statement 2 from 1.80 s for 41.4 s. Reads blocked for 41.4 s. Writes blocked for 41.4 s."
    )


def test_bars_are_placed_by_the_times_of_the_locks() -> None:
    (_, _, lane, *_) = [one for one in parsed(failing()).find("svg") if one.attributes.get("role") == "img"]
    queue, lock, still = lane.find("rect")
    assert [one.attributes["class"] for one in (queue, lock, still)] == ["queue", "reads", "still"]
    # The migration began at 0.31 s and took 43.182 s; its lock was requested at 1.52 s, and granted at 2.112 s.
    assert float(str(queue.attributes["x"]).removesuffix("%")) == pytest.approx(100 * 1.21 / 43.182, abs=0.01)
    assert float(str(lock.attributes["x"]).removesuffix("%")) == pytest.approx(100 * 1.802 / 43.182, abs=0.01)
    assert lock.attributes["width"] == still.attributes["width"]


def widths(root: Element, kind: str) -> list[float]:
    """The widths of the bars of a kind, in percent of their plots."""
    bars = [one for one in root.find("rect") if one.attributes.get("class") == kind]
    return [float(str(one.attributes["width"]).removesuffix("%")) for one in bars]


def test_locks_of_all_migrations_are_drawn_on_one_scale_and_short_ones_enlarged_too() -> None:
    short = run(statement("A", seconds=0.003, locks=(lock(ORDERS, "SHARE", 0.003),)), version="001", seconds=0.003)
    long = run(
        statement("B", at=1.0, seconds=0.257, locks=(lock(ORDERS, "SHARE", 0.257, at=1.0),)),
        version="002",
        at=1.0,
        seconds=0.257,
    )
    root = parsed(replace(passing(), runs=(short, long), blocked=()))
    assert widths(root, "writes") == [pytest.approx(100 * 3 / 257, abs=0.01), 100, 100]
    assert "Enlarged 86 times" in root.text
    both = parsed(replace(passing(), runs=(long, replace(long, version="003", at_seconds=2.0)), blocked=()))
    assert "Enlarged" not in both.text


def head_text(rehearsal: Rehearsal) -> str:
    text = parsed(rehearsal).find("header")[0].text.replace("\n", " ")
    return re.sub(r"\s+", " ", text)  # narrow and unbreakable blanks as well


def test_the_head_has_the_date_the_server_and_the_number_of_findings() -> None:
    assert "Rehearsed on 2026-11-01 08:05 UTC with PostgreSQL 15.18 (Debian 15.18-0+deb12u1)." in head_text(failing())
    assert "Findings1 failed2 errors, 3 warnings" in head_text(failing())
    assert "Findingsno errors2 warnings" in head_text(replace(passing(), findings=(DEARER, DEARER)))


@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        ({"removed": 1200}, "Rows removed1 200public.orders"),
        ({"changed": 7, "added": 9}, "Rows changed7public.orders9 rows addednot declared"),
        ({"rows_before": 31, "rows_after": None}, "Rows removed31public.orders"),
        ({"rows_before": None, "rows_after": 5}, "Rows added5public.orders"),
    ],
)
def test_the_head_says_how_many_rows_a_migration_changes(changed: dict[str, Any], shown: str) -> None:
    receipt = replace(untouched("public.orders", 31), content=TableContent.CHANGED, **changed)
    assert shown in head_text(replace(passing(), receipts=(receipt,)))
    assert "Rowsunchanged" in head_text(replace(passing(), receipts=passing().receipts[1:]))


def test_untouched_tables_are_folded_into_one_line() -> None:
    data = next(one for one in parsed(failing()).find("section") if one.attributes["id"] == "data")
    rows = [row.find("code")[0].text for row in data.find("tr")[1:]]
    assert rows == ["public.business_terms", "public.users", "public.orders"]
    summary = data.find("summary")[-1].text
    assert summary.replace("\N{NO-BREAK SPACE}", " ").startswith("3 tables untouched, ")
    assert len(data.find("details")[-1].find("li")) == 3


def test_a_huge_rehearsal_is_mostly_folded() -> None:
    root = parsed(huge())
    folded = {id(one) for details in root.find("details") for one in details.walk()}
    opened = [one for one in root.walk() if id(one) not in folded]
    assert sum(one.name == "svg" and one.attributes.get("role") == "img" for one in opened) == 12
    assert sum(one.name == "li" for one in opened) < 250
    assert sum(one.name == "svg" and one.attributes.get("role") == "img" for one in root.walk()) == 300


@pytest.mark.slow
def test_the_page_of_a_dump_as_a_migration_stays_below_two_megabytes() -> None:
    run = huge().runs[0]
    step = run.seconds / 30_000
    statements = tuple(
        replace(run.statements[number % 300], at_seconds=number * step, seconds=step) for number in range(30_000)
    )
    shown = render_page(replace(huge(), runs=(replace(run, statements=statements),)))
    assert len(shown) < 2_000_000
    assert "and 29\N{NARROW NO-BREAK SPACE}600\N{NO-BREAK SPACE}statements more: --json has them" in shown


def test_a_finding_marks_its_line_in_the_statement() -> None:
    found = next(one for one in parsed(failing()).walk() if one.attributes.get("id") == "f3")
    (line,) = [one for one in found.find("span") if "data-line" in one.attributes]
    assert (line.attributes["data-line"], line.text) == (
        "9",
        "CREATE INDEX invoices_order_id_idx ON billing.invoices (order_id);",
    )


def test_a_query_plan_in_a_finding_is_preformatted() -> None:
    found = next(one for one in parsed(failing()).walk() if one.attributes.get("id") == "f5")
    (sentence,) = [one for one in found.find("p") if one.attributes.get("class") == "said"]
    assert sentence.text == "orders.sql:3: its plan costs 98\N{NARROW NO-BREAK SPACE}412, before 9"
    assert [one.text for one in found.find("pre")] == [DEARER.message.partition("\n")[2]]


def test_a_finding_names_its_relation_once() -> None:
    loss = replace(LOSS, message=f"{LOSS.relation}: 14 rows removed")
    root = parsed(replace(failing(), findings=(loss,), reasons=(loss,)))
    sentences = [one.text for one in root.find("p") if one.attributes.get("class") == "said"]
    assert sentences.count("14 rows removed") == 2


def section(rehearsal: Rehearsal, key: str) -> Element:
    (found,) = [one for one in parsed(rehearsal).find("section") if one.attributes["id"] == key]
    return found


def test_a_suggestion_shows_times_before_and_after_for_every_relation() -> None:
    rows = [
        [cell.text.replace("\N{NARROW NO-BREAK SPACE}", " ") for cell in row.parts if isinstance(cell, Element)]
        for row in section(failing(), "safer").find("tbody")[0].find("tr")
    ]
    assert rows == [
        ["public.orders", "41.4 s", "41.3 s", "41.4 s", "41.3 s"],
        ["billing.invoices", NO_FIGURE, NO_FIGURE, "4.05 s", NO_FIGURE],
        ["public.users", NO_FIGURE, "2.0 ms", NO_FIGURE, "2.0 ms"],
    ]


def test_a_suggestion_lists_its_files_leftovers_and_refusals() -> None:
    safer = section(failing(), "safer")
    folds = {one.find("summary")[0].text: one.find("pre")[0].text for one in safer.find("details")}
    assert folds == {one.filename: one.text for one in suggested().trials[0].suggestion.files}
    assert "line 5, type-change-rewrites: a view depends on id" in safer.text
    assert "018_require_effective_from.sql:4, set-not-null-scans: it fails" in safer.text


def test_both_timelines_of_a_suggestion_have_one_scale() -> None:
    plots = [one for one in section(failing(), "safer").find("svg") if one.attributes.get("role") == "img"]
    before, after = (one.find("rect")[-1] for one in (plots[0], plots[3]))
    # 41.38 s and 41.3 s of the 47.4 s that the suggestion takes.
    assert float(str(before.attributes["width"]).removesuffix("%")) == pytest.approx(100 * 41.38 / 47.4, abs=0.01)
    assert float(str(after.attributes["width"]).removesuffix("%")) == pytest.approx(100 * 41.3 / 47.4, abs=0.01)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({}, "Proven."),
        ({"differences": ("public.users: 3 rows missing",)}, "Not proven."),
        ({"failure": "018_x.sql: no such table"}, "Failed."),
        ({"trials": (), "refused": ()}, "No finding has a mechanical remedy."),
    ],
    ids=["proven", "differs", "failed", "nothing"],
)
def test_the_proof_of_a_suggestion_states_its_result(changed: dict[str, Any], sentence: str) -> None:
    safer = section(replace(failing(), advice=replace(suggested(), **changed)), "safer")
    assert safer.find("p")[0].text.startswith(sentence)
    assert all(line in safer.text for line in changed.get("differences", ()))
    assert ("12\N{NARROW NO-BREAK SPACE}004 values of touched_at" in safer.text) is (
        sentence != "No finding has a mechanical remedy."
    )


@pytest.mark.parametrize(("seconds", "warned"), [(41.38, True), (41.37, False)])
def test_a_suggestion_that_blocks_no_shorter_has_a_warning(seconds: float, *, warned: bool) -> None:
    (trial,) = suggested().trials
    shut = tuple(replace(one, reads_seconds=seconds, writes_seconds=seconds) for one in trial.blocked_after)
    advice = replace(suggested(), trials=(replace(trial, blocked_after=shut),))
    assert ("No shorter." in section(replace(failing(), advice=advice), "safer").text) is warned


@pytest.mark.parametrize("text", ["<b>", "&lt;", '"', "'", "a=b c", "--><!--", "{{ 1 }}"])
def test_text_and_attributes_are_escaped(text: str) -> None:
    taken = lock(replace(ORDERS, name=text, rows=0, size_bytes=0), "ACCESS EXCLUSIVE", 1)
    run = passing().runs[0]
    traced = replace(run.statements[0], locks=(taken,))
    root = parsed(replace(passing(), runs=(replace(run, statements=(traced,)),)))
    (label,) = [one for one in root.find("code") if one.attributes.get("class") == "relation"]
    assert (label.text, label.attributes["title"]) == (text, text)


def test_the_style_sheet_is_included_unchanged() -> None:
    assert parsed(passing()).find("style")[0].text.strip() == STYLE_SHEET.read_text(encoding="utf-8").strip()
