"""The receipts of the data: for each table that was touched, what became of its rows; the others in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.result import Content as Rows
from kernel.report.page import figures
from kernel.report.page.blocks import Column, fold, preformatted, section, table
from kernel.report.page.markup import name, tag

if TYPE_CHECKING:
    from kernel.rehearsal.result import Receipt, Rehearsal
    from kernel.report.page.markup import Content, Html

_ORDER = {Rows.CHANGED: 0, Rows.EXPECTED: 1, Rows.SAME: 2}
_WORDS = {
    Rows.CHANGED: ("not declared", "error"),
    Rows.EXPECTED: ("as declared", "harmless"),
    Rows.SAME: ("same", None),
}
_COLUMNS = (
    Column(title="Table"),
    Column(title="Rows before", figures=True),
    Column(title="Rows after", figures=True),
    Column(title="Added", figures=True),
    Column(title="Removed", figures=True),
    Column(title="Changed", figures=True),
    Column(title="Content"),
)


def receipts(rehearsal: Rehearsal) -> Html | None:
    """The section, None where no rows were compared."""
    if not rehearsal.receipts:
        return None
    numbered = sorted(enumerate(rehearsal.receipts), key=lambda pair: (_ORDER[pair[1].content], pair[1].table))
    told = [(at, one) for at, one in numbered if _touched(one)]
    untouched = [(at, one) for at, one in numbered if not _touched(one)]
    return section(
        "data",
        "Data",
        table("What became of the rows", _COLUMNS, [_row(at, one) for at, one in told], said=True) if told else None,
        [_story(at, one) for at, one in told if one.unexpected or one.columns or one.query],
        _untouched(untouched) if untouched else None,
    )


def _touched(receipt: Receipt) -> bool:
    """Whether its rows had to be compared; of the others the counters of the server say enough, which takes no time."""
    counts = (receipt.added, receipt.removed, receipt.changed, receipt.columns, receipt.unexpected, receipt.seconds)
    return receipt.content is not Rows.SAME or any(counts) or receipt.rows_before != receipt.rows_after


def _row(at: int, receipt: Receipt) -> list[Content]:
    pointer = f"/tables/{at}"
    word, class_ = _WORDS[receipt.content]
    return [
        name(receipt.table),
        _rows(receipt.rows_before, f"{pointer}/rows_before", "new"),
        _rows(receipt.rows_after, f"{pointer}/rows_after", "dropped"),
        *(
            figures.count(number, f"{pointer}/{key}") if number else figures.NONE
            for key, number in (("added", receipt.added), ("removed", receipt.removed), ("changed", receipt.changed))
        ),
        [
            tag("strong", word, class_=class_) if class_ else word,
            tag("small", receipt.proof) if receipt.proof else None,
        ],
    ]


def _rows(number: int | None, pointer: str, absent: str) -> Content:
    return absent if number is None else figures.count(number, pointer)


def _story(at: int, receipt: Receipt) -> Html:
    """What is behind the figures of a table: what nobody declared, the columns, the query that lists the rows."""
    columns = [
        [
            name(one.column),
            ": ",
            figures.count(one.rows, f"/tables/{at}/columns/{place}/rows"),
            " rows",
            f", {one.how}" if one.how else None,
        ]
        for place, one in enumerate(receipt.columns)
    ]
    return tag(
        "div",
        tag("h3", name(receipt.table)),
        [tag("p", figures.sentence(str(one)), class_="said") for one in receipt.unexpected],
        tag("ul", [tag("li", column) for column in columns], class_="facts") if columns else None,
        fold("The query that lists the rows", preformatted(receipt.query)) if receipt.query else None,
        class_="story",
    )


def _untouched(numbered: list[tuple[int, Receipt]]) -> Html:
    rows = sum(one.rows_after or 0 for _, one in numbered)
    listed = [
        tag("li", name(one.table), " ", figures.count(one.rows_after or 0, f"/tables/{at}/rows_after"))
        for at, one in numbered
    ]
    proofs = sorted({one.proof for _, one in numbered if one.proof})
    return tag(
        "div",
        fold(
            [figures.several(len(numbered), "table"), " untouched, ", figures.several(rows, "row")],
            tag("p", "; ".join(proofs), class_="aside") if proofs else None,
            tag("ul", listed, class_="names"),
        ),
        class_="untouched",
    )
