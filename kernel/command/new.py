"""db.new and db.renumber: files only, no database."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kernel.files import scaffold

if TYPE_CHECKING:
    from pathlib import Path

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


def _shown(desk: Desk, path: Path) -> str:
    """The path as it is shortest: from the project's folder when it lies in it."""
    return str(path.relative_to(desk.settings.root) if path.is_relative_to(desk.settings.root) else path)
