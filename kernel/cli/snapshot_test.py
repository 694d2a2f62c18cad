"""db.snapshot-test: rehearse the pending migrations on a copy of production."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.cli.context import parse_number_flag
from kernel.cli.migrate import add_git_evidence, wait_limits
from kernel.errors import UsageError
from kernel.lint.finding import Severity
from kernel.migrations.migration import require_migrations
from kernel.rehearsal import CopyTarget, Limits, RehearsalRequest, Reporter, forget_kept_copies, rehearse
from kernel.rehearsal.suggest.files import write_suggested_files
from kernel.report.json_rehearsal import rehearsal_document
from kernel.report.output_file import check_report_writable, write_report
from kernel.report.rehearsal import rehearsal_text
from kernel.report.rehearsal_report import rehearsal_report
from kernel.report.safe_text import to_one_line
from kernel.report.suggestions import suggestions_text
from kernel.units import format_bytes, format_quantity

if TYPE_CHECKING:
    from kernel.cli.context import TaskContext
    from kernel.config.settings import Settings
    from kernel.rehearsal import Rehearsal


FINDINGS_EXIT = 8  # docs/specification.md, exit codes: findings at or above the threshold
_THRESHOLDS = {"error": Severity.ERROR, "warning": Severity.WARNING, "never": None}
_SHOWN_NOTES = 3  # the page and the JSON document list all of them


def run_snapshot_test(
    context: TaskContext,
    *,
    dump: str,
    schema_only: bool,
    jobs: str,
    report: str,
    max_block: str,
    fail_on: str,
    reader: str,
    queries: str,
    queries_after: str,
    suggest: bool,
    keep: bool,
    yes: bool,
) -> int:
    """Rehearse the pending migrations and print the result; return the exit code. Raises KernelError."""
    settings = context.settings
    request = RehearsalRequest(
        dump=Path(dump) if dump else None,
        prod_db=settings.prod_db,
        target=CopyTarget(
            test_db=settings.test_db, protected=_protected_databases(settings), allow_overwrite=yes, keep=keep
        ),
        schema_only=schema_only,
        jobs=parse_number_flag("--jobs", jobs, least=1) if jobs else default_jobs(),
        reader_seconds=float(parse_number_flag("--reader", reader, least=0)),
        queries=queries,
        queries_after=Path(queries_after) if queries_after else None,
        suggest=suggest,
        limits=parse_limits(max_block, fail_on),
        waits=wait_limits(context, "0"),
        bindir=settings.pg_bindir,
        migrations_table=settings.migrations_table,
        role=settings.role,
    )
    page = Path(report) if report else None
    _check_report(page, request)
    migrations = require_migrations(settings.migrations_dir)
    reporter = Reporter(
        print_line=context.console.print_line,
        show_progress=context.console.show_progress,
        observer=context.progress.observer(quiet=True),
    )
    with add_git_evidence(context.migrations_location):
        rehearsal = rehearse(migrations, request, reporter)
    folder = _write_page_and_suggestions(page, rehearsal) if page else None
    for line in _copy_notes(rehearsal.restore.warnings):
        context.console.print_line(line)
    context.print_result(
        lambda: _snapshot_test_text(rehearsal, page, folder, terminal=context.console.out.isatty()),
        lambda: rehearsal_document(rehearsal),
        lambda directory: rehearsal_report(rehearsal, directory),
    )
    return FINDINGS_EXIT if rehearsal.reasons else 0


def run_forget(context: TaskContext) -> None:
    """Remove every kept copy that is not in use, and print their names. Raises ServerFailed."""
    context.require_text_or_json("--forget")
    forgotten = forget_kept_copies()
    size_bytes = sum(entry.size_bytes for entry in forgotten.removed)
    names = [entry.name for entry in forgotten.removed]
    for entry, reason in forgotten.not_removed:
        context.console.print_line(f"warning: {entry.name}: not removed: {reason}")
    context.print_result(
        lambda: (
            f"forgot {format_quantity(len(names), 'copy', 'copies')}, {format_bytes(size_bytes)}"
            if names
            else "no copy is kept"
        ),
        lambda: {"forgotten": names, "bytes": size_bytes},
    )


def parse_limits(max_block: str, fail_on: str) -> Limits:
    """Parse --max-block and --fail-on. Raises UsageError."""
    if fail_on not in _THRESHOLDS:
        raise UsageError(f"--fail-on {fail_on}: expected error, warning or never")
    block_seconds = parse_number_flag("--max-block", max_block, least=0) / 1000
    return Limits(block_seconds=block_seconds, fail_on=_THRESHOLDS[fail_on])


def _protected_databases(settings: Settings) -> dict[str, str]:
    """The databases that a rehearsal must not overwrite: variable -> URL."""
    urls = {"PROD_DB": settings.prod_db, settings.database_variable: settings.database_url}
    return {variable: url for variable, url in urls.items() if variable and url is not None}


def default_jobs() -> int:
    """The number of connections that restore and compare, without --jobs."""
    return max(2, min(8, os.cpu_count() or 2))


def _check_report(page: Path | None, request: RehearsalRequest) -> None:
    """Raise UsageError for a report that could not be written at the end of the rehearsal."""
    if page is None:
        if request.suggest:
            raise UsageError("--suggest: the files are written next to the report; name one with --report PATH")
        return
    if request.dump and page.resolve() == request.dump.resolve():
        raise UsageError(f"--report {page}: that is the dump; name another file")
    check_report_writable(page)


def _copy_notes(warnings: tuple[str, ...]) -> list[str]:
    """The first warnings about the copy, a line each, and the number of the rest."""
    more = len(warnings) - _SHOWN_NOTES
    return [
        *(f"note: {to_one_line(warning)}" for warning in warnings[:_SHOWN_NOTES]),
        *([f"note: and {more} more about the copy, listed with --report PATH.html"] if more > 0 else []),
    ]


def _snapshot_test_text(rehearsal: Rehearsal, page: Path | None, folder: Path | None, *, terminal: bool) -> str:
    if not rehearsal.runs:
        text = f"nothing to rehearse: every migration is applied in {to_one_line(rehearsal.source.name)}"
        return f"{text}\nreport     {page}" if page else text
    text = rehearsal_text(rehearsal, report=page, terminal=terminal)
    if rehearsal.advice is None:
        return text
    suggestions = suggestions_text(rehearsal.advice, folder=folder)
    return f"{text}\n\n{suggestions or 'suggested  nothing: no finding has a mechanical remedy'}"


def _write_page_and_suggestions(page: Path, rehearsal: Rehearsal) -> Path | None:
    """Write the page, and next to it a folder with the suggested files; return that folder, None without any."""
    from kernel.report.html_page.page import render_page  # noqa: PLC0415 - with --report only

    write_report(page, render_page(rehearsal))
    return write_suggested_files(page, rehearsal.advice) if rehearsal.advice else None
