"""The timeline of a migration: the statements, then a lane for each relation with its locks and its standstill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel import units
from kernel.rehearsal import modes
from kernel.report.page import anchors, figures, lanes, plot
from kernel.report.page.blocks import Column, fold, table
from kernel.report.page.lanes import Stretch
from kernel.report.page.markup import name, tag
from kernel.report.visible import shortened, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.rehearsal.result import Rehearsal, Run
    from kernel.report.page.lanes import Held, Lane
    from kernel.report.page.markup import Content, Html

_LANES_AT_ONCE, _LANES = 12, 400
_LOCKS_OF_A_LANE = 6
_ROWS_OF_THE_TABLE = 400  # some migrations lock every table of a database; the document has them all

# What a label has room for. The style sheet cuts too, but at the end, where names differ.
_COLUMNS_OF_A_NAME, _COLUMNS_OF_A_LABEL = 28, 44

_COLUMNS = (
    Column(title="Relation"),
    Column(title="Statement", figures=True),
    Column(title="Mode"),
    Column(title="From", figures=True),
    Column(title="Held", figures=True),
    Column(title="Waited", figures=True),
    Column(title="Kept waiting"),
)


def legend() -> Html:
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


def drawn(rehearsal: Rehearsal, at: int) -> Html | None:
    """The lanes of a migration under its statements, and all of its locks as a table. None when it did nothing."""
    run = rehearsal.runs[at]
    if not run.statements:
        return None
    scale = plot.Scale(begin=run.at_seconds, seconds=lanes.end_of(run) - run.at_seconds)
    found = lanes.of(run)
    figured = [_lane(rehearsal, at, number, lane, scale) for number, lane in enumerate(found[:_LANES], 1)]
    shown, folded = figured[:_LANES_AT_ONCE], figured[_LANES_AT_ONCE:]
    rest = figures.several(len(found) - len(figured), "relation")
    stretches = [Stretch(begin=one.at_seconds, end=one.at_seconds + one.seconds) for one in run.statements]
    return tag(
        "div",
        tag("div", tag("span"), plot.axis(scale), class_="lane head"),
        tag("div", tag("span", "Statements"), plot.segments(scale, stretches), class_="lane head"),
        shown,
        fold([figures.several(len(folded), "more relation"), ", each shut for no longer"], folded) if folded else None,
        tag("p", f"and {rest} more: --json has them", class_="aside") if len(found) > len(figured) else None,
        tag("p", "No relation that was there before was locked against anybody.", class_="aside")
        if not found
        else None,
        _table(run),
        class_="timeline",
    )


def _lane(rehearsal: Rehearsal, at: int, number: int, lane: Lane, scale: plot.Scale) -> Html:
    """Labels and plot side by side: each line of the labels is a row of the plot."""
    labels: list[Content] = [named(lane)]
    bars: list[Html] = []
    told = [one for one in lane.locks if modes.blocks(one.lock.mode)]
    told = sorted(told, key=lambda one: -modes.STRENGTH[one.lock.mode])[:_LOCKS_OF_A_LANE]
    for row, held in enumerate(sorted(told, key=lambda one: one.lock.at_seconds), 1):
        labels.append(_lock(at, held))
        if waited := held.lock.waited_seconds:
            begin = held.lock.at_seconds
            bars.append(plot.bar(scale, Stretch(begin=begin - waited, end=begin), row, "queue"))
        bars.append(plot.bar(scale, held.stretch, row, plot.strength(held.lock.mode)))
    for word, stretches, figure in _standstill(rehearsal, at, lane):
        bars += [plot.bar(scale, stretch, len(labels), "still") for stretch in stretches]
        labels.append([tag("span", word), figure])
    return tag(
        "div",
        tag("ul", [tag("li", label) for label in labels]),
        plot.lane(
            scale,
            len(labels),
            bars,
            key=anchors.lane(at, number),
            title=f"Locks on {visible(lane.relation.name)}",
            description=_described(lane, scale),
        ),
        class_="lane",
    )


def named(lane: Lane) -> Content:
    """The label of a lane: its relation, with how much is in it."""
    relation = lane.relation
    facts = [figures.several(relation.rows, "row")] if relation.rows > 0 else []
    if relation.size_bytes:
        facts.append(figures.spaced(units.size(relation.size_bytes)))
    if relation.kind != "table":
        facts.insert(0, relation.kind)
    shown = shortened(visible(relation.name), _COLUMNS_OF_A_NAME if facts else _COLUMNS_OF_A_LABEL)
    return [
        tag("code", shown, class_="relation", title=visible(relation.name)),
        tag("small", ", ".join(facts)) if facts else None,
    ]


def _lock(at: int, held: Held) -> Content:
    target = f"#{anchors.statement(at, held.statement)}"
    return [
        tag("a", str(held.statement), href=target, class_="number", aria_label=f"statement {held.statement}"),
        tag("span", held.lock.mode, class_=f"mode {plot.strength(held.lock.mode)}"),
        figures.seconds(held.lock.held_seconds),
    ]


def _standstill(rehearsal: Rehearsal, at: int, lane: Lane) -> list[tuple[str, Sequence[Stretch], Html]]:
    """The rows for reads and for writes, as one where they are the same; the figure is that of the document."""
    blocked = _blocked(rehearsal, rehearsal.runs[at].version, lane)
    rows: list[tuple[str, Sequence[Stretch], float, str | None]] = []
    for word, stretches, key in (("reads", lane.reads, "reads_seconds"), ("writes", lane.writes, "writes_seconds")):
        if not stretches:
            continue
        if blocked is None:
            rows.append((f"no {word}", stretches, max(one.seconds for one in stretches), None))
        else:
            rows.append((f"no {word}", stretches, getattr(rehearsal.shut[blocked], key), f"/blocked/{blocked}/{key}"))
    if len(rows) > 1 and rows[0][1:3] == rows[1][1:3]:
        rows = [("no reads, no writes", *rows[0][1:])]
    return [(word, stretches, figures.seconds(value, pointer)) for word, stretches, value, pointer in rows]


def _blocked(rehearsal: Rehearsal, version: str, lane: Lane) -> int | None:
    """The place of what the document says of the relation under this migration."""
    wanted = version, lane.relation.oid
    found = (place for place, one in enumerate(rehearsal.shut) if (one.version, one.relation.oid) == wanted)
    return next(found, None)


def _described(lane: Lane, scale: plot.Scale) -> str:
    told = [
        f"{held.lock.mode} by statement {held.statement} from {units.seconds(held.lock.at_seconds - scale.begin)} "
        f"for {units.seconds(held.lock.held_seconds)}"
        for held in lane.locks[:_LOCKS_OF_A_LANE]
    ]
    for word, stretches in (("Reads", lane.reads), ("Writes", lane.writes)):
        if stretches:
            told.append(f"{word} at a standstill for {units.seconds(sum(one.seconds for one in stretches))}")
    return ". ".join(told) + "."


def _table(run: Run) -> Html | None:
    """The same in words: every lock, those that kept nobody waiting too."""
    held = lanes.held(run)
    if not held:
        return None
    rows: list[list[Content]] = [
        [
            [name(one.lock.relation.name), " (new)" if one.lock.relation.created else None],
            str(one.statement),
            one.lock.mode,
            figures.seconds(one.lock.at_seconds - run.at_seconds),
            figures.seconds(one.lock.held_seconds),
            figures.seconds(one.lock.waited_seconds) if one.lock.waited_seconds else figures.NONE,
            "nobody: it is new" if one.lock.relation.created else ", ".join(modes.blocks(one.lock.mode)) or "nobody",
        ]
        for one in held[:_ROWS_OF_THE_TABLE]
    ]
    rest = len(held) - len(rows)
    return fold(
        [figures.several(len(held), "lock"), " as a table"],
        table("Every lock, in the order they were taken", _COLUMNS, rows, said=True),
        tag("p", f"and {figures.several(rest, 'lock')} more: --json has them", class_="aside") if rest else None,
    )
