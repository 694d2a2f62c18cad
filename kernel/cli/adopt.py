"""db.adopt: write migrations from the files of another tool."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.errors import UsageError
from kernel.migrations.adopt import adopt_directory
from kernel.migrations.scaffold import REVERT_DIRECTORY
from kernel.migrations.tool_formats import TOOLS
from kernel.report.safe_text import show_hidden_characters
from kernel.units import format_quantity

if TYPE_CHECKING:
    from kernel.cli.context import TaskContext
    from kernel.migrations.adopt import Adoption
    from kernel.migrations.tool_translation import AdoptedFile


def run_adopt(context: TaskContext, directory: str, *, tool: str, output: str, dry_run: bool) -> None:
    """Write the migrations and print which file became which. Raises KernelError."""
    if directory.startswith("-"):
        raise UsageError(f"directory: {directory} begins with -, like a flag; write ./{directory} for a directory")
    if not directory:
        raise UsageError("directory: empty; name the directory of the other tool's files")
    if not tool:
        raise UsageError(f"db.adopt: needs the tool that the files are of: --from {'|'.join(TOOLS)}")
    # As for every program, paths on the command line are relative to the directory it is called in.
    target = Path(output).absolute() if output else context.settings.migrations_dir
    adoption = adopt_directory(Path(directory).absolute(), tool, target, environ=os.environ, dry_run=dry_run)
    for path in adoption.unread:
        context.console.print_line(f"{show_hidden_characters(path)}: not read, as {tool} does not read this name")
    context.print_result(
        lambda: _adoption_text(context, adoption, dry_run=dry_run),
        lambda: _adoption_document(context, adoption, dry_run=dry_run),
    )


def _adoption_text(context: TaskContext, adoption: Adoption, *, dry_run: bool) -> str:
    """A line for each migration: the old name, the new one, whether it has a revert file; then a summary."""
    rows: list[tuple[str, str, str, tuple[str, ...]]] = [
        (old, _shown(context, adoption, new), "adopted before", ()) for old, new in adoption.adopted_before
    ]
    rows += [
        (file.sources[0], _shown(context, adoption, file.filename), _file_remarks(file), file.notes)
        for file in adoption.files
    ]
    old_width, new_width = (max((len(row[column]) for row in rows), default=0) for column in (0, 1))
    lines = []
    for old, new, remarks, notes in rows:
        lines.append(f"{old.ljust(old_width)}  {new.ljust(new_width)}  {remarks}".rstrip())
        lines += [f"  {note}" for note in notes]
    reverts = sum(file.revert is not None for file in adoption.files)
    counts = (
        f"{format_quantity(len(adoption.files), 'migration')} and {format_quantity(reverts, 'revert file')} "
        f"from {adoption.tool} {'would be written' if dry_run else 'written'}"
    )
    if adoption.files and not dry_run:
        counts += f"; on a database that {adoption.tool} has migrated: inv db.baseline --from {adoption.tool}"
    return "\n".join([*lines, counts])


def _file_remarks(file: AdoptedFile) -> str:
    remarks = (file.revert is not None and "with revert file", file.no_transaction and "no-transaction")
    return ", ".join(remark for remark in remarks if remark)


def _adoption_document(context: TaskContext, adoption: Adoption, *, dry_run: bool) -> dict[str, object]:
    return {
        "from": adoption.tool,
        "output": _shown(context, adoption, ""),
        "dry_run": dry_run,
        "files": [
            {
                "sources": list(file.sources),
                "version": file.filename.partition("_")[0],
                "filename": file.filename,
                "revert": f"{REVERT_DIRECTORY}/{file.filename}" if file.revert is not None else None,
                "no_transaction": file.no_transaction,
                "notes": list(file.notes),
            }
            for file in adoption.files
        ],
        "adopted_before": [{"source": source, "filename": filename} for source, filename in adoption.adopted_before],
        "unread": list(adoption.unread),
    }


def _shown(context: TaskContext, adoption: Adoption, filename: str) -> str:
    """The path of a new file, relative to the project if it is in it."""
    path = adoption.output / filename
    return str(path.relative_to(context.settings.root) if path.is_relative_to(context.settings.root) else path)
