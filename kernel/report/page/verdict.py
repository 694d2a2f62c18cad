"""The top of the page: the verdict in a word, the figures that decide it, and the reasons, worst first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.result import Content as Rows
from kernel.report import tally
from kernel.report.page import anchors, figures
from kernel.report.page.blocks import folded, pairs, preformatted, section
from kernel.report.page.markup import joined, name, tag
from kernel.report.rehearsal_document import timestamp

if TYPE_CHECKING:
    from kernel.rehearsal.result import Finding, Rehearsal, Shut
    from kernel.report.page.markup import Content, Html

_AT_ONCE = 12


def header(rehearsal: Rehearsal, contents: list[tuple[str, str]]) -> Html:
    """The verdict, what was rehearsed on what, and the way to the sections."""
    links = [tag("li", tag("a", title, href=f"#{key}")) for key, title in contents]
    return tag(
        "header",
        tag("p", "Rehearsal of ", _migrations(rehearsal), " for ", name(rehearsal.database), class_="eyebrow"),
        tag("h1", tag("span", rehearsal.verdict.capitalize(), class_=f"verdict {rehearsal.verdict}")),
        tag("p", sentence(rehearsal), class_="lead"),
        tag("p", _source(rehearsal), class_="source"),
        _figures(rehearsal),
        tag("nav", tag("ul", links), aria_label="Sections"),
    )


def sentence(rehearsal: Rehearsal) -> Content:
    """Why it is so, in one sentence."""
    failed = [run for run in rehearsal.runs if run.failed]
    if failed:
        return [name(failed[0].filename), " failed on the copy, and would fail on the original."]
    if rehearsal.reasons:
        return f"{tally.settle(rehearsal)} to settle before these migrations meet the original."
    told = tally.told(rehearsal)
    return f"{told[0].upper()}{told[1:]}."


def _migrations(rehearsal: Rehearsal) -> str:
    return figures.several(len(rehearsal.runs), "migration")


def _source(rehearsal: Rehearsal) -> Content:
    source, restore = rehearsal.source, rehearsal.restore
    told: list[Content] = [["Copied from ", name(source.name), f", {source.kind}"]]
    if source.size_bytes:
        told.append(figures.size(source.size_bytes, "/source/bytes"))
    if source.dumped_at:
        moment = timestamp(source.dumped_at)
        told.append(["dumped ", tag("time", moment.replace("T", " ").replace("Z", " UTC"), datetime=moment)])
    if restore.reused:
        cloned = figures.seconds(restore.clone_seconds, "/restore/clone_seconds")
        told.append(["restored by an earlier rehearsal, cloned in ", cloned])
    else:
        told.append(["restored in ", figures.seconds(restore.seconds, "/restore/seconds")])
    told.append(["the whole rehearsal took ", figures.seconds(rehearsal.seconds, "/seconds")])
    return [joined(told, ", "), "."]


def _figures(rehearsal: Rehearsal) -> Html:
    before, after = rehearsal.restore.bytes, rehearsal.restore.bytes + sum(run.growth_bytes for run in rehearsal.runs)
    return pairs(
        ("No reads, longest", _longest(rehearsal, reads=True)),
        ("No writes, longest", _longest(rehearsal, reads=False)),
        ("Rows", _rows(rehearsal)),
        ("WAL written", figures.size(sum(run.wal_bytes for run in rehearsal.runs))),
        (
            "Size",
            [
                figures.size(after),
                tag("small", "before ", figures.size(before, "/restore/bytes")),
            ],
        ),
        class_="figures",
    )


def longest(shut: tuple[Shut, ...], *, reads: bool, version: str | None = None) -> tuple[int, Shut] | None:
    """The relation that was shut to reads, or to writes, for longest, with its place; of one version if told."""
    found = [(at, one) for at, one in enumerate(shut) if version is None or one.version == version]
    return max(found, key=lambda pair: pair[1].reads_seconds if reads else pair[1].writes_seconds, default=None)


def _longest(rehearsal: Rehearsal, *, reads: bool) -> Content:
    found = longest(rehearsal.shut, reads=reads)
    key = "reads_seconds" if reads else "writes_seconds"
    if found is None or not getattr(found[1], key):
        return ["never", tag("small", "no relation was shut")]
    at, one = found
    return [
        figures.seconds(getattr(one, key), f"/blocked/{at}/{key}"),
        tag("small", name(one.relation.name)),
        _felt(rehearsal, reads=reads),
    ]


def _felt(rehearsal: Rehearsal, *, reads: bool) -> Html | None:
    """The longest wait of a probe session, which stood in the queue besides."""
    key = "reads_longest_seconds" if reads else "writes_longest_seconds"
    waits = [(getattr(one, key), at) for at, one in enumerate(rehearsal.traffic)]
    longest, at = max(waits, default=(0.0, 0))
    return tag("small", "under traffic ", figures.seconds(longest, f"/traffic/{at}/{key}")) if longest else None


def _rows(rehearsal: Rehearsal) -> Content:
    wrong = [one for one in rehearsal.receipts if one.content is Rows.CHANGED]
    if wrong:
        first = name(wrong[0].table) if len(wrong) == 1 else f"in {figures.several(len(wrong), 'table')}"
        return [tag("span", "changed", class_="error"), tag("small", first)]
    meant = sum(one.content is Rows.EXPECTED for one in rehearsal.receipts)
    if not rehearsal.receipts:
        return ["not compared", tag("small", "no table's rows")]
    if meant:
        return ["as declared", tag("small", f"in {figures.several(meant, 'table')}")]
    return ["the same", tag("small", f"in {figures.several(len(rehearsal.receipts), 'table')}")]


def reasons(rehearsal: Rehearsal) -> Html | None:
    """The findings at or above the threshold, each with its place and what to do."""
    failed = [_failed(rehearsal, at) for at, run in enumerate(rehearsal.runs) if run.failed]
    listed = [tag("li", _reason(rehearsal, one)) for one in rehearsal.reasons]
    if not failed and not listed:
        return None
    return section(
        "reasons",
        "Reasons",
        failed,
        folded(listed, at_once=_AT_ONCE, word="more reason", list_="ol", class_="reasons") if listed else None,
    )


def _failed(rehearsal: Rehearsal, at: int) -> Html:
    run = rehearsal.runs[at]
    message = run.failed.message if run.failed else ""
    link = tag("a", name(run.filename), href=f"#{anchors.migration(at)}")
    return tag("p", tag("strong", "Failed", class_="error"), " ", link, ": ", message)


def _reason(rehearsal: Rehearsal, finding: Finding) -> Content:
    return [
        headline(finding, _rule(rehearsal, finding)),
        said(finding),
        tag("p", finding.remedy, class_="remedy") if finding.remedy else None,
    ]


def said(finding: Finding) -> Html:
    """What was found in a sentence; what stands below it has columns that matter, such as a plan's."""
    sentence, _, below = finding.message.partition("\n")
    sentence = sentence.removeprefix(f"{finding.relation}: ")  # which the headline says
    told = tag("p", figures.sentence(sentence), class_="said")
    return joined([told, preformatted(below)]) if below else told


def headline(finding: Finding, rule: Html) -> Html:
    """How bad it is, where, and by which rule."""
    severity = tag("strong", finding.severity.value.capitalize(), class_=finding.severity.value)
    return tag("p", severity, " ", _place(finding), " ", rule, class_="headline")


def _place(finding: Finding) -> Html:
    """File and line, and the relation where it has one."""
    file = finding.filename or finding.version
    line = f":{finding.line}" if finding.line and file else ""
    told = [name(text) for text in (f"{file}{line}", finding.relation) if text]
    return tag("span", joined(told, " · "), class_="place")


def _rule(rehearsal: Rehearsal, finding: Finding) -> Html:
    """The rule's id, as the way to the finding with its statement."""
    if finding not in rehearsal.findings:
        return tag("span", finding.rule, class_="rule")
    target = anchors.finding(rehearsal.findings.index(finding))
    return tag("a", finding.rule, href=f"#{target}", class_="rule")
