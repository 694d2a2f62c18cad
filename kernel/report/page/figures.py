"""Figures on the page: short for people, exact in `value`, with the JSON pointer of the same figure in the document.

The pointer (RFC 6901) is of use to whoever goes on from the page to `--json`, and lets a test hold the two together.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kernel import units
from kernel.report.page.markup import tag

if TYPE_CHECKING:
    from kernel.report.page.markup import Html

_NARROW, _NO_BREAK = "\N{NARROW NO-BREAK SPACE}", "\N{NO-BREAK SPACE}"
_AFTER_A_DIGIT = re.compile(r"(?<=[0-9]) ")
_WITHIN_A_FIGURE = re.compile(r"(?<=[0-9]) (?=(?:[0-9]{3}|ms|s|min|h|B|[kMGTP]B|%)(?![0-9A-Za-z]))")
_MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"  # in a table, where a figure would be 0 or there was nothing to measure


def seconds(value: float, pointer: str | None = None) -> Html:
    """A duration."""
    return _data(f"{round(value, 6):g}" if value else "0", units.seconds(value), pointer)


def size(value: int, pointer: str | None = None, *, signed: bool = False) -> Html:
    """A number of bytes; `signed` for a difference, which then always shows its sign."""
    shown = units.size(value)
    return _data(str(value), f"+{shown}" if signed and value > 0 else shown, pointer)


def count(value: int, pointer: str | None = None) -> Html:
    """A number of rows or of things."""
    return _data(str(value), units.count(value), pointer)


def difference(value: int) -> Html:
    """A number of rows more or fewer, with its sign."""
    return _data(str(value), f"{'+' if value > 0 else ''}{units.count(value)}", None)


def several(number: int, word: str, plural: str = "") -> str:
    """A number with its noun, as running text."""
    return f"{spaced(units.count(number))}{_NO_BREAK}{units.noun(number, word, plural)}"


def spaced(figure: str) -> str:
    """A figure whose blanks do not break, those before a unit and between thousands narrow ones, and a true minus."""
    return _AFTER_A_DIGIT.sub(_NARROW, figure).replace(" ", _NO_BREAK).replace("-", _MINUS)


def sentence(text: str) -> str:
    """A sentence whose figures do not break, neither between thousands nor before a unit."""
    return _WITHIN_A_FIGURE.sub(_NARROW, text)


def _data(value: str, shown: str, pointer: str | None) -> Html:
    return tag("data", spaced(shown), value=value, data_figure=pointer)
