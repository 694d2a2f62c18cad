"""What the templates ask of a rehearsal: sorted, grouped, and figures with their place in the JSON document."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from kernel.lint.finding import SEVERITY_ORDER, Severity
from kernel.rehearsal.result import TableContent
from kernel.report.suggestions import Figure, longest_figure

if TYPE_CHECKING:
    from kernel.lint.finding import Finding
    from kernel.rehearsal.result import Receipt, RefusedSuggestion, Rehearsal, SuggestionResult, TracedStatement
    from kernel.report.suggestions import Access

NumberedFinding = tuple[int, "Finding"]
NumberedReceipt = tuple[int, "Receipt"]

_CONTENT_ORDER = [TableContent.CHANGED, TableContent.EXPECTED, TableContent.SAME]


def longest_wait(rehearsal: Rehearsal, access: Access) -> Figure | None:
    """The longest wait of a probe session, including its time in the lock queue; None when none waited."""
    key = f"{access}_longest_seconds"
    return longest_figure(
        Figure(getattr(one, key), f"/traffic/{at}/{key}", one.relation) for at, one in enumerate(rehearsal.traffic)
    )


def message_parts(finding: Finding) -> tuple[str, str]:
    """The sentence of a finding without its relation, and the lines below it whose columns matter, such as a plan's."""
    sentence, _, below = finding.message.partition("\n")
    return sentence.removeprefix(f"{finding.relation}: "), below


def serious_findings(rehearsal: Rehearsal) -> list[tuple[str, list[NumberedFinding]]]:
    """Findings with their numbers from 1, by the file or version they belong to, the worst of each first."""
    numbered = ((at, one) for at, one in enumerate(rehearsal.findings, 1) if one.severity is not Severity.HARMLESS)
    ordered = sorted(numbered, key=_finding_rank)
    return [
        (file, list(group)) for file, group in groupby(ordered, key=lambda pair: pair[1].filename or pair[1].version)
    ]


def harmless_findings(rehearsal: Rehearsal) -> list[NumberedFinding]:
    """Findings that were measured and proved harmless, with their numbers from 1."""
    numbered = ((at, one) for at, one in enumerate(rehearsal.findings, 1) if one.severity is Severity.HARMLESS)
    return sorted(numbered, key=_finding_rank)


def _finding_rank(numbered: NumberedFinding) -> tuple[str, str, int, int]:
    at, finding = numbered
    return finding.version, finding.filename, SEVERITY_ORDER[finding.severity], at


def statement_of(rehearsal: Rehearsal, finding: Finding) -> TracedStatement | None:
    """The statement that a finding is about; None when it is about none, or that statement did not run."""
    runs = [run for run in rehearsal.runs if run.version == finding.version]
    statement = runs[0].statement_at(finding.offset) if runs else None
    return statement if statement and (finding.line or 0) <= statement.line + statement.sql.count("\n") else None


def receipts_by_touched(rehearsal: Rehearsal) -> tuple[list[NumberedReceipt], list[NumberedReceipt]]:
    """Receipts with their places in the document: of tables whose rows were compared, and of untouched tables."""
    ordered = sorted(
        enumerate(rehearsal.receipts), key=lambda pair: (_CONTENT_ORDER.index(pair[1].content), pair[1].table)
    )
    touched = [pair for pair in ordered if _is_touched(pair[1])]
    return touched, [pair for pair in ordered if pair not in touched]


def _is_touched(receipt: Receipt) -> bool:
    """Whether its rows had to be compared; for the others the counters of the server suffice, which takes no time."""
    counts = (receipt.added, receipt.removed, receipt.changed, receipt.columns, receipt.unexpected, receipt.seconds)
    return receipt.content is not TableContent.SAME or any(counts) or receipt.rows_before != receipt.rows_after


def count_findings(rehearsal: Rehearsal) -> tuple[int, int, int]:
    """The numbers of failed migrations, errors and warnings, at or above the threshold and below it."""
    severities = [one.severity for one in rehearsal.findings]
    failed = sum(run.failed is not None for run in rehearsal.runs)
    return failed, severities.count(Severity.ERROR), severities.count(Severity.WARNING)


class RowsSummary(NamedTuple):
    """The rows that changed most gravely: their number, its label and the tables; a `text` alone where none changed.

    `others` are the numbers of rows that changed otherwise, with a verb.
    """

    label: str
    text: str
    severity: str = ""
    number: int | None = None
    tables: tuple[str, ...] = ()
    others: tuple[tuple[int, str], ...] = ()


def summarize_rows(rehearsal: Rehearsal) -> RowsSummary:
    """Rows removed, else changed, else added; undeclared changes before declared ones."""
    for content, text, severity in (
        (TableContent.CHANGED, "not declared", "error"),
        (TableContent.EXPECTED, "as declared", "harmless"),
    ):
        receipts = [one for one in rehearsal.receipts if one.content is content]
        counts = {
            "removed": {one.table: one.removed or _all_rows(one.rows_before, one.rows_after) for one in receipts},
            "changed": {one.table: one.changed for one in receipts},
            "added": {one.table: one.added or _all_rows(one.rows_after, one.rows_before) for one in receipts},
        }
        totals = [(sum(by_table.values()), verb) for verb, by_table in counts.items() if any(by_table.values())]
        if totals:
            number, verb = totals[0]
            tables = tuple(table for table, rows in counts[verb].items() if rows)
            return RowsSummary(f"Rows {verb}", text, severity, number, tables, tuple(totals[1:]))
    return RowsSummary("Rows", "unchanged" if rehearsal.receipts else "not compared")


def _all_rows(of_one_side: int | None, of_the_other: int | None) -> int:
    """The rows of a table that exists on one side only."""
    return (of_one_side or 0) if of_the_other is None else 0


def refused_without_suggestion(advice: SuggestionResult) -> list[tuple[str, RefusedSuggestion]]:
    """What is refused in files without any suggestion, with their names; the others say it with their suggestion."""
    tried = {trial.suggestion.filename for trial in advice.trials}
    return [(filename, refused) for filename, refused in advice.refused if filename not in tried]
