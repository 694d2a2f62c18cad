"""db.lint: lint migration files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.db.connection import open_configured_session
from kernel.errors import EnvironmentFailed, LedgerShape
from kernel.lint.lint import lint_migrations, read_migration_directory
from kernel.plan import read_status
from kernel.report.lint import github_annotations, lint_document, lint_text

if TYPE_CHECKING:
    from kernel.cli.context import TaskContext
    from kernel.lint.lint import MigrationDirectory


FINDINGS_EXIT = 8  # findings of severity error


def run_lint(context: TaskContext, *, all_files: bool) -> int:
    """Lint the pending files, or `all_files`; return the exit code. Raises FilesInvalid.

    Without a database, as in a pre-commit hook, all files are linted, and a line says so.
    """
    directory = read_migration_directory(context.settings.migrations_dir)
    linted = {migration.filename for migration in directory.migrations}
    if not all_files:
        linted = _pending_filenames(context, directory)
    result = lint_migrations(directory, linted)
    for note in result.notes:
        context.console.print_line(f"note: {note}")
    if os.environ.get("GITHUB_ACTIONS") == "true":
        repository = Path(os.environ.get("GITHUB_WORKSPACE") or context.settings.root)
        for line in github_annotations(result, context.settings.migrations_dir, repository):
            context.console.print_line(line)  # GitHub reads both streams; stdout is for the result
    context.print_result(lambda: lint_text(result), lambda: lint_document(result))
    return FINDINGS_EXIT if result.failed else 0


def _pending_filenames(context: TaskContext, directory: MigrationDirectory) -> set[str]:
    """Return the names of the pending files; of all files when there is no database to compare with."""
    print_line = context.console.print_line
    filenames = {migration.filename for migration in directory.migrations}
    reason = _why_no_database(context, directory)
    if not reason:
        try:
            with open_configured_session(context.settings, say=print_line) as session:
                status = read_status(session, directory.migrations)
        except (EnvironmentFailed, LedgerShape) as error:
            reason = str(error).partition("\n")[0]
        else:
            pending = {migration.filename for migration in status.plan.pending}
            print_line(f"linting {len(pending)} of {len(filenames)} files: those that are pending in {status.database}")
            return pending
    print_line(f"linting every file, applied or not: {reason}")
    return filenames


def _why_no_database(context: TaskContext, directory: MigrationDirectory) -> str:
    """Return the reason to lint without a database, "" to use one."""
    if directory.duplicates:
        return "a number that two files have is applied or pending for both"
    if not directory.migrations:
        return "there are no files"
    settings = context.settings
    if settings.database_url:
        return ""
    from kernel.postgres.development import development_data_folder  # noqa: PLC0415 - of no use in production

    # Do not create a server only to find that nothing is applied in it.
    data = development_data_folder(settings.root, settings.data_dir)
    return "" if data.exists() else "no database is set, and the embedded server has none yet"
