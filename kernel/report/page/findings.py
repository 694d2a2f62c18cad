"""The findings, grouped by migration, worst first, each with its statement; what proved harmless comes last."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from kernel.rehearsal.result import Severity
from kernel.report.page import anchors, figures
from kernel.report.page.blocks import excerpt, fold, folded, section
from kernel.report.page.markup import name, tag
from kernel.report.page.verdict import headline, said

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel.rehearsal.result import Finding, Rehearsal, Statement
    from kernel.report.page.markup import Html

_AT_ONCE = 20
_ORDER = {severity: rank for rank, severity in enumerate(Severity)}

Numbered = tuple[int, "Finding"]


def findings(rehearsal: Rehearsal) -> Html | None:
    """The section, None without findings."""
    if not rehearsal.findings:
        return None
    numbered = sorted(enumerate(rehearsal.findings), key=_rank)
    serious = [pair for pair in numbered if pair[1].severity is not Severity.HARMLESS]
    harmless = [pair for pair in numbered if pair[1].severity is Severity.HARMLESS]
    groups = [
        [tag("h3", name(file) if file else "The whole database"), _list(rehearsal, group)]
        for file, group in groupby(serious, key=lambda pair: pair[1].filename or pair[1].version)
    ]
    return section(
        "findings",
        "Findings",
        groups or tag("p", "Nothing that would hurt.", class_="aside"),
        [
            tag("h3", "Measured, and harmless"),
            fold(
                [figures.several(len(harmless), "thing"), " that the text alone would make one fear"],
                _list(rehearsal, harmless),
            ),
        ]
        if harmless
        else None,
    )


def _rank(pair: Numbered) -> tuple[str, str, int, int]:
    at, one = pair
    return one.version, one.filename, _ORDER[one.severity], at


def _list(rehearsal: Rehearsal, group: Iterable[Numbered]) -> list[Html]:
    items = [_item(rehearsal, at, one) for at, one in group]
    return folded(items, at_once=_AT_ONCE, word="more finding", list_="ul", class_="findings")


def _item(rehearsal: Rehearsal, at: int, finding: Finding) -> Html:
    found = _statement(rehearsal, finding)
    return tag(
        "li",
        headline(finding, tag("span", finding.rule, class_="rule")),
        said(finding),
        tag("p", finding.remedy, class_="remedy") if finding.remedy else None,
        excerpt(found.sql, first_line=found.line, marked=finding.line) if found else None,
        id=anchors.finding(at),
    )


def _statement(rehearsal: Rehearsal, finding: Finding) -> Statement | None:
    """The statement that a finding's line lies in, None when it names no line or the migration did not get there."""
    if finding.line is None:
        return None
    run = next((run for run in rehearsal.runs if run.version == finding.version), None)
    if run is None:
        return None
    before = [one for one in run.statements if one.line <= finding.line]
    return before[-1] if before and finding.line <= before[-1].line + before[-1].sql.count("\n") else None
