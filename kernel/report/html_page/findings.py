"""The top of the page: the verdict in a word, the figures that decide it, and the reasons, worst first."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from kernel.lint.finding import Severity
from kernel.rehearsal.result import TableContent
from kernel.report.html_page.markup import (
    NO_FIGURE,
    TableColumn,
    count_html,
    counted_noun,
    definition_list,
    details_html,
    excerpt_html,
    finding_anchor,
    join_html,
    list_with_folded_rest,
    migration_anchor,
    name_tag,
    preformatted_html,
    seconds_html,
    section_html,
    size_html,
    table_html,
    tag,
    unbroken_sentence,
)
from kernel.report.json_rehearsal import utc_timestamp
from kernel.report.rehearsal import summarize_findings, summarize_reasons

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel.lint.finding import Finding
    from kernel.rehearsal.result import BlockedTime, Rehearsal, TracedStatement
    from kernel.report.html_page.markup import Content, Html


_REASONS_AT_ONCE = 12


def page_header(rehearsal: Rehearsal, contents: list[tuple[str, str]]) -> Html:
    """The verdict, what was rehearsed on what, and the way to the sections."""
    links = [tag("li", tag("a", title, href=f"#{key}")) for key, title in contents]
    return tag(
        "header",
        tag("p", "Rehearsal of ", _migrations(rehearsal), " for ", name_tag(rehearsal.database), class_="eyebrow"),
        tag("h1", tag("span", rehearsal.verdict.capitalize(), class_=f"verdict {rehearsal.verdict}")),
        tag("p", verdict_sentence(rehearsal), class_="lead"),
        tag("p", _source(rehearsal), class_="source"),
        _figures(rehearsal),
        tag("nav", tag("ul", links), aria_label="Sections"),
    )


def verdict_sentence(rehearsal: Rehearsal) -> Content:
    """Why it is so, in one sentence."""
    failed = [run for run in rehearsal.runs if run.failed]
    if failed:
        return [name_tag(failed[0].filename), " failed on the copy, and would fail on the original."]
    if rehearsal.reasons:
        return f"{summarize_reasons(rehearsal)} to settle before these migrations meet the original."
    told = summarize_findings(rehearsal)
    return f"{told[0].upper()}{told[1:]}."


def _migrations(rehearsal: Rehearsal) -> str:
    return counted_noun(len(rehearsal.runs), "migration")


def _source(rehearsal: Rehearsal) -> Content:
    source, restore = rehearsal.source, rehearsal.restore
    told: list[Content] = [["Copied from ", name_tag(source.name), f", {source.kind}"]]
    if source.size_bytes:
        told.append(size_html(source.size_bytes, "/source/bytes"))
    if source.dumped_at:
        moment = utc_timestamp(source.dumped_at)
        told.append(["dumped ", tag("time", moment.replace("T", " ").replace("Z", " UTC"), datetime=moment)])
    if restore.reused:
        cloned = seconds_html(restore.clone_seconds, "/restore/clone_seconds")
        told.append(["restored by an earlier rehearsal, cloned in ", cloned])
    else:
        told.append(["restored in ", seconds_html(restore.seconds, "/restore/seconds")])
    told.append(["the whole rehearsal took ", seconds_html(rehearsal.seconds, "/seconds")])
    return [join_html(told, ", "), "."]


def _figures(rehearsal: Rehearsal) -> Html:
    before, after = (
        rehearsal.restore.size_bytes,
        rehearsal.restore.size_bytes + sum(run.growth_bytes for run in rehearsal.runs),
    )
    return definition_list(
        ("No reads, longest", _longest_blocked_html(rehearsal, reads=True)),
        ("No writes, longest", _longest_blocked_html(rehearsal, reads=False)),
        ("Rows", _rows(rehearsal)),
        ("WAL written", size_html(sum(run.wal_bytes for run in rehearsal.runs))),
        (
            "Size",
            [
                size_html(after),
                tag("small", "before ", size_html(before, "/restore/bytes")),
            ],
        ),
        class_="figures",
    )


def longest_blocked(
    shut: tuple[BlockedTime, ...], *, reads: bool, version: str | None = None
) -> tuple[int, BlockedTime] | None:
    """The relation that was shut to reads, or to writes, for longest, with its place; of one version if told."""
    found = [(at, one) for at, one in enumerate(shut) if version is None or one.version == version]
    return max(found, key=lambda pair: pair[1].reads_seconds if reads else pair[1].writes_seconds, default=None)


def _longest_blocked_html(rehearsal: Rehearsal, *, reads: bool) -> Content:
    found = longest_blocked(rehearsal.blocked, reads=reads)
    key = "reads_seconds" if reads else "writes_seconds"
    if found is None or not getattr(found[1], key):
        return ["never", tag("small", "no relation was shut")]
    at, one = found
    return [
        seconds_html(getattr(one, key), f"/blocked/{at}/{key}"),
        tag("small", name_tag(one.relation.name)),
        _longest_probe_wait_html(rehearsal, reads=reads),
    ]


def _longest_probe_wait_html(rehearsal: Rehearsal, *, reads: bool) -> Html | None:
    """The longest wait of a probe session, which stood in the queue besides."""
    key = "reads_longest_seconds" if reads else "writes_longest_seconds"
    waits = [(getattr(one, key), at) for at, one in enumerate(rehearsal.traffic)]
    longest, at = max(waits, default=(0.0, 0))
    return tag("small", "under traffic ", seconds_html(longest, f"/traffic/{at}/{key}")) if longest else None


def _rows(rehearsal: Rehearsal) -> Content:
    wrong = [one for one in rehearsal.receipts if one.content is TableContent.CHANGED]
    if wrong:
        first = name_tag(wrong[0].table) if len(wrong) == 1 else f"in {counted_noun(len(wrong), 'table')}"
        return [tag("span", "changed", class_="error"), tag("small", first)]
    meant = sum(one.content is TableContent.EXPECTED for one in rehearsal.receipts)
    if not rehearsal.receipts:
        return ["not compared", tag("small", "no table's rows")]
    if meant:
        return ["as declared", tag("small", f"in {counted_noun(meant, 'table')}")]
    return ["the same", tag("small", f"in {counted_noun(len(rehearsal.receipts), 'table')}")]


def reasons_html(rehearsal: Rehearsal) -> Html | None:
    """The findings at or above the threshold, each with its place and what to do."""
    failed = [_failed(rehearsal, at) for at, run in enumerate(rehearsal.runs) if run.failed]
    listed = [tag("li", _reason(rehearsal, one)) for one in rehearsal.reasons]
    if not failed and not listed:
        return None
    return section_html(
        "reasons",
        "Reasons",
        failed,
        list_with_folded_rest(listed, at_once=_REASONS_AT_ONCE, word="more reason", list_="ol", class_="reasons")
        if listed
        else None,
    )


def _failed(rehearsal: Rehearsal, at: int) -> Html:
    run = rehearsal.runs[at]
    message = run.failed.message if run.failed else ""
    link = tag("a", name_tag(run.filename), href=f"#{migration_anchor(at)}")
    return tag("p", tag("strong", "Failed", class_="error"), " ", link, ": ", message)


def _reason(rehearsal: Rehearsal, finding: Finding) -> Content:
    return [
        finding_headline(finding, _rule(rehearsal, finding)),
        message_html(finding),
        tag("p", finding.remedy, class_="remedy") if finding.remedy else None,
    ]


def message_html(finding: Finding) -> Html:
    """What was found in a sentence; what stands below it has columns that matter, such as a plan's."""
    sentence, _, below = finding.message.partition("\n")
    sentence = sentence.removeprefix(f"{finding.relation}: ")  # which the headline says
    told = tag("p", unbroken_sentence(sentence), class_="said")
    return join_html([told, preformatted_html(below)]) if below else told


def finding_headline(finding: Finding, rule: Html) -> Html:
    """How bad it is, where, and by which rule."""
    severity = tag("strong", finding.severity.value.capitalize(), class_=finding.severity.value)
    return tag("p", severity, " ", _place(finding), " ", rule, class_="headline")


def _place(finding: Finding) -> Html:
    """File and line, and the relation where it has one."""
    file = finding.filename or finding.version
    line = f":{finding.line}" if finding.line and file else ""
    told = [name_tag(text) for text in (f"{file}{line}", finding.relation) if text]
    return tag("span", join_html(told, " · "), class_="place")


def _rule(rehearsal: Rehearsal, finding: Finding) -> Html:
    """The rule's id, as the way to the finding with its statement."""
    if finding not in rehearsal.findings:
        return tag("span", finding.rule, class_="rule")
    target = finding_anchor(rehearsal.findings.index(finding))
    return tag("a", finding.rule, href=f"#{target}", class_="rule")


# The findings, grouped by migration, worst first, each with its statement; what proved harmless comes last.


_FINDINGS_AT_ONCE = 20
_ORDER = {severity: rank for rank, severity in enumerate(Severity)}

NumberedFinding = tuple[int, "Finding"]


def findings_html(rehearsal: Rehearsal) -> Html | None:
    """The section, None without findings."""
    if not rehearsal.findings:
        return None
    numbered = sorted(enumerate(rehearsal.findings), key=_rank)
    serious = [pair for pair in numbered if pair[1].severity is not Severity.HARMLESS]
    harmless = [pair for pair in numbered if pair[1].severity is Severity.HARMLESS]
    groups = [
        [tag("h3", name_tag(file) if file else "The whole database"), _list(rehearsal, group)]
        for file, group in groupby(serious, key=lambda pair: pair[1].filename or pair[1].version)
    ]
    return section_html(
        "findings",
        "Findings",
        groups or tag("p", "Nothing that would hurt.", class_="aside"),
        [
            tag("h3", "Measured, and harmless"),
            details_html(
                [counted_noun(len(harmless), "thing"), " that the text alone would make one fear"],
                _list(rehearsal, harmless),
            ),
        ]
        if harmless
        else None,
    )


def _rank(pair: NumberedFinding) -> tuple[str, str, int, int]:
    at, one = pair
    return one.version, one.filename, _ORDER[one.severity], at


def _list(rehearsal: Rehearsal, group: Iterable[NumberedFinding]) -> list[Html]:
    items = [_item(rehearsal, at, one) for at, one in group]
    return list_with_folded_rest(items, at_once=_FINDINGS_AT_ONCE, word="more finding", list_="ul", class_="findings")


def _item(rehearsal: Rehearsal, at: int, finding: Finding) -> Html:
    found = _statement(rehearsal, finding)
    return tag(
        "li",
        finding_headline(finding, tag("span", finding.rule, class_="rule")),
        message_html(finding),
        tag("p", finding.remedy, class_="remedy") if finding.remedy else None,
        excerpt_html(found.sql, first_line=found.line, marked=finding.line) if found else None,
        id=finding_anchor(at),
    )


def _statement(rehearsal: Rehearsal, finding: Finding) -> TracedStatement | None:
    """The statement that a finding's line lies in, None when it names no line or the migration did not get there."""
    if finding.line is None:
        return None
    run = next((run for run in rehearsal.runs if run.version == finding.version), None)
    if run is None:
        return None
    before = [one for one in run.statements if one.line <= finding.line]
    return before[-1] if before and finding.line <= before[-1].line + before[-1].sql.count("\n") else None


# The standstill that probe sessions felt while the migrations ran a second time, beside what the locks let expect.


_TRAFFIC_COLUMNS = (
    TableColumn(title="Relation"),
    TableColumn(title="Reads, longest", figures=True),
    TableColumn(title="Reads, in all", figures=True),
    TableColumn(title="Writes, longest", figures=True),
    TableColumn(title="Writes, in all", figures=True),
    TableColumn(title="Queue", figures=True),
)


def traffic_html(rehearsal: Rehearsal) -> Html | None:
    """The section, None when there was no traffic."""
    if not rehearsal.traffic:
        return None
    rows: list[list[Content]] = [
        [
            name_tag(one.relation),
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
            count_html(one.queued, f"/traffic/{at}/queued") if one.queued else NO_FIGURE,
        ]
        for at, one in enumerate(rehearsal.traffic)
    ]
    return section_html(
        "traffic",
        "Standstill under traffic",
        table_html(
            "How long sessions that read and wrote all the while had to wait, and how many at once",
            _TRAFFIC_COLUMNS,
            rows,
        ),
    )


def _waited(value: float, pointer: str) -> Content:
    return seconds_html(value, pointer) if value else NO_FIGURE


def _locked(rehearsal: Rehearsal, at: int, word: str) -> Html | None:
    """For how long the locks of the first pass shut the relation: a wait much longer than that is the queue's."""
    relation = rehearsal.traffic[at].relation
    shut = [
        (getattr(one, f"{word}_seconds"), place)
        for place, one in enumerate(rehearsal.blocked)
        if one.relation.name == relation
    ]
    longest, place = max(shut, default=(0.0, 0))
    if not longest:
        return None
    return tag("small", "by the lock alone ", seconds_html(longest, f"/blocked/{place}/{word}_seconds"))
