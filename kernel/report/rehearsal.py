"""The text of a rehearsal: the verdict first, then the findings, worst first, then what was measured.

Plain text without colours; on a terminal one screen, elsewhere uncut.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import tabulate

from kernel.lint.finding import SEVERITY_ORDER, Severity
from kernel.rehearsal.result import TableContent
from kernel.report.safe_text import label_line, labelled_lines, short_name, to_one_line
from kernel.units import format_bytes, format_count, format_quantity, format_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from kernel.lint.finding import Finding
    from kernel.rehearsal.result import Receipt, Rehearsal, Run, RunFailure

REHEARSAL_LINES = 40
MIGRATIONS_HEADER = ("migration", "time", "reads blocked", "writes blocked", "rewrites", "WAL")
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


def rehearsal_text(rehearsal: Rehearsal, *, report: Path | None = None, terminal: bool = True) -> str:
    """The text, without a newline at the end; `report` is where the page was written.

    For a terminal at most 40 lines of at most 100 columns; elsewhere nothing is cut or left out.
    """
    return "\n\n".join("\n".join(block) for block in _Text(rehearsal, report, cut=terminal).blocks() if block)


class _Text:
    """The blocks of lines. With `cut`, names, sentences and lists are cut to fit one screen."""

    def __init__(self, rehearsal: Rehearsal, report: Path | None, *, cut: bool) -> None:
        self._rehearsal = rehearsal
        self._report = report
        self._cut = cut

    def blocks(self) -> tuple[list[str], ...]:
        facts = [*self._traffic_lines(), *self._data_lines(), *self._practices_lines()]
        if self._report is not None:
            facts.append(label_line("report", to_one_line(str(self._report))))
        verdict, table = self._verdict_lines(), self._migrations_table()
        room = REHEARSAL_LINES - sum(len(block) + 1 for block in (verdict, table, facts) if block)
        return verdict, self._findings_lines(room), table, facts

    def _name(self, name: str) -> str:
        return short_name(name) if self._cut else to_one_line(name)

    def _lines(self, label: str, sentence: str, *, max_lines: int = 1) -> list[str]:
        return labelled_lines(label, sentence, max_lines=max_lines if self._cut else None)

    def _verdict_lines(self) -> list[str]:
        """The verdict with its counts, and below it how many migrations ran on which copy."""
        rehearsal, restore = self._rehearsal, self._rehearsal.restore
        word, seconds = ("cloned", restore.clone_seconds) if restore.reused else ("restored", restore.seconds)
        copied = f"{format_bytes(restore.size_bytes)}, {word} in {format_seconds(seconds)}"
        count = format_quantity(len(rehearsal.runs), "migration")
        return [
            label_line(rehearsal.verdict.upper(), summarize_findings(rehearsal)),
            label_line("", f"{count} rehearsed on {self._name(rehearsal.source.name)} ({copied})"),
        ]

    def _findings_lines(self, room: int) -> list[str]:
        """Failures, then findings, an entry for each rule and file, as far as there is room; the rest is counted."""
        rehearsal = self._rehearsal
        entries = [(1, self._failure_lines(run.filename, run.failed)) for run in rehearsal.runs if run.failed]
        for findings in (rehearsal.reasons, findings_below_threshold(rehearsal)):
            groups: dict[tuple[str, str, str], list[Finding]] = {}
            for one in findings:
                groups.setdefault((one.severity, one.rule, one.filename or one.version), []).append(one)
            entries += [(len(group), self._finding_lines(group)) for group in groups.values()]
        lines: list[str] = []
        rest = sum(number for number, _ in entries)
        for number, entry in entries:
            if self._cut and lines and len(lines) + len(entry) + 1 >= room:
                break
            lines += entry
            rest -= number
        if rest:
            where = "in the report" if self._report else "shown by --report PATH.html or --json"
            lines.append(label_line("", f"and {format_quantity(rest, 'more finding')}, {where}"))
        return lines

    def _failure_lines(self, filename: str, failed: RunFailure) -> list[str]:
        place = failed.failure
        line = f":{place.line}" if place and place.line else ""
        code = f" ({place.sqlstate})" if place and place.sqlstate else ""
        sentence = f"{self._name(filename)}{line}: {to_one_line(failed.message)}{code}"
        lines = self._lines("failed", sentence, max_lines=2)
        for one in failed.violations[:1]:
            rows = f"{one.counts} of {self._name(one.relation)} prevent it"
            lines += self._lines("", f"{rows}: {to_one_line(one.query)}", max_lines=2)
            if one.check:
                lines += self._lines("", f"to stop it earlier: {to_one_line(one.check)}", max_lines=2)
        return lines + self._lines("", f"next: {to_one_line(failed.hint)}" if failed.hint else "")

    def _finding_lines(self, group: Sequence[Finding]) -> list[str]:
        """The first finding of a rule in a file, the number of the others, and the remedy."""
        finding = group[0]
        file = finding.filename or finding.version
        place = self._name(file or finding.relation)
        if finding.line and file:
            place = ":".join(str(part) for part in (place, finding.line, finding.column) if part)
        if others := len(group) - 1:
            place += f" and {format_quantity(others, 'more place')}"
        sentence = to_one_line(finding.message.partition("\n")[0])  # what follows, such as a plan, is for the page
        lines = self._lines(finding.severity.value, f"{place}: {sentence}" if place else sentence, max_lines=3)
        return lines + self._lines("", f"-> {to_one_line(finding.remedy)}" if finding.remedy else "", max_lines=2)

    def _migrations_table(self) -> list[str]:
        """A row for each; of many, the slowest in their order, and the rest as one."""
        runs = self._rehearsal.runs
        most = _MAX_MIGRATIONS if self._cut else len(runs)
        slowest = sorted(runs, key=lambda run: (run.failed is None, -run.seconds))[:most]
        rows: list[tuple[str, ...]] = [MIGRATIONS_HEADER]
        for run in runs:
            if run in slowest:
                name = self._name(run.filename) + (" failed" if run.failed else "")
                rows.append((name, *row_figures(self._rehearsal, [run])))
        if rest := [run for run in runs if run not in slowest]:
            rows.append((f"and {format_count(len(rest))} more", *row_figures(self._rehearsal, rest)))
        aligned = ("left", *("right",) * (len(rows[0]) - 1))
        return tabulate.tabulate(rows, tablefmt=_TABLE_FORMAT, colalign=aligned, disable_numparse=True).split("\n")

    def _traffic_lines(self) -> list[str]:
        return self._lines("traffic", describe_traffic(self._rehearsal, self._name))

    def _data_lines(self) -> list[str]:
        """How many tables kept their rows, and the tables that did not, undeclared changes first."""
        if not self._rehearsal.receipts:
            return []
        lines = self._lines("data", summarize_receipts(self._rehearsal))
        for one in changed_receipts(self._rehearsal)[: _MAX_TABLES if self._cut else None]:
            declared = "undeclared" if one.content is TableContent.CHANGED else "as declared"
            lines += self._lines("", f"{self._name(one.table)}: {describe_receipt(one, self._name)}, {declared}")
        return lines

    def _practices_lines(self) -> list[str]:
        """How many practices held; of each other one why it did not, or why it was not tried."""
        practices = self._rehearsal.practices
        if not practices:
            return []
        words = {True: "held", False: "not held", None: "not tried"}
        counts = [(word, sum(one.held is held for one in practices)) for held, word in words.items()]
        lines = self._lines("practices", ", ".join(f"{number} {word}" for word, number in counts if number))
        others = sorted((one for one in practices if one.held is not True), key=lambda one: one.held is None)
        for one in others[: _MAX_TABLES if self._cut else None]:
            why = "; ".join(map(to_one_line, one.details[:1] if self._cut else one.details))
            more = f" (and {len(one.details) - 1} more)" if self._cut and len(one.details) > 1 else ""
            sentence = f"{words[one.held]}: {to_one_line(one.name)}{f': {why}' if why else ''}{more}"
            lines += self._lines("", sentence, max_lines=2)
        return lines


def describe_traffic(rehearsal: Rehearsal, show_name: Callable[[str], str] = str) -> str:
    """The relation on which probe sessions waited longest, "" without traffic."""
    worst = max(
        rehearsal.traffic, key=lambda one: max(one.reads_longest_seconds, one.writes_longest_seconds), default=None
    )
    if worst is None:
        return ""
    waited = [
        f"{word} waited {format_seconds(seconds)}"
        for word, seconds in (("reads", worst.reads_longest_seconds), ("writes", worst.writes_longest_seconds))
        if seconds
    ]
    queue = f", {format_quantity(worst.queued, 'session')} in the queue" if worst.queued else ""
    return f"{show_name(worst.relation)}: {', '.join(waited) or 'no session waited'}{queue}"


_CONTENT_WORDS = {
    TableContent.CHANGED: "changed undeclared",
    TableContent.EXPECTED: "changed as declared",
    TableContent.SAME: "the same",
}


def summarize_receipts(rehearsal: Rehearsal) -> str:
    """How many tables kept their rows, and how many did not."""
    counts = Counter(one.content for one in rehearsal.receipts)
    contents = [
        f"{format_count(counts[content])} {word}" for content, word in _CONTENT_WORDS.items() if counts[content]
    ]
    return f"{format_quantity(len(rehearsal.receipts), 'table')}: {', '.join(contents)}"


def changed_receipts(rehearsal: Rehearsal) -> list[Receipt]:
    """The tables that did not keep their rows, undeclared changes first."""
    changed = (one for one in rehearsal.receipts if one.content is not TableContent.SAME)
    return sorted(changed, key=lambda one: list(_CONTENT_WORDS).index(one.content))


def describe_receipt(receipt: Receipt, show_name: Callable[[str], str] = str) -> str:
    """How the rows of a table changed, and in which columns."""
    counted = ((receipt.added, "added"), (receipt.removed, "removed"), (receipt.changed, "changed"))
    rows = ", ".join(f"{format_quantity(number, 'row')} {word}" for number, word in counted if number)
    columns = ", ".join(show_name(one.column) for one in receipt.columns)
    return f"{rows or _row_counts(receipt)}{f' in {columns}' if columns else ''}"


def row_figures(rehearsal: Rehearsal, runs: Sequence[Run]) -> tuple[str, ...]:
    """Sums; of the times blocked the longest, because that is the wait of an application."""
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


def _row_counts(receipt: Receipt) -> str:
    if receipt.rows_before is None:
        return f"new, with {format_quantity(receipt.rows_after or 0, 'row')}"
    if receipt.rows_after is None:
        return f"dropped, with {format_quantity(receipt.rows_before, 'row')}"
    return "no row differs"
