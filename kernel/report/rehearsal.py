"""The text of a rehearsal for the terminal: one screen, the verdict first, then the reasons, worst first.

Plain text that needs no colour. What came with a dump is made visible, so that no name can move the cursor.
"""

from __future__ import annotations

from itertools import groupby, islice
from textwrap import wrap
from typing import TYPE_CHECKING

import tabulate

from kernel import units
from kernel.rehearsal.result import Content
from kernel.report import tally
from kernel.report.visible import clipped, one_line, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from kernel.rehearsal.result import Finding, Receipt, Rehearsal, Run

COLUMNS = 100
LINES = 40
_REASONS, _LINES_OF_REASONS = 8, 16
_BELOW = 3
_MIGRATIONS = 6
_TABLES = 3
_LABEL = 11  # the width of "practices", the longest word at the margin, and a gap
_NAME = 34  # of a file or a relation; what is cut goes from its middle
_TABLE = tabulate.TableFormat(
    lineabove=None,
    linebelowheader=None,
    linebetweenrows=None,
    linebelow=None,
    headerrow=None,
    datarow=tabulate.DataRow("", "  ", ""),
    padding=0,
    with_header_hide=None,
)


def text(rehearsal: Rehearsal, *, report: Path | None = None) -> str:
    """At most 40 lines of at most 100 columns, without a newline at the end; `report` is where the page was written."""
    above = [_verdict(rehearsal), _reasons(rehearsal, paged=report is not None)]
    under = [
        _migrations(rehearsal),
        [*_traffic(rehearsal), *_data(rehearsal), *_practices(rehearsal), *_report(report)],
    ]
    room = LINES - sum(len(block) + 1 for block in (*above, *under) if block)
    blocks = (*above, _below(rehearsal, room), *under)
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _verdict(rehearsal: Rehearsal) -> list[str]:
    """The word and what it rests on, and below it what was rehearsed on what."""
    restore = rehearsal.restore
    word, seconds = ("cloned", restore.clone_seconds) if restore.reused else ("restored", restore.seconds)
    copied = f"{units.size(restore.bytes)}, {word} in {units.seconds(seconds)}"
    count = units.several(len(rehearsal.runs), "migration")
    return [
        f"{rehearsal.verdict.upper():{_LABEL}}{tally.told(rehearsal)}",
        f"{'':{_LABEL}}{count} rehearsed on {_named(rehearsal.source.name)} ({copied})",
    ]


def _reasons(rehearsal: Rehearsal, *, paged: bool) -> list[str]:
    """Failures, then findings, each with its place and its remedy, as far as the screen has room."""
    told = [_failed(run) for run in rehearsal.runs if run.failed] + [_reason(one) for one in rehearsal.reasons]
    lines: list[str] = []
    shown = 0
    for block in told[:_REASONS]:
        if lines and len(lines) + len(block) > _LINES_OF_REASONS:
            break
        lines += block
        shown += 1
    if rest := len(told) - shown:
        where = "in the report" if paged else "with --report PATH.html"
        lines.append(f"{'':{_LABEL}}and {units.count(rest)} more {where}")
    return lines


def _below(rehearsal: Rehearsal, room: int) -> list[str]:
    """A few findings that are no reasons, in the lines that are left; the first line has counted all of them."""
    lines: list[str] = []
    for one in tally.below(rehearsal)[:_BELOW]:
        block = _reason(one)
        if len(lines) + len(block) > room:
            break
        lines += block
    return lines


def _failed(run: Run) -> list[str]:
    failed = run.failed
    if failed is None:
        return []
    line = f":{failed.failure.line}" if failed.failure and failed.failure.line else ""
    code = f" ({failed.failure.sqlstate})" if failed.failure and failed.failure.sqlstate else ""
    lines = _block("failed", f"{_named(run.filename)}{line}: {one_line(failed.message)}{code}", most=2)
    for one in islice(failed.violations, 1):
        lines += _block("", f"{units.several(one.rows, 'row')} in the way: {one_line(one.query)}", most=2)
    return lines + _block("", f"next: {one_line(failed.hint)}" if failed.hint else "", most=1)


def _reason(finding: Finding) -> list[str]:
    file = finding.filename or finding.version
    place = _named(file) + (f":{finding.line}" if finding.line else "") if file else _named(finding.relation)
    sentence, _, _plans = finding.message.partition("\n")  # the plans are for the page
    said = _block(finding.severity.value, f"{place}{': ' if place else ''}{one_line(sentence)}", most=3)
    return said + _block("", f"-> {one_line(finding.remedy)}" if finding.remedy else "", most=2)


def _migrations(rehearsal: Rehearsal) -> list[str]:
    """A row for each; of many, the slowest in their order, and the rest as one."""
    slowest = sorted(rehearsal.runs, key=lambda run: (run.failed is None, -run.seconds))[:_MIGRATIONS]
    rows: list[tuple[str, ...]] = [("migration", "time", "no reads", "no writes", "rewrites", "WAL")]
    rows += [_row(rehearsal, run) for run in rehearsal.runs if run in slowest]
    if rest := [run for run in rehearsal.runs if run not in slowest]:
        rows.append(_summed(rehearsal, rest))
    aligned = ("left", *("right",) * (len(rows[0]) - 1))
    return tabulate.tabulate(rows, tablefmt=_TABLE, colalign=aligned, disable_numparse=True).split("\n")


def _row(rehearsal: Rehearsal, run: Run) -> tuple[str, ...]:
    return (_named(run.filename) + (" failed" if run.failed else ""), *_figures(rehearsal, [run]))


def _summed(rehearsal: Rehearsal, runs: Sequence[Run]) -> tuple[str, ...]:
    return (f"and {units.count(len(runs))} more", *_figures(rehearsal, runs))


def _figures(rehearsal: Rehearsal, runs: Sequence[Run]) -> tuple[str, ...]:
    """Sums; of the standstill the longest, for that is what an application feels."""
    versions = {run.version for run in runs}
    shut = [one for one in rehearsal.shut if one.version in versions]
    reads = max((one.reads_seconds for one in shut), default=0.0)
    writes = max((one.writes_seconds for one in shut), default=0.0)
    rewrites = sum(len(one.rewrites) for run in runs for one in run.statements)
    return (
        units.seconds(sum(run.seconds for run in runs)),
        units.seconds(reads) if reads else "-",
        units.seconds(writes) if writes else "-",
        units.count(rewrites) if rewrites else "-",
        units.size(sum(run.wal_bytes for run in runs)),
    )


def _traffic(rehearsal: Rehearsal) -> list[str]:
    """The relation on which probe sessions waited longest."""
    worst = max(
        rehearsal.traffic, key=lambda one: max(one.reads_longest_seconds, one.writes_longest_seconds), default=None
    )
    if worst is None:
        return []
    waited = [
        f"{word} waited {units.seconds(seconds)}"
        for word, seconds in (("reads", worst.reads_longest_seconds), ("writes", worst.writes_longest_seconds))
        if seconds
    ]
    queue = f", {units.several(worst.queued, 'session')} in the queue" if worst.queued else ""
    told = f"{_named(worst.relation)}: {', '.join(waited) or 'nobody waited'}{queue}"
    return _block("traffic", told, most=1)


def _data(rehearsal: Rehearsal) -> list[str]:
    """How many tables kept their rows, and those that did not, undeclared first."""
    if not rehearsal.receipts:
        return []
    words = {Content.CHANGED: "changed undeclared", Content.EXPECTED: "changed as declared", Content.SAME: "the same"}
    ordered = sorted(rehearsal.receipts, key=lambda one: list(words).index(one.content))
    counts = [(word, len(list(group))) for word, group in groupby(ordered, key=lambda one: words[one.content])]
    told = ", ".join(f"{units.count(number)} {word}" for word, number in counts)
    lines = _block("data", f"{units.several(len(ordered), 'table')}: {told}", most=1)
    changed = [one for one in ordered if one.content is not Content.SAME]
    for one in changed[:_TABLES]:
        counted = ((one.added, "added"), (one.removed, "removed"), (one.changed, "changed"))
        rows = ", ".join(f"{units.several(number, 'row')} {word}" for number, word in counted if number)
        columns = ", ".join(_named(column.column) for column in one.columns)
        declared = "undeclared" if one.content is Content.CHANGED else "as declared"
        sentence = f"{_named(one.table)}: {rows or _presence(one)}{f' in {columns}' if columns else ''}, {declared}"
        lines += _block("", sentence, most=1)
    return lines


def _presence(receipt: Receipt) -> str:
    if receipt.rows_before is None:
        return f"new, with {units.several(receipt.rows_after or 0, 'row')}"
    if receipt.rows_after is None:
        return f"dropped, with {units.several(receipt.rows_before, 'row')}"
    return "no row differs"


def _practices(rehearsal: Rehearsal) -> list[str]:
    """Those that did not hold with what was found; of the others only how many."""
    held = sum(one.held is True for one in rehearsal.practices)
    if not rehearsal.practices:
        return []
    broken = [one for one in rehearsal.practices if one.held is False]
    untried = sum(one.held is None for one in rehearsal.practices)
    counts = ((held, "held"), (len(broken), "not held"), (untried, "not tried"))
    lines = _block("practices", ", ".join(f"{number} {word}" for number, word in counts if number), most=1)
    for one in broken[:_TABLES]:
        why = f": {one_line(one.details[0])}" if one.details else ""
        lines += _block("", f"not held: {one_line(one.name)}{why}", most=1)
    return lines


def _report(report: Path | None) -> Iterator[str]:
    if report is not None:
        yield f"{'report':{_LABEL}}{one_line(str(report))}"  # never cut: it is there to be copied


def _named(name: str) -> str:
    return shortened(one_line(name), _NAME)


def _block(label: str, said: str, *, most: int) -> list[str]:
    """A label at the margin and a sentence beside it, in at most so many lines; nothing for an empty sentence."""
    if not said:
        return []
    room = COLUMNS - _LABEL
    lines = wrap(said, room, break_on_hyphens=False)
    if len(lines) > most:
        lines = [*lines[: most - 1], " ".join(lines[most - 1 :])]
    return [f"{label if not at else '':{_LABEL}}{clipped(line, room)}" for at, line in enumerate(lines)]
