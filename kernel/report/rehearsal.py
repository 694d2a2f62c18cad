"""How many findings of which severity: what the terminal and the page both begin with."""

from __future__ import annotations

from itertools import groupby, islice
from textwrap import wrap
from typing import TYPE_CHECKING

import tabulate

from kernel.lint.finding import Severity
from kernel.rehearsal.result import TableContent
from kernel.report.safe_text import shorten_end, shorten_middle, to_one_line
from kernel.units import format_bytes, format_count, format_quantity, format_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from kernel.lint.finding import Finding
    from kernel.rehearsal.result import Receipt, Rehearsal, Run


def summarize_findings(rehearsal: Rehearsal) -> str:
    """Why the verdict is as it is, in a few words, and what there is below the threshold."""
    return (
        ", ".join(filter(None, (summarize_reasons(rehearsal), _summarize_below_threshold(rehearsal))))
        or "nothing to settle first"
    )


def summarize_reasons(rehearsal: Rehearsal) -> str:
    """What failed and what is at or above the threshold, "" for nothing."""
    failed = sum(run.failed is not None for run in rehearsal.runs)
    parts = [f"{format_quantity(failed, 'migration')} failed"] if failed else []
    if rehearsal.reasons:
        parts.append(_count_by_severity(rehearsal.reasons))
    return ", ".join(parts)


def findings_below_threshold(rehearsal: Rehearsal) -> tuple[Finding, ...]:
    """The findings that are no reasons, worst first, but for those that proved harmless."""
    order = list(Severity)
    serious = (one for one in rehearsal.findings if one.severity is not Severity.HARMLESS)
    return tuple(
        sorted((one for one in serious if one not in rehearsal.reasons), key=lambda one: order.index(one.severity))
    )


def _summarize_below_threshold(rehearsal: Rehearsal) -> str:
    counted = _count_by_severity(findings_below_threshold(rehearsal))
    return f"{counted} below the threshold" if counted else ""


def _count_by_severity(findings: Sequence[Finding]) -> str:
    counts = [(sum(one.severity is severity for one in findings), severity) for severity in Severity]
    # "harmless" has no plural.
    return ", ".join(
        format_quantity(number, severity.value, severity.value if severity is Severity.HARMLESS else "")
        for number, severity in counts
        if number
    )


# The text of a rehearsal for the terminal: one screen, the verdict first, then the reasons, worst first.
#
# Plain text that needs no colour. What came with a dump is made visible, so that no name can move the cursor.


REHEARSAL_COLUMNS = 100
REHEARSAL_LINES = 40
_MAX_REASONS, _MAX_REASON_LINES = 8, 16
_MAX_BELOW_THRESHOLD = 3
_MAX_MIGRATIONS = 6
_MAX_TABLES = 3
_LABEL_COLUMNS = 11  # the width of "practices", the longest word at the margin, and a gap
_NAME_COLUMNS = 34  # of a file or a relation; what is cut goes from its middle
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


def rehearsal_text(rehearsal: Rehearsal, *, report: Path | None = None) -> str:
    """At most 40 lines of at most 100 columns, without a newline at the end; `report` is where the page was written."""
    above = [_verdict_lines(rehearsal), _reasons_lines(rehearsal, paged=report is not None)]
    under = [
        _migrations_table(rehearsal),
        [*_traffic_lines(rehearsal), *_data_lines(rehearsal), *_practices_lines(rehearsal), *_report_line(report)],
    ]
    room = REHEARSAL_LINES - sum(len(block) + 1 for block in (*above, *under) if block)
    blocks = (*above, _below_threshold_lines(rehearsal, room), *under)
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _verdict_lines(rehearsal: Rehearsal) -> list[str]:
    """The word and what it rests on, and below it what was rehearsed on what."""
    restore = rehearsal.restore
    word, seconds = ("cloned", restore.clone_seconds) if restore.reused else ("restored", restore.seconds)
    copied = f"{format_bytes(restore.size_bytes)}, {word} in {format_seconds(seconds)}"
    count = format_quantity(len(rehearsal.runs), "migration")
    return [
        f"{rehearsal.verdict.upper():{_LABEL_COLUMNS}}{summarize_findings(rehearsal)}",
        f"{'':{_LABEL_COLUMNS}}{count} rehearsed on {_short_name(rehearsal.source.name)} ({copied})",
    ]


def _reasons_lines(rehearsal: Rehearsal, *, paged: bool) -> list[str]:
    """Failures, then findings, each with its place and its remedy, as far as the screen has room."""
    told = [_failure_lines(run) for run in rehearsal.runs if run.failed] + [
        _finding_lines(one) for one in rehearsal.reasons
    ]
    lines: list[str] = []
    shown = 0
    for block in told[:_MAX_REASONS]:
        if lines and len(lines) + len(block) > _MAX_REASON_LINES:
            break
        lines += block
        shown += 1
    if rest := len(told) - shown:
        where = "in the report" if paged else "with --report PATH.html"
        lines.append(f"{'':{_LABEL_COLUMNS}}and {format_count(rest)} more {where}")
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


def _failure_lines(run: Run) -> list[str]:
    failed = run.failed
    if failed is None:
        return []
    line = f":{failed.failure.line}" if failed.failure and failed.failure.line else ""
    code = f" ({failed.failure.sqlstate})" if failed.failure and failed.failure.sqlstate else ""
    lines = _labelled_lines("failed", f"{_short_name(run.filename)}{line}: {to_one_line(failed.message)}{code}", most=2)
    for one in islice(failed.violations, 1):
        lines += _labelled_lines("", f"{format_quantity(one.rows, 'row')} in the way: {to_one_line(one.query)}", most=2)
    return lines + _labelled_lines("", f"next: {to_one_line(failed.hint)}" if failed.hint else "", most=1)


def _finding_lines(finding: Finding) -> list[str]:
    file = finding.filename or finding.version
    place = _short_name(file) + (f":{finding.line}" if finding.line else "") if file else _short_name(finding.relation)
    sentence, _, _plans = finding.message.partition("\n")  # the plans are for the page
    said = _labelled_lines(finding.severity.value, f"{place}{': ' if place else ''}{to_one_line(sentence)}", most=3)
    return said + _labelled_lines("", f"-> {to_one_line(finding.remedy)}" if finding.remedy else "", most=2)


def _migrations_table(rehearsal: Rehearsal) -> list[str]:
    """A row for each; of many, the slowest in their order, and the rest as one."""
    slowest = sorted(rehearsal.runs, key=lambda run: (run.failed is None, -run.seconds))[:_MAX_MIGRATIONS]
    rows: list[tuple[str, ...]] = [("migration", "time", "no reads", "no writes", "rewrites", "WAL")]
    rows += [_migration_row(rehearsal, run) for run in rehearsal.runs if run in slowest]
    if rest := [run for run in rehearsal.runs if run not in slowest]:
        rows.append(_remaining_row(rehearsal, rest))
    aligned = ("left", *("right",) * (len(rows[0]) - 1))
    return tabulate.tabulate(rows, tablefmt=_TABLE_FORMAT, colalign=aligned, disable_numparse=True).split("\n")


def _migration_row(rehearsal: Rehearsal, run: Run) -> tuple[str, ...]:
    return (_short_name(run.filename) + (" failed" if run.failed else ""), *_row_figures(rehearsal, [run]))


def _remaining_row(rehearsal: Rehearsal, runs: Sequence[Run]) -> tuple[str, ...]:
    return (f"and {format_count(len(runs))} more", *_row_figures(rehearsal, runs))


def _row_figures(rehearsal: Rehearsal, runs: Sequence[Run]) -> tuple[str, ...]:
    """Sums; of the standstill the longest, for that is what an application feels."""
    versions = {run.version for run in runs}
    shut = [one for one in rehearsal.blocked if one.version in versions]
    reads = max((one.reads_seconds for one in shut), default=0.0)
    writes = max((one.writes_seconds for one in shut), default=0.0)
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
    told = f"{_short_name(worst.relation)}: {', '.join(waited) or 'nobody waited'}{queue}"
    return _labelled_lines("traffic", told, most=1)


def _data_lines(rehearsal: Rehearsal) -> list[str]:
    """How many tables kept their rows, and those that did not, undeclared first."""
    if not rehearsal.receipts:
        return []
    words = {
        TableContent.CHANGED: "changed undeclared",
        TableContent.EXPECTED: "changed as declared",
        TableContent.SAME: "the same",
    }
    ordered = sorted(rehearsal.receipts, key=lambda one: list(words).index(one.content))
    counts = [(word, len(list(group))) for word, group in groupby(ordered, key=lambda one: words[one.content])]
    told = ", ".join(f"{format_count(number)} {word}" for word, number in counts)
    lines = _labelled_lines("data", f"{format_quantity(len(ordered), 'table')}: {told}", most=1)
    changed = [one for one in ordered if one.content is not TableContent.SAME]
    for one in changed[:_MAX_TABLES]:
        counted = ((one.added, "added"), (one.removed, "removed"), (one.changed, "changed"))
        rows = ", ".join(f"{format_quantity(number, 'row')} {word}" for number, word in counted if number)
        columns = ", ".join(_short_name(column.column) for column in one.columns)
        declared = "undeclared" if one.content is TableContent.CHANGED else "as declared"
        sentence = (
            f"{_short_name(one.table)}: {rows or _row_counts(one)}{f' in {columns}' if columns else ''}, {declared}"
        )
        lines += _labelled_lines("", sentence, most=1)
    return lines


def _row_counts(receipt: Receipt) -> str:
    if receipt.rows_before is None:
        return f"new, with {format_quantity(receipt.rows_after or 0, 'row')}"
    if receipt.rows_after is None:
        return f"dropped, with {format_quantity(receipt.rows_before, 'row')}"
    return "no row differs"


def _practices_lines(rehearsal: Rehearsal) -> list[str]:
    """Those that did not hold with what was found; of the others only how many."""
    held = sum(one.held is True for one in rehearsal.practices)
    if not rehearsal.practices:
        return []
    broken = [one for one in rehearsal.practices if one.held is False]
    untried = sum(one.held is None for one in rehearsal.practices)
    counts = ((held, "held"), (len(broken), "not held"), (untried, "not tried"))
    lines = _labelled_lines("practices", ", ".join(f"{number} {word}" for number, word in counts if number), most=1)
    for one in broken[:_MAX_TABLES]:
        why = f": {to_one_line(one.details[0])}" if one.details else ""
        lines += _labelled_lines("", f"not held: {to_one_line(one.name)}{why}", most=1)
    return lines


def _report_line(report: Path | None) -> Iterator[str]:
    if report is not None:
        yield f"{'report':{_LABEL_COLUMNS}}{to_one_line(str(report))}"  # never cut: it is there to be copied


def _short_name(name: str) -> str:
    return shorten_middle(to_one_line(name), _NAME_COLUMNS)


def _labelled_lines(label: str, said: str, *, most: int) -> list[str]:
    """A label at the margin and a sentence beside it, in at most so many lines; nothing for an empty sentence."""
    if not said:
        return []
    room = REHEARSAL_COLUMNS - _LABEL_COLUMNS
    lines = wrap(said, room, break_on_hyphens=False)
    if len(lines) > most:
        lines = [*lines[: most - 1], " ".join(lines[most - 1 :])]
    return [f"{label if not at else '':{_LABEL_COLUMNS}}{shorten_end(line, room)}" for at, line in enumerate(lines)]
