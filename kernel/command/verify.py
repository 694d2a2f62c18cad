"""db.verify."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel import target, verify
from kernel.errors import Drift, EnvironmentFailed, FilesInvalid
from kernel.report import problems

if TYPE_CHECKING:
    from kernel.command.desk import Desk
    from kernel.verify import Files, Records


def run(desk: Desk, *, offline: bool) -> int:
    """Print every problem, or one line that says what was checked; the exit code. Raises KernelError.

    Problems of the files are told even when the database cannot be reached.
    """
    files = verify.files(desk.settings.migrations_dir)
    records = None
    try:
        if not offline:
            with target.session(desk.settings, say=desk.console.say) as session:
                records = verify.records(session, files, desk.place)
    except EnvironmentFailed as error:
        if not files.problems:
            raise
        desk.console.say(f"warning: not compared with the database: {error}")
    desk.answer(lambda: _text(files, records), lambda: _document(files, records))
    if files.problems:
        return FilesInvalid.exit
    return Drift.exit if records and records.problems else 0


def _text(files: Files, records: Records | None) -> str:
    found = (*files.problems, *(records.problems if records else ()))
    if found:
        lines = [line for problem in found for line in problems.lines(problem)]
        return "\n".join([*lines, f"{_count(len(found), 'problem')} found"])
    read = f"{_count(files.total, 'migration')} and {_count(files.reverts, 'revert file')} read"
    compared = "not compared with a database"
    if records and records.plan:
        compared = f"compared with {_count(records.plan.applied, 'record')} of {records.database}"
    gaps = f" (no file has {', '.join(files.gaps)})" if files.gaps else ""
    return f"{read}, {compared}: nothing is wrong{gaps}"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _document(files: Files, records: Records | None) -> dict[str, object]:
    from kernel.report import documents  # noqa: PLC0415 - with --json only

    return documents.verified(files, records)
