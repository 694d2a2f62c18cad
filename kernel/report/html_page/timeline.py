"""The geometry of a timeline: plots in SVG, a lane for each relation, the longest blocked first.

Lengths along the time are percentages and lengths across it are em, so that a plot is as wide as its column, grows with
the text of its labels, and is never scaled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from kernel.lint.lock_modes import LOCK_MODE_STRENGTH, blocked_commands, blocks_reads, blocks_writes
from kernel.report.html_page.filters import counted_noun, unbroken_figure
from kernel.report.html_page.lanes import TimeSpan, lanes_by_relation, last_end_seconds
from kernel.report.safe_text import shorten_middle, show_hidden_characters
from kernel.units import format_bytes, format_quantity, format_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.rehearsal.result import Rehearsal, Run, SuggestionTrial
    from kernel.report.html_page.lanes import Lane

_ROW_EM = 1.5  # the height of a row, the same as that of a line of its labels
_STEPS = (1, 2, 5, 10)
_MAX_TICKS = 5
_NUMBERED_PERCENT = 3  # about ten pixels on a telephone: a wider bar has room for its number
_SEPARATE_PERCENT = 0.1  # about a pixel of a screen
_LABELLED_UP_TO = 0.97  # of the whole; a label further right would be cut off
_LOCKS_OF_A_LANE = 6
_LEAST_MAGNIFICATION = 5
# What a label has room for. The style sheet cuts too, but at the end, where names differ.
_COLUMNS_OF_A_NAME, _COLUMNS_OF_A_LABEL = 28, 44


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeScale:
    """From seconds to percentages of the plot's width."""

    begin: float
    seconds: float

    def at(self, moment: float) -> float:
        return self.percent(moment - self.begin)

    def share(self, span: TimeSpan) -> float:
        return self.percent(span.seconds) if self.seconds > 0 else 100.0

    def percent(self, seconds: float) -> float:
        return to_percent(seconds / self.seconds) if self.seconds > 0 else 0.0

    @property
    def ticks(self) -> tuple[float, ...]:
        """Round moments, in seconds from the beginning: at most five steps of 1, 2 or 5 times a power of ten."""
        if self.seconds <= 0:
            return (0.0,)
        power = 10.0 ** int(f"{self.seconds / _MAX_TICKS:e}".partition("e")[2])
        step = next(factor * power for factor in _STEPS if factor * power * _MAX_TICKS >= self.seconds)
        return tuple(number * step for number in range(int(self.seconds / step * (1 + 1e-9)) + 1))


def to_percent(share: float) -> float:
    """A share of the whole as a percentage from 0 to 100, to a thousandth."""
    return round(100 * min(1.0, max(0.0, share)), 3)


class Bar(NamedTuple):
    """A bar of a plot: its `kind` is the class of its colour; the style sheet widens one that is too short to see."""

    kind: str
    x: str
    width: str
    y: str
    number: int | None = None  # written on the bar at `number_x`
    number_x: str = ""


class Tick(NamedTuple):
    """A line of the grid at `x`, with the label of the axis, "" where it would be cut off."""

    x: str
    label: str


class LaneRow(NamedTuple):
    """A label of a lane with its figure; `kind` is the class of a lock mode's colour, "" for a standstill."""

    label: str
    kind: str
    seconds: float
    pointer: str | None = None  # to the figure in the JSON document
    statement_number: int | None = None


class DrawnLane(NamedTuple):
    """A lane to draw: the relation with facts about it, a row for each label, and all of it in words."""

    name: str
    full_name: str
    facts: str
    rows: tuple[LaneRow, ...]
    bars: tuple[Bar, ...]
    height: str
    description: str


class Timeline(NamedTuple):
    """Plots on one scale of time: the axis, a row of statements or files, and a lane for each relation."""

    seconds: float
    ticks: tuple[Tick, ...]
    part: str  # what the first row is made of
    parts: tuple[Bar, ...]
    lanes: tuple[DrawnLane, ...]
    lanes_left_out: int


def timeline_seconds(rehearsal: Rehearsal) -> float:
    """The scale of all timelines: the longest time from the start of a migration to the end of its last lock."""
    return max((_length_seconds((run,)) for run in rehearsal.runs), default=0.0)


def magnification(timeline: Timeline, scale_seconds: float) -> int:
    """How many times larger a short timeline is on a scale of its own; 0 where it is long enough to be read."""
    times = scale_seconds / timeline.seconds if timeline.seconds > 0 and timeline.lanes else 0.0
    return round(times) if times >= _LEAST_MAGNIFICATION else 0


def run_timeline(rehearsal: Rehearsal, run: Run, most_lanes: int, scale_seconds: float) -> Timeline:
    """The timeline of a migration with statements: a row in a lane for each of its strongest locks."""
    scale = TimeScale(begin=run.at_seconds, seconds=scale_seconds)
    spans = [TimeSpan(begin=one.at_seconds, end=one.at_seconds + one.seconds) for one in run.statements]
    lanes = lanes_by_relation(run)
    drawn = tuple(_run_lane(rehearsal, run, lane, scale) for lane in lanes[:most_lanes])
    return Timeline(
        seconds=_length_seconds((run,)),
        ticks=_ticks(scale),
        part="Statements",
        parts=_numbered_bars(scale, spans),
        lanes=drawn,
        lanes_left_out=len(lanes) - len(drawn),
    )


def trial_timelines(trial: SuggestionTrial, most_lanes: int) -> tuple[Timeline, Timeline]:
    """The timelines of an original and of its suggestion, on one scale: a row in a lane for each lock mode."""
    original, suggested = (trial.original_run,), trial.suggested_runs
    statements = [TimeSpan(begin=one.at_seconds, end=one.at_seconds + one.seconds) for one in original[0].statements]
    files = [TimeSpan(begin=run.at_seconds, end=run.at_seconds + run.seconds) for run in suggested]
    scale_seconds = max(_length_seconds(original), _length_seconds(suggested))

    def timeline(runs: tuple[Run, ...], part: str, spans: Sequence[TimeSpan]) -> Timeline:
        scale = TimeScale(begin=_begin_seconds(runs), seconds=scale_seconds)
        lanes = lanes_by_relation(*runs)
        return Timeline(
            seconds=_length_seconds(runs),
            ticks=_ticks(scale),
            part=part,
            parts=_numbered_bars(scale, spans),
            lanes=tuple(_trial_lane(lane, scale) for lane in lanes[:most_lanes]),
            lanes_left_out=max(0, len(lanes) - most_lanes),
        )

    return timeline(original, "Statements", statements), timeline(suggested, "Files", files)


def _begin_seconds(runs: tuple[Run, ...]) -> float:
    return min((run.at_seconds for run in runs), default=0.0)


def _length_seconds(runs: tuple[Run, ...]) -> float:
    return last_end_seconds(*runs) - _begin_seconds(runs) if runs else 0.0


def _ticks(scale: TimeScale) -> tuple[Tick, ...]:
    return tuple(
        Tick(
            x=f"{scale.percent(tick):g}%",
            label=_tick_label(tick) if tick <= _LABELLED_UP_TO * scale.seconds else "",
        )
        for tick in scale.ticks
    )


def _tick_label(moment: float) -> str:
    """A round moment without the zeros that a measured figure keeps."""
    if not moment:
        return "0"
    number, _, unit = format_seconds(moment).partition(" ")
    return unbroken_figure(f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}")


def _bar(scale: TimeScale, span: TimeSpan, row: int, kind: str) -> Bar:
    return Bar(kind, f"{scale.at(span.begin):g}%", f"{scale.share(span):g}%", f"{_ROW_EM * row + 0.35:g}em")


def _numbered_bars(scale: TimeScale, spans: Sequence[TimeSpan]) -> tuple[Bar, ...]:
    """Bars with their numbers from 1 where there is room; neighbours too short to be seen apart are one bar."""
    merged: list[tuple[int, TimeSpan]] = []
    for number, span in enumerate(spans, 1):
        if merged and scale.share(together := replace(span, begin=merged[-1][1].begin)) < _SEPARATE_PERCENT:
            merged[-1] = merged[-1][0], together
        else:
            merged.append((number, span))
    bars = []
    for number, span in merged:
        bar, share = _bar(scale, span, 0, "statement"), scale.share(span)
        if share > _NUMBERED_PERCENT:
            bar = bar._replace(number=number, number_x=f"{scale.at(span.begin) + share / 2:g}%")
        bars.append(bar)
    return tuple(bars)


def lock_kind(mode: str) -> str:
    """What a lock mode blocks, which is the class of its colour: reads (and writes), writes, or weak."""
    if blocks_reads(mode):
        return "reads"
    return "writes" if blocks_writes(mode) else "weak"


def _run_lane(rehearsal: Rehearsal, run: Run, lane: Lane, scale: TimeScale) -> DrawnLane:
    blocking = [one for one in lane.locks if blocked_commands(one.lock.mode)]
    strongest = sorted(blocking, key=lambda one: -LOCK_MODE_STRENGTH[one.lock.mode])[:_LOCKS_OF_A_LANE]
    rows, bars = [], []
    for row, numbered in enumerate(sorted(strongest, key=lambda one: one.lock.at_seconds), 1):
        lock, kind = numbered.lock, lock_kind(numbered.lock.mode)
        rows.append(LaneRow(lock.mode, kind, lock.held_seconds, statement_number=numbered.statement_number))
        if lock.waited_seconds:
            waiting = TimeSpan(begin=lock.at_seconds - lock.waited_seconds, end=lock.at_seconds)
            bars.append(_bar(scale, waiting, row, "queue"))
        bars.append(_bar(scale, numbered.span, row, kind))
    clauses = [
        f"{one.lock.mode} by statement {one.statement_number} "
        f"from {format_seconds(one.lock.at_seconds - scale.begin)} for {format_seconds(one.lock.held_seconds)}"
        for one in lane.locks[:_LOCKS_OF_A_LANE]
    ]
    for word, spans in (("Reads", lane.reads), ("Writes", lane.writes)):
        if spans:
            clauses.append(f"{word} blocked for {format_seconds(sum(one.seconds for one in spans))}")
    # The figures of the JSON document, where it has the relation.
    key = run.version, lane.relation.oid
    at = next((at for at, one in enumerate(rehearsal.blocked) if (one.version, one.relation.oid) == key), None)
    blocked = None if at is None else rehearsal.blocked[at]
    reads = LaneRow("reads blocked", "", blocked.reads_seconds if blocked else _longest(lane.reads))
    writes = LaneRow("writes blocked", "", blocked.writes_seconds if blocked else _longest(lane.writes))
    if blocked:
        reads = reads._replace(pointer=f"/blocked/{at}/reads_seconds")
        writes = writes._replace(pointer=f"/blocked/{at}/writes_seconds")
    return _drawn(lane, scale, rows=rows, bars=bars, reads=reads, writes=writes, clauses=clauses)


def _trial_lane(lane: Lane, scale: TimeScale) -> DrawnLane:
    blocking = [one for one in lane.locks if blocked_commands(one.lock.mode)]
    rows, bars, clauses = [], [], []
    modes = {one.lock.mode for one in blocking}
    for row, mode in enumerate(sorted(modes, key=LOCK_MODE_STRENGTH.__getitem__, reverse=True), 1):
        spans = [one.span for one in blocking if one.lock.mode == mode]
        bars += [_bar(scale, span, row, lock_kind(mode)) for span in spans]
        rows.append(LaneRow(mode, lock_kind(mode), _longest(spans)))
        clauses.append(f"{mode}, {format_quantity(len(spans), 'time')}, for {format_seconds(_longest(spans))} at most")
    for word, spans_ in (("Reads", lane.reads), ("Writes", lane.writes)):
        if spans_:
            clauses.append(f"{word} blocked for {format_seconds(_longest(spans_))} at a stretch")
    reads = LaneRow("reads blocked", "", _longest(lane.reads))
    writes = LaneRow("writes blocked", "", _longest(lane.writes))
    return _drawn(lane, scale, rows=rows, bars=bars, reads=reads, writes=writes, clauses=clauses)


def _drawn(
    lane: Lane,
    scale: TimeScale,
    *,
    rows: list[LaneRow],
    bars: list[Bar],
    reads: LaneRow,
    writes: LaneRow,
    clauses: list[str],
) -> DrawnLane:
    """A lane with the rows of its standstill, in one row where reads and writes are blocked for the same time."""
    standstills = [(row, spans) for row, spans in ((reads, lane.reads), (writes, lane.writes)) if spans]
    if len(standstills) > 1 and lane.reads == lane.writes and reads.seconds == writes.seconds:
        standstills = [(reads._replace(label="reads and writes blocked"), lane.reads)]
    for row, spans in standstills:
        rows.append(row)
        bars += [_bar(scale, span, len(rows), "still") for span in spans]
    relation = lane.relation
    facts = [counted_noun(relation.rows, "row")] if relation.rows > 0 else []
    if relation.size_bytes:
        facts.append(unbroken_figure(format_bytes(relation.size_bytes)))
    if relation.kind != "table":
        facts.insert(0, relation.kind)
    name = show_hidden_characters(relation.name)
    return DrawnLane(
        name=shorten_middle(name, _COLUMNS_OF_A_NAME if facts else _COLUMNS_OF_A_LABEL),
        full_name=name,
        facts=", ".join(facts),
        rows=tuple(rows),
        bars=tuple(bars),
        height=f"{_ROW_EM * (len(rows) + 1):g}em",
        description=". ".join(clauses) + ".",
    )


def _longest(spans: Sequence[TimeSpan]) -> float:
    return max((one.seconds for one in spans), default=0.0)
