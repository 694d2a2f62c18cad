"""db.lint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kernel import status, target
from kernel.errors import EnvironmentFailed, LedgerShape
from kernel.rehearsal.static import lint
from kernel.report import lint as report

if TYPE_CHECKING:
    from kernel.command.desk import Desk
    from kernel.rehearsal.static.lint import Directory

FOUND = 8  # INTERFACE, "Exit codes": something at or above the threshold, which for a linter is an error


def run(desk: Desk, *, every: bool) -> int:
    """Print what is hazardous in the pending files, or in `every` one; the exit code. Raises FilesInvalid.

    Without a database to compare with, as in a pre-commit hook, every file is judged, and a line says so.
    """
    found = lint.directory(desk.settings.migrations_dir)
    wanted = {one.filename for one in found.migrations}
    if not every:
        wanted = _pending(desk, found)
    result = lint.lint(found, wanted)
    for note in result.notes:
        desk.console.say(f"note: {note}")
    if os.environ.get("GITHUB_ACTIONS") == "true":
        top = Path(os.environ.get("GITHUB_WORKSPACE") or desk.settings.root)
        for line in report.github(result, desk.settings.migrations_dir, top):
            desk.console.say(line)  # GitHub reads both streams, and stdout is the result's
    desk.answer(lambda: report.text(result), lambda: report.document(result))
    return FOUND if result.failed else 0


def _pending(desk: Desk, found: Directory) -> set[str]:
    """The names of the pending files; of every one where that cannot be told."""
    say = desk.console.say
    every = {one.filename for one in found.migrations}
    reason = _unknown(desk, found)
    if not reason:
        try:
            with target.session(desk.settings, say=say) as session:
                now = status.read(session, found.migrations)
        except (EnvironmentFailed, LedgerShape) as error:
            reason = str(error).partition("\n")[0]
        else:
            pending = {one.filename for one in now.plan.pending}
            say(f"{len(pending)} of {len(every)} files are pending in {now.database}: these are looked at")
            return pending
    say(f"every file is looked at, applied or not: {reason}")
    return every


def _unknown(desk: Desk, found: Directory) -> str:
    """Why no database need be asked, "" where one must be."""
    if found.duplicates:
        return "a number that two files have is applied or pending for both"
    if not found.migrations:
        return "there is none"
    its_settings = desk.settings
    if its_settings.database_url:
        return ""
    from kernel.server import development  # noqa: PLC0415 - production never needs it

    # To make a server, only to learn that nothing is applied in it, would be a strange thing for a linter to do.
    data = development.data_directory(its_settings.root, its_settings.data_dir)
    return "" if data.exists() else "no database is set, and the embedded server has none yet"
