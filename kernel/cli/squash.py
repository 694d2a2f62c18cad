"""db.squash: replace older migrations by one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.errors import UsageError
from kernel.migrations.replaced import describe_range
from kernel.report.json_documents import file_documents
from kernel.squash import squash_migrations
from kernel.units import format_quantity

if TYPE_CHECKING:
    from pathlib import Path

    from kernel.cli.context import TaskContext
    from kernel.squash import Squash


def run_squash(context: TaskContext, name: str, *, to: str, dry_run: bool) -> None:
    """Write the file, move the older ones, and print what became of them. Raises KernelError."""
    if not to:
        raise UsageError("db.squash: needs the last version to replace: --to 040")
    squash = squash_migrations(
        context.settings.migrations_dir,
        name,
        to=to,
        bindir=context.settings.pg_bindir,
        say=context.console.print_line,
        dry_run=dry_run,
    )
    for role in squash.roles:
        context.console.print_line(f"the files expect the role {role}, which a database needs for the new file too")
    context.print_result(
        lambda: _squash_text(context, squash, dry_run=dry_run),
        lambda: _squash_document(context, squash, dry_run=dry_run),
    )


def _squash_text(context: TaskContext, squash: Squash, *, dry_run: bool) -> str:
    versions = describe_range(squash.versions)
    files = f"{versions} ({format_quantity(len(squash.replaced), 'file')})"
    rows = f", with the {format_quantity(squash.rows, 'row')} that they insert" if squash.rows else ""
    verbs = ("would replace", "would move") if dry_run else ("replaces", "moved")
    return (
        f"{_shown(context, squash.path)}: {verbs[0]} {files}{rows}; "
        "both make the same database\n"
        f"{verbs[1]} the older files to {_shown(context, squash.moved_to)}/, for databases that have only some of them"
    )


def _squash_document(context: TaskContext, squash: Squash, *, dry_run: bool) -> dict[str, object]:
    return {
        "path": _shown(context, squash.path),
        "dry_run": dry_run,
        "replaced": file_documents(squash.replaced),
        "moved_to": _shown(context, squash.moved_to),
        "rows": squash.rows,
        "roles": list(squash.roles),
    }


def _shown(context: TaskContext, path: Path) -> str:
    root = context.settings.root
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
