"""The names and checksums of the files in repeatable/, which alone tell db.status what is pending."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kernel.errors import FilesInvalid, Problem
from kernel.migrations.migration import Migration, file_checksum, list_candidates

if TYPE_CHECKING:
    from pathlib import Path


REPEATABLE_FOLDER = "repeatable"
_NAME = re.compile(r"(?P<name>[a-z][a-z0-9]*(?:_[a-z0-9]+)*)\.sql")


def discover_repeatable(directory: Path) -> tuple[Migration, ...]:
    """The repeatable files of a directory of migrations, by name; () without the folder. Their version is their name.

    Raises FilesInvalid with every misnamed or unreadable file.
    """
    folder = directory / REPEATABLE_FOLDER
    if not folder.exists():
        return ()
    found, problems = [], []
    for filename in list_candidates(folder):
        shown = f"{REPEATABLE_FOLDER}/{filename}"
        match = _NAME.fullmatch(filename)
        if match is None:
            message = "its name is not in snake_case, beginning with a letter; name it like active_users.sql"
            problems.append(Problem(message=message, file=shown))
            continue
        try:
            checksum = file_checksum(folder / filename)
        except OSError as error:
            problems.append(Problem(message=f"cannot be read: {error.strerror}", file=shown))
            continue
        found.append(Migration(version=match["name"], filename=shown, directory=directory, checksum=checksum))
    if problems:
        raise FilesInvalid(problems)
    return tuple(found)
