"""The rehearsals of a fleet, one for each kind of targets: text, JSON document and report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel.report.fleet import columns, error_line, error_lines, error_value, list_names
from kernel.report.fleet_report import error_findings
from kernel.report.json_rehearsal import rehearsal_document
from kernel.report.rehearsal import summarize_findings
from kernel.report.rehearsal_report import rehearsal_report
from kernel.report.safe_text import to_one_line
from kernel.report.task_report import ReportTable, TaskReport, with_fingerprints
from kernel.units import format_bytes, format_count, format_quantity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kernel.fleet.kinds import TargetKind
    from kernel.fleet.outcome import TargetError, TargetStatus
    from kernel.rehearsal import Rehearsal
    from kernel.report.json_documents import JsonDocument
    from kernel.report.task_report import ReportFinding

_HEADER = ("kind", "targets", "pending", "size", "rehearsed on", "result")


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRehearsal:
    """A kind with the rehearsal on its largest target and its `page`, or why there is none: `error`, or no files."""

    kind: TargetKind
    rehearsal: Rehearsal | None = None
    error: TargetError | None = None
    page: Path | None = None

    @property
    def failed(self) -> bool:
        """Whether findings are at or above the threshold."""
        return self.rehearsal is not None and bool(self.rehearsal.reasons)

    @property
    def result(self) -> str:
        """The result in a few words."""
        if self.error:
            return "could not be rehearsed"
        if self.rehearsal is None:
            return "not rehearsed" if self.kind.pending else "nothing to rehearse"
        return f"{self.rehearsal.verdict}: {summarize_findings(self.rehearsal)}"


def fleet_rehearsal_text(
    inventory: str, statuses: Sequence[TargetStatus], results: Sequence[KindRehearsal], *, dry_run: bool
) -> str:
    """A line for each kind, then what failed, and the targets that belong to no kind."""
    count = format_quantity(len(statuses), "target")
    lines = [f"{inventory}: {count} of {format_quantity(len(results), 'kind')}", ""]
    if results:
        lines += [*columns([_HEADER, *map(_row, results)], left=("kind", "rehearsed on", "result")), ""]
    for one in results:
        if one.error:
            lines.append(f"{one.kind.name}: {error_line(one.error)}")
        for reason in one.rehearsal.reasons if one.rehearsal else ():
            place = f"{reason.filename}:{reason.line}: " if reason.line else f"{reason.filename}: "
            lines.append(to_one_line(f"{one.kind.name}: {place}{reason.rule}: {reason.message}"))
        if one.page:
            lines.append(f"{one.kind.name}: report {one.page}")
    lines += error_lines(statuses)
    if dry_run:
        lines.append("nothing was rehearsed (--dry-run)")
    return "\n".join(lines).rstrip()


def _row(one: KindRehearsal) -> tuple[str, ...]:
    kind = one.kind
    return (
        kind.name,
        format_count(len(kind.targets)),
        format_count(kind.pending),
        format_bytes(kind.size_bytes),
        to_one_line(kind.largest) if kind.pending else "",
        one.result,
    )


def fleet_rehearsal_document(
    inventory: str, statuses: Sequence[TargetStatus], results: Sequence[KindRehearsal]
) -> JsonDocument:
    """The document of fleet.snapshot-test; `rehearsal` is that of db.snapshot-test, null where there was none."""
    return {
        "inventory": inventory,
        "verdict": "fail" if any(one.failed for one in results) else "pass",
        "kinds": [
            {
                "name": one.kind.name,
                "version": one.kind.version or None,
                "digest": one.kind.digest,
                "pending": one.kind.pending,
                "targets": list(one.kind.targets),
                "largest": one.kind.largest,
                "size_bytes": one.kind.size_bytes,
                "report": str(one.page) if one.page else None,
                "error": error_value(one.error),
                "rehearsal": rehearsal_document(one.rehearsal) if one.rehearsal else None,
            }
            for one in results
        ],
        "targets": [{"name": one.name, "state": str(one.state), "error": error_value(one.error)} for one in statuses],
    }


def fleet_rehearsal_report(
    inventory: str, statuses: Sequence[TargetStatus], results: Sequence[KindRehearsal], directory: str
) -> TaskReport:
    """The kinds as a table, and the findings of their rehearsals, each with the name of its kind."""
    findings: list[ReportFinding] = []
    for one in results:
        if one.rehearsal:
            findings += (
                replace(finding, message=f"{one.kind.name}: {finding.message}", fingerprint="", subject=one.kind.name)
                for finding in rehearsal_report(one.rehearsal, directory).findings
            )
    failed = [one for one in results if one.failed or one.error]
    return TaskReport(
        task="fleet.snapshot-test",
        failed=bool(failed) or any(one.error for one in statuses),
        scope=f"{inventory}: {format_quantity(len(statuses), 'target')} of {format_quantity(len(results), 'kind')}",
        verdict=f"{len(failed)} of {format_quantity(sum(one.kind.pending > 0 for one in results), 'rehearsal')} failed",
        directory=directory,
        tables=(ReportTable(title="Kinds", header=_HEADER, rows=tuple(map(_row, results))),),
        findings=with_fingerprints((*error_findings(statuses, directory), *findings)),
        notes=tuple(
            f"{one.kind.name}: {error_line(one.error)}"
            if one.error
            else f"{one.kind.name}: {list_names(one.kind.targets)}"
            for one in results
        ),
    )
