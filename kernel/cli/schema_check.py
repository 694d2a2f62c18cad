"""The live catalog against the files: db.verify --schema, and db.migrate --check-schema."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.errors import Drift, Problem
from kernel.report.schema_check import schema_check_problems
from kernel.schema.drift import SchemaCheck, check_schema
from kernel.units import clip_text, format_quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.cli.context import TaskContext
    from kernel.db.connection import Session
    from kernel.db.repeatable_entries import RepeatableEntry
    from kernel.migrations.migration import Migration
    from kernel.plan import Plan, Status

_PROBLEMS_SHOWN = 10
_MESSAGE_CHARACTERS = 300


def check_live_schema(
    context: TaskContext,
    session: Session,
    migrations: Sequence[Migration],
    plan: Plan | None,
    repeatable: Sequence[RepeatableEntry],
    *,
    privileges: bool = False,
) -> SchemaCheck:
    """Compare the catalog with what the applied files make; without a plan, with what all files make."""
    settings = context.settings
    return check_schema(
        session,
        plan,
        migrations,
        context.migrations_location,
        bindir=settings.pg_bindir,
        repeatable=repeatable,
        accepted=settings.ignored_drift,
        privileges=privileges,
    )


def refuse_schema_drift(
    context: TaskContext, session: Session, migrations: Sequence[Migration], status: Status
) -> None:
    """Raise Drift with the first differences between the catalog and the applied files; db.verify --schema has all."""
    check = check_live_schema(context, session, migrations, status.plan, status.repeatable)
    for problem in check.left_out:
        context.console.print_line(f"note: not built, and what it mentions is not compared: {problem}")
    for note in check.notes:
        context.console.print_line(f"note: {note}")
    if check.differences:
        problems = schema_check_problems(check)
        shown = [
            replace(one, message=clip_text(one.message, _MESSAGE_CHARACTERS)) for one in problems[:_PROBLEMS_SHOWN]
        ]
        more = len(problems) - len(shown)
        rest = f"{format_quantity(more, 'further difference')}; all" if more else "the differences"
        shown.append(Problem(message=f"{rest}, with the SQL that takes them back: inv db.verify --schema"))
        raise Drift(shown)
