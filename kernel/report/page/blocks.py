"""The parts that every section is made of: a section with its heading, a table, a list of facts, a fold, an excerpt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.report.page import figures
from kernel.report.page.markup import tag
from kernel.report.visible import clipped, one_line, width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.report.page.markup import Content, Html

_EXCERPT_LINES = 12
_EXCERPT_COLUMNS = 2_000  # of one line; a dump's COPY or INSERT can be megabytes long
_INLINE_COLUMNS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table.

    Figures stand at the right, so that their digits are above each other. `measured` ones have bars below them and are
    as wide as each other, or their bars could not be compared.
    """

    title: str
    figures: bool = False
    measured: bool = False


def section(key: str, title: str, *content: Content) -> Html:
    """A landmark with its heading, which the contents link to."""
    return tag(
        "section",
        tag("h2", title, id=f"{key}-h"),
        tag("div", *content, class_="body"),
        id=key,
        aria_labelledby=f"{key}-h",
    )


def table(caption: str, columns: Sequence[Column], rows: Sequence[Sequence[Content]], *, said: bool = False) -> Html:
    """A table whose first column names its rows; `said` hides a caption that the heading above says already.

    Narrow screens show each row as a block, with the column's title before each figure. A browser then takes the
    elements for no table any more, so the roles are written out.
    """
    head = tag(
        "thead",
        tag(
            "tr",
            [tag("th", one.title, scope="col", role="columnheader", class_=_class(one)) for one in columns],
            role="row",
        ),
        role="rowgroup",
    )
    body = tag("tbody", [tag("tr", _cells(columns, row), role="row") for row in rows], role="rowgroup")
    return tag("table", tag("caption", caption, class_="unseen" if said else None), head, body, role="table")


def _cells(columns: Sequence[Column], row: Sequence[Content]) -> list[Html]:
    named, *others = zip(columns, row, strict=True)
    return [
        tag("th", named[1], scope="row", role="rowheader"),
        *(tag("td", cell, role="cell", class_=_class(one), data_label=one.title) for one, cell in others),
    ]


def _class(column: Column) -> str | None:
    return "figure measured" if column.measured else "figure" if column.figures else None


def pairs(*rows: tuple[Content, Content] | None, class_: str = "pairs") -> Html:
    """Names with what is said of them; None is left out."""
    return tag("dl", [tag("div", tag("dt", row[0]), tag("dd", row[1])) for row in rows if row], class_=class_)


def fold(summary: Content, *content: Content) -> Html:
    """What most readers pass over. Print opens it, in the style sheet."""
    return tag("details", tag("summary", summary), *content)


def folded(items: Sequence[Html], *, at_once: int, word: str, list_: str, class_: str) -> list[Html]:
    """A list whose first items are open, and the others behind a fold that says how many they are."""
    opened, rest = items[:at_once], items[at_once:]
    found = [tag(list_, opened, class_=class_)]
    if rest:
        start = at_once + 1 if list_ == "ol" else None
        found.append(fold(figures.several(len(rest), word), tag(list_, rest, class_=class_, start=start)))
    return found


def inline_sql(text: str) -> Html:
    """The beginning of a statement on one line."""
    return tag("code", clipped(one_line(text), _INLINE_COLUMNS), class_="sql")


def is_short(text: str) -> bool:
    """Whether `inline_sql` shows all of it."""
    return width(one_line(text)) <= _INLINE_COLUMNS


def excerpt(text: str, *, first_line: int, marked: int | None = None) -> Html:
    """Lines of a file with their numbers, around the marked one if there are too many."""
    lines = text.replace("\r\n", "\n").split("\n")
    skipped = max(0, (marked or first_line) - first_line - _EXCERPT_LINES // 2)
    if skipped + _EXCERPT_LINES >= len(lines):
        skipped = max(0, len(lines) - _EXCERPT_LINES)
    shown = lines[skipped : skipped + _EXCERPT_LINES]
    numbered = [
        tag(
            "span",
            clipped(line, _EXCERPT_COLUMNS),
            class_="line marked" if number == marked != first_line else "line",
            data_line=number,
        )
        for number, line in enumerate(shown, first_line + skipped)
    ]
    rest = len(lines) - skipped - len(shown)
    return tag("pre", tag("code", numbered, f"… {figures.several(rest, 'more line')}" if rest else None))


def preformatted(text: str) -> Html:
    """Text whose columns matter, a caret below a word for example."""
    return tag("pre", tag("code", text))
