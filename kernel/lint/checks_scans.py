"""Which changes of a column's type leave its table as it is.

Source: ATColumnChangeRequiresRewrite in PostgreSQL's source, and the length coercions that it sees through (varchar,
numeric, timestamp, varbit): a change is free when every stored value is its own new value.
"""

from __future__ import annotations

import re
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

from kernel.lint.action import find_volatile_function, read_column_definition
from kernel.lint.finding import Severity
from kernel.lint.state import RuleMatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.lint.action import Action
    from kernel.lint.state import FileState


_SPELLINGS = {
    "int": "integer",
    "int4": "integer",
    "int8": "bigint",
    "int2": "smallint",
    "float8": "double precision",
    "bool": "boolean",
    "decimal": "numeric",
    "character varying": "varchar",
    "character": "char",
    "bpchar": "char",
    "bit varying": "varbit",
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
    "serial": "integer",
    "bigserial": "bigint",
    "serial8": "bigint",
}
_TYPE_PATTERN = re.compile(r"(?P<name>[^(]*?)\s*(?:\((?P<length>[0-9]+)(?:,(?P<scale>-?[0-9]+))?\))?(?P<rest>\D*)")
_TEXT_TYPES = frozenset({"text", "varchar"})
_TYPES_WITH_LENGTH = frozenset({"varchar", "varbit", "timestamp", "timestamptz", "time", "timetz", "interval"})


class TypeChangeCost(Enum):
    """What a change of type does to the table, as far as it can be told."""

    FREE = "free"
    REWRITE = "rewrite"
    UNSURE = "unsure"


def parse_type(text: str) -> tuple[str, int | None, int]:
    """A type's usual name, its length or precision, its scale; `varchar(50)` is ("varchar", 50, 0)."""
    match = _TYPE_PATTERN.fullmatch(text.strip().removeprefix("pg_catalog . "))
    if not match:
        return text, None, 0
    name = f"{match['name']}{match['rest']}".strip()
    length = int(match["length"]) if match["length"] else None
    return _SPELLINGS.get(name, name), length, int(match["scale"] or 0)


def type_change_cost(old: str | None, new: str, *, using: bool) -> TypeChangeCost:
    """What changing `old`, None when it is not known, to `new` does."""
    name, length, scale = parse_type(new)
    if old is None:
        if name not in _TEXT_TYPES or using:
            return TypeChangeCost.REWRITE
        # Mostly from varchar, where it is free; a length may be shorter than before.
        return TypeChangeCost.FREE if length is None else TypeChangeCost.UNSURE
    old_name, old_length, old_scale = parse_type(old)
    wider = length is None or (old_length is not None and length >= old_length)
    if name == old_name == "numeric":
        return TypeChangeCost.FREE if length is None or (wider and scale == old_scale) else TypeChangeCost.REWRITE
    if name == old_name:
        return (
            TypeChangeCost.FREE
            if wider or name not in _TYPES_WITH_LENGTH | {"char"} or length == old_length
            else TypeChangeCost.REWRITE
        )
    if {name, old_name} <= _TEXT_TYPES | {"citext"}:
        return TypeChangeCost.FREE if length is None else TypeChangeCost.REWRITE
    return TypeChangeCost.FREE if (old_name, name) == ("cidr", "inet") else TypeChangeCost.REWRITE


# Rules about indexes, columns and constraints: what reads, rewrites or refuses the rows of a table in use.


_SERIAL_TYPES = frozenset({"serial", "bigserial", "smallserial", "serial2", "serial4", "serial8"})


def _create_index(act: Action, scene: FileState) -> Iterator[RuleMatch]:
    if "concurrently" not in act.traits and "only" not in act.traits and scene.existed_before(act.relation):
        yield RuleMatch(rule="create-index-not-concurrently", action=act, relation=act.relation)


def _drop_index(act: Action, scene: FileState) -> Iterator[RuleMatch]:
    if "concurrently" not in act.traits and scene.existed_before(act.name):
        yield RuleMatch(rule="drop-index-not-concurrently", action=act, relation=act.name)


def _reindex(act: Action, scene: FileState) -> Iterator[RuleMatch]:
    if "concurrently" not in act.traits and act.relation not in scene.created:
        yield RuleMatch(rule="reindex-not-concurrently", action=act, relation=act.relation)


def _add_column(act: Action, scene: FileState) -> Iterator[RuleMatch]:
    yield from _int4_key(act)
    if not scene.existed_before(act.relation):
        return
    column = read_column_definition(act.words)
    if column.type in _SERIAL_TYPES or column.clauses & {"identity", "stored"}:
        yield RuleMatch(rule="computed-column-rewrites", action=act, relation=act.relation)
    elif function := find_volatile_function(column.default):
        says = f"column {act.name} is added with a default that calls {function}(), which may differ for every row"
        yield RuleMatch(rule="volatile-default", action=act, relation=act.relation, message=says)
    elif "not null" in column.clauses and "default" not in column.clauses:
        yield RuleMatch(rule="add-required-column", action=act, relation=act.relation)
    if column.clauses & {"primary key", "unique"}:
        yield RuleMatch(rule="unique-builds-index-under-lock", action=act, relation=act.relation)
    if "check" in column.clauses:
        yield RuleMatch(rule="check-validated-under-lock", action=act, relation=act.relation)
    if "references" in column.clauses and scene.existed_before(column.parent_table):
        yield RuleMatch(rule="foreign-key-locks-parent", action=act, relation=act.relation)
    if column.type == "json":
        yield RuleMatch(rule="json-column", action=act, relation=act.relation)


def _new_column(act: Action, scene: FileState) -> Iterator[RuleMatch]:
    yield from _int4_key(act)
    column = read_column_definition(act.words)
    if "references" in column.clauses and not scene.schema.has_index(act.relation, (act.name,)):
        scene.unresolved.append((scene.statement_index, replace(act, verb="add foreign key", columns=(act.name,))))


def _int4_key(act: Action) -> Iterator[RuleMatch]:
    column = read_column_definition(act.words)
    if "primary key" in column.clauses and parse_type(column.type)[0] in ("integer", "smallint"):
        yield RuleMatch(rule="int4-key", action=act, relation=act.relation)


def _change_type(act: Action, scene: FileState) -> Iterator[RuleMatch]:
    if not scene.existed_before(act.relation):
        return
    new = read_column_definition(act.words).type
    old = scene.schema.column_types.get((act.relation, act.name))
    found = type_change_cost(old, new, using="using" in act.traits)
    known = f"from {old} " if old else ""
    if found is TypeChangeCost.REWRITE:
        says = f"column {act.name} is changed {known}to {new}, whose values are stored or checked anew"
        yield RuleMatch(rule="type-change-rewrites", action=act, relation=act.relation, message=says)
    elif found is TypeChangeCost.UNSURE:
        says = f"column {act.name} is changed to {new}; if that is less than before, every row is read"
        yield RuleMatch(
            rule="type-change-rewrites", action=act, relation=act.relation, message=says, severity=Severity.WARNING
        )


def _added_constraint(rule: str, *, unless: str) -> Callable[[Action, FileState], Iterator[RuleMatch]]:
    """The judge of a constraint that is no hazard on a new table, or with the trait `unless`."""

    def judge(act: Action, scene: FileState) -> Iterator[RuleMatch]:
        if unless not in act.traits and scene.existed_before(act.relation):
            yield RuleMatch(rule=rule, action=act, relation=act.relation)

    return judge


def _add_foreign_key(act: Action, scene: FileState) -> Iterator[RuleMatch]:
    if "not valid" not in act.traits and scene.existed_before(act.relation):
        yield RuleMatch(rule="foreign-key-validated-under-lock", action=act, relation=act.relation)
    elif act.columns and "not valid" not in act.traits:
        scene.unresolved.append((scene.statement_index, act))


def _validate(act: Action, scene: FileState) -> Iterator[RuleMatch]:
    key = (act.relation, act.name)
    added = scene.not_valid.get(key)
    if scene.existed_before(act.relation) and added is not None and added == scene.transaction:
        yield RuleMatch(rule="validate-in-same-transaction", action=act, relation=act.relation)


def _set_not_null(act: Action, scene: FileState) -> Iterator[RuleMatch]:
    if scene.existed_before(act.relation) and not scene.schema.is_proven_not_null(act.relation, act.name):
        yield RuleMatch(rule="set-not-null-scans", action=act, relation=act.relation)


def _set_expression(act: Action, scene: FileState) -> Iterator[RuleMatch]:
    if scene.existed_before(act.relation):
        yield RuleMatch(rule="computed-column-rewrites", action=act, relation=act.relation)


def _constrain_domain(act: Action, scene: FileState) -> Iterator[RuleMatch]:
    if "not valid" not in act.traits and scene.existed_before(act.name):
        yield RuleMatch(rule="domain-constraint-scans", action=act, relation=act.name)


SCAN_CHECKS: dict[str, Callable[[Action, FileState], Iterator[RuleMatch]]] = {
    "create index": _create_index,
    "drop index": _drop_index,
    "reindex": _reindex,
    "add column": _add_column,
    "new column": _new_column,
    "change type": _change_type,
    "add check": _added_constraint("check-validated-under-lock", unless="not valid"),
    "add unique": _added_constraint("unique-builds-index-under-lock", unless="using index"),
    "add primary key": _added_constraint("unique-builds-index-under-lock", unless="using index"),
    "add exclusion": _added_constraint("exclusion-constraint", unless="new table"),
    "add not null": _added_constraint("set-not-null-scans", unless="not valid"),
    "add foreign key": _add_foreign_key,
    "validate": _validate,
    "set not null": _set_not_null,
    "set expression": _set_expression,
    "constrain domain": _constrain_domain,
}
