"""A safer way: the files to have instead, both timelines, and what was proven of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from kernel.lint.lock_modes import LOCK_MODE_STRENGTH, blocked_commands
from kernel.report.html_page.markup import (
    NO_FIGURE,
    TableColumn,
    counted_noun,
    details_html,
    join_html,
    name_tag,
    preformatted_html,
    seconds_html,
    section_html,
    suggestion_anchor,
    table_html,
    tag,
    unbroken_sentence,
)
from kernel.report.html_page.timeline import (
    TimeScale,
    TimeSpan,
    axis_svg,
    bar_svg,
    lane_label,
    lane_svg,
    lanes_by_relation,
    last_end_seconds,
    lock_class,
    statements_svg,
)
from kernel.report.safe_text import show_hidden_characters
from kernel.report.suggestions import LongestBlocked, blocks_no_shorter, longest_blocked_by_relation
from kernel.units import format_quantity, format_seconds, plural_form

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.rehearsal.result import Leftover, RefusedSuggestion, Rehearsal, Run, SuggestionResult, SuggestionTrial
    from kernel.report.html_page.markup import Content, Html
    from kernel.report.html_page.timeline import Lane


# The two timelines of a suggestion, on one scale of time: a lane for each relation, a row in it for each mode.


_LANES = 6  # of a timeline; those shut longest come first


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One of the timelines. `key` begins the ids of its lanes; `parts` are what the row above the lanes is made of."""

    key: str
    title: str
    part: str
    runs: tuple[Run, ...]
    parts: tuple[TimeSpan, ...]

    @property
    def begin(self) -> float:
        return min((run.at_seconds for run in self.runs), default=0.0)

    @property
    def seconds(self) -> float:
        return last_end_seconds(*self.runs) - self.begin if self.runs else 0.0


def compared_timelines_html(at: int, trial: SuggestionTrial) -> Html:
    """The timeline of the original above that of the files instead."""
    statements = tuple(
        TimeSpan(begin=one.at_seconds, end=one.at_seconds + one.seconds) for one in trial.original_run.statements
    )
    files = tuple(TimeSpan(begin=run.at_seconds, end=run.at_seconds + run.seconds) for run in trial.suggested_runs)
    sides = (
        _Side(
            key=suggestion_anchor(at, "before"),
            title="As it is",
            part="Statements",
            runs=(trial.original_run,),
            parts=statements,
        ),
        _Side(
            key=suggestion_anchor(at, "after"), title="Suggested", part="Files", runs=trial.suggested_runs, parts=files
        ),
    )
    seconds = max(side.seconds for side in sides)
    return tag("div", [_side(side, seconds) for side in sides], class_="timelines")


def _side(side: _Side, seconds: float) -> Html:
    scale = TimeScale(begin=side.begin, seconds=seconds)
    found = lanes_by_relation(*side.runs)
    rest = len(found) - _LANES
    return tag(
        "div",
        tag("h4", side.title, ", ", seconds_html(side.seconds)),
        tag("div", tag("span"), axis_svg(scale), class_="lane head"),
        tag("div", tag("span", side.part), statements_svg(scale, side.parts), class_="lane head"),
        [_lane(side, number, lane, scale) for number, lane in enumerate(found[:_LANES], 1)],
        tag("p", f"and {counted_noun(rest, 'relation')} more, each shut for no longer", class_="aside")
        if rest > 0
        else None,
        tag("p", "No relation that was there before was locked against anybody.", class_="aside")
        if not found
        else None,
        class_="timeline",
    )


def _lane(side: _Side, number: int, lane: Lane, scale: TimeScale) -> Html:
    labels: list[Content] = [lane_label(lane)]
    bars: list[Html] = []
    told = sorted((one for one in lane.locks if blocked_commands(one.lock.mode)), key=lambda one: one.lock.mode)
    by_mode = {mode: [one.span for one in locks] for mode, locks in groupby(told, key=lambda one: one.lock.mode)}
    ordered = sorted(by_mode, key=LOCK_MODE_STRENGTH.__getitem__, reverse=True)
    for row, mode in enumerate(ordered, 1):
        bars += [bar_svg(scale, stretch, row, lock_class(mode)) for stretch in by_mode[mode]]
        labels.append([tag("span", mode, class_=f"mode {lock_class(mode)}"), _longest_span_html(by_mode[mode])])
    for word, stretches in _standstill(lane):
        bars += [bar_svg(scale, stretch, len(labels), "still") for stretch in stretches]
        labels.append([tag("span", word), _longest_span_html(stretches)])
    return tag(
        "div",
        tag("ul", [tag("li", label) for label in labels]),
        lane_svg(
            scale,
            len(labels),
            bars,
            key=f"{side.key}-l{number}",
            title=f"Locks on {show_hidden_characters(lane.relation.name)}, {side.title.lower()}",
            description=_described(ordered, by_mode, lane),
        ),
        class_="lane",
    )


def _standstill(lane: Lane) -> list[tuple[str, Sequence[TimeSpan]]]:
    if lane.reads and lane.reads == lane.writes:
        return [("no reads, no writes", lane.reads)]
    return [
        (word, stretches) for word, stretches in (("no reads", lane.reads), ("no writes", lane.writes)) if stretches
    ]


def _longest_span_html(stretches: Sequence[TimeSpan]) -> Html:
    return seconds_html(max(one.seconds for one in stretches))


def _described(ordered: Sequence[str], by_mode: dict[str, list[TimeSpan]], lane: Lane) -> str:
    told = [
        f"{mode}, {format_quantity(len(by_mode[mode]), 'time')}, "
        f"for {format_seconds(max(one.seconds for one in by_mode[mode]))} at most"
        for mode in ordered
    ]
    for word, stretches in (("Reads", lane.reads), ("Writes", lane.writes)):
        if stretches:
            longest = format_seconds(max(one.seconds for one in stretches))
            told.append(f"{word} at a standstill for {longest} at a stretch")
    return ". ".join(told) + "."


_COLUMNS = (
    TableColumn(title="Relation"),
    TableColumn(title="No reads, as it is", figures=True),
    TableColumn(title="No reads, suggested", figures=True),
    TableColumn(title="No writes, as it is", figures=True),
    TableColumn(title="No writes, suggested", figures=True),
)


_FRESH = (
    "These values are others in every run, also of the originals, as what is taken from the clock is. It was compared "
    "in how many rows they are there, and in how many they are new."
)


def safer_way_html(rehearsal: Rehearsal) -> Html | None:
    """The section, None where nothing was asked for or nothing can be said."""
    advice = rehearsal.advice
    if advice is None:
        return None
    if not advice.trials and not advice.refused:
        return section_html("safer", "A safer way", tag("p", "No finding has a mechanical remedy.", class_="aside"))
    tried = {trial.suggestion.filename for trial in advice.trials}
    return section_html(
        "safer",
        "A safer way",
        _proof(advice) if advice.trials else None,
        [_trial(at, trial) for at, trial in enumerate(advice.trials)],
        _refused([(filename, one) for filename, one in advice.refused if filename not in tried], of_all=True),
    )


def _proof(advice: SuggestionResult) -> Html:
    """Whether it comes to the same end, and how that is known."""
    count = counted_noun(len(advice.trials), "migration")
    took: Content = [" This took ", seconds_html(advice.seconds, "/proof/seconds"), "."]
    word, class_, said = _verdict(advice)
    return tag(
        "div",
        tag("p", tag("strong", word, class_=class_), f" {count} written anew. {said}", took, class_="said"),
        tag("ul", [tag("li", unbroken_sentence(line)) for line in advice.differences], class_="plain")
        if advice.differences
        else None,
        [
            tag("p", _FRESH, class_="aside"),
            tag("ul", [tag("li", unbroken_sentence(line)) for line in advice.nondeterministic_values], class_="plain"),
        ]
        if advice.nondeterministic_values
        else None,
        class_="proof",
    )


def _verdict(advice: SuggestionResult) -> tuple[str, str, str]:
    if advice.failure:
        return "Failed.", "error", f"On another copy it fails: {advice.failure}."
    if advice.differences:
        return "Not proven.", "warning", "On another copy it does not come to the same end as the original:"
    return "Proven.", "harmless", "On another copy it came to the same schema and the same rows as the original."


def _trial(at: int, trial: SuggestionTrial) -> Html:
    suggested = trial.suggestion
    rows = _rows(at, trial)
    return tag(
        "article",
        tag("h3", name_tag(suggested.filename)),
        tag(
            "p",
            tag("strong", "No shorter.", class_="warning"),
            " The suggestion shuts others out at least as long as the original does.",
        )
        if blocks_no_shorter(trial)
        else None,
        table_html("The longest stretch without reads and without writes", _COLUMNS, rows) if rows else None,
        compared_timelines_html(at, trial),
        tag("h4", f"The {plural_form(len(suggested.files), 'file')} to have instead"),
        tag(
            "ol",
            [
                tag("li", details_html(name_tag(file.filename), preformatted_html(file.text)))
                for file in suggested.files
            ],
        ),
        _leaves(suggested.leftovers),
        _refused([("", one) for one in suggested.refused], of_all=False),
        class_="trial",
    )


def _rows(at: int, trial: SuggestionTrial) -> list[list[Content]]:
    """A row for each relation that was shut by either, those that the original shuts longest first."""
    before, after = longest_blocked_by_relation(trial.blocked_before), longest_blocked_by_relation(trial.blocked_after)
    order = sorted({**before, **after}, key=lambda one: before.get(one, LongestBlocked()).longest_seconds, reverse=True)
    pointer = f"/suggestions/{at}"
    return [
        [
            name_tag(relation),
            *(
                _figure(found.get(relation, LongestBlocked()), f"{pointer}/{key}", reads=reads)
                for reads in (True, False)
                for key, found in (("before", before), ("after", after))
            ),
        ]
        for relation in order
    ]


def _figure(found: LongestBlocked, pointer: str, *, reads: bool) -> Content:
    seconds, place = (found.reads, found.reads_index) if reads else (found.writes, found.writes_index)
    key = "reads_seconds" if reads else "writes_seconds"
    return seconds_html(seconds, f"{pointer}/{place}/{key}") if seconds else NO_FIGURE


def _leaves(leaves: Sequence[Leftover]) -> Content:
    if not leaves:
        return None
    return [
        tag("h4", "Left on purpose"),
        tag("ul", [tag("li", name_tag(one.table), ": ", one.description) for one in leaves], class_="plain"),
    ]


def _refused(refused: Sequence[tuple[str, RefusedSuggestion]], *, of_all: bool) -> Content:
    if not refused:
        return None
    return [
        tag("h3" if of_all else "h4", "Nothing is suggested for"),
        tag("ul", [tag("li", _reason(filename, one)) for filename, one in refused], class_="plain"),
    ]


def _reason(filename: str, one: RefusedSuggestion) -> Content:
    line = f"line {one.line}" if one.line else ""
    place = name_tag(f"{filename}:{one.line}" if one.line else filename) if filename else line
    return [join_html([part for part in (place, tag("span", one.rule, class_="rule")) if part], ", "), ": ", one.reason]
