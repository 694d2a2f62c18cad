"""db.new and db.renumber: migration files under the next free number."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.errors import UsageError
from kernel.migrations.scaffold import renumber_migration, scaffold_migration

if TYPE_CHECKING:
    from kernel.cli.context import TaskContext


def run_new(desk: TaskContext, name: str, *, description: str, revert: bool, no_transaction: bool) -> None:
    """Scaffold the next file and print its path. Raises UsageError."""
    made = scaffold_migration(
        desk.settings.migrations_dir,
        name,
        environ=os.environ,
        description=description or None,
        revert=revert,
        no_transaction=no_transaction,
    )
    if made.renamed:
        desk.console.print_line(f"named {made.name}")
    for path in made.paths:
        desk.console.print_result(_display_path(desk, path))


def run_renumber(desk: TaskContext, file: str, *, to: str) -> None:
    """Move a file that is not applied to another number, and print its new path. Raises UsageError."""
    from kernel.db.connection import open_configured_session  # noqa: PLC0415 - db.new needs no database
    from kernel.db.ledger import find_ledger, read_records  # noqa: PLC0415 - db.new needs no database
    from kernel.plan import parse_version  # noqa: PLC0415 - db.new needs no database

    filename = Path(file).name
    number = parse_version(to) if to else None
    with open_configured_session(desk.settings, say=desk.console.print_line) as session:
        for record in read_records(session, find_ledger(session)):
            if record.filename == filename:
                raise UsageError(f"{filename}: applied to {session.name}, and an applied file keeps its number")
    moved = renumber_migration(desk.settings.migrations_dir, filename, environ=os.environ, to=number)
    for path in moved.new_paths:
        desk.console.print_result(_display_path(desk, path))


def _display_path(desk: TaskContext, path: Path) -> str:
    """The path as it is shortest: from the project's folder when it lies in it."""
    return str(path.relative_to(desk.settings.root) if path.is_relative_to(desk.settings.root) else path)
