"""db.lint: lint migration files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.db.connection import open_configured_session
from kernel.errors import EnvironmentFailed, FilesInvalid, LedgerShape, UsageError
from kernel.lint.baseline import baseline_path, obsolete_entries, read_baseline, without_known, write_baseline
from kernel.lint.lint import lint_migrations, read_migration_directory
from kernel.migrations.git_changes import find_changed_files
from kernel.plan import read_status
from kernel.report.github import github_annotations
from kernel.report.lint import lint_document, lint_report, lint_text, obsolete_note
from kernel.units import format_quantity

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from kernel.cli.context import TaskContext
    from kernel.db.connection import Session
    from kernel.lint.baseline import KnownFinding
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Selection:
    """The files to lint; `which` says which these are, "" for all.

    `column_types` are those of a database, None if the files are not the pending ones.
    """

    filenames: Collection[str]
    which: str
    column_types: ColumnTypes | None = None


def run_lint(context: TaskContext, *, all_files: bool, since: str | None, writes_baseline: bool) -> int:
    """Lint the pending files, those changed `since` a commit, or `all_files`; return the exit code.

    Findings of the baseline are known, and do not fail. Without a database, as in a pre-commit hook, all files are
    linted, and a line says so. Raises FilesInvalid, UsageError.
    """
    if since is not None and (all_files or writes_baseline):
        raise UsageError(f"--since {since}: --{'all' if all_files else 'write-baseline'} reads every file; omit one")
    if since is not None and not since.strip():
        raise UsageError("--since: empty; name a branch or commit such as origin/main, or omit the flag")
    settings = context.settings
    directory = read_migration_directory(settings.migrations_dir, settings.migrations_table)
    path = baseline_path(settings.migrations_dir)
    if writes_baseline:
        return _write_baseline(context, directory, path)
    baseline = read_baseline(path)
    selection = _select_files(context, directory, all_files=all_files, since=since)
    result = lint_migrations(directory, selection.filenames, column_types=selection.column_types)
    result = without_known(result, baseline)
    obsolete = _find_obsolete(directory, baseline)
    for note in (*result.notes, *map(obsolete_note, obsolete)):
        context.console.print_line(f"note: {note}")
    if os.environ.get("GITHUB_ACTIONS") == "true":
        repository = Path(os.environ.get("GITHUB_WORKSPACE") or settings.root)
        for line in github_annotations(result, settings.migrations_dir, repository):
            context.console.print_line(line)  # GitHub reads both streams; stdout is for the result
    files = format_quantity(len(directory.files), "file")
    scope = f"{len(result.filenames)} of {files} read, {selection.which}" if selection.which else f"{files} read"
    context.print_result(
        lambda: lint_text(result),
        lambda: lint_document(result, obsolete),
        lambda folder: lint_report(result, folder, scope=scope, obsolete=obsolete),
    )
    return FINDINGS_EXIT if result.failed else 0


def _write_baseline(context: TaskContext, directory: MigrationDirectory, path: Path) -> int:
    context.require_text_or_json("--write-baseline")
    count = write_baseline(path, lint_migrations(directory, _all_names(directory)))
    text = f"{path}: {format_quantity(count, 'finding')} known from now on; commit the file"
    context.print_result(lambda: text, lambda: {"baseline": str(path), "findings": count})
    return 0


def _find_obsolete(directory: MigrationDirectory, baseline: Sequence[KnownFinding]) -> tuple[KnownFinding, ...]:
    """The entries of the baseline that would not be written again, () where a file cannot be read."""
    if not baseline:
        return ()
    try:
        return obsolete_entries(baseline, lint_migrations(directory, _all_names(directory)))
    except FilesInvalid:
        return ()


def _all_names(directory: MigrationDirectory) -> frozenset[str]:
    return frozenset(migration.filename for migration in directory.files)


def _select_files(
    context: TaskContext, directory: MigrationDirectory, *, all_files: bool, since: str | None
) -> _Selection:
    if since is not None:
        changed = find_changed_files(context.settings.migrations_dir, since, os.environ)
        names = _all_names(directory) & changed.filenames
        base = "" if since.startswith(changed.merge_base) else f" ({changed.merge_base})"
        which = f"new or changed since {since}{base}"
        _print_selection(context, directory, names, which)
        # What one of these files creates, another may change: no release has it yet.
        return _Selection(filenames=names, which=which, column_types={})
    return _Selection(filenames=_all_names(directory), which="") if all_files else _pending_files(context, directory)


def _print_selection(context: TaskContext, directory: MigrationDirectory, names: Collection[str], which: str) -> None:
    files = format_quantity(len(directory.files), "file")
    context.console.print_line(f"linting {len(names)} of {files}: those that are {which}")


def _pending_files(context: TaskContext, directory: MigrationDirectory) -> _Selection:
    """The pending files, and the types of the columns in the database; all files without a database."""
    print_line = context.console.print_line
    reason = _why_no_database(context, directory)
    if not reason:
        try:
            with open_configured_session(context.settings, say=print_line) as session:
                status = read_status(session, directory.migrations)
                column_types = _read_column_types(session)
        except (EnvironmentFailed, LedgerShape) as error:
            reason = str(error).partition("\n")[0]
        else:
            pending = {one.filename for one in (*status.plan.pending, *status.pending_repeatable)}
            which = f"pending in {status.database}"
            _print_selection(context, directory, pending, which)
            return _Selection(filenames=pending, which=which, column_types=column_types)
    print_line(f"linting every file, applied or not: {reason}")
    return _Selection(filenames=_all_names(directory), which="applied or not")


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
