"""A safer way: the files to have instead, both timelines, and what was proven of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel import units
from kernel.report.page import compared, figures
from kernel.report.page.blocks import Column, fold, preformatted, section, table
from kernel.report.page.markup import joined, name, tag
from kernel.report.shut_out import Longest, longest, no_shorter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.rehearsal.result import Rehearsal
    from kernel.rehearsal.suggest.suggested import Advice, Leftover, Refused, Trial
    from kernel.report.page.markup import Content, Html

_COLUMNS = (
    Column(title="Relation"),
    Column(title="No reads, as it is", figures=True),
    Column(title="No reads, suggested", figures=True),
    Column(title="No writes, as it is", figures=True),
    Column(title="No writes, suggested", figures=True),
)


_FRESH = (
    "These values are others in every run, also of the originals, as what is taken from the clock is. It was compared "
    "in how many rows they are there, and in how many they are new."
)


def safer(rehearsal: Rehearsal) -> Html | None:
    """The section, None where nothing was asked for or nothing can be said."""
    advice = rehearsal.advice
    if advice is None:
        return None
    if not advice.trials and not advice.refused:
        return section("safer", "A safer way", tag("p", "No finding has a mechanical remedy.", class_="aside"))
    tried = {trial.suggested.filename for trial in advice.trials}
    return section(
        "safer",
        "A safer way",
        _proof(advice) if advice.trials else None,
        [_trial(at, trial) for at, trial in enumerate(advice.trials)],
        _refused([(filename, one) for filename, one in advice.refused if filename not in tried], of_all=True),
    )


def _proof(advice: Advice) -> Html:
    """Whether it comes to the same end, and how that is known."""
    count = figures.several(len(advice.trials), "migration")
    took: Content = [" This took ", figures.seconds(advice.seconds, "/proof/seconds"), "."]
    word, class_, said = _verdict(advice)
    return tag(
        "div",
        tag("p", tag("strong", word, class_=class_), f" {count} written anew. {said}", took, class_="said"),
        tag("ul", [tag("li", figures.sentence(line)) for line in advice.differences], class_="plain")
        if advice.differences
        else None,
        [
            tag("p", _FRESH, class_="aside"),
            tag("ul", [tag("li", figures.sentence(line)) for line in advice.fresh], class_="plain"),
        ]
        if advice.fresh
        else None,
        class_="proof",
    )


def _verdict(advice: Advice) -> tuple[str, str, str]:
    if advice.failed:
        return "Failed.", "error", f"On another copy it fails: {advice.failed}."
    if advice.differences:
        return "Not proven.", "warning", "On another copy it does not come to the same end as the original:"
    return "Proven.", "harmless", "On another copy it came to the same schema and the same rows as the original."


def _trial(at: int, trial: Trial) -> Html:
    suggested = trial.suggested
    rows = _rows(at, trial)
    return tag(
        "article",
        tag("h3", name(suggested.filename)),
        tag(
            "p",
            tag("strong", "No shorter.", class_="warning"),
            " The suggestion shuts others out at least as long as the original does.",
        )
        if no_shorter(trial)
        else None,
        table("The longest stretch without reads and without writes", _COLUMNS, rows) if rows else None,
        compared.drawn(at, trial),
        tag("h4", f"The {units.noun(len(suggested.files), 'file')} to have instead"),
        tag("ol", [tag("li", fold(name(file.filename), preformatted(file.text))) for file in suggested.files]),
        _leaves(suggested.leaves),
        _refused([("", one) for one in suggested.refused], of_all=False),
        class_="trial",
    )


def _rows(at: int, trial: Trial) -> list[list[Content]]:
    """A row for each relation that was shut by either, those that the original shuts longest first."""
    before, after = longest(trial.shut_before), longest(trial.shut_after)
    order = sorted({**before, **after}, key=lambda one: before.get(one, Longest()).most, reverse=True)
    pointer = f"/suggestions/{at}"
    return [
        [
            name(relation),
            *(
                _figure(found.get(relation, Longest()), f"{pointer}/{key}", reads=reads)
                for reads in (True, False)
                for key, found in (("before", before), ("after", after))
            ),
        ]
        for relation in order
    ]


def _figure(found: Longest, pointer: str, *, reads: bool) -> Content:
    seconds, place = (found.reads, found.reads_at) if reads else (found.writes, found.writes_at)
    key = "reads_seconds" if reads else "writes_seconds"
    return figures.seconds(seconds, f"{pointer}/{place}/{key}") if seconds else figures.NONE


def _leaves(leaves: Sequence[Leftover]) -> Content:
    if not leaves:
        return None
    return [
        tag("h4", "Left on purpose"),
        tag("ul", [tag("li", name(one.table), ": ", one.says) for one in leaves], class_="plain"),
    ]


def _refused(refused: Sequence[tuple[str, Refused]], *, of_all: bool) -> Content:
    if not refused:
        return None
    return [
        tag("h3" if of_all else "h4", "Nothing is suggested for"),
        tag("ul", [tag("li", _reason(filename, one)) for filename, one in refused], class_="plain"),
    ]


def _reason(filename: str, one: Refused) -> Content:
    line = f"line {one.line}" if one.line else ""
    place = name(f"{filename}:{one.line}" if one.line else filename) if filename else line
    return [joined([part for part in (place, tag("span", one.rule, class_="rule")) if part], ", "), ": ", one.reason]
