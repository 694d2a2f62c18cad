"""A migration file: its version, its name, its checksum."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel.errors import FilesInvalid, Problem
from kernel.files import checksum, naming

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """A file that obeys the naming rule; `version` is as written, `checksum` as kernel.checksum.of gives it."""

    version: str
    filename: str
    directory: Path
    checksum: str

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self.directory / self.filename

    @property
    def number(self) -> int:
        """The version to compare by: 1000 comes after 999."""
        return int(self.version)

    def revert(self) -> Migration:
        """The file that undoes it, revert/ and the same name. Raises OSError when it cannot be read."""
        filename = f"revert/{self.filename}"
        return replace(self, filename=filename, checksum=checksum.of(self.directory / filename))

    def accepts(self, recorded: str) -> bool:
        """Whether a recorded checksum is this file's. Raises OSError when it has to look again and cannot."""
        return recorded == self.checksum or recorded.lower() in checksum.accepted(self.path)


def discover(directory: Path) -> tuple[Migration, ...]:
    """The migrations of a directory in version order; () when it holds none.

    Raises FilesInvalid with every misnamed, unreadable or duplicate file.
    """
    found, problems = sorted_out(directory, candidates(directory))
    if problems:
        raise FilesInvalid(problems)
    return found


def sorted_out(directory: Path, filenames: Iterable[str]) -> tuple[tuple[Migration, ...], tuple[Problem, ...]]:
    """The migrations among the candidates of a directory in version order, and what is wrong with the others."""
    problems: list[Problem] = []
    found: dict[int, Migration] = {}
    folder = str(directory)  # once: a Path makes its text anew for every name that it is joined with
    for filename in filenames:
        parsed = naming.parse(filename)
        if parsed is None:
            problems.append(Problem(message=naming.complaint(filename), file=filename))
            continue
        version, _description = parsed
        try:
            digest = checksum.of(f"{folder}/{filename}")
        except OSError as error:
            problems.append(Problem(message=f"cannot be read: {error.strerror}", file=filename))
            continue
        one = Migration(version=version, filename=filename, directory=directory, checksum=digest)
        other = found.setdefault(int(version), one)
        if other is not one:
            message = f"the version of {other.filename} too; move one of them: inv db.renumber {filename}"
            problems.append(Problem(message=message, file=filename))
    return tuple(found[number] for number in sorted(found)), tuple(problems)


def candidates(directory: Path) -> list[str]:
    """The names in a directory that have to be migrations: *.sql, but for hidden files and directories. In their order.

    Raises FilesInvalid when it cannot be listed, or when one of them is a pipe or a device, and not to be read.
    """
    found: list[str] = []
    special: list[str] = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                name = entry.name
                if name[-4:].lower() != ".sql" or name[0] == ".":
                    continue
                if entry.is_file():  # which the listing itself knows of all but links
                    found.append(name)
                elif not entry.is_dir():
                    # A link that leads nowhere is told of by who reads it; one to a pipe would keep him waiting.
                    (special if os.path.exists(entry) else found).append(name)  # noqa: PTH110 - it is no Path
    except FileNotFoundError as error:
        message = f"no such directory: {directory}; create it or set KERNEL_MIGRATIONS_DIR"
        raise FilesInvalid([Problem(message=message)]) from error
    except OSError as error:
        raise FilesInvalid([Problem(message=f"{directory}: cannot be read: {error.strerror}")]) from error
    if special:
        raise FilesInvalid([Problem(message="not a regular file; take it away", file=name) for name in sorted(special)])
    return sorted(found)
