"""The reports of the tasks of a fleet: a table of waves, versions or groups, and what is wrong, a finding each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.fleet.outcome import TargetState
from kernel.lint.rules import Severity
from kernel.report.fleet import floor_line, list_names, state_words
from kernel.report.task_report import ReportFinding, ReportRule, ReportTable, TaskReport, join_path, with_fingerprints
from kernel.units import format_count, format_quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kernel.fleet.outcome import TargetError, TargetOutcome, TargetStatus
    from kernel.fleet.rollout import RolloutReport
    from kernel.fleet.survey import FleetStatus
    from kernel.fleet.verify import RecordGroup


def status_report(status: FleetStatus, directory: str, *, failed: bool) -> TaskReport:
    """The versions with their targets; `directory` is the path of the migrations from the top of the repository."""
    findings = error_findings(status.targets, directory)
    rows = tuple((version or "none", format_count(count)) for version, count in status.versions)
    return TaskReport(
        task="fleet.status",
        failed=failed,
        scope=f"{status.inventory}: {format_quantity(len(status.targets), 'target')}",
        verdict=floor_line(status),
        directory=directory,
        tables=(ReportTable(title="Versions", header=("version", "targets"), rows=rows),),
        findings=findings,
    )


def migrate_report(report: RolloutReport, directory: str) -> TaskReport:
    """The waves with the states of their targets."""
    shown = [state for state in TargetState if any(one.state is state for one in report.outcomes)]
    rows = tuple(
        (
            wave.wave,
            format_count(len(wave.outcomes)),
            *(format_count(sum(one.state is state for one in wave.outcomes)) for state in shown),
        )
        for wave in report.waves
    )
    findings = error_findings(report.outcomes, directory)
    counts = (f"{sum(one.state is state for one in report.outcomes)} {state_words(state)}" for state in shown)
    return TaskReport(
        task="fleet.migrate",
        failed=bool(findings),
        scope=f"{report.inventory}: {format_quantity(len(report.outcomes), 'target')}, files to {report.last_version}",
        verdict=", ".join(counts) or "no targets",
        directory=directory,
        tables=(ReportTable(title="Waves", header=("wave", "targets", *map(state_words, shown)), rows=rows),),
        findings=findings,
        notes=tuple(dict.fromkeys(wave.stopped for wave in report.waves if wave.stopped)),
    )


def verify_report(
    inventory: str, statuses: Sequence[TargetStatus], groups: Sequence[RecordGroup], directory: str
) -> TaskReport:
    """The groups of targets with the same records."""
    findings = error_findings(statuses, directory, *_catalog_findings(groups))
    rows = tuple(
        (list_names(group.targets), format_count(len(group.targets)), format_count(len(group.records)))
        for group in groups
    )
    return TaskReport(
        task="fleet.verify",
        failed=bool(findings),
        scope=f"{inventory}: {format_quantity(len(statuses), 'target')}",
        verdict=f"{format_quantity(len(groups), 'group')} of targets with the same records",
        directory=directory,
        tables=(ReportTable(title="Groups", header=("targets", "number", "records"), rows=rows),),
        findings=findings,
        notes=tuple(f"{list_names(group.targets)}: {'; '.join(group.differences)}" for group in groups[1:]),
    )


def _catalog_findings(groups: Sequence[RecordGroup]) -> Iterator[ReportFinding]:
    """A finding for each difference of a catalog from that of most targets with the same records."""
    rule = ReportRule(
        id="catalogs-differ",
        name="Catalogs differ",
        condition="a target has the same records as others, and another catalog",
        remedy="compare it with the files: inv db.verify --schema",
    )
    for group in groups:
        for odd in group.catalogs:
            for difference in odd.differences:
                message = f"{list_names(odd.targets)}: {difference}"
                yield ReportFinding(rule=rule, severity=Severity.ERROR, message=message, subject=message)


def error_findings(
    results: Iterable[TargetStatus | TargetOutcome], directory: str, *others: ReportFinding
) -> tuple[ReportFinding, ...]:
    """A finding for each message, with the names of the targets that have it; then the others."""
    names: dict[TargetError, list[str]] = {}
    for one in results:
        if one.error:
            names.setdefault(one.error, []).append(one.name)
    found_errors = (
        ReportFinding(
            rule=ReportRule(id=error.code, name=error.code.replace("_", " ").capitalize(), condition=error.code),
            severity=Severity.ERROR,
            message=f"{list_names(found)}: {error.message}",
            remedy=error.hint or "",
            file=join_path(directory, error.file or ""),
            line=error.line,
            subject=found[0],
        )
        for error, found in names.items()
    )
    return with_fingerprints((*found_errors, *others))
