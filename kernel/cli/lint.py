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
from kernel.units import format_quantity

if TYPE_CHECKING:
    from kernel.cli.context import TaskContext
    from kernel.db.connection import Session
    from kernel.lint.lint import ColumnTypes, MigrationDirectory


FINDINGS_EXIT = 8  # findings of severity error
# A change of type is judged by the type that a domain is made of.
_COLUMN_TYPES = """
SELECT nspname, relname, pg_table_is_visible(c.oid), attname, format_type(coalesce(nullif(typbasetype, 0), atttypid),
  CASE typtype WHEN 'd' THEN typtypmod ELSE atttypmod END)
FROM pg_attribute a
JOIN pg_class c ON c.oid = attrelid
JOIN pg_namespace n ON n.oid = relnamespace
JOIN pg_type t ON t.oid = atttypid
WHERE relkind IN ('r', 'p', 'f') AND attnum > 0 AND NOT attisdropped AND nspname !~ '^(pg_|information_schema$)'
"""


def run_lint(context: TaskContext, *, all_files: bool) -> int:
    """Lint the pending files, or `all_files`; return the exit code. Raises FilesInvalid.

    Without a database, as in a pre-commit hook, all files are linted, and a line says so.
    """
    directory = read_migration_directory(context.settings.migrations_dir, context.settings.migrations_table)
    linted, column_types = {migration.filename for migration in directory.migrations}, None
    if not all_files:
        linted, column_types = _pending_files(context, directory)
    result = lint_migrations(directory, linted, column_types=column_types)
    for note in result.notes:
        context.console.print_line(f"note: {note}")
    if os.environ.get("GITHUB_ACTIONS") == "true":
        repository = Path(os.environ.get("GITHUB_WORKSPACE") or context.settings.root)
        for line in github_annotations(result, context.settings.migrations_dir, repository):
            context.console.print_line(line)  # GitHub reads both streams; stdout is for the result
    context.print_result(lambda: lint_text(result), lambda: lint_document(result))
    return FINDINGS_EXIT if result.failed else 0


def _pending_files(context: TaskContext, directory: MigrationDirectory) -> tuple[set[str], ColumnTypes | None]:
    """Return the names of the pending files, and the types of the columns in the database.

    All files and None when there is no database to compare with.
    """
    print_line = context.console.print_line
    filenames = {migration.filename for migration in directory.migrations}
    reason = _why_no_database(context, directory)
    if not reason:
        try:
            with open_configured_session(context.settings, say=print_line) as session:
                status = read_status(session, directory.migrations)
                column_types = _read_column_types(session)
        except (EnvironmentFailed, LedgerShape) as error:
            reason = str(error).partition("\n")[0]
        else:
            pending = {migration.filename for migration in status.plan.pending}
            files = format_quantity(len(filenames), "file")
            print_line(f"linting {len(pending)} of {files}: those that are pending in {status.database}")
            return pending, column_types
    print_line(f"linting every file, applied or not: {reason}")
    return filenames, None


def _read_column_types(session: Session) -> ColumnTypes:
    """The types by table and column, under each name by which a file may call the table."""
    return {
        (name, column): kind
        for schema, table, visible, column, kind in session.connection.execute(_COLUMN_TYPES)
        for name in ({table, f"{schema}.{table}"} if visible or schema == "public" else {f"{schema}.{table}"})
    }


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
