"""The text of a rehearsal for the terminal: one screen, the verdict first, then the reasons, worst first.

Plain text without colours.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import tabulate

from kernel.lint.finding import SEVERITY_ORDER, Severity
from kernel.rehearsal.result import TableContent
from kernel.report.safe_text import label_line, labelled_lines, short_name, to_one_line
from kernel.units import format_bytes, format_count, format_quantity, format_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kernel.lint.finding import Finding
    from kernel.rehearsal.result import Receipt, Rehearsal, Run, RunFailure

REHEARSAL_LINES = 40
_MAX_REASONS, _MAX_REASON_LINES = 8, 16
_MAX_BELOW_THRESHOLD = 3
_MAX_MIGRATIONS = 6
_MAX_TABLES = 3
_TABLE_FORMAT = tabulate.TableFormat(
    lineabove=None,
    linebelowheader=None,
    linebetweenrows=None,
    linebelow=None,
    headerrow=None,
    datarow=tabulate.DataRow("", "  ", ""),
    padding=0,
    with_header_hide=None,
)


def summarize_findings(rehearsal: Rehearsal) -> str:
    """The counts behind the verdict, and those of findings below the threshold."""
    below = _count_by_severity(findings_below_threshold(rehearsal))
    parts = (summarize_reasons(rehearsal), f"{below} below the threshold" if below else "")
    return ", ".join(filter(None, parts)) or "nothing to settle first"


def summarize_reasons(rehearsal: Rehearsal) -> str:
    """How many migrations failed and findings are at or above the threshold, "" for none."""
    failed = sum(run.failed is not None for run in rehearsal.runs)
    parts = [f"{format_quantity(failed, 'migration')} failed"] if failed else []
    if rehearsal.reasons:
        parts.append(_count_by_severity(rehearsal.reasons))
    return ", ".join(parts)


def findings_below_threshold(rehearsal: Rehearsal) -> tuple[Finding, ...]:
    """The findings that are no reasons, worst first, without those that proved harmless."""
    serious = (one for one in rehearsal.findings if one.severity is not Severity.HARMLESS)
    below = (one for one in serious if one not in rehearsal.reasons)
    return tuple(sorted(below, key=lambda one: SEVERITY_ORDER[one.severity]))


def _count_by_severity(findings: Sequence[Finding]) -> str:
    counts = [(sum(one.severity is severity for one in findings), severity) for severity in Severity]
    # "harmless" has no plural.
    return ", ".join(
        format_quantity(number, severity.value, severity.value if severity is Severity.HARMLESS else "")
        for number, severity in counts
        if number
    )


def rehearsal_text(rehearsal: Rehearsal, *, report: Path | None = None) -> str:
    """At most 40 lines of at most 100 columns, without a newline at the end; `report` is where the page was written."""
    above = [_verdict_lines(rehearsal), _reasons_lines(rehearsal, paged=report is not None)]
    facts = [*_traffic_lines(rehearsal), *_data_lines(rehearsal), *_practices_lines(rehearsal)]
    if report is not None:
        facts.append(label_line("report", to_one_line(str(report))))
    below = [_migrations_table(rehearsal), facts]
    room = REHEARSAL_LINES - sum(len(block) + 1 for block in (*above, *below) if block)
    blocks = (*above, _below_threshold_lines(rehearsal, room), *below)
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _verdict_lines(rehearsal: Rehearsal) -> list[str]:
    """The verdict with its counts, and below it how many migrations ran on which copy."""
    restore = rehearsal.restore
    word, seconds = ("cloned", restore.clone_seconds) if restore.reused else ("restored", restore.seconds)
    copied = f"{format_bytes(restore.size_bytes)}, {word} in {format_seconds(seconds)}"
    count = format_quantity(len(rehearsal.runs), "migration")
    return [
        label_line(rehearsal.verdict.upper(), summarize_findings(rehearsal)),
        label_line("", f"{count} rehearsed on {short_name(rehearsal.source.name)} ({copied})"),
    ]


def _reasons_lines(rehearsal: Rehearsal, *, paged: bool) -> list[str]:
    """Failures, then findings, each with its place and its remedy, as far as the screen has room."""
    blocks = [_failure_lines(run.filename, run.failed) for run in rehearsal.runs if run.failed]
    blocks += [_finding_lines(one) for one in rehearsal.reasons]
    lines: list[str] = []
    shown = 0
    for block in blocks[:_MAX_REASONS]:
        if lines and len(lines) + len(block) > _MAX_REASON_LINES:
            break
        lines += block
        shown += 1
    if rest := len(blocks) - shown:
        where = "in the report" if paged else "with --report PATH.html"
        lines.append(label_line("", f"and {format_count(rest)} more {where}"))
    return lines


def _below_threshold_lines(rehearsal: Rehearsal, room: int) -> list[str]:
    """A few findings that are no reasons, in the lines that are left; the first line has counted all of them."""
    lines: list[str] = []
    for one in findings_below_threshold(rehearsal)[:_MAX_BELOW_THRESHOLD]:
        block = _finding_lines(one)
        if len(lines) + len(block) > room:
            break
        lines += block
    return lines


def _failure_lines(filename: str, failed: RunFailure) -> list[str]:
    place = failed.failure
    line = f":{place.line}" if place and place.line else ""
    code = f" ({place.sqlstate})" if place and place.sqlstate else ""
    lines = labelled_lines("failed", f"{short_name(filename)}{line}: {to_one_line(failed.message)}{code}", max_lines=2)
    for one in failed.violations[:1]:
        sentence = f"{format_quantity(one.rows, 'row')} in the way: {to_one_line(one.query)}"
        lines += labelled_lines("", sentence, max_lines=2)
    return lines + labelled_lines("", f"next: {to_one_line(failed.hint)}" if failed.hint else "", max_lines=1)


def _finding_lines(finding: Finding) -> list[str]:
    file = finding.filename or finding.version
    place = short_name(file) + (f":{finding.line}" if finding.line else "") if file else short_name(finding.relation)
    sentence = to_one_line(finding.message.partition("\n")[0])  # what follows, such as a plan, is for the page
    lines = labelled_lines(finding.severity.value, f"{place}: {sentence}" if place else sentence, max_lines=3)
    return lines + labelled_lines("", f"-> {to_one_line(finding.remedy)}" if finding.remedy else "", max_lines=2)


def _migrations_table(rehearsal: Rehearsal) -> list[str]:
    """A row for each; of many, the slowest in their order, and the rest as one."""
    slowest = sorted(rehearsal.runs, key=lambda run: (run.failed is None, -run.seconds))[:_MAX_MIGRATIONS]
    rows: list[tuple[str, ...]] = [("migration", "time", "no reads", "no writes", "rewrites", "WAL")]
    for run in rehearsal.runs:
        if run in slowest:
            name = short_name(run.filename) + (" failed" if run.failed else "")
            rows.append((name, *_row_figures(rehearsal, [run])))
    if rest := [run for run in rehearsal.runs if run not in slowest]:
        rows.append((f"and {format_count(len(rest))} more", *_row_figures(rehearsal, rest)))
    aligned = ("left", *("right",) * (len(rows[0]) - 1))
    return tabulate.tabulate(rows, tablefmt=_TABLE_FORMAT, colalign=aligned, disable_numparse=True).split("\n")


def _row_figures(rehearsal: Rehearsal, runs: Sequence[Run]) -> tuple[str, ...]:
    """Sums; of the times without reads and writes the longest, because that is the wait of an application."""
    versions = {run.version for run in runs}
    blocked = [one for one in rehearsal.blocked if one.version in versions]
    reads = max((one.reads_seconds for one in blocked), default=0.0)
    writes = max((one.writes_seconds for one in blocked), default=0.0)
    rewrites = sum(len(one.rewrites) for run in runs for one in run.statements)
    return (
        format_seconds(sum(run.seconds for run in runs)),
        format_seconds(reads) if reads else "-",
        format_seconds(writes) if writes else "-",
        format_count(rewrites) if rewrites else "-",
        format_bytes(sum(run.wal_bytes for run in runs)),
    )


def _traffic_lines(rehearsal: Rehearsal) -> list[str]:
    """The relation on which probe sessions waited longest."""
    worst = max(
        rehearsal.traffic, key=lambda one: max(one.reads_longest_seconds, one.writes_longest_seconds), default=None
    )
    if worst is None:
        return []
    waited = [
        f"{word} waited {format_seconds(seconds)}"
        for word, seconds in (("reads", worst.reads_longest_seconds), ("writes", worst.writes_longest_seconds))
        if seconds
    ]
    queue = f", {format_quantity(worst.queued, 'session')} in the queue" if worst.queued else ""
    waits = ", ".join(waited) or "no session waited"
    return labelled_lines("traffic", f"{short_name(worst.relation)}: {waits}{queue}", max_lines=1)


def _data_lines(rehearsal: Rehearsal) -> list[str]:
    """How many tables kept their rows, and the tables that did not, undeclared changes first."""
    if not rehearsal.receipts:
        return []
    words = {
        TableContent.CHANGED: "changed undeclared",
        TableContent.EXPECTED: "changed as declared",
        TableContent.SAME: "the same",
    }
    ordered = sorted(rehearsal.receipts, key=lambda one: list(words).index(one.content))
    counts = [(word, len(list(group))) for word, group in groupby(ordered, key=lambda one: words[one.content])]
    contents = ", ".join(f"{format_count(number)} {word}" for word, number in counts)
    lines = labelled_lines("data", f"{format_quantity(len(ordered), 'table')}: {contents}", max_lines=1)
    changed = [one for one in ordered if one.content is not TableContent.SAME]
    for one in changed[:_MAX_TABLES]:
        counted = ((one.added, "added"), (one.removed, "removed"), (one.changed, "changed"))
        rows = ", ".join(f"{format_quantity(number, 'row')} {word}" for number, word in counted if number)
        columns = ", ".join(short_name(column.column) for column in one.columns)
        declared = "undeclared" if one.content is TableContent.CHANGED else "as declared"
        sentence = (
            f"{short_name(one.table)}: {rows or _row_counts(one)}{f' in {columns}' if columns else ''}, {declared}"
        )
        lines += labelled_lines("", sentence, max_lines=1)
    return lines


def _row_counts(receipt: Receipt) -> str:
    if receipt.rows_before is None:
        return f"new, with {format_quantity(receipt.rows_after or 0, 'row')}"
    if receipt.rows_after is None:
        return f"dropped, with {format_quantity(receipt.rows_before, 'row')}"
    return "no row differs"


def _practices_lines(rehearsal: Rehearsal) -> list[str]:
    """How many practices held, and the first detail of each that did not."""
    held = sum(one.held is True for one in rehearsal.practices)
    if not rehearsal.practices:
        return []
    broken = [one for one in rehearsal.practices if one.held is False]
    untried = sum(one.held is None for one in rehearsal.practices)
    counts = ((held, "held"), (len(broken), "not held"), (untried, "not tried"))
    lines = labelled_lines("practices", ", ".join(f"{number} {word}" for number, word in counts if number), max_lines=1)
    for one in broken[:_MAX_TABLES]:
        why = f": {to_one_line(one.details[0])}" if one.details else ""
        lines += labelled_lines("", f"not held: {to_one_line(one.name)}{why}", max_lines=1)
    return lines
