"""Who was locked when: from the locks of a migration's statements to lanes, one for each relation, worst first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel.lint.lock_modes import (
    LOCK_MODE_STRENGTH,
    blocked_commands,
    blocks_reads,
    blocks_writes,
    strongest_lock_mode,
)
from kernel.report.html_page.markup import (
    NO_FIGURE,
    TableColumn,
    counted_noun,
    details_html,
    lane_anchor,
    name_tag,
    seconds_html,
    statement_anchor,
    table_html,
    tag,
    unbroken_figure,
)
from kernel.report.safe_text import shorten_middle, show_hidden_characters
from kernel.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kernel.rehearsal.result import Lock, Rehearsal, Relation, Run
    from kernel.report.html_page.markup import Content, Html


# Weaker modes keep no command of an application waiting, and are everywhere.
_WEAKEST_WITH_A_LANE = LOCK_MODE_STRENGTH["SHARE UPDATE EXCLUSIVE"]
_COMPANIONS = ("index", "partitioned index", "toast table")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSpan:
    """A time within a migration, in seconds from the start of the first rehearsed one."""

    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedLock:
    """A lock, and the number of the statement that took it, from 1."""

    statement_number: int
    lock: Lock

    @property
    def span(self) -> TimeSpan:
        return TimeSpan(begin=self.lock.at_seconds, end=self.lock.at_seconds + self.lock.held_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """The locks on a relation, in the order they were taken, and when they kept all reads and all writes waiting."""

    relation: Relation
    locks: tuple[NumberedLock, ...]
    reads: tuple[TimeSpan, ...]
    writes: tuple[TimeSpan, ...]

    @property
    def strongest(self) -> str:
        return strongest_lock_mode(tuple(held.lock.mode for held in self.locks))


def number_locks(*runs: Run) -> tuple[NumberedLock, ...]:
    """Every lock of migrations, whose statements are counted through."""
    statements = (statement for run in runs for statement in run.statements)
    return tuple(
        NumberedLock(statement_number=number, lock=lock)
        for number, statement in enumerate(statements, 1)
        for lock in statement.locks
    )


def lanes_by_relation(*runs: Run) -> tuple[Lane, ...]:
    """A lane for each relation that somebody could have waited for, through all of the migrations.

    What the migration made itself has none, nor have indexes beside their table, whose lane says the same.
    """
    by_relation: dict[int, list[NumberedLock]] = {}
    for one in number_locks(*runs):
        if not one.lock.relation.created:
            by_relation.setdefault(one.lock.relation.oid, []).append(one)
    lanes = [_lane_of_locks(locks) for locks in by_relation.values()]
    lanes = [lane for lane in lanes if LOCK_MODE_STRENGTH[lane.strongest] >= _WEAKEST_WITH_A_LANE]
    tables = {lane.relation.name for lane in lanes if lane.relation.kind not in _COMPANIONS}
    shown = [
        lane
        for lane in lanes
        if lane.relation.kind not in _COMPANIONS or _has_lane_without_table(lane.relation, tables)
    ]
    return tuple(sorted(shown, key=_lane_rank))


def last_end_seconds(*runs: Run) -> float:
    """When the last statement had ended and the last lock was gone."""
    return max([*(run.at_seconds + run.seconds for run in runs), *(one.span.end for one in number_locks(*runs))])


def _has_lane_without_table(relation: Relation, tables: set[str]) -> bool:
    return relation.kind != "toast table" and relation.table not in tables


def _lane_of_locks(locks: list[NumberedLock]) -> Lane:
    return Lane(
        relation=locks[0].lock.relation,
        locks=tuple(locks),
        reads=_united_spans(locks, blocks_reads),
        writes=_united_spans(locks, blocks_writes),
    )


def _united_spans(locks: Iterable[NumberedLock], shuts_out: Callable[[str], bool]) -> tuple[TimeSpan, ...]:
    """The times under any of the locks that shut out, those that touch or overlap put together."""
    found: list[TimeSpan] = []
    for stretch in sorted((one.span for one in locks if shuts_out(one.lock.mode)), key=lambda one: one.begin):
        if found and stretch.begin <= found[-1].end:
            found[-1] = TimeSpan(begin=found[-1].begin, end=max(found[-1].end, stretch.end))
        else:
            found.append(stretch)
    return tuple(found)


def _lane_rank(lane: Lane) -> tuple[float, int, str]:
    """By all the time that somebody waited; a second without reads and writes is two."""
    stood = sum(one.seconds for one in (*lane.reads, *lane.writes))
    return -stood, -LOCK_MODE_STRENGTH[lane.strongest], lane.relation.name


# The drawing of the timeline: plots in SVG whose widths are shares of the whole, so that they fit every screen.
#
# Lengths along the time are percentages, lengths across it are em: a plot is as wide as its column and grows with the
# text beside it. No plot is ever scaled, so that nothing on it is blurred or distorted.


ROW_EM = 1.5  # the height of a row, the same as that of a line of the labels beside it
_STEPS = (1, 2, 5, 10)
_MOST_TICKS = 5
_NUMBERED = 3  # per cent, about ten pixels on a telephone: more than that holds a number
_TOLD_APART = 0.1  # per cent, about a pixel of a screen
_LABELLED_UP_TO = 0.97  # of the whole; a label further right would be cut off


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeScale:
    """From seconds to percentages of the plot's width."""

    begin: float
    seconds: float

    def at(self, moment: float) -> float:
        return _percent((moment - self.begin) / self.seconds) if self.seconds > 0 else 0.0

    def share(self, stretch: TimeSpan) -> float:
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


def bar_svg(scale: TimeScale, stretch: TimeSpan, row: int, class_: str) -> Html:
    """A bar in a row; one too short to see is widened by the style sheet's stroke."""
    return tag(
        "rect",
        x=f"{scale.at(stretch.begin):g}%",
        width=f"{scale.share(stretch):g}%",
        y=f"{ROW_EM * row + 0.35:g}em",
        height="0.8em",
        class_=class_,
    )


def lock_class(mode: str) -> str:
    """The class of a mode's colour: what it keeps waiting is what matters of it."""
    if blocks_reads(mode):
        return "reads"
    return "writes" if blocks_writes(mode) else "weak"


def lane_svg(scale: TimeScale, rows: int, bars: Sequence[Html], *, key: str, title: str, description: str) -> Html:
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


def axis_svg(scale: TimeScale) -> Html:
    """The numbers above the plots. Hidden from screen readers: each lane says its times in words."""
    labels = [
        tag(
            "text",
            unbroken_figure(_tick(tick)),
            x=f"{_percent(tick / scale.seconds) if scale.seconds > 0 else 0:g}%",
            y="1.05em",
            class_="first" if not tick else None,
        )
        for tick in scale.ticks
        if not tick or tick <= _LABELLED_UP_TO * scale.seconds
    ]
    return tag("svg", labels, class_="axis", aria_hidden="true", width="100%", height=f"{ROW_EM}em")


def statements_svg(scale: TimeScale, stretches: Sequence[TimeSpan]) -> Html:
    """The row of the statements, each with its number where it is wide enough to hold it."""
    drawn = []
    for number, stretch in _apart(scale, stretches):
        share = scale.share(stretch)
        drawn.append(bar_svg(scale, stretch, 0, "statement"))
        if share > _NUMBERED:
            drawn.append(tag("text", str(number), x=f"{scale.at(stretch.begin) + share / 2:g}%", y="1.05em"))
    return tag(
        "svg", _grid(scale), drawn, class_="plot statements", aria_hidden="true", width="100%", height=f"{ROW_EM}em"
    )


def _apart(scale: TimeScale, stretches: Sequence[TimeSpan]) -> list[tuple[int, TimeSpan]]:
    """The stretches with their numbers from 1; neighbours that are too short to be told apart are drawn as one."""
    found: list[tuple[int, TimeSpan]] = []
    for number, stretch in enumerate(stretches, 1):
        if found and scale.share(together := replace(stretch, begin=found[-1][1].begin)) < _TOLD_APART:
            found[-1] = found[-1][0], together
        else:
            found.append((number, stretch))
    return found


def measure_svg(share: float, class_: str | None = None) -> Html:
    """The thin bar below a figure of a table; every one of the table on the same scale."""
    drawn = tag("rect", width=f"{_percent(share):g}%", height="100%", class_=class_)
    return tag("svg", drawn, class_="measure", aria_hidden="true", width="100%", height="3")


def _grid(scale: TimeScale) -> list[Html]:
    lines = (f"{_percent(tick / scale.seconds) if scale.seconds > 0 else 0:g}%" for tick in scale.ticks)
    return [tag("line", x1=x, x2=x, y1="0", y2="100%", class_="grid") for x in lines]


def _tick(moment: float) -> str:
    """A round moment without the zeros that a measured figure keeps."""
    if not moment:
        return "0"
    number, _, unit = format_seconds(moment).partition(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"


# The timeline of a migration: the statements, then a lane for each relation with its locks and its standstill.


_LANES_AT_ONCE, _LANES = 12, 400
_LOCKS_OF_A_LANE = 6
_ROWS_OF_THE_TABLE = 400  # some migrations lock every table of a database; the document has them all

# What a label has room for. The style sheet cuts too, but at the end, where names differ.
_COLUMNS_OF_A_NAME, _COLUMNS_OF_A_LABEL = 28, 44

_COLUMNS = (
    TableColumn(title="Relation"),
    TableColumn(title="Statement", figures=True),
    TableColumn(title="Mode"),
    TableColumn(title="From", figures=True),
    TableColumn(title="Held", figures=True),
    TableColumn(title="Waited", figures=True),
    TableColumn(title="Kept waiting"),
)


def legend_html() -> Html:
    """What the colours mean: nothing but what a lock keeps waiting."""
    keys = (
        ("reads", "keeps reads and writes waiting"),
        ("writes", "keeps writes waiting"),
        ("weak", "keeps neither waiting"),
        ("queue", "waiting for the lock"),
        ("still", "reads or writes at a standstill"),
    )
    return tag(
        "ul",
        [tag("li", tag("span", class_=f"key {class_}", aria_hidden="true"), text) for class_, text in keys],
        class_="legend",
    )


def timeline_html(rehearsal: Rehearsal, at: int) -> Html | None:
    """The lanes of a migration under its statements, and all of its locks as a table. None when it did nothing."""
    run = rehearsal.runs[at]
    if not run.statements:
        return None
    scale = TimeScale(begin=run.at_seconds, seconds=last_end_seconds(run) - run.at_seconds)
    found = lanes_by_relation(run)
    figured = [_lane_html(rehearsal, at, number, lane, scale) for number, lane in enumerate(found[:_LANES], 1)]
    shown, folded = figured[:_LANES_AT_ONCE], figured[_LANES_AT_ONCE:]
    rest = counted_noun(len(found) - len(figured), "relation")
    stretches = [TimeSpan(begin=one.at_seconds, end=one.at_seconds + one.seconds) for one in run.statements]
    return tag(
        "div",
        tag("div", tag("span"), axis_svg(scale), class_="lane head"),
        tag("div", tag("span", "Statements"), statements_svg(scale, stretches), class_="lane head"),
        shown,
        details_html([counted_noun(len(folded), "more relation"), ", each shut for no longer"], folded)
        if folded
        else None,
        tag("p", f"and {rest} more: --json has them", class_="aside") if len(found) > len(figured) else None,
        tag("p", "No relation that was there before was locked against anybody.", class_="aside")
        if not found
        else None,
        _locks_table(run),
        class_="timeline",
    )


def _lane_html(rehearsal: Rehearsal, at: int, number: int, lane: Lane, scale: TimeScale) -> Html:
    """Labels and plot side by side: each line of the labels is a row of the plot."""
    labels: list[Content] = [lane_label(lane)]
    bars: list[Html] = []
    told = [one for one in lane.locks if blocked_commands(one.lock.mode)]
    told = sorted(told, key=lambda one: -LOCK_MODE_STRENGTH[one.lock.mode])[:_LOCKS_OF_A_LANE]
    for row, held in enumerate(sorted(told, key=lambda one: one.lock.at_seconds), 1):
        labels.append(_lock(at, held))
        if waited := held.lock.waited_seconds:
            begin = held.lock.at_seconds
            bars.append(bar_svg(scale, TimeSpan(begin=begin - waited, end=begin), row, "queue"))
        bars.append(bar_svg(scale, held.span, row, lock_class(held.lock.mode)))
    for word, stretches, figure in _standstill(rehearsal, at, lane):
        bars += [bar_svg(scale, stretch, len(labels), "still") for stretch in stretches]
        labels.append([tag("span", word), figure])
    return tag(
        "div",
        tag("ul", [tag("li", label) for label in labels]),
        lane_svg(
            scale,
            len(labels),
            bars,
            key=lane_anchor(at, number),
            title=f"Locks on {show_hidden_characters(lane.relation.name)}",
            description=_described(lane, scale),
        ),
        class_="lane",
    )


def lane_label(lane: Lane) -> Content:
    """The label of a lane: its relation, with how much is in it."""
    relation = lane.relation
    facts = [counted_noun(relation.rows, "row")] if relation.rows > 0 else []
    if relation.size_bytes:
        facts.append(unbroken_figure(format_bytes(relation.size_bytes)))
    if relation.kind != "table":
        facts.insert(0, relation.kind)
    shown = shorten_middle(show_hidden_characters(relation.name), _COLUMNS_OF_A_NAME if facts else _COLUMNS_OF_A_LABEL)
    return [
        tag("code", shown, class_="relation", title=show_hidden_characters(relation.name)),
        tag("small", ", ".join(facts)) if facts else None,
    ]


def _lock(at: int, held: NumberedLock) -> Content:
    target = f"#{statement_anchor(at, held.statement_number)}"
    return [
        tag(
            "a",
            str(held.statement_number),
            href=target,
            class_="number",
            aria_label=f"statement {held.statement_number}",
        ),
        tag("span", held.lock.mode, class_=f"mode {lock_class(held.lock.mode)}"),
        seconds_html(held.lock.held_seconds),
    ]


def _standstill(rehearsal: Rehearsal, at: int, lane: Lane) -> list[tuple[str, Sequence[TimeSpan], Html]]:
    """The rows for reads and for writes, as one where they are the same; the figure is that of the document."""
    blocked = _blocked(rehearsal, rehearsal.runs[at].version, lane)
    rows: list[tuple[str, Sequence[TimeSpan], float, str | None]] = []
    for word, stretches, key in (("reads", lane.reads, "reads_seconds"), ("writes", lane.writes, "writes_seconds")):
        if not stretches:
            continue
        if blocked is None:
            rows.append((f"no {word}", stretches, max(one.seconds for one in stretches), None))
        else:
            rows.append(
                (f"no {word}", stretches, getattr(rehearsal.blocked[blocked], key), f"/blocked/{blocked}/{key}")
            )
    if len(rows) > 1 and rows[0][1:3] == rows[1][1:3]:
        rows = [("no reads, no writes", *rows[0][1:])]
    return [(word, stretches, seconds_html(value, pointer)) for word, stretches, value, pointer in rows]


def _blocked(rehearsal: Rehearsal, version: str, lane: Lane) -> int | None:
    """The place of what the document says of the relation under this migration."""
    wanted = version, lane.relation.oid
    found = (place for place, one in enumerate(rehearsal.blocked) if (one.version, one.relation.oid) == wanted)
    return next(found, None)


def _described(lane: Lane, scale: TimeScale) -> str:
    told = [
        f"{held.lock.mode} by statement {held.statement_number} from {format_seconds(held.lock.at_seconds - scale.begin)} "
        f"for {format_seconds(held.lock.held_seconds)}"
        for held in lane.locks[:_LOCKS_OF_A_LANE]
    ]
    for word, stretches in (("Reads", lane.reads), ("Writes", lane.writes)):
        if stretches:
            told.append(f"{word} at a standstill for {format_seconds(sum(one.seconds for one in stretches))}")
    return ". ".join(told) + "."


def _locks_table(run: Run) -> Html | None:
    """The same in words: every lock, those that kept nobody waiting too."""
    held = number_locks(run)
    if not held:
        return None
    rows: list[list[Content]] = [
        [
            [name_tag(one.lock.relation.name), " (new)" if one.lock.relation.created else None],
            str(one.statement_number),
            one.lock.mode,
            seconds_html(one.lock.at_seconds - run.at_seconds),
            seconds_html(one.lock.held_seconds),
            seconds_html(one.lock.waited_seconds) if one.lock.waited_seconds else NO_FIGURE,
            "nobody: it is new"
            if one.lock.relation.created
            else ", ".join(blocked_commands(one.lock.mode)) or "nobody",
        ]
        for one in held[:_ROWS_OF_THE_TABLE]
    ]
    rest = len(held) - len(rows)
    return details_html(
        [counted_noun(len(held), "lock"), " as a table"],
        table_html("Every lock, in the order they were taken", _COLUMNS, rows, said=True),
        tag("p", f"and {counted_noun(rest, 'lock')} more: --json has them", class_="aside") if rest else None,
    )
