"""HTML, made in one place: whatever is not markup already is escaped here, in text and in attributes alike."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from kernel.report.safe_text import display_width, shorten_end, show_hidden_characters, to_one_line
from kernel.units import format_bytes, format_count, format_seconds, plural_form

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Html(str):
    """Markup. Only this module makes it, so that a plain string can never pass for it."""

    __slots__ = ()


Content: TypeAlias = "str | Iterable[Content] | None"
Attribute: TypeAlias = "str | int | float | bool | None"

# Elements that have no end tag (https://html.spec.whatwg.org/multipage/syntax.html#void-elements).
_VOID = frozenset(("meta", "link", "br", "hr"))


def escape_html(text: str) -> Html:
    """Text for any place of the page but the inside of style; what does not show is made visible, line breaks stay."""
    return Html(html.escape(show_hidden_characters(text.replace("\r\n", "\n"), keep="\n\t")))


def join_html(content: Content, between: str = "") -> Html:
    """Content one after the other: strings are escaped, nested content is taken apart, None is nothing."""
    if content is None:
        return Html()
    if isinstance(content, Html):
        return content
    if isinstance(content, str):
        return escape_html(content)
    return Html(escape_html(between).join(join_html(part) for part in content))


def tag(name: str, /, *content: Content, **attributes: Attribute) -> Html:
    """An element. In names of attributes a final _ is dropped (class_), others are -; None and False leave it out."""
    opened = name + "".join(
        f" {_attribute(key)}" if value is True else f' {_attribute(key)}="{escape_html(str(value))}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Html(f"<{opened}>" if name in _VOID else f"<{opened}>{join_html(content)}</{name}>")


def style_tag(sheet: str) -> Html:
    """A style sheet of ours. Its text is no HTML: only its end tag could end it, and ours has none."""
    if "</" in sheet:
        raise ValueError("a style sheet that would end its own element")
    return Html(f"<style>\n{sheet}</style>")


def html_document(language: str, *content: Content) -> str:
    """A whole document."""
    return f"<!DOCTYPE html>\n{tag('html', *content, lang=language)}\n"


def name_tag(text: str, *, class_: str | None = None) -> Html:
    """The name of something in a database or of a file: in its own reading direction, with its line breaks visible."""
    return tag("code", show_hidden_characters(text), class_=class_)


def _attribute(key: str) -> str:
    return key.removesuffix("_").replace("_", "-")


# The ids that links on the page lead to: made of places, never of names, which are hostile and not unique.


def migration_anchor(at: int) -> str:
    """A migration, by its place in the order of the rehearsal."""
    return f"m{at + 1}"


def statement_anchor(at: int, number: int) -> str:
    """A statement of it, by its number from 1."""
    return f"m{at + 1}-s{number}"


def lane_anchor(at: int, number: int) -> str:
    """A lane of its timeline."""
    return f"m{at + 1}-l{number}"


def finding_anchor(at: int) -> str:
    """A finding, by its place among all of them."""
    return f"f{at + 1}"


def suggestion_anchor(at: int, which: str) -> str:
    """A timeline of a suggestion, which has one before and one after."""
    return f"s{at + 1}-{which}"


# Figures on the page: short for people, exact in `value`, with the JSON pointer of the same figure in the document.
#
# The pointer (RFC 6901) is of use to whoever goes on from the page to `--json`, and lets a test hold the two together.


_NARROW, _NO_BREAK = "\N{NARROW NO-BREAK SPACE}", "\N{NO-BREAK SPACE}"
_AFTER_A_DIGIT = re.compile(r"(?<=[0-9]) ")
_WITHIN_A_FIGURE = re.compile(r"(?<=[0-9]) (?=(?:[0-9]{3}|ms|s|min|h|B|[kMGTP]B|%)(?![0-9A-Za-z]))")
_MINUS = "\N{MINUS SIGN}"
NO_FIGURE = "\N{EN DASH}"  # in a table, where a figure would be 0 or there was nothing to measure


def seconds_html(value: float, pointer: str | None = None) -> Html:
    """A duration."""
    return _data_tag(f"{round(value, 6):g}" if value else "0", format_seconds(value), pointer)


def size_html(value: int, pointer: str | None = None, *, signed: bool = False) -> Html:
    """A number of bytes; `signed` for a difference, which then always shows its sign."""
    shown = format_bytes(value)
    return _data_tag(str(value), f"+{shown}" if signed and value > 0 else shown, pointer)


def count_html(value: int, pointer: str | None = None) -> Html:
    """A number of rows or of things."""
    return _data_tag(str(value), format_count(value), pointer)


def difference_html(value: int) -> Html:
    """A number of rows more or fewer, with its sign."""
    return _data_tag(str(value), f"{'+' if value > 0 else ''}{format_count(value)}", None)


def counted_noun(number: int, word: str, plural: str = "") -> str:
    """A number with its noun, as running text."""
    return f"{unbroken_figure(format_count(number))}{_NO_BREAK}{plural_form(number, word, plural)}"


def unbroken_figure(figure: str) -> str:
    """A figure whose blanks do not break, those before a unit and between thousands narrow ones, and a true minus."""
    return _AFTER_A_DIGIT.sub(_NARROW, figure).replace(" ", _NO_BREAK).replace("-", _MINUS)


def unbroken_sentence(text: str) -> str:
    """A sentence whose figures do not break, neither between thousands nor before a unit."""
    return _WITHIN_A_FIGURE.sub(_NARROW, text)


def _data_tag(value: str, shown: str, pointer: str | None) -> Html:
    return tag("data", unbroken_figure(shown), value=value, data_figure=pointer)


# The parts that every section is made of: a section with its heading, a table, a list of facts, a fold, an excerpt.


_EXCERPT_LINES = 12
_EXCERPT_COLUMNS = 2_000  # of one line; a dump's COPY or INSERT can be megabytes long
_INLINE_COLUMNS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class TableColumn:
    """A column of a table.

    Figures stand at the right, so that their digits are above each other. `measured` ones have bars below them and are
    as wide as each other, or their bars could not be compared.
    """

    title: str
    figures: bool = False
    measured: bool = False


def section_html(key: str, title: str, *content: Content) -> Html:
    """A landmark with its heading, which the contents link to."""
    return tag(
        "section",
        tag("h2", title, id=f"{key}-h"),
        tag("div", *content, class_="body"),
        id=key,
        aria_labelledby=f"{key}-h",
    )


def table_html(
    caption: str, columns: Sequence[TableColumn], rows: Sequence[Sequence[Content]], *, said: bool = False
) -> Html:
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


def _cells(columns: Sequence[TableColumn], row: Sequence[Content]) -> list[Html]:
    named, *others = zip(columns, row, strict=True)
    return [
        tag("th", named[1], scope="row", role="rowheader"),
        *(tag("td", cell, role="cell", class_=_class(one), data_label=one.title) for one, cell in others),
    ]


def _class(column: TableColumn) -> str | None:
    return "figure measured" if column.measured else "figure" if column.figures else None


def definition_list(*rows: tuple[Content, Content] | None, class_: str = "pairs") -> Html:
    """Names with what is said of them; None is left out."""
    return tag("dl", [tag("div", tag("dt", row[0]), tag("dd", row[1])) for row in rows if row], class_=class_)


def details_html(summary: Content, *content: Content) -> Html:
    """What most readers pass over. Print opens it, in the style sheet."""
    return tag("details", tag("summary", summary), *content)


def list_with_folded_rest(items: Sequence[Html], *, at_once: int, word: str, list_: str, class_: str) -> list[Html]:
    """A list whose first items are open, and the others behind a fold that says how many they are."""
    opened, rest = items[:at_once], items[at_once:]
    found = [tag(list_, opened, class_=class_)]
    if rest:
        start = at_once + 1 if list_ == "ol" else None
        found.append(details_html(counted_noun(len(rest), word), tag(list_, rest, class_=class_, start=start)))
    return found


def inline_sql(text: str) -> Html:
    """The beginning of a statement on one line."""
    return tag("code", shorten_end(to_one_line(text), _INLINE_COLUMNS), class_="sql")


def fits_inline(text: str) -> bool:
    """Whether `inline_sql` shows all of it."""
    return display_width(to_one_line(text)) <= _INLINE_COLUMNS


def excerpt_html(text: str, *, first_line: int, marked: int | None = None) -> Html:
    """Lines of a file with their numbers, around the marked one if there are too many."""
    lines = text.replace("\r\n", "\n").split("\n")
    skipped = max(0, (marked or first_line) - first_line - _EXCERPT_LINES // 2)
    if skipped + _EXCERPT_LINES >= len(lines):
        skipped = max(0, len(lines) - _EXCERPT_LINES)
    shown = lines[skipped : skipped + _EXCERPT_LINES]
    numbered = [
        tag(
            "span",
            shorten_end(line, _EXCERPT_COLUMNS),
            class_="line marked" if number == marked != first_line else "line",
            data_line=number,
        )
        for number, line in enumerate(shown, first_line + skipped)
    ]
    rest = len(lines) - skipped - len(shown)
    return tag("pre", tag("code", numbered, f"… {counted_noun(rest, 'more line')}" if rest else None))


def preformatted_html(text: str) -> Html:
    """Text whose columns matter, a caret below a word for example."""
    return tag("pre", tag("code", text))
