"""Write migrations from the files of another tool: names and numbers by our rule, the down part as the revert file.

The source directory is only read. A file that says in its header that it was adopted is not written a second time, so
that a source that has grown can be adopted again.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.errors import FilesInvalid, UsageError
from kernel.migrations.replaced import REPLACED_FOLDER
from kernel.migrations.scaffold import (
    REVERT_DIRECTORY,
    create_files,
    lock_directory,
    numbers_in_names,
    remote_filenames,
)
from kernel.migrations.tool_files import list_sources
from kernel.migrations.tool_formats import TOOLS
from kernel.migrations.tool_translation import Translator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kernel.migrations.tool_files import ToolListing
    from kernel.migrations.tool_formats import ToolFormat
    from kernel.migrations.tool_translation import AdoptedFile


_ADOPTED = re.compile(rb"^-- Description: adopted from (?P<tool>\S+): (?P<source>[^\r\n]+)", re.MULTILINE)
_HEADER_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """The migrations made from a directory, in order; those made before by (source, filename); files not read."""

    tool: str
    source: Path
    output: Path
    files: tuple[AdoptedFile, ...]
    adopted_before: tuple[tuple[str, str], ...]
    unread: tuple[str, ...]


def adopt_directory(
    source: Path, tool_name: str, output: Path, *, environ: Mapping[str, str], dry_run: bool = False
) -> Adoption:
    """Write a migration into `output` for each one of another tool in `source`, all of them or none.

    Numbers follow those in `output` and on the remote's default branch; git gets `environ` without GIT_* variables.
    With `dry_run` nothing is written. Raises UsageError, FilesInvalid with every problem of every file.
    """
    tool = TOOLS.get(tool_name)
    if tool is None:
        raise UsageError(f"--from {tool_name}: no such tool; the tools are {', '.join(TOOLS)}")
    if output.resolve() == source.resolve() or (tool.recursive and output.resolve().is_relative_to(source.resolve())):
        raise UsageError(f"{output}: the files of {tool.name} are there; name another directory with --output")
    listing = list_sources(tool, source)
    numbers = numbers_in_names(remote_filenames(output, environ)) if output.is_dir() else set()
    try:
        if dry_run:
            return _translate(tool, source, output, listing, numbers)
        created = [path for path in (output / REVERT_DIRECTORY, output, *output.parents) if not path.exists()]
        try:
            (output / REVERT_DIRECTORY).mkdir(parents=True, exist_ok=True)
            with lock_directory(output):
                adoption = _translate(tool, source, output, listing, numbers)
                create_files(dict(_paths_and_contents(adoption)))
        finally:
            for path in created:
                if path.is_dir() and not any(path.iterdir()):
                    path.rmdir()
    except FileExistsError as error:
        raise UsageError(f"{error.filename}: exists; remove it, or name another directory with --output") from error
    except OSError as error:
        raise UsageError(f"{error.filename or output}: cannot be written ({error.strerror})") from error
    return adoption


def _paths_and_contents(adoption: Adoption) -> Iterator[tuple[Path, bytes]]:
    for file in adoption.files:
        if file.revert is not None:
            yield adoption.output / REVERT_DIRECTORY / file.filename, file.revert
        yield adoption.output / file.filename, file.content


def _translate(tool: ToolFormat, source: Path, output: Path, listing: ToolListing, numbers: set[int]) -> Adoption:
    """Make the content of all files. Raises FilesInvalid with every problem, OSError."""
    before = dict(_read_adopted(output, tool))
    local = numbers_in_names(path.name for path in output.iterdir()) if output.is_dir() else set()
    number = max(numbers | local, default=0)
    problems = [*listing.problems]
    files = []
    with tempfile.TemporaryDirectory() as scratch:
        for one in listing.sources:
            if one.up in before:
                continue
            number += 1
            translator = Translator(tool, source, one, number, Path(scratch))
            files.append(translator.translate())
            problems += translator.problems
    if problems:
        raise FilesInvalid(sorted(problems, key=lambda problem: (problem.file or "", problem.line or 0)))
    return Adoption(
        tool=tool.name,
        source=source,
        output=output,
        files=tuple(files),
        adopted_before=tuple((one.up, before[one.up]) for one in listing.sources if one.up in before),
        unread=listing.unread,
    )


def _read_adopted(output: Path, tool: ToolFormat) -> Iterator[tuple[str, str]]:
    """Yield (source, filename) for each migration that says in its header that it was adopted from the tool.

    Those that a squash file has replaced since count too.
    """
    for path in sorted((*output.glob("*.sql"), *output.glob(f"{REPLACED_FOLDER}/*/*.sql"))):
        adopted = adopted_source(path)
        if adopted and adopted[0] == tool.name:
            yield adopted[1], path.name


def adopted_source(path: Path) -> tuple[str, str] | None:
    """The tool that a migration was adopted from, and its file there, as the header says. Raises OSError."""
    with path.open("rb") as file:
        header = _ADOPTED.search(file.read(_HEADER_BYTES))
    return (header["tool"].decode(errors="replace"), header["source"].decode(errors="replace")) if header else None
