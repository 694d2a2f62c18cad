"""db.new and db.renumber: give migration files the next free number."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.errors import UsageError
from kernel.migrations.scaffold import renumber_migration, scaffold_migration, scaffold_repeatable

if TYPE_CHECKING:
    from kernel.cli.context import TaskContext


def run_new(
    context: TaskContext, name: str, *, description: str, revert: bool, no_transaction: bool, repeatable: bool = False
) -> None:
    """Create the next migration file, or a repeatable one, and print its path. Raises UsageError."""
    if repeatable:
        if revert or no_transaction:
            flag = "--revert" if revert else "--no-transaction"
            raise UsageError(f"{flag}: not for repeatable files, which run again in one transaction; omit it")
        path = scaffold_repeatable(context.settings.migrations_dir, name, description=description)
        context.console.print_result(_display_path(context, path))
        return
    result = scaffold_migration(
        context.settings.migrations_dir,
        name,
        environ=os.environ,
        description=description or None,
        revert=revert,
        no_transaction=no_transaction,
    )
    if result.renamed:
        context.console.print_line(f"named {result.name}")
    if result.same_name:
        context.console.print_line(
            f"note: {result.same_name} has the same description; delete the new file if it is one too many"
        )
    for path in result.paths:
        context.console.print_result(_display_path(context, path))


def run_renumber(context: TaskContext, file: str, *, to: str) -> None:
    """Move a file that is not applied to another number, and print its new path. Raises UsageError."""
    from kernel.db.connection import open_configured_session  # noqa: PLC0415 - db.new needs no database
    from kernel.db.ledger import find_ledger  # noqa: PLC0415 - db.new needs no database
    from kernel.db.progress_table import read_progress  # noqa: PLC0415 - db.new needs no database
    from kernel.db.records import read_records  # noqa: PLC0415 - db.new needs no database
    from kernel.migrations.migration import parse_version  # noqa: PLC0415 - db.new needs no database

    filename = Path(file).name
    number = parse_version(to) if to else None
    with open_configured_session(context.settings, say=context.console.print_line) as session:
        ledger = find_ledger(session)
        for record in read_records(session, ledger):
            if record.filename == filename:
                raise UsageError(f"{filename}: applied to {session.name}, and an applied file keeps its number")
        if (version := filename.partition("_")[0]) in (read_progress(session, ledger) if ledger.exists else {}):
            raise UsageError(
                f"{filename}: partly applied to {session.name}, and a partial file keeps its number; "
                f"finish it with inv db.migrate, or forget its progress: inv db.repair --restart {version}"
            )
    moved = renumber_migration(context.settings.migrations_dir, filename, environ=os.environ, to=number)
    for path in moved.new_paths:
        context.console.print_result(_display_path(context, path))


def _display_path(context: TaskContext, path: Path) -> str:
    """Return the path, relative to the project if it is in it."""
    return str(path.relative_to(context.settings.root) if path.is_relative_to(context.settings.root) else path)
