"""The two timelines of a suggestion, on one scale of time: a lane for each relation, a row in it for each mode."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from kernel import units
from kernel.rehearsal import modes
from kernel.report.page import anchors, figures, lanes, plot
from kernel.report.page.lanes import Stretch
from kernel.report.page.markup import tag
from kernel.report.page.timeline import named
from kernel.report.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.rehearsal.result import Run
    from kernel.rehearsal.suggest.suggested import Trial
    from kernel.report.page.lanes import Lane
    from kernel.report.page.markup import Content, Html

_LANES = 6  # of a timeline; those shut longest come first


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One of the timelines. `key` begins the ids of its lanes; `parts` are what the row above the lanes is made of."""

    key: str
    title: str
    part: str
    runs: tuple[Run, ...]
    parts: tuple[Stretch, ...]

    @property
    def begin(self) -> float:
        return min((run.at_seconds for run in self.runs), default=0.0)

    @property
    def seconds(self) -> float:
        return lanes.end_of(*self.runs) - self.begin if self.runs else 0.0


def drawn(at: int, trial: Trial) -> Html:
    """The timeline of the original above that of the files instead."""
    statements = tuple(
        Stretch(begin=one.at_seconds, end=one.at_seconds + one.seconds) for one in trial.before.statements
    )
    files = tuple(Stretch(begin=run.at_seconds, end=run.at_seconds + run.seconds) for run in trial.after)
    sides = (
        _Side(
            key=anchors.side(at, "before"), title="As it is", part="Statements", runs=(trial.before,), parts=statements
        ),
        _Side(key=anchors.side(at, "after"), title="Suggested", part="Files", runs=trial.after, parts=files),
    )
    seconds = max(side.seconds for side in sides)
    return tag("div", [_side(side, seconds) for side in sides], class_="timelines")


def _side(side: _Side, seconds: float) -> Html:
    scale = plot.Scale(begin=side.begin, seconds=seconds)
    found = lanes.of(*side.runs)
    rest = len(found) - _LANES
    return tag(
        "div",
        tag("h4", side.title, ", ", figures.seconds(side.seconds)),
        tag("div", tag("span"), plot.axis(scale), class_="lane head"),
        tag("div", tag("span", side.part), plot.segments(scale, side.parts), class_="lane head"),
        [_lane(side, number, lane, scale) for number, lane in enumerate(found[:_LANES], 1)],
        tag("p", f"and {figures.several(rest, 'relation')} more, each shut for no longer", class_="aside")
        if rest > 0
        else None,
        tag("p", "No relation that was there before was locked against anybody.", class_="aside")
        if not found
        else None,
        class_="timeline",
    )


def _lane(side: _Side, number: int, lane: Lane, scale: plot.Scale) -> Html:
    labels: list[Content] = [named(lane)]
    bars: list[Html] = []
    told = sorted((one for one in lane.locks if modes.blocks(one.lock.mode)), key=lambda one: one.lock.mode)
    by_mode = {mode: [one.stretch for one in locks] for mode, locks in groupby(told, key=lambda one: one.lock.mode)}
    ordered = sorted(by_mode, key=modes.STRENGTH.__getitem__, reverse=True)
    for row, mode in enumerate(ordered, 1):
        bars += [plot.bar(scale, stretch, row, plot.strength(mode)) for stretch in by_mode[mode]]
        labels.append([tag("span", mode, class_=f"mode {plot.strength(mode)}"), _longest(by_mode[mode])])
    for word, stretches in _standstill(lane):
        bars += [plot.bar(scale, stretch, len(labels), "still") for stretch in stretches]
        labels.append([tag("span", word), _longest(stretches)])
    return tag(
        "div",
        tag("ul", [tag("li", label) for label in labels]),
        plot.lane(
            scale,
            len(labels),
            bars,
            key=f"{side.key}-l{number}",
            title=f"Locks on {visible(lane.relation.name)}, {side.title.lower()}",
            description=_described(ordered, by_mode, lane),
        ),
        class_="lane",
    )


def _standstill(lane: Lane) -> list[tuple[str, Sequence[Stretch]]]:
    if lane.reads and lane.reads == lane.writes:
        return [("no reads, no writes", lane.reads)]
    return [
        (word, stretches) for word, stretches in (("no reads", lane.reads), ("no writes", lane.writes)) if stretches
    ]


def _longest(stretches: Sequence[Stretch]) -> Html:
    return figures.seconds(max(one.seconds for one in stretches))


def _described(ordered: Sequence[str], by_mode: dict[str, list[Stretch]], lane: Lane) -> str:
    told = [
        f"{mode}, {units.several(len(by_mode[mode]), 'time')}, "
        f"for {units.seconds(max(one.seconds for one in by_mode[mode]))} at most"
        for mode in ordered
    ]
    for word, stretches in (("Reads", lane.reads), ("Writes", lane.writes)):
        if stretches:
            longest = units.seconds(max(one.seconds for one in stretches))
            told.append(f"{word} at a standstill for {longest} at a stretch")
    return ". ".join(told) + "."
