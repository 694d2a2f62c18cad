"""The migrations: all of them in one table on one scale, then each with its timeline, statements and failure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.report.page import anchors, figures, plot, statements, timeline
from kernel.report.page.blocks import Column, fold, pairs, preformatted, section, table
from kernel.report.page.markup import name, tag
from kernel.report.page.verdict import longest

if TYPE_CHECKING:
    from kernel.rehearsal.result import Failed, Rehearsal, Run
    from kernel.report.page.markup import Content, Html

_COLUMNS = (
    Column(title="Migration"),
    Column(title="Time", measured=True),
    Column(title="No reads", measured=True),
    Column(title="No writes", measured=True),
    Column(title="Rewrites", figures=True),
    Column(title="WAL", figures=True),
    Column(title="Growth", figures=True),
)


def overview(rehearsal: Rehearsal) -> Html:
    """A row for each migration. The bars below the durations share one scale."""
    scale = max((run.seconds for run in rehearsal.runs), default=0.0)
    rows = [_row(rehearsal, at, scale) for at in range(len(rehearsal.runs))]
    return section(
        "migrations",
        "Migrations",
        table(
            "Each migration: its time, how long at a stretch it kept reads and writes out of one relation, and what "
            "it wrote",
            _COLUMNS,
            rows,
        ),
    )


def _row(rehearsal: Rehearsal, at: int, scale: float) -> list[Content]:
    run, pointer = rehearsal.runs[at], f"/migrations/{at}"
    link = tag("a", name(run.filename), href=f"#{anchors.migration(at)}")
    rewrites = sum(len(one.rewrites) for one in run.statements)
    return [
        [link, [" ", tag("strong", "failed", class_="error")] if run.failed else None],
        _timed(run.seconds, f"{pointer}/seconds", scale, None),
        _shut(rehearsal, run, scale, reads=True),
        _shut(rehearsal, run, scale, reads=False),
        figures.count(rewrites) if rewrites else figures.NONE,
        figures.size(run.wal_bytes, f"{pointer}/wal_bytes"),
        figures.size(run.growth_bytes, f"{pointer}/growth_bytes", signed=True),
    ]


def _timed(value: float, pointer: str, scale: float, class_: str | None) -> Content:
    return [figures.seconds(value, pointer), plot.measure(value / scale if scale else 0.0, class_)]


def _shut(rehearsal: Rehearsal, run: Run, scale: float, *, reads: bool) -> Content:
    found = longest(rehearsal.shut, reads=reads, version=run.version)
    key = "reads_seconds" if reads else "writes_seconds"
    if found is None or not getattr(found[1], key):
        return figures.NONE
    at, one = found
    return _timed(getattr(one, key), f"/blocked/{at}/{key}", scale, "reads" if reads else "writes")


def each(rehearsal: Rehearsal) -> Html:
    """What happened when, migration by migration."""
    return section(
        "timeline",
        "Timeline",
        timeline.legend(),
        [_migration(rehearsal, at, run) for at, run in enumerate(rehearsal.runs)],
    )


def _migration(rehearsal: Rehearsal, at: int, run: Run) -> Html:
    pointer = f"/migrations/{at}"
    facts: list[Content] = [
        figures.seconds(run.seconds, f"{pointer}/seconds"),
        figures.several(len(run.statements), "statement"),
        "in one transaction" if run.transactional else "each statement its own transaction",
    ]
    return tag(
        "article",
        tag("h3", name(run.filename), id=f"{anchors.migration(at)}-h"),
        tag("ul", [tag("li", fact) for fact in facts], class_="facts"),
        _failure(run.failed) if run.failed else None,
        timeline.drawn(rehearsal, at),
        statements.listed(at, run),
        id=anchors.migration(at),
        aria_labelledby=f"{anchors.migration(at)}-h",
    )


def _failure(failed: Failed) -> Html:
    """What the server said, where, what is left of it, and which rows stood in the way."""
    place = failed.failure
    code = f" ({place.sqlstate})" if place and place.sqlstate else ""
    return tag(
        "div",
        tag("p", tag("strong", "Failed", class_="error"), " ", failed.message, code),
        preformatted(place.excerpt) if place and place.excerpt else None,
        pairs(
            ("Detail", place.detail) if place and place.detail else None,
            ("Hint of the server", place.server_hint) if place and place.server_hint else None,
            ("Context", place.context) if place and place.context else None,
            ("Afterwards", failed.aftermath),
            ("Next", failed.hint) if failed.hint else None,
        ),
        [
            [
                tag(
                    "p",
                    figures.several(one.rows, "row"),
                    " of ",
                    name(one.relation),
                    " in the way" if not one.constraint else [" in the way of ", name(one.constraint)],
                ),
                fold("The query that lists them", preformatted(one.query)),
            ]
            for one in failed.violations
        ],
        class_="failure",
    )
