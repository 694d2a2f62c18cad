"""The report of a rehearsal for a pull request: what is pending, the verdict, the measurements, the findings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.lint.finding import SEVERITY_ORDER
from kernel.rehearsal.result import TableContent
from kernel.report.lint import report_finding
from kernel.report.rehearsal import (
    MIGRATIONS_HEADER,
    changed_receipts,
    describe_receipt,
    describe_traffic,
    row_figures,
    summarize_findings,
    summarize_receipts,
)
from kernel.report.task_report import ReportTable, TaskReport
from kernel.sql.passwords import mask_passwords
from kernel.units import clip_text, format_bytes, format_count, format_quantity, format_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.lint.finding import Finding
    from kernel.rehearsal.result import Receipt, Rehearsal, Run

_RECEIPTS_HEADER = ("table", "rows before", "rows after", "change", "declared")
_STATEMENT_CHARACTERS = 2_000


def rehearsal_report(rehearsal: Rehearsal, directory: str) -> TaskReport:
    """The report; `directory` is the path of the migrations from the top of the repository."""
    runs = rehearsal.runs
    pending = "no migration is" if not runs else "1 migration is" if len(runs) == 1 else f"{len(runs)} migrations are"
    findings = sorted(rehearsal.findings, key=lambda one: (one not in rehearsal.reasons, SEVERITY_ORDER[one.severity]))
    return TaskReport(
        task="db.snapshot-test",
        failed=bool(rehearsal.reasons),
        scope=f"{pending} pending in {rehearsal.source.name}",
        files=tuple(run.filename for run in runs),
        verdict=f"{summarize_findings(rehearsal)}; {_describe_copy(rehearsal)}" if runs else "nothing to rehearse",
        directory=directory,
        tables=(
            ReportTable(
                title="Migrations",
                header=MIGRATIONS_HEADER,
                rows=tuple((_run_name(run), *row_figures(rehearsal, [run])) for run in runs),
            ),
            ReportTable(
                title="Data",
                header=_RECEIPTS_HEADER,
                rows=tuple(map(_receipt_row, changed_receipts(rehearsal))),
                more=summarize_receipts(rehearsal) if rehearsal.receipts else "",
            ),
        ),
        findings=tuple(report_finding(one, directory, excerpt=_statement_of(rehearsal, one)) for one in findings),
        notes=tuple(_notes(rehearsal)),
    )


def _describe_copy(rehearsal: Rehearsal) -> str:
    restore = rehearsal.restore
    word, seconds = ("cloned", restore.clone_seconds) if restore.reused else ("restored", restore.seconds)
    return f"rehearsed on a copy of {format_bytes(restore.size_bytes)}, {word} in {format_seconds(seconds)}"


def _run_name(run: Run) -> str:
    return f"{run.filename} failed" if run.failed else run.filename


def _receipt_row(receipt: Receipt) -> tuple[str, ...]:
    rows = ("-" if number is None else format_count(number) for number in (receipt.rows_before, receipt.rows_after))
    declared = "no" if receipt.content is TableContent.CHANGED else "yes"
    return receipt.table, *rows, describe_receipt(receipt), declared


def _statement_of(rehearsal: Rehearsal, finding: Finding) -> str:
    run = next((one for one in rehearsal.runs if one.version == finding.version), None)
    statement = run.statement_at(finding.offset) if run else None
    return clip_text(mask_passwords(statement.sql), _STATEMENT_CHARACTERS) if statement else ""


def _notes(rehearsal: Rehearsal) -> Iterator[str]:
    """The traffic, and the practices that did not hold or were not tried."""
    if traffic := describe_traffic(rehearsal):
        yield f"traffic: {traffic}"
    for one in rehearsal.practices:
        if one.held is not True:
            state = "not held" if one.held is False else "not tried"
            why = f": {one.details[0].removeprefix(f'{state}: ')}" if one.details else ""
            yield f"practice {state}: {one.name}{why}"
    held = [one.name for one in rehearsal.practices if one.held]
    if held:
        yield f"{format_quantity(len(held), 'practice')} held: {', '.join(held)}"
