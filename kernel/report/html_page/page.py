"""The page put together: the verdict and its reasons first, then what was measured, then where and with what."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from kernel.rehearsal.result import TableContent
from kernel.report.html_page.findings import findings_html, page_header, reasons_html, traffic_html
from kernel.report.html_page.markup import (
    NO_FIGURE,
    TableColumn,
    count_html,
    counted_noun,
    definition_list,
    details_html,
    html_document,
    name_tag,
    preformatted_html,
    section_html,
    size_html,
    style_tag,
    table_html,
    tag,
    unbroken_sentence,
)
from kernel.report.html_page.migrations import migration_sections, migrations_overview
from kernel.report.html_page.suggestions import safer_way_html
from kernel.report.safe_text import to_one_line

if TYPE_CHECKING:
    from kernel.rehearsal.result import Practice, Receipt, Rehearsal
    from kernel.report.html_page.markup import Content, Html


# The sections below the measurements: the practices, the schema, and where it all took place.


_HELD = {True: ("held", "harmless"), False: ("not held", "error"), None: ("not tried", None)}


def practices_html(rehearsal: Rehearsal) -> Html | None:
    """Each practice, whether it held, and why."""
    if not rehearsal.practices:
        return None
    return section_html(
        "practices", "Practices", tag("ul", [_practice(one) for one in rehearsal.practices], class_="held")
    )


def _practice(practice: Practice) -> Html:
    word, class_ = _HELD[practice.held]
    return tag(
        "li",
        tag("span", practice.name),
        tag("strong", word, class_=class_) if class_ else tag("span", word),
        tag("ul", [tag("li", detail) for detail in practice.details]) if practice.details else None,
    )


def schema_html(rehearsal: Rehearsal) -> Html | None:
    """What the migrations make of the schema, in words."""
    if not rehearsal.schema:
        return None
    return section_html("schema", "Schema", tag("ul", [tag("li", line) for line in rehearsal.schema], class_="plain"))


def environment_html(rehearsal: Rehearsal) -> Html:
    """Versions, sizes and settings: what somebody needs who wants to see the same again."""
    source = rehearsal.source
    rows = [
        ("database", name_tag(rehearsal.database)),
        ("source", name_tag(source.name)),
        ("server of the source", f"PostgreSQL {source.server_version}") if source.server_version else None,
        ("restored size", size_html(rehearsal.restore.size_bytes, "/restore/bytes")),
        *((key, name_tag(value)) for key, value in rehearsal.environment),
    ]
    return section_html(
        "environment",
        "Environment",
        definition_list(*rows),
        [
            tag("h3", "Warnings of the restore"),
            tag("ul", [tag("li", warning) for warning in rehearsal.restore.warnings], class_="plain"),
        ]
        if rehearsal.restore.warnings
        else None,
    )


# The receipts of the data: for each table that was touched, what became of its rows; the others in one line.


_ORDER = {TableContent.CHANGED: 0, TableContent.EXPECTED: 1, TableContent.SAME: 2}
_WORDS = {
    TableContent.CHANGED: ("not declared", "error"),
    TableContent.EXPECTED: ("as declared", "harmless"),
    TableContent.SAME: ("same", None),
}
_COLUMNS = (
    TableColumn(title="Table"),
    TableColumn(title="Rows before", figures=True),
    TableColumn(title="Rows after", figures=True),
    TableColumn(title="Added", figures=True),
    TableColumn(title="Removed", figures=True),
    TableColumn(title="Changed", figures=True),
    TableColumn(title="Content"),
)


def data_html(rehearsal: Rehearsal) -> Html | None:
    """The section, None where no rows were compared."""
    if not rehearsal.receipts:
        return None
    numbered = sorted(enumerate(rehearsal.receipts), key=lambda pair: (_ORDER[pair[1].content], pair[1].table))
    told = [(at, one) for at, one in numbered if _touched(one)]
    untouched = [(at, one) for at, one in numbered if not _touched(one)]
    return section_html(
        "data",
        "Data",
        table_html("What became of the rows", _COLUMNS, [_row(at, one) for at, one in told], said=True)
        if told
        else None,
        [_story(at, one) for at, one in told if one.unexpected or one.columns or one.query],
        _untouched(untouched) if untouched else None,
    )


def _touched(receipt: Receipt) -> bool:
    """Whether its rows had to be compared; of the others the counters of the server say enough, which takes no time."""
    counts = (receipt.added, receipt.removed, receipt.changed, receipt.columns, receipt.unexpected, receipt.seconds)
    return receipt.content is not TableContent.SAME or any(counts) or receipt.rows_before != receipt.rows_after


def _row(at: int, receipt: Receipt) -> list[Content]:
    pointer = f"/tables/{at}"
    word, class_ = _WORDS[receipt.content]
    return [
        name_tag(receipt.table),
        _row_count(receipt.rows_before, f"{pointer}/rows_before", "new"),
        _row_count(receipt.rows_after, f"{pointer}/rows_after", "dropped"),
        *(
            count_html(number, f"{pointer}/{key}") if number else NO_FIGURE
            for key, number in (("added", receipt.added), ("removed", receipt.removed), ("changed", receipt.changed))
        ),
        [
            tag("strong", word, class_=class_) if class_ else word,
            tag("small", receipt.proof) if receipt.proof else None,
        ],
    ]


def _row_count(number: int | None, pointer: str, absent: str) -> Content:
    return absent if number is None else count_html(number, pointer)


def _story(at: int, receipt: Receipt) -> Html:
    """What is behind the figures of a table: what nobody declared, the columns, the query that lists the rows."""
    columns = [
        [
            name_tag(one.column),
            ": ",
            count_html(one.rows, f"/tables/{at}/columns/{place}/rows"),
            " rows",
            f", {one.detail}" if one.detail else None,
        ]
        for place, one in enumerate(receipt.columns)
    ]
    return tag(
        "div",
        tag("h3", name_tag(receipt.table)),
        [tag("p", unbroken_sentence(str(one)), class_="said") for one in receipt.unexpected],
        tag("ul", [tag("li", column) for column in columns], class_="facts") if columns else None,
        details_html("The query that lists the rows", preformatted_html(receipt.query)) if receipt.query else None,
        class_="story",
    )


def _untouched(numbered: list[tuple[int, Receipt]]) -> Html:
    rows = sum(one.rows_after or 0 for _, one in numbered)
    listed = [
        tag("li", name_tag(one.table), " ", count_html(one.rows_after or 0, f"/tables/{at}/rows_after"))
        for at, one in numbered
    ]
    proofs = sorted({one.proof for _, one in numbered if one.proof})
    return tag(
        "div",
        details_html(
            [counted_noun(len(numbered), "table"), " untouched, ", counted_noun(rows, "row")],
            tag("p", "; ".join(proofs), class_="aside") if proofs else None,
            tag("ul", listed, class_="names"),
        ),
        class_="untouched",
    )


# The page runs nothing and fetches nothing, whatever a name in it says. `data:` is for the icon below, which is empty:
# without one, browsers ask the server for theirs.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def render_page(rehearsal: Rehearsal) -> str:
    """The whole page, to be written as UTF-8."""
    sections = {
        "reasons": ("Reasons", reasons_html(rehearsal)),
        "migrations": ("Migrations", migrations_overview(rehearsal)),
        "timeline": ("Timeline", migration_sections(rehearsal)),
        "safer": ("A safer way", safer_way_html(rehearsal)),
        "traffic": ("Traffic", traffic_html(rehearsal)),
        "data": ("Data", data_html(rehearsal)),
        "findings": ("Findings", findings_html(rehearsal)),
        "schema": ("Schema", schema_html(rehearsal)),
        "practices": ("Practices", practices_html(rehearsal)),
        "environment": ("Environment", environment_html(rehearsal)),
    }
    there = {key: (title, section) for key, (title, section) in sections.items() if section}
    return html_document(
        "en",
        _head(rehearsal),
        tag(
            "body",
            tag("a", "Skip to the reasons", href="#content", class_="skip"),
            page_header(rehearsal, [(key, title) for key, (title, _) in there.items()]),
            tag("main", [section for _, section in there.values()], id="content"),
        ),
    )


def _head(rehearsal: Rehearsal) -> Html:
    sheet = resources.files(__package__ or __name__).joinpath("style.css").read_text(encoding="utf-8")
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("meta", name_="referrer", content="no-referrer"),
        tag("link", rel="icon", href="data:,"),
        tag("title", f"{rehearsal.verdict}: rehearsal for {to_one_line(rehearsal.database)}"),
        style_tag(sheet),
    )
