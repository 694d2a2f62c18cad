"""db.docs: document the schema that the files make, or that of the database."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kernel.db.connection import open_configured_session
from kernel.errors import Drift, ProgramsMissing, UsageError
from kernel.migrations.migration import require_migrations
from kernel.migrations.repeatable_names import discover_repeatable
from kernel.schema import BuildTarget, build_schema, read_schema
from kernel.schema_docs.files import choose_layout, differences, make_files, superfluous_pages, write_files
from kernel.schema_docs.model import document_schema
from kernel.units import format_quantity

if TYPE_CHECKING:
    from kernel.cli.context import TaskContext
    from kernel.schema import BuiltSchema, Schema
    from kernel.schema_docs.model import History


_TITLE = "Schema"


def run_docs(context: TaskContext, *, output: str | None, check: bool, live: bool) -> int:
    """Write the documentation, or with `check` print how it differs; return the exit code. Raises KernelError."""
    if output is not None and not output.strip():
        raise UsageError("--output: empty; write a folder or a file that ends with .md, or omit the flag")
    settings = context.settings
    built = _build(context, needed=not live)
    if live or built is None:
        schema = document_schema(_live_schema(context), _history(built))
    else:
        schema = document_schema(built.schema, _history(built), tuple(str(problem.file) for problem in built.left_out))
    layout = choose_layout(schema, root=settings.root, migrations_dir=settings.migrations_dir, output=output or "")
    files = make_files(schema, layout, title=_TITLE, migrations_dir=settings.migrations_dir)
    superfluous = superfluous_pages(layout, files, root=settings.root, migrations_dir=settings.migrations_dir)
    index = os.path.relpath(layout.index, settings.root)
    if check:
        if lines := differences(files, superfluous, root=settings.root):
            context.console.print_result("\n".join(lines))
            context.console.print_line(f"{index}: is not what the schema makes; write it with: inv db.docs")
            return Drift.exit
        context.console.print_result(f"{index}: up to date, {format_quantity(len(schema.tables), 'table')}")
        return 0
    changed = write_files(files, superfluous)
    names = [os.path.relpath(path, settings.root) for path in changed]
    context.console.print_result("\n".join(names) if names else f"{index}: nothing has changed")
    return 0


def _build(context: TaskContext, *, needed: bool) -> BuiltSchema | None:
    """The schema of the files; None where it is not `needed` and no server for it can be started."""
    settings = context.settings
    try:
        built = build_schema(
            require_migrations(settings.migrations_dir),
            BuildTarget(ledger=settings.migrations_table),
            bindir=settings.pg_bindir,
            repeatable=discover_repeatable(settings.migrations_dir),
        )
    except ProgramsMissing as error:
        if needed:
            raise
        context.console.print_line(f"warning: without the migrations of each object: {error}")
        return None
    for problem in built.left_out:
        context.console.print_line(f"warning: left out, since it cannot run on an empty database here: {problem}")
    return built


def _live_schema(context: TaskContext) -> Schema:
    with open_configured_session(context.settings, say=context.console.print_line) as session:
        return read_schema(session)


def _history(built: BuiltSchema | None) -> History:
    if built is None:
        return {}
    return {obj.identity: files for obj in built.schema.objects if (files := built.files.get(obj.key))}
