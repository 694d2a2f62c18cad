"""Objects that the database has under another name: indexes and constraints, tables and columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.schema.diff import ObjectPair
from kernel.schema.drift.statements import WITH_ROWS

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.schema.drift.statements import SchemaParts
    from kernel.schema.snapshot import Fact, SchemaObject


def take_renamed(
    missing: list[SchemaObject], extra: list[SchemaObject], made: SchemaParts, live: SchemaParts
) -> list[ObjectPair]:
    """Take the pairs from both lists that are the same under another name; return those that are no part of another.

    An index or a constraint has the same definition on the same table; a column is at the same place in its table, with
    the same facts; a table has the same columns. Where two would fit, none is taken.
    """
    found: list[ObjectPair] = []
    for kinds, describe in ((WITH_ROWS, _table_facts), (("index", "constraint"), _part_facts), (("column",), _column)):
        of_made, of_live = (
            _by_description([obj for obj in objects if obj.kind in kinds], describe, schema)
            for objects, schema in ((missing, made), (extra, live))
        )
        for description in of_made.keys() & of_live.keys():
            ours, theirs = of_made[description], of_live[description]
            if len(ours) == len(theirs) == 1:
                found.append(ObjectPair(before=ours[0], after=theirs[0]))
    for objects, keys in (
        (missing, {pair.before.key for pair in found}),
        (extra, {pair.after.key for pair in found}),
    ):
        objects[:] = [obj for obj in objects if obj.key not in keys]
    origins = {pair.before.key for pair in found}
    # The index of a constraint has the name of the constraint.
    return sorted((pair for pair in found if pair.before.origin_key not in origins), key=lambda one: one.before.name)


def _by_description(
    objects: list[SchemaObject], describe: Callable[[SchemaObject, SchemaParts], object], schema: SchemaParts
) -> dict[object, list[SchemaObject]]:
    found: dict[object, list[SchemaObject]] = {}
    for obj in objects:
        if (description := describe(obj, schema)) is not None:
            found.setdefault(description, []).append(obj)
    return found


def _part_facts(obj: SchemaObject, schema: SchemaParts) -> object:
    """The facts of an index or a constraint, with its table; whether it is made with another object."""
    parent = schema.parent(obj)
    facts = tuple((label, fact) for label, fact in _facts(obj) if label != "comment")
    return (obj.kind, parent and parent.identity, bool(obj.origin_key), facts)


def _table_facts(table: SchemaObject, schema: SchemaParts) -> object:
    """The names and types of a table's columns, None without any."""
    columns = tuple((one.bare_name, one.fact("type"), one.fact("NOT NULL")) for one in schema.parts(table, "column"))
    return (table.kind, table.fact("partition key"), table.fact("partition of"), columns) if columns else None


def _column(column: SchemaObject, schema: SchemaParts) -> object:
    """The place of a column among those of its table, and its facts."""
    parent = schema.parent(column)
    if parent is None or parent.kind not in WITH_ROWS:
        return None
    places = [one.key for one in schema.parts(parent, "column")]
    facts = tuple((label, fact) for label, fact in _facts(column) if label not in ("comment", "privileges"))
    return (parent.identity, places.index(column.key), len(places), facts)


def _facts(obj: SchemaObject) -> list[tuple[str, Fact]]:
    return list(zip(obj.labels, obj.facts, strict=True))
