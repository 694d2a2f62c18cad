"""db.verify."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.db.connection import open_configured_session
from kernel.errors import Drift, EnvironmentFailed, FilesInvalid
from kernel.operations.verify import check_files, check_records
from kernel.report.status import problem_lines

if TYPE_CHECKING:
    from kernel.cli.context import TaskContext
    from kernel.operations.verify import FilesCheck, RecordsCheck


def run_verify(desk: TaskContext, *, offline: bool) -> int:
    """Print every problem, or one line that says what was checked; the exit code. Raises KernelError.

    Problems of the files are told even when the database cannot be reached.
    """
    files = check_files(desk.settings.migrations_dir)
    records = None
    try:
        if not offline:
            with open_configured_session(desk.settings, say=desk.console.print_line) as session:
                records = check_records(session, files, desk.migrations_location)
    except EnvironmentFailed as error:
        if not files.problems:
            raise
        desk.console.print_line(f"warning: not compared with the database: {error}")
    desk.print_answer(lambda: _verify_text(files, records), lambda: _verify_document(files, records))
    if files.problems:
        return FilesInvalid.exit
    return Drift.exit if records and records.problems else 0


def _verify_text(files: FilesCheck, records: RecordsCheck | None) -> str:
    found = (*files.problems, *(records.problems if records else ()))
    if found:
        lines = [line for problem in found for line in problem_lines(problem)]
        return "\n".join([*lines, f"{_counted(len(found), 'problem')} found"])
    read = f"{_counted(files.total, 'migration')} and {_counted(files.reverts, 'revert file')} read"
    compared = "not compared with a database"
    if records and records.plan:
        compared = f"compared with {_counted(records.plan.applied_count, 'record')} of {records.database}"
    gaps = f" (no file has {', '.join(files.gaps)})" if files.gaps else ""
    return f"{read}, {compared}: nothing is wrong{gaps}"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _verify_document(files: FilesCheck, records: RecordsCheck | None) -> dict[str, object]:
    from kernel.report.json_documents import verify_document  # noqa: PLC0415 - with --json only

    return verify_document(files, records)
