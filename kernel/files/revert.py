"""Revert files: revert/ and the name of the migration that each undoes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.errors import FilesInvalid, Problem
from kernel.files import migration, naming, script
from kernel.files.script import Mode

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from kernel.files.script import Script

FOLDER = "revert"


def survey(path: Path, name: str) -> Script:
    """Read a revert file to its end. Raises FilesInvalid, also when it cannot run as its record is removed."""
    found = script.survey(path, name)
    if found.mode is not Mode.TRANSACTION:
        message = "it has to run in the transaction that removes the record; write it without CONCURRENTLY"
        raise FilesInvalid([Problem(message=message, file=name)])
    return found


def candidates(directory: Path) -> list[str]:
    """The names of the revert files of a directory of migrations; [] without any. Raises FilesInvalid."""
    folder = directory / FOLDER
    return migration.candidates(folder) if folder.exists() else []


def orphans(filenames: Iterable[str], migrations: Iterable[str]) -> tuple[Problem, ...]:
    """The revert files that no rollback would ever find, since no migration has their name."""
    names = set(migrations)
    by_number = {int(parsed[0]): name for name in names if (parsed := naming.parse(name))}
    problems = []
    for filename in filenames:
        if filename in names:
            continue
        version = filename[: len(filename) - len(filename.lstrip("0123456789"))]
        heir = by_number.get(int(version)) if version else None
        remedy = f"{heir} would look for its own name: rename it" if heir else "rename it after the one it undoes"
        message = f"no migration has this name; {remedy}, or remove it"
        problems.append(Problem(message=message, file=f"{FOLDER}/{filename}"))
    return tuple(problems)
