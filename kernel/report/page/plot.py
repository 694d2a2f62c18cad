"""The drawing of the timeline: plots in SVG whose widths are shares of the whole, so that they fit every screen.

Lengths along the time are percentages, lengths across it are em: a plot is as wide as its column and grows with the
text beside it. No plot is ever scaled, so that nothing on it is blurred or distorted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel import units
from kernel.rehearsal import modes
from kernel.report.page import figures
from kernel.report.page.markup import tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.report.page.lanes import Stretch
    from kernel.report.page.markup import Html

ROW_EM = 1.5  # the height of a row, the same as that of a line of the labels beside it
_STEPS = (1, 2, 5, 10)
_MOST_TICKS = 5
_NUMBERED = 3  # per cent, about ten pixels on a telephone: more than that holds a number
_TOLD_APART = 0.1  # per cent, about a pixel of a screen
_LABELLED_UP_TO = 0.97  # of the whole; a label further right would be cut off


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """From seconds to percentages of the plot's width."""

    begin: float
    seconds: float

    def at(self, moment: float) -> float:
        return _percent((moment - self.begin) / self.seconds) if self.seconds > 0 else 0.0

    def share(self, stretch: Stretch) -> float:
        return _percent(stretch.seconds / self.seconds) if self.seconds > 0 else 100.0

    @property
    def ticks(self) -> tuple[float, ...]:
        """Round moments, in seconds from the beginning: at most five steps of 1, 2 or 5 times a power of ten."""
        if self.seconds <= 0:
            return (0.0,)
        power = 10.0 ** _exponent(self.seconds / _MOST_TICKS)
        step = next(factor * power for factor in _STEPS if factor * power * _MOST_TICKS >= self.seconds)
        return tuple(number * step for number in range(int(self.seconds / step * (1 + 1e-9)) + 1))


def _percent(share: float) -> float:
    return round(100 * min(1.0, max(0.0, share)), 3)


def _exponent(value: float) -> int:
    """The power of ten just below or at `value`."""
    return int(f"{value:e}".partition("e")[2])


def bar(scale: Scale, stretch: Stretch, row: int, class_: str) -> Html:
    """A bar in a row; one too short to see is widened by the style sheet's stroke."""
    return tag(
        "rect",
        x=f"{scale.at(stretch.begin):g}%",
        width=f"{scale.share(stretch):g}%",
        y=f"{ROW_EM * row + 0.35:g}em",
        height="0.8em",
        class_=class_,
    )


def strength(mode: str) -> str:
    """The class of a mode's colour: what it keeps waiting is what matters of it."""
    if modes.shuts_out_reads(mode):
        return "reads"
    return "writes" if modes.shuts_out_writes(mode) else "weak"


def lane(scale: Scale, rows: int, bars: Sequence[Html], *, key: str, title: str, description: str) -> Html:
    """The plot of a lane: its bars over the lines of the axis. `key` makes the ids of its title and description."""
    return tag(
        "svg",
        tag("title", title, id=f"{key}-t"),
        tag("desc", description, id=f"{key}-d"),
        _grid(scale),
        bars,
        class_="plot",
        role="img",
        aria_labelledby=f"{key}-t {key}-d",
        width="100%",
        height=f"{ROW_EM * rows:g}em",
    )


def axis(scale: Scale) -> Html:
    """The numbers above the plots. Hidden from screen readers: each lane says its times in words."""
    labels = [
        tag(
            "text",
            figures.spaced(_tick(tick)),
            x=f"{_percent(tick / scale.seconds) if scale.seconds > 0 else 0:g}%",
            y="1.05em",
            class_="first" if not tick else None,
        )
        for tick in scale.ticks
        if not tick or tick <= _LABELLED_UP_TO * scale.seconds
    ]
    return tag("svg", labels, class_="axis", aria_hidden="true", width="100%", height=f"{ROW_EM}em")


def segments(scale: Scale, stretches: Sequence[Stretch]) -> Html:
    """The row of the statements, each with its number where it is wide enough to hold it."""
    drawn = []
    for number, stretch in _apart(scale, stretches):
        share = scale.share(stretch)
        drawn.append(bar(scale, stretch, 0, "statement"))
        if share > _NUMBERED:
            drawn.append(tag("text", str(number), x=f"{scale.at(stretch.begin) + share / 2:g}%", y="1.05em"))
    return tag(
        "svg", _grid(scale), drawn, class_="plot statements", aria_hidden="true", width="100%", height=f"{ROW_EM}em"
    )


def _apart(scale: Scale, stretches: Sequence[Stretch]) -> list[tuple[int, Stretch]]:
    """The stretches with their numbers from 1; neighbours that are too short to be told apart are drawn as one."""
    found: list[tuple[int, Stretch]] = []
    for number, stretch in enumerate(stretches, 1):
        if found and scale.share(together := replace(stretch, begin=found[-1][1].begin)) < _TOLD_APART:
            found[-1] = found[-1][0], together
        else:
            found.append((number, stretch))
    return found


def measure(share: float, class_: str | None = None) -> Html:
    """The thin bar below a figure of a table; every one of the table on the same scale."""
    drawn = tag("rect", width=f"{_percent(share):g}%", height="100%", class_=class_)
    return tag("svg", drawn, class_="measure", aria_hidden="true", width="100%", height="3")


def _grid(scale: Scale) -> list[Html]:
    lines = (f"{_percent(tick / scale.seconds) if scale.seconds > 0 else 0:g}%" for tick in scale.ticks)
    return [tag("line", x1=x, x2=x, y1="0", y2="100%", class_="grid") for x in lines]


def _tick(moment: float) -> str:
    """A round moment without the zeros that a measured figure keeps."""
    if not moment:
        return "0"
    number, _, unit = units.seconds(moment).partition(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"
