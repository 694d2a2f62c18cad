"""db.lint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.db.connection import open_configured_session
from kernel.errors import EnvironmentFailed, LedgerShape
from kernel.lint.lint import lint_migrations, read_migration_directory
from kernel.operations.status import read_status
from kernel.report.lint import github_annotations, lint_document, lint_text

if TYPE_CHECKING:
    from kernel.cli.context import TaskContext
    from kernel.lint.lint import MigrationDirectory


FINDINGS_EXIT = 8  # INTERFACE, "Exit codes": something at or above the threshold, which for a linter is an error


def run_lint(desk: TaskContext, *, every: bool) -> int:
    """Print what is hazardous in the pending files, or in `every` one; the exit code. Raises FilesInvalid.

    Without a database to compare with, as in a pre-commit hook, every file is judged, and a line says so.
    """
    found = read_migration_directory(desk.settings.migrations_dir)
    wanted = {one.filename for one in found.migrations}
    if not every:
        wanted = _pending_filenames(desk, found)
    result = lint_migrations(found, wanted)
    for note in result.notes:
        desk.console.print_line(f"note: {note}")
    if os.environ.get("GITHUB_ACTIONS") == "true":
        top = Path(os.environ.get("GITHUB_WORKSPACE") or desk.settings.root)
        for line in github_annotations(result, desk.settings.migrations_dir, top):
            desk.console.print_line(line)  # GitHub reads both streams, and stdout is the result's
    desk.print_answer(lambda: lint_text(result), lambda: lint_document(result))
    return FINDINGS_EXIT if result.failed else 0


def _pending_filenames(desk: TaskContext, found: MigrationDirectory) -> set[str]:
    """The names of the pending files; of every one where that cannot be told."""
    say = desk.console.print_line
    every = {one.filename for one in found.migrations}
    reason = _why_no_database(desk, found)
    if not reason:
        try:
            with open_configured_session(desk.settings, say=say) as session:
                now = read_status(session, found.migrations)
        except (EnvironmentFailed, LedgerShape) as error:
            reason = str(error).partition("\n")[0]
        else:
            pending = {one.filename for one in now.plan.pending}
            say(f"{len(pending)} of {len(every)} files are pending in {now.database}: these are looked at")
            return pending
    say(f"every file is looked at, applied or not: {reason}")
    return every


def _why_no_database(desk: TaskContext, found: MigrationDirectory) -> str:
    """Why no database need be asked, "" where one must be."""
    if found.duplicates:
        return "a number that two files have is applied or pending for both"
    if not found.migrations:
        return "there is none"
    settings = desk.settings
    if settings.database_url:
        return ""
    from kernel.postgres.development import development_data_folder  # noqa: PLC0415 - production never needs it

    # To make a server, only to learn that nothing is applied in it, would be a strange thing for a linter to do.
    data = development_data_folder(settings.root, settings.data_dir)
    return "" if data.exists() else "no database is set, and the embedded server has none yet"
