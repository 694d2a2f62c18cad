"""The filters of the templates: figures and names as text, cut statements and excerpts. None of them makes markup."""

from __future__ import annotations

import re
from typing import NamedTuple

from kernel.report.safe_text import display_width, shorten_end, show_hidden_characters, to_one_line
from kernel.units import format_bytes, format_count, format_seconds, plural_form

_NARROW, _NO_BREAK = "\N{NARROW NO-BREAK SPACE}", "\N{NO-BREAK SPACE}"
_MINUS = "\N{MINUS SIGN}"
_AFTER_A_DIGIT = re.compile(r"(?<=[0-9]) ")
_WITHIN_A_FIGURE = re.compile(r"(?<=[0-9]) (?=(?:[0-9]{3}|ms|s|min|h|B|[kMGTP]B|%)(?![0-9A-Za-z]))")
_EXCERPT_LINES = 12
_EXCERPT_COLUMNS = 2_000  # of one line; a dump's COPY or INSERT can be megabytes long
_INLINE_COLUMNS = 100


def unbroken_figure(figure: str) -> str:
    """A figure without line breaks: narrow blanks between thousands and before a unit, and a true minus sign."""
    return _AFTER_A_DIGIT.sub(_NARROW, figure).replace(" ", _NO_BREAK).replace("-", _MINUS)


def unbroken_sentence(text: str) -> str:
    """A sentence whose figures have no line breaks, neither between thousands nor before a unit."""
    return _WITHIN_A_FIGURE.sub(_NARROW, text)


def counted_noun(number: int, word: str, plural: str = "") -> str:
    """A number with its noun, without a line break: 1 row, 2 rows."""
    return f"{short_count(number)}{_NO_BREAK}{plural_form(number, word, plural)}"


def exact_seconds(value: float) -> str:
    """A duration for the value attribute of a figure, to the microsecond."""
    return f"{round(value, 6):g}" if value else "0"


def short_seconds(value: float) -> str:
    """A duration with its unit."""
    return unbroken_figure(format_seconds(value))


def short_bytes(value: int, *, signed: bool = False) -> str:
    """A size with its unit; `signed` for a difference, which then always has its sign."""
    return unbroken_figure(f"{'+' if signed and value > 0 else ''}{format_bytes(value)}")


def short_count(value: int) -> str:
    """A whole number with its thousands apart."""
    return unbroken_figure(format_count(value))


def inline_sql(text: str) -> str:
    """The beginning of a statement on one line."""
    return shorten_end(to_one_line(text), _INLINE_COLUMNS)


def fits_inline(text: str) -> bool:
    """Whether `inline_sql` shows the whole statement as it stands in its file."""
    return "\n" not in text and display_width(to_one_line(text)) <= _INLINE_COLUMNS


class Excerpt(NamedTuple):
    """Lines of a file with their numbers, the number of a marked line among them, and how many lines follow."""

    lines: tuple[tuple[int, str], ...]
    marked: int | None
    rest: int


def excerpt(text: str, first_line: int, marked: int | None = None) -> Excerpt:
    """At most twelve lines of a statement that begins on `first_line`, around the marked line if there are more."""
    lines = text.replace("\r\n", "\n").split("\n")
    wanted = max(0, (marked or first_line) - first_line - _EXCERPT_LINES // 2)
    skipped = min(wanted, max(0, len(lines) - _EXCERPT_LINES))
    shown = lines[skipped : skipped + _EXCERPT_LINES]
    return Excerpt(
        lines=tuple(
            (number, shorten_end(line, _EXCERPT_COLUMNS)) for number, line in enumerate(shown, first_line + skipped)
        ),
        marked=marked if marked != first_line else None,
        rest=len(lines) - skipped - len(shown),
    )


TEXT_FILTERS = {
    "bytes": short_bytes,
    "count": short_count,
    "exact_seconds": exact_seconds,
    "excerpt": excerpt,
    "inline_sql": inline_sql,
    "noun": counted_noun,
    "plural": plural_form,
    "seconds": short_seconds,
    "show_hidden": show_hidden_characters,
    "unbroken_sentence": unbroken_sentence,
}
