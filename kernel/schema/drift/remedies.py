"""What brings the live database in line with a difference: statements, or what to do where none is safe.

A statement is safe here if it deletes no rows and can be taken back. What deletes rows is named as a thing to decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from psycopg import sql

from kernel.schema.drift.alterations import statements_for_change
from kernel.schema.drift.difference import DifferenceState
from kernel.schema.drift.statements import (
    TABLE_KINDS,
    WITH_ROWS,
    alter_constraints,
    create_statements,
    drop_statement,
    own_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.schema.diff import FactChange
    from kernel.schema.drift.statements import SchemaParts
    from kernel.schema.snapshot import SchemaObject

_KEPT = "write a migration for it if it is to stay (inv db.new), or declare it (-- migrate: ignore-drift=NAME REASON)"
_RECREATED = ("definition", "unique", "tablespace", "command", "kind", "roles", "using", "check", "partition of")
_APART = ("owner", "privileges", "comment")  # which CREATE OR REPLACE keeps
_REPLACED = ("function", "procedure", "view")


class Remedy(NamedTuple):
    """The statements, which may be run as they are; and what else to do or to decide, "" for nothing."""

    statements: tuple[str, ...] = ()
    advice: str = ""


def find_remedy(
    state: DifferenceState,
    made: SchemaObject | None,
    live: SchemaObject | None,
    changes: Sequence[FactChange],
    *,
    files: SchemaParts,
    database: SchemaParts,
) -> Remedy:
    """The remedy of a difference; `made` is the object of the files and `live` that of the database."""
    if state is DifferenceState.MISSING and made:
        return _remedy_for_missing(made, files)
    if state is DifferenceState.EXTRA and live:
        return _remedy_for_extra(live, database)
    if made is None or live is None:
        return Remedy()
    if state is DifferenceState.DIFFERENT and not changes:
        return Remedy(advice="no statement changes the order of columns; make the table again, or declare it")
    if state is DifferenceState.RENAMED:
        return _remedy_for_renamed(made, live, database)
    return _remedy_for_changes(made, live, changes, files, database)


def _remedy_for_missing(made: SchemaObject, files: SchemaParts) -> Remedy:
    statements = create_statements(made, files)
    if statements is None:
        return Remedy(advice="run the statement of the migration again")
    parent = files.parent(made)
    filled = any(made.fact(label) for label in ("default", "generated", "identity"))
    if made.kind == "column" and parent and parent.kind in TABLE_KINDS and made.fact("NOT NULL") and not filled:
        return Remedy(tuple(statements), "it is NOT NULL without a default: fill it first where the table has rows")
    if made.kind in WITH_ROWS:
        return Remedy(tuple(statements), "its rows are not restored: take them from a backup")
    return Remedy(tuple(statements))


def _remedy_for_extra(live: SchemaObject, database: SchemaParts) -> Remedy:
    statement = drop_statement(live, database)
    if statement is None:
        return Remedy(advice=_KEPT)
    if live.kind in (*WITH_ROWS, "sequence", "schema", "extension"):
        return Remedy(advice=f"{_KEPT}; what drops it, with all that it holds: {statement}")
    parent = database.parent(live)
    if live.kind == "column" and parent and parent.kind in TABLE_KINDS:
        return Remedy(advice=f"{_KEPT}; what drops it, with its values: {statement}")
    return Remedy((statement,))


def _remedy_for_renamed(made: SchemaObject, live: SchemaObject, database: SchemaParts) -> Remedy:
    table = database.parent(live)
    new = sql.Identifier(made.bare_name).as_string()
    if table is None:
        return Remedy(tuple(_table_renames(made, live, new)))
    if made.kind == "index":
        return Remedy((f"ALTER INDEX {live.name} RENAME TO {new}",))
    if made.kind == "column":
        return Remedy((f"ALTER TABLE {table.name} RENAME COLUMN {own_name(live, table)} TO {new}",))
    return Remedy((f"{alter_constraints(table)} RENAME CONSTRAINT {own_name(live, table)} TO {new}",))


def _table_renames(made: SchemaObject, live: SchemaObject, new: str) -> Iterator[str]:
    name = live.name
    if made.bare_name != live.bare_name:
        yield f"ALTER TABLE {name} RENAME TO {new}"
        name = sql.Identifier(live.schema, made.bare_name).as_string()
    if made.schema != live.schema:
        yield f"ALTER TABLE {name} SET SCHEMA {sql.Identifier(made.schema).as_string()}"


def _remedy_for_changes(
    made: SchemaObject, live: SchemaObject, changes: Sequence[FactChange], files: SchemaParts, database: SchemaParts
) -> Remedy:
    labels = {change.label for change in changes}
    statements: list[str] = []
    if recreated := _recreate(made, live, labels, files, database):
        statements += recreated
        kept = ("owner", "privileges") if recreated[0].startswith(("DROP", "ALTER")) else _APART
        changes = [change for change in changes if change.label in kept]
    left: list[str] = []
    for change in changes:
        found = list(statements_for_change(made, change, files))
        statements += found
        left += [] if found else [change.label]
    if not left:
        return Remedy(tuple(dict.fromkeys(statements)))
    advice = f"{' and '.join(left)}: no statement changes it back; run the statement of the migration again"
    return Remedy(tuple(dict.fromkeys(statements)), advice)


def _recreate(
    made: SchemaObject, live: SchemaObject, labels: set[str], files: SchemaParts, database: SchemaParts
) -> list[str]:
    """The statements that replace an object without rows as a whole, [] where its change needs less."""
    if (made.kind in _REPLACED and labels & {"definition", "body", "arguments", "returns", "language"}) or (
        made.kind in ("function", "procedure") and labels - {"owner", "privileges", "comment"}
    ):
        creating = create_statements(made, files)
        if creating is None:
            return []
        dropping = _drops_first(made, live, labels, files, database)
        if not dropping:  # what else belongs to it is kept
            return [creating[0].replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1)]
        return [*dropping, *creating]
    recreatable = made.kind in ("constraint", "index", "trigger", "rule", "policy", "statistics", "materialized view")
    not_valid = made.kind == "constraint" and made.fact("validated") and "validated" in labels
    if recreatable and (labels & set(_RECREATED) or not_valid):
        creating = create_statements(made, files)
        dropping_one = drop_statement(live, database)
        return [dropping_one, *creating] if creating and dropping_one else []
    return []


def _drops_first(
    made: SchemaObject, live: SchemaObject, labels: set[str], files: SchemaParts, database: SchemaParts
) -> list[str]:
    """The DROP that a CREATE OR REPLACE needs: for other columns of a view, and another signature of a function."""
    if made.kind == "view":
        columns, others = (
            [(one.bare_name, one.fact("type")) for one in schema.parts(obj, "column")]
            for schema, obj in ((files, made), (database, live))
        )
        dropped = others != columns[: len(others)]
    else:
        dropped = bool(labels & {"arguments", "returns"})
    statement = drop_statement(live, database)
    return [statement] if dropped and statement else []
