"""The standstill that probe sessions felt while the migrations ran a second time, beside what the locks let expect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.report.page import figures
from kernel.report.page.blocks import Column, section, table
from kernel.report.page.markup import name, tag

if TYPE_CHECKING:
    from kernel.rehearsal.result import Rehearsal
    from kernel.report.page.markup import Content, Html

_COLUMNS = (
    Column(title="Relation"),
    Column(title="Reads, longest", figures=True),
    Column(title="Reads, in all", figures=True),
    Column(title="Writes, longest", figures=True),
    Column(title="Writes, in all", figures=True),
    Column(title="Queue", figures=True),
)


def traffic(rehearsal: Rehearsal) -> Html | None:
    """The section, None when there was no traffic."""
    if not rehearsal.traffic:
        return None
    rows: list[list[Content]] = [
        [
            name(one.relation),
            [
                _waited(one.reads_longest_seconds, f"/traffic/{at}/reads_longest_seconds"),
                _locked(rehearsal, at, "reads"),
            ],
            _waited(one.reads_total_seconds, f"/traffic/{at}/reads_total_seconds"),
            [
                _waited(one.writes_longest_seconds, f"/traffic/{at}/writes_longest_seconds"),
                _locked(rehearsal, at, "writes"),
            ],
            _waited(one.writes_total_seconds, f"/traffic/{at}/writes_total_seconds"),
            figures.count(one.queued, f"/traffic/{at}/queued") if one.queued else figures.NONE,
        ]
        for at, one in enumerate(rehearsal.traffic)
    ]
    return section(
        "traffic",
        "Standstill under traffic",
        table("How long sessions that read and wrote all the while had to wait, and how many at once", _COLUMNS, rows),
    )


def _waited(value: float, pointer: str) -> Content:
    return figures.seconds(value, pointer) if value else figures.NONE


def _locked(rehearsal: Rehearsal, at: int, word: str) -> Html | None:
    """For how long the locks of the first pass shut the relation: a wait much longer than that is the queue's."""
    relation = rehearsal.traffic[at].relation
    shut = [
        (getattr(one, f"{word}_seconds"), place)
        for place, one in enumerate(rehearsal.shut)
        if one.relation.name == relation
    ]
    longest, place = max(shut, default=(0.0, 0))
    if not longest:
        return None
    return tag("small", "by the lock alone ", figures.seconds(longest, f"/blocked/{place}/{word}_seconds"))
