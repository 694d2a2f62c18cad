"""db.new and db.renumber: migration files under the next free number."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.errors import UsageError
from kernel.files import scaffold

if TYPE_CHECKING:
    from kernel.command.desk import Desk


def run(desk: Desk, name: str, *, description: str, revert: bool, no_transaction: bool) -> None:
    """Scaffold the next file and print its path. Raises UsageError."""
    made = scaffold.new(
        desk.settings.migrations_dir,
        name,
        environ=os.environ,
        description=description or None,
        revert=revert,
        no_transaction=no_transaction,
    )
    if made.renamed:
        desk.console.say(f"named {made.name}")
    for path in made.paths:
        desk.console.result(_shown(desk, path))


def renumber(desk: Desk, file: str, *, to: str) -> None:
    """Move a file that is not applied to another number, and print its new path. Raises UsageError."""
    from kernel import ledger, plan, target  # noqa: PLC0415 - db.new needs no database

    filename = Path(file).name
    number = plan.version_number(to) if to else None
    with target.session(desk.settings, say=desk.console.say) as session:
        for record in ledger.records(session, ledger.find(session)):
            if record.filename == filename:
                raise UsageError(f"{filename}: applied to {session.name}, and an applied file keeps its number")
    moved = scaffold.renumber(desk.settings.migrations_dir, filename, environ=os.environ, to=number)
    for path in moved.new:
        desk.console.result(_shown(desk, path))


def _shown(desk: Desk, path: Path) -> str:
    """The path as it is shortest: from the project's folder when it lies in it."""
    return str(path.relative_to(desk.settings.root) if path.is_relative_to(desk.settings.root) else path)
