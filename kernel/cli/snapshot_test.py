"""db.snapshot-test."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.cli.context import parse_number_flag
from kernel.cli.migrate import wait_limits
from kernel.errors import ServerFailed, UsageError
from kernel.lint.finding import Severity
from kernel.operations.drift import add_git_evidence
from kernel.operations.status import require_migrations
from kernel.rehearsal.prod_copy.model import ProtectedDatabase
from kernel.rehearsal.prod_copy.store import open_store
from kernel.rehearsal.rehearse import rehearse
from kernel.rehearsal.request import RehearsalRequest, Reporter
from kernel.rehearsal.result import Limits
from kernel.report.output_file import check_report_writable, write_report
from kernel.report.progress import progress_observer
from kernel.report.rehearsal import rehearsal_text
from kernel.report.safe_text import to_one_line
from kernel.units import format_bytes, format_quantity

if TYPE_CHECKING:
    from kernel.cli.context import TaskContext
    from kernel.config.settings import Settings
    from kernel.rehearsal.result import Rehearsal


FINDINGS_EXIT = 8  # INTERFACE, "Exit codes": something at or above the threshold
_THRESHOLDS = {"error": Severity.ERROR, "warning": Severity.WARNING, "never": None}
_SHOWN_NOTES = 3  # the page and the JSON have all of them


def run_snapshot_test(
    desk: TaskContext,
    *,
    dump: str,
    schema_only: bool,
    jobs: str,
    report: str,
    max_block: str,
    fail_on: str,
    reader: str,
    queries: str,
    suggest: bool,
    keep: bool,
    yes: bool,
) -> int:
    """Rehearse what is pending and print what was found; the exit code. Raises KernelError."""
    settings = desk.settings
    wish = RehearsalRequest(
        dump=Path(dump) if dump else None,
        prod_db=settings.prod_db,
        test_db=settings.test_db,
        protected=_protected_databases(settings),
        schema_only=schema_only,
        jobs=parse_number_flag("--jobs", jobs, least=1) if jobs else _default_jobs(),
        keep=keep,
        allow_overwrite=yes,
        queries=queries,
        suggest=suggest,
        reader_seconds=float(parse_number_flag("--reader", reader, least=0)),
        limits=_parse_limits(max_block, fail_on),
        waits=wait_limits(desk, "0"),
        bindir=settings.pg_bindir,
    )
    page = Path(report) if report else None
    if suggest and not page:
        raise UsageError("--suggest: the files are written beside the report; name one with --report PATH")
    if page:
        if wish.dump and page.resolve() == wish.dump.resolve():
            raise UsageError(f"--report {page}: that is the dump; name another file")
        check_report_writable(page)
    found = require_migrations(settings.migrations_dir)
    telling = Reporter(
        print_line=desk.console.print_line,
        show_progress=desk.console.show_progress,
        observer=progress_observer(desk.console, quiet=True),
    )
    with add_git_evidence(desk.migrations_location):
        result = rehearse(found, wish, telling)
    written = _write_page_and_suggestions(page, result) if page else None
    for line in _copy_notes(result.restore.warnings):
        desk.console.print_line(line)
    desk.print_answer(lambda: _snapshot_test_text(result, page, written), lambda: _snapshot_test_document(result))
    return FINDINGS_EXIT if result.reasons else 0


def run_forget(desk: TaskContext) -> None:
    """Remove every golden copy that is kept and not in use, and say which. Raises ServerFailed."""
    try:
        forgotten = open_store().remove_unused()
    except OSError as error:
        raise ServerFailed(f"the copies that are kept cannot be reached: {error}") from error
    size_bytes = sum(entry.size_bytes for entry in forgotten.removed)
    names = [entry.name for entry in forgotten.removed]
    for entry, why in forgotten.not_removed:
        desk.console.print_line(f"warning: {entry.name}: not removed: {why}")
    desk.print_answer(
        lambda: (
            f"forgot {format_quantity(len(names), 'copy', 'copies')}, {format_bytes(size_bytes)}"
            if names
            else "no copy is kept"
        ),
        lambda: {"forgotten": names, "bytes": size_bytes},
    )


def _parse_limits(max_block: str, fail_on: str) -> Limits:
    if fail_on not in _THRESHOLDS:
        raise UsageError(f"--fail-on {fail_on}: expected error, warning or never")
    block_seconds = parse_number_flag("--max-block", max_block, least=0) / 1000
    return Limits(block_seconds=block_seconds, fail_on=_THRESHOLDS[fail_on])


def _protected_databases(settings: Settings) -> tuple[ProtectedDatabase, ...]:
    """The databases that a rehearsal must not overwrite, whatever TEST_DB says."""
    named = (("PROD_DB", settings.prod_db), (settings.database_variable, settings.database_url))
    return tuple(ProtectedDatabase(variable=variable, url=url) for variable, url in named if variable and url)


def _default_jobs() -> int:
    return max(2, min(8, os.cpu_count() or 2))


def _copy_notes(warnings: tuple[str, ...]) -> list[str]:
    """What to know of the copy, the first few lines of it."""
    more = len(warnings) - _SHOWN_NOTES
    return [
        *(f"note: {to_one_line(warning)}" for warning in warnings[:_SHOWN_NOTES]),
        *([f"note: and {more} more about the copy, listed with --report PATH.html"] if more > 0 else []),
    ]


def _snapshot_test_text(result: Rehearsal, page: Path | None, suggested: Path | None) -> str:
    if not result.runs:
        nothing = f"nothing to rehearse: every migration is applied in {to_one_line(result.source.name)}"
        return f"{nothing}\nreport     {page}" if page else nothing
    told = rehearsal_text(result, report=page)
    if result.advice is None:
        return told
    from kernel.report.suggestions import suggestions_text  # noqa: PLC0415 - with --suggest only

    advised = suggestions_text(result.advice, folder=suggested)
    return f"{told}\n\n{advised or 'suggested  nothing: no finding has a mechanical remedy'}"


def _write_page_and_suggestions(page: Path, result: Rehearsal) -> Path | None:
    """Write the page, and beside it the files that are suggested; their folder, None without any."""
    from kernel.rehearsal.suggest.files import write_suggested_files  # noqa: PLC0415 - with --report only
    from kernel.report.html_page.page import render_page  # noqa: PLC0415 - with --report only

    write_report(page, render_page(result))
    return write_suggested_files(page, result.advice) if result.advice else None


def _snapshot_test_document(result: Rehearsal) -> dict[str, object]:
    from kernel.report.json_rehearsal import rehearsal_document  # noqa: PLC0415 - with --json only

    return rehearsal_document(result)
