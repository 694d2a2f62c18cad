"""Backward compatible: what breaks the running application, which knows only the old schema. Pure.

The application knows objects by their names: a renamed table is missing for it, unless a view of the old name has the
same columns. Source: the specification, "Backwards Compatibility".
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.lint.finding import Severity
from kernel.rehearsal.practices.result import PracticeFault, PracticeResult, make_practice_result
from kernel.schema import fact_items
from kernel.schema.diff import Renamings, pair_objects, printable_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.rehearsal.result import Run, TracedStatement
    from kernel.schema import Schema, SchemaObject


COMPATIBILITY_PRACTICE = "backward compatible"

_TABLE_KINDS = ("table", "partitioned table", "foreign table")
_RELATION_KINDS = (*_TABLE_KINDS, "view", "materialized view")
# Other objects that an application names: in a cast, in a call.
_NAMED_KINDS = (
    "enum",
    "domain",
    "range type",
    "composite type",
    "type",
    "function",
    "procedure",
    "aggregate",
    "extension",
)
_TRIGGER_RETURN_TYPES = ("trigger", "event_trigger")
_EXPAND_THEN_CONTRACT = "add the new next to the old, and drop the old once no running version needs it"
_REQUIRE_LATER = "add it nullable or with a default, fill it, and require it once every running version writes it"
_COMPLY_FIRST = "let every running version keep to it first"
_KEEP_PRIVILEGE = "grant it until no running version needs it"
# The rules of the linter that are about the same hazards.
_RULES_OF_NAMES = (
    *("drop-table", "drop-column", "drop-object", "drop-schema", "extension-changed"),
    *("rename-table", "rename-column", "rename-object", "table-swap"),
)
_RULES_OF_TYPES = ("type-change-rewrites", "type-change-rebuilds-indexes")


def check_compatibility(before: Schema, after: Schema, *, runs: Sequence[Run] = ()) -> PracticeResult:
    """Compare the schema that the running application knows with the schema after the migrations.

    `before` and `after` are of one database, or of clones of one template. With the `runs` of the migrations each fault
    has the file that caused it, where only one can have.
    """
    faults = dict.fromkeys(_Comparison(before, after).faults())
    return make_practice_result(COMPATIBILITY_PRACTICE, [_attribute_to_migration(fault, runs) for fault in faults])


def _attribute_to_migration(fault: PracticeFault, runs: Sequence[Run]) -> PracticeFault:
    """The fault with the file that caused it: the only one that ran, or the only one whose commands name the object.

    Those that name the column count alone, where there are any.
    """
    statements = [(run, statement) for run in runs for statement in run.statements]
    columns = (f"{fault.object_name}.{fault.subject}", f'{fault.object_name}."{fault.subject}"')
    naming = [one for one in statements if any(_names_object(one[1], column) for column in columns)]
    naming = naming or [one for one in statements if _names_object(one[1], fault.object_name)]
    causes = {run.filename: run for run, _ in naming} or {run.filename: run for run in runs}
    fault = replace(fault, message=printable_line(fault.message))
    if len(causes) != 1:
        return fault
    (run,) = causes.values()
    fault = replace(fault, version=run.version, filename=run.filename)
    if len(naming) != 1:
        return fault
    ((_, statement),) = naming
    return replace(fault, line=statement.line, column=statement.column, offset=statement.offset)


def _names_object(statement: TracedStatement, name: str) -> bool:
    commands = (*statement.commands, *statement.dropped)
    return any(command.endswith(f" {name}") or f" {name}." in command for command in commands)


class _Comparison:
    """Two schemas, compared by the names that an application uses."""

    def __init__(self, before: Schema, after: Schema) -> None:
        self._before = before
        self._after = after
        self._old = {obj.key: obj for obj in before.objects}
        self._new = {obj.key: obj for obj in after.objects}
        self._relations = {obj.name: obj for obj in after.objects if obj.kind in _RELATION_KINDS}
        self._names = {obj.identity: obj for obj in after.objects}
        self._schemas = {obj.schema for obj in after.objects if obj.kind == "schema"}
        self._old_columns, self._new_columns = _columns_by_table(before), _columns_by_table(after)

    def faults(self) -> Iterator[PracticeFault]:
        """All incompatible changes, table by table; the faults are of no file yet."""
        for old in sorted(self._before.objects, key=lambda obj: (obj.kind != "schema", obj.name)):
            if old.kind == "schema":
                if old.identity not in self._names:
                    yield _name_fault(old, f"{old.kind} {old.name} {self._describe_absence(old)}")
            elif old.kind in _RELATION_KINDS:
                yield from self._check_relation(old)
            elif old.kind in _NAMED_KINDS or (old.kind == "sequence" and not old.parent_key):
                yield from self._check_named_object(old)
        yield from self._check_constraints()

    def _describe_absence(self, old: SchemaObject) -> str:
        """What happened to an object whose name no longer exists."""
        new = self._new.get(old.key)
        if new is None or new.kind != old.kind:
            return "is gone"
        return f"is {new.name} now" if new.name != old.name else "is another one"

    def _schema_is_dropped(self, old: SchemaObject) -> bool:
        return bool(old.schema) and old.schema not in self._schemas

    def _check_relation(self, old: SchemaObject) -> Iterator[PracticeFault]:
        new = self._relations.get(old.name)
        if new is None:
            if not self._schema_is_dropped(old):
                yield _name_fault(old, f"{old.kind} {old.name} {self._describe_absence(old)}")
            return
        what = f"{new.kind} {new.name}"
        columns = self._new_columns.get(new.key, {})
        known = self._old_columns.get(old.key, {})
        for name, column in known.items():
            if name in columns:
                yield from _check_column(
                    old, column, columns[name], through_view=new.kind == "view" and old.kind != "view"
                )
            else:
                yield _name_fault(old, f"column {column.name} {self._describe_absence(column)}", name)
        for name, column in columns.items():
            if name not in known and old.kind in _TABLE_KINDS and _is_required(column):
                message = (
                    f"column {column.name} is new, NOT NULL and without a default: INSERTs that do not name it fail"
                )
                found = _fault(old, message, _REQUIRE_LATER, subject=name)
                yield replace(found, severity=Severity.ERROR, rules=("add-required-column",))
        if new.fact("populated") and not old.fact("populated"):
            yield _fault(
                old, f"{what} is not populated any more, and cannot be read", "refresh it in the same migration"
            )
        if str(new.fact("row security") or "").startswith("on") and not old.fact("row security"):
            message = f"{what} has row security now: rows that no policy shows are hidden"
            found = _fault(old, message, "add policies for the roles of every running version")
            yield replace(found, rules=("row-security-switched",))
        yield from _check_privileges(old, new)

    def _check_named_object(self, old: SchemaObject) -> Iterator[PracticeFault]:
        if str(old.fact("returns")) in _TRIGGER_RETURN_TYPES:
            return
        what = f"{old.kind} {old.name}"
        new = self._names.get(old.identity)
        if new is None:
            if not self._schema_is_dropped(old):
                yield _name_fault(old, f"{what} {self._describe_absence(old)}")
            return
        if new.fact("returns") != old.fact("returns"):
            yield _name_fault(old, f"{what} returns {new.fact('returns')}, no longer {old.fact('returns')}")
        for label in fact_items(old.fact("labels")):
            if label not in fact_items(new.fact("labels")):
                yield _name_fault(old, f"{what} has no value '{label}' any more", label)
        if new.fact("NOT NULL") and not old.fact("NOT NULL"):
            yield _fault(old, f"{what} takes no NULL any more", _COMPLY_FIRST)
        yield from _check_privileges(old, new)

    def _check_constraints(self) -> Iterator[PracticeFault]:
        """Constraints and unique indexes of existing tables: new ones refuse rows, dropped ones break ON CONFLICT."""
        matched = pair_objects(self._before, self._after, oids=True)
        renamings = Renamings(matched.common)
        now = {pair.before.key: pair.after for pair in matched.common}
        before = {
            (
                now[constraint.parent_key].key,
                str(renamings.translate(constraint, constraint.fact("definition"))),
            ): constraint
            for constraint in _constraints_and_unique_indexes(self._before)
            if constraint.parent_key in now
        }
        after = {
            (constraint.parent_key, str(constraint.fact("definition"))): constraint
            for constraint in _constraints_and_unique_indexes(self._after)
        }
        was = {table.key: self._old[key] for key, table in now.items()}
        for (key, definition), constraint in sorted(after.items(), key=_object_name):
            known = (key, definition) in before or (key, _arbiter_definition(definition)) in before
            if key in was and not known and self._restricts(was[key], definition):
                what = f"{constraint.kind} {constraint.name} is new"
                message = f"{what}: rows that it does not allow are refused: {definition}"
                yield _fault(was[key], message, _COMPLY_FIRST, subject=constraint.bare_name)
        served = {(key, _arbiter_definition(definition)) for key, definition in after}
        for (key, definition), constraint in sorted(before.items(), key=_object_name):
            if (key, definition) not in after and _is_arbiter(constraint) and (key, definition) not in served:
                what = f"{constraint.kind} {constraint.name} is gone"
                message = f"{what}: INSERT … ON CONFLICT that relies on it fails: {definition}"
                yield _name_fault(was[key], message, constraint.bare_name)

    def _restricts(self, table: SchemaObject, definition: str) -> bool:
        """Whether a constraint restricts columns that the application knows, or a domain."""
        columns, _, _ = definition.partition(" REFERENCES ")
        known = self._old_columns.get(table.key, ())
        return table.kind == "domain" or any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", columns) for name in known)


def _fault(old: SchemaObject, message: str, remedy: str = _EXPAND_THEN_CONTRACT, *, subject: str = "") -> PracticeFault:
    """A fault of a named object, of no file yet; `subject` is the part of it that changed, "" for the object."""
    return PracticeFault(
        message=message,
        remedy=remedy,
        object_name=old.name,
        subject=subject or old.bare_name,
        only_rejects_rows=remedy == _COMPLY_FIRST,
    )


def _name_fault(old: SchemaObject, message: str, subject: str = "") -> PracticeFault:
    """A fault of a name that the application uses, and that is no longer there or means something else."""
    return replace(_fault(old, message, subject=subject), rules=_RULES_OF_NAMES)


def _columns_by_table(schema: Schema) -> dict[str, dict[str, SchemaObject]]:
    """The columns by the key of their relation, then by name."""
    found: dict[str, dict[str, SchemaObject]] = {}
    for obj in schema.objects:
        if obj.place:
            found.setdefault(obj.parent_key, {})[obj.bare_name] = obj
    return found


def _constraints_and_unique_indexes(schema: Schema) -> Iterator[SchemaObject]:
    """What restricts rows, without the index of a constraint and what partitions have from their parent."""
    for obj in schema.objects:
        if not obj.origin_key and (obj.kind == "constraint" or (obj.kind == "index" and obj.fact("unique"))):
            yield obj


def _object_name(one: tuple[object, SchemaObject]) -> str:
    return one[1].name


def _arbiter_definition(definition: str) -> str:
    """The definition of a unique index on the constraint's columns: ON CONFLICT (columns) accepts either."""
    return re.sub(r"^(?:PRIMARY KEY|UNIQUE) (?=\()", "USING btree ", definition)


def _is_arbiter(constraint: SchemaObject) -> bool:
    return constraint.kind == "index" or str(constraint.fact("definition")).startswith(
        ("UNIQUE", "PRIMARY KEY", "EXCLUDE")
    )


def _check_column(
    relation: SchemaObject, old: SchemaObject, new: SchemaObject, *, through_view: bool
) -> Iterator[PracticeFault]:
    """Incompatible changes of a column; a view in place of the table uses the defaults of its own table."""
    name = f"column {new.name}"
    if not is_type_widened(str(old.fact("type")), str(new.fact("type"))):
        found = _fault(relation, f"{name} is {new.fact('type')}, no longer {old.fact('type')}", subject=new.bare_name)
        yield replace(found, rules=_RULES_OF_TYPES)
    if new.fact("NOT NULL") and not old.fact("NOT NULL"):
        yield _fault(relation, f"{name} takes no NULL any more", _COMPLY_FIRST, subject=new.bare_name)
    if (new.fact("generated") and not old.fact("generated")) or (
        new.fact("identity") == "always" and old.fact("identity") != "always"
    ):
        message = f"{name} is generated now: INSERTs and UPDATEs that name it fail"
        yield _fault(relation, message, subject=new.bare_name)
    elif _has_default(old) and not _has_default(new) and not through_view:
        result = "fail" if new.fact("NOT NULL") else "leave it NULL"
        message = f"{name} has no default any more: INSERTs that do not name it {result}"
        yield replace(_fault(relation, message, subject=new.bare_name), rules=("table-swap",))
    yield from _check_privileges(old, new)


def _has_default(column: SchemaObject) -> bool:
    return any(column.fact(label) is not None for label in ("default", "generated", "identity"))


def _is_required(column: SchemaObject) -> bool:
    return column.fact("NOT NULL") is not None and not _has_default(column)


def _check_privileges(old: SchemaObject, new: SchemaObject) -> Iterator[PracticeFault]:
    for item in fact_items(old.fact("privileges")):
        if item not in fact_items(new.fact("privileges")):
            found = _fault(old, f"{new.kind} {new.name}: {item} is revoked", _KEEP_PRIVILEGE)
            yield replace(found, rules=("privileges-changed",))


# Source: PostgreSQL documentation, "Character Types" and "Numeric Types".
_SIZED_TYPE = re.compile(
    r"(?P<name>character varying|bit varying|varbit|numeric)(?:\((?P<size>\d+)(?:,(?P<scale>\d+))?\))?"
)


def is_type_widened(old: str, new: str) -> bool:
    """Whether a column of the new type accepts and returns all values of the old type."""
    if old == new:
        return True
    was, now = _SIZED_TYPE.fullmatch(old), _SIZED_TYPE.fullmatch(new)
    if {old, new} == {"text", "character varying"} or (was and new == "text"):
        return was is None or was["name"] == "character varying"
    if not (was and now and was["name"] == now["name"]):
        return False
    if now["size"] is None:
        return True
    if was["size"] is None:
        return False
    size, scale = (int(now[part] or 0) - int(was[part] or 0) for part in ("size", "scale"))
    return scale >= 0 and size >= scale
