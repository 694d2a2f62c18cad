"""db.verify: check files and records, and with flags the data and the live catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.cli.context import parse_seconds_flag
from kernel.db.connection import open_configured_session
from kernel.db.repeatable_entries import RepeatableState
from kernel.errors import DatabaseRefused, Drift, EnvironmentFailed, FilesInvalid, UsageError
from kernel.operations.verify import check_files, check_records, run_checks
from kernel.report.json_documents import verify_document
from kernel.report.status import ahead_warning, missing_repeatable_warning, problem_lines
from kernel.report.verify import verify_report, verify_scope
from kernel.units import format_quantity

if TYPE_CHECKING:
    from kernel.cli.context import TaskContext
    from kernel.db.connection import Session
    from kernel.operations.verify import FilesCheck, RecordsCheck
    from kernel.schema.drift import SchemaCheck


def run_verify(
    context: TaskContext,
    *,
    offline: bool,
    wait: str,
    checks: bool = False,
    schema: bool = False,
    privileges: bool = False,
) -> int:
    """Print every problem, or one line that says what was checked; return the exit code. Raises KernelError.

    Problems of the files are reported even when the database cannot be reached. With `schema` the catalog is compared
    with what the applied files make, with `privileges` owners and grants too.
    """
    wait_seconds = parse_seconds_flag("--wait", wait)
    for flag, given in (("--run", checks), ("--schema", schema), ("--wait", wait_seconds)):
        if offline and given:
            raise UsageError(f"{flag} needs a database, which --offline rules out; give one of them")
    if privileges and not schema:
        raise UsageError("--privileges is about what --schema compares; give both")
    files = check_files(context.settings.migrations_dir, context.settings.migrations_table)
    records = catalog = None
    try:
        if not offline:
            with open_configured_session(
                context.settings, say=context.console.print_line, wait_seconds=wait_seconds
            ) as session:
                records = _check_records(context, session, files, checks=checks, optional=schema and not checks)
                files = files.without_applied_empty(records.plan if records else None)
                if schema:
                    from kernel.cli.schema_check import check_live_schema  # noqa: PLC0415 - with --schema only

                    plan, repeatable = (records.plan, records.repeatable) if records else (None, ())
                    catalog = check_live_schema(
                        context, session, files.migrations, plan, repeatable, privileges=privileges
                    )
    except EnvironmentFailed as error:
        if not files.problems:
            raise
        context.console.print_line(f"warning: not compared with the database: {error}")
    context.print_result(
        lambda: _verify_text(files, records, catalog),
        lambda: verify_document(files, records, catalog),
        lambda directory: verify_report(files, records, directory, catalog),
    )
    if files.problems:
        return FilesInvalid.exit
    differs = (records and records.problems) or (catalog and catalog.differences)
    return Drift.exit if differs else 0


def _check_records(
    context: TaskContext, session: Session, files: FilesCheck, *, checks: bool, optional: bool
) -> RecordsCheck | None:
    """Compare the records, and run the checks of data; None if they are `optional` and this role cannot read them."""
    try:
        records = check_records(session, files, context.migrations_location)
    except DatabaseRefused as error:
        if not optional:
            raise
        context.console.print_line(f"warning: {error}; all files are taken to be applied")
        return None
    return run_checks(session, records, context.settings.migrations_table) if checks else records


def _verify_text(files: FilesCheck, records: RecordsCheck | None, catalog: SchemaCheck | None) -> str:
    if catalog is None:
        return _files_and_records_text(files, records)
    text = _files_and_records_text(files, records, agree="files and records agree")
    from kernel.report.schema_check import schema_check_lines  # noqa: PLC0415 - with --schema only

    return "\n".join((text, *schema_check_lines(catalog)))


def _files_and_records_text(files: FilesCheck, records: RecordsCheck | None, *, agree: str = "nothing is wrong") -> str:
    problems = (*files.problems, *(records.problems if records else ()))
    if problems:
        lines = [line for problem in problems for line in problem_lines(problem)]
        return "\n".join([*lines, f"{format_quantity(len(problems), 'problem')} found"])
    gaps = f" (no file has {', '.join(files.gaps)})" if files.gaps else ""
    text = f"{verify_scope(files, records)}: {agree}{gaps}"
    if records and records.plan and records.plan.records_ahead:
        text += f"\n{ahead_warning(records.plan)}"
    for entry in records.repeatable if records else ():
        if entry.state is RepeatableState.MISSING:
            text += f"\n{missing_repeatable_warning(entry.name)}"
    return text
