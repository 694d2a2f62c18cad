"""The linter on files that a test writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.rules.rule import NEXT_FILE, REVERT_FILE
from kernel.rehearsal.static import lint

if TYPE_CHECKING:
    from pathlib import Path

    from kernel.rehearsal.result import Finding
    from kernel.rehearsal.static.lint import Lint


def linted(folder: Path, script: str, *, before: str = "") -> Lint:
    """What the linter says of the files of `script`; those of `before` are only read, revert files are not."""
    ahead = before.split(NEXT_FILE) if before else []
    names = []
    for number, text in enumerate([*ahead, *script.split(NEXT_FILE)], start=1):
        name = f"{number:03}_file.sql"
        (folder / name).write_text(text.partition(REVERT_FILE)[0], encoding="utf-8")
        names.append(name)
    return lint.lint(lint.directory(folder), names[len(ahead) :])


def findings(folder: Path, script: str, *, before: str = "") -> list[Finding]:
    """The findings among it."""
    return [one.finding for one in linted(folder, script, before=before).sightings]
