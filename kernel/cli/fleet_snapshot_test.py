"""fleet.snapshot-test: rehearse the pending migrations on a copy of one target of each kind, the largest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.cli.context import parse_number_flag
from kernel.cli.fleet import open_fleet, open_workers, survey_fleet, work_options
from kernel.cli.migrate import wait_limits
from kernel.cli.snapshot_test import FINDINGS_EXIT, default_jobs, parse_limits
from kernel.errors import Drift, EnvironmentFailed, LockBusy, UsageError
from kernel.fleet.kinds import group_by_kind
from kernel.fleet.outcome import describe_error, worst_exit
from kernel.fleet.survey import read_fleet, read_fleet_catalogs
from kernel.rehearsal import RehearsalRequest, Reporter, rehearse
from kernel.report.fleet_rehearsal import (
    KindRehearsal,
    fleet_rehearsal_document,
    fleet_rehearsal_report,
    fleet_rehearsal_text,
)
from kernel.report.output_file import check_report_writable, write_report
from kernel.units import format_bytes, format_quantity

if TYPE_CHECKING:
    from kernel.cli.context import TaskContext
    from kernel.cli.fleet import Fleet, FleetFlags
    from kernel.fleet.kinds import TargetKind
    from kernel.rehearsal import Rehearsal


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFlags:
    """The flags of fleet.snapshot-test alone; texts are "" where they are not given."""

    schema_only: bool = False
    jobs: str = ""
    report: str = ""
    max_block: str = "1000"
    fail_on: str = "error"
    reader: str = "0"
    dry_run: bool = False


def run_fleet_snapshot_test(context: TaskContext, flags: FleetFlags, own: SnapshotFlags) -> int:
    """Rehearse each kind of targets and print the results; return the exit code. Raises KernelError.

    A kind that cannot be copied does not keep the others from being rehearsed.
    """
    request = _rehearsal_request(context, own)
    folder = Path(own.report) if own.report else None
    if folder and folder.exists() and not folder.is_dir():
        raise UsageError(f"--report {folder}: is a file; name a folder, which gets a page for each kind")
    fleet = open_fleet(context, flags)
    with open_workers(fleet, work_options(context.settings), cluster=flags.cluster) as workers:
        survey = survey_fleet(fleet, workers)
        statuses = read_fleet(survey, workers, fleet.limits)
        catalogs = read_fleet_catalogs(survey, workers, fleet.limits)
    statuses = tuple(one if one.error else replace(one, error=catalogs.errors.get(one.name)) for one in statuses)
    kinds = group_by_kind(statuses, catalogs)
    pages = {kind: folder / f"{kind.name}.html" for kind in kinds if folder and kind.pending and not own.dry_run}
    for page in pages.values():
        page.parent.mkdir(parents=True, exist_ok=True)
        check_report_writable(page)
    results = []
    for kind in kinds:
        if own.dry_run or not kind.pending:
            results.append(KindRehearsal(kind=kind))
        else:
            results.append(_rehearse_kind(context, fleet, kind, request, page=pages.get(kind)))
    name = fleet.inventory.filename
    context.print_result(
        lambda: fleet_rehearsal_text(name, statuses, results, dry_run=own.dry_run),
        lambda: fleet_rehearsal_document(name, statuses, results),
        lambda directory: fleet_rehearsal_report(name, statuses, results, directory),
    )
    errors = worst_exit([*statuses, *(one for one in results if one.error)])
    return errors or (FINDINGS_EXIT if any(one.failed for one in results) else 0)


def _rehearsal_request(context: TaskContext, own: SnapshotFlags) -> RehearsalRequest:
    settings = context.settings
    return RehearsalRequest(
        schema_only=own.schema_only,
        jobs=parse_number_flag("--jobs", own.jobs, least=1) if own.jobs else default_jobs(),
        reader_seconds=float(parse_number_flag("--reader", own.reader, least=0)),
        limits=parse_limits(own.max_block, own.fail_on),
        waits=wait_limits(context, "0"),
        bindir=settings.pg_bindir,
        migrations_table=settings.migrations_table,
        role=settings.role,
    )


def _rehearse_kind(
    context: TaskContext, fleet: Fleet, kind: TargetKind, request: RehearsalRequest, *, page: Path | None
) -> KindRehearsal:
    """Rehearse on a copy of the largest target, of its schema alone where it is one; an error is part of the result."""
    target = next(target for target in fleet.targets if target.name == kind.largest)
    context.console.print_line(
        f"{kind.name}: rehearsing {format_quantity(kind.pending, 'migration')} on {target.name} "
        f"({format_bytes(kind.size_bytes)})"
    )
    reporter = Reporter(
        print_line=context.console.print_line,
        show_progress=context.console.show_progress,
        observer=context.progress.observer(quiet=True),
    )
    ledger = request.migrations_table
    request = replace(
        request,
        prod_db=fleet.addresses.url(target),
        schemas=(target.schema, *target.search_path) if target.schema else (),
        migrations_table=replace(ledger, schema=target.schema) if target.schema else ledger,
    )
    try:
        rehearsal = rehearse(fleet.migrations, request, reporter)
    except (EnvironmentFailed, Drift, LockBusy) as error:
        return KindRehearsal(kind=kind, error=describe_error(error))
    if page:
        _write_page(page, rehearsal)
    return KindRehearsal(kind=kind, rehearsal=rehearsal, page=page)


def _write_page(page: Path, rehearsal: Rehearsal) -> None:
    from kernel.report.html_page.page import render_page  # noqa: PLC0415 - with --report only

    write_report(page, render_page(rehearsal))
