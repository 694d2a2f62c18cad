"""Backward compatible: what the application that runs now, and knows only the old schema, would trip over. Pure.

It knows things by their names: a table that was renamed is gone for it, unless a view of the old name gives it the same
columns. Source: the specification, "Backwards Compatibility".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel.rehearsal.practices.result import PracticeFault, PracticeResult, make_practice_result
from kernel.rehearsal.schema.diff import Renamings, pair_objects, printable_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.rehearsal.result import Run, TracedStatement
    from kernel.rehearsal.schema.snapshot import Schema, SchemaObject


# Which migration is to blame for what breaks: the only one there is, or the only one that names the object.


@dataclass(frozen=True, slots=True, kw_only=True)
class Incompatibility:
    """What breaks: the fault without its place, and the table or other object whose change is to blame.

    `stricter` is as in Fault.
    """

    object_name: str
    message: str
    remedy: str
    only_rejects_rows: bool = False


def attribute_to_migration(one: Incompatibility, runs: Sequence[Run]) -> PracticeFault:
    """The fault with the file to blame: the only one there is, or the only one whose commands name the object."""
    named = [(run, statement) for run in runs for statement in run.statements if _mentions(statement, one.object_name)]
    culprits = {run.filename: run for run, _ in named} or {run.filename: run for run in runs}
    fault = PracticeFault(
        message=printable_line(one.message),
        remedy=one.remedy,
        object_name=one.object_name,
        only_rejects_rows=one.only_rejects_rows,
    )
    if len(culprits) != 1:
        return fault
    (run,) = culprits.values()
    lines = {statement.line for _, statement in named}
    line = lines.pop() if len(lines) == 1 else None
    return replace(fault, version=run.version, filename=run.filename, line=line)


def _mentions(statement: TracedStatement, about: str) -> bool:
    return any(command.endswith(f" {about}") or f" {about}." in command for command in statement.commands)


# Changes of a type that keep every old value and every old statement valid.
#
# Source: PostgreSQL documentation, "Character Types" and "Numeric Types".


_SIZED_TYPE = re.compile(
    r"(?P<name>character varying|bit varying|varbit|numeric)(?:\((?P<size>\d+)(?:,(?P<scale>\d+))?\))?"
)


def is_type_widened(old: str, new: str) -> bool:
    """Whether a column of the new type takes and gives whatever one of the old type did."""
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


COMPATIBILITY_PRACTICE = "backward compatible"

_TABLE_KINDS = ("table", "partitioned table", "foreign table")
_RELATION_KINDS = (*_TABLE_KINDS, "view", "materialized view")
# Others that an application names: in a cast, in a call.
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
_EXPAND_THEN_CONTRACT = "add the new beside the old, and take the old away once no running version needs it"
_REQUIRE_LATER = "add it nullable or with a default, fill it, and require it once every running version writes it"
_COMPLY_FIRST = "let every running version keep to it first"
_KEEP_PRIVILEGE = "grant it until no running version needs it"


def check_compatibility(before: Schema, after: Schema, *, runs: Sequence[Run] = ()) -> PracticeResult:
    """Compare the schema that the application knows with the one that it will meet.

    `before` and `after` are of one database, or of copies made by TEMPLATE. With the `runs` of the migrations each
    fault says which of them is to blame, where only one can be.
    """
    broken = dict.fromkeys(_Comparison(before, after).incompatibilities())
    return make_practice_result(COMPATIBILITY_PRACTICE, [attribute_to_migration(one, runs) for one in broken])


class _Comparison:
    """Two schemas as the application sees them: by names."""

    def __init__(self, before: Schema, after: Schema) -> None:
        self._before = before
        self._after = after
        self._old = {thing.key: thing for thing in before.objects}
        self._new = {thing.key: thing for thing in after.objects}
        self._relations = {thing.name: thing for thing in after.objects if thing.kind in _RELATION_KINDS}
        self._names = {thing.identity: thing for thing in after.objects}
        self._schemas = {thing.schema for thing in after.objects if thing.kind == "schema"}
        self._old_columns, self._new_columns = _columns_by_table(before), _columns_by_table(after)

    def incompatibilities(self) -> Iterator[Incompatibility]:
        """Everything that breaks, table by table."""
        for old in sorted(self._before.objects, key=lambda thing: (thing.kind != "schema", thing.name)):
            if old.kind == "schema":
                if old.identity not in self._names:
                    yield Incompatibility(
                        object_name=old.name,
                        message=f"{old.kind} {old.name} {self._describe_absence(old)}",
                        remedy=_EXPAND_THEN_CONTRACT,
                    )
            elif old.kind in _RELATION_KINDS:
                yield from self._check_relation(old)
            elif old.kind in _NAMED_KINDS or (old.kind == "sequence" and not old.parent_key):
                yield from self._check_named_object(old)
        yield from self._check_constraints()

    def _describe_absence(self, old: SchemaObject) -> str:
        """What became of a thing that has its name no more."""
        new = self._new.get(old.key)
        if new is None or new.kind != old.kind:
            return "is gone"
        return f"is {new.name} now" if new.name != old.name else "is another one"

    def _schema_is_gone(self, old: SchemaObject) -> bool:
        return bool(old.schema) and old.schema not in self._schemas

    def _check_relation(self, old: SchemaObject) -> Iterator[Incompatibility]:
        new = self._relations.get(old.name)
        if new is None:
            if not self._schema_is_gone(old):
                yield Incompatibility(
                    object_name=old.name,
                    message=f"{old.kind} {old.name} {self._describe_absence(old)}",
                    remedy=_EXPAND_THEN_CONTRACT,
                )
            return
        what = f"{new.kind} {new.name}"
        columns = self._new_columns.get(new.key, {})
        known = self._old_columns.get(old.key, {})
        for bare, column in known.items():
            if bare in columns:
                yield from _check_column(
                    old, column, columns[bare], through_view=new.kind == "view" and old.kind != "view"
                )
            else:
                message = f"column {column.name} {self._describe_absence(column)}"
                yield Incompatibility(object_name=old.name, message=message, remedy=_EXPAND_THEN_CONTRACT)
        for bare, column in columns.items():
            if bare not in known and old.kind in _TABLE_KINDS and _is_required(column):
                message = (
                    f"column {column.name} is new, NOT NULL and without a default: INSERTs that do not name it fail"
                )
                yield Incompatibility(object_name=old.name, message=message, remedy=_REQUIRE_LATER)
        if new.fact("populated") and not old.fact("populated"):
            message = f"{what} is not populated any more, and cannot be read"
            yield Incompatibility(object_name=old.name, message=message, remedy="refresh it in the same migration")
        if str(new.fact("row security") or "").startswith("on") and not old.fact("row security"):
            message = f"{what} has row security now: rows that no policy shows are hidden"
            yield Incompatibility(
                object_name=old.name, message=message, remedy="add policies for the roles of every running version"
            )
        yield from _check_privileges(old, new)

    def _check_named_object(self, old: SchemaObject) -> Iterator[Incompatibility]:
        if str(old.fact("returns")) in _TRIGGER_RETURN_TYPES:
            return
        what = f"{old.kind} {old.name}"
        new = self._names.get(old.identity)
        if new is None:
            if not self._schema_is_gone(old):
                yield Incompatibility(
                    object_name=old.name, message=f"{what} {self._describe_absence(old)}", remedy=_EXPAND_THEN_CONTRACT
                )
            return
        if new.fact("returns") != old.fact("returns"):
            message = f"{what} returns {new.fact('returns')}, no longer {old.fact('returns')}"
            yield Incompatibility(object_name=old.name, message=message, remedy=_EXPAND_THEN_CONTRACT)
        for label in _fact_items(old, "labels"):
            if label not in _fact_items(new, "labels"):
                yield Incompatibility(
                    object_name=old.name,
                    message=f"{what} has no value '{label}' any more",
                    remedy=_EXPAND_THEN_CONTRACT,
                )
        if new.fact("NOT NULL") and not old.fact("NOT NULL"):
            yield Incompatibility(
                object_name=old.name,
                message=f"{what} takes no NULL any more",
                remedy=_COMPLY_FIRST,
                only_rejects_rows=True,
            )
        yield from _check_privileges(old, new)

    def _check_constraints(self) -> Iterator[Incompatibility]:
        """Constraints and unique indexes of what was there before: new ones refuse, lost ones break ON CONFLICT."""
        matched = pair_objects(self._before, self._after, oids=True)
        renamings = Renamings(matched.common)
        now = {pair.before.key: pair.after for pair in matched.common}
        before = {
            (now[rule.parent_key].key, str(renamings.translate(rule, rule.fact("definition")))): rule
            for rule in _constraints_and_unique_indexes(self._before)
            if rule.parent_key in now
        }
        after = {
            (rule.parent_key, str(rule.fact("definition"))): rule
            for rule in _constraints_and_unique_indexes(self._after)
        }
        was = {whole.key: self._old[key] for key, whole in now.items()}
        for (of, definition), rule in sorted(after.items(), key=_object_name):
            known = (of, definition) in before or (of, _arbiter_definition(definition)) in before
            if of in was and not known and self._restricts(was[of], definition):
                message = f"{rule.kind} {rule.name} is new: rows that it does not allow are refused: {definition}"
                yield Incompatibility(
                    object_name=was[of].name, message=message, remedy=_COMPLY_FIRST, only_rejects_rows=True
                )
        served = {(of, _arbiter_definition(definition)) for of, definition in after}
        for (of, definition), rule in sorted(before.items(), key=_object_name):
            if (of, definition) not in after and _is_arbiter(rule) and (of, definition) not in served:
                message = f"{rule.kind} {rule.name} is gone: INSERT … ON CONFLICT that relies on it fails: {definition}"
                yield Incompatibility(object_name=was[of].name, message=message, remedy=_EXPAND_THEN_CONTRACT)

    def _restricts(self, whole: SchemaObject, definition: str) -> bool:
        """Whether a rule is about columns that the application knows, not only about new ones; or about a domain."""
        own, _, _ = definition.partition(" REFERENCES ")
        known = self._old_columns.get(whole.key, ())
        return whole.kind == "domain" or any(re.search(rf"(?<!\w){re.escape(bare)}(?!\w)", own) for bare in known)


def _columns_by_table(schema: Schema) -> dict[str, dict[str, SchemaObject]]:
    """The columns of each relation by its key, by their names."""
    found: dict[str, dict[str, SchemaObject]] = {}
    for thing in schema.objects:
        if thing.place:
            found.setdefault(thing.parent_key, {})[thing.bare_name] = thing
    return found


def _constraints_and_unique_indexes(schema: Schema) -> Iterator[SchemaObject]:
    """What restricts rows. The index of a constraint is not told apart from it, nor a partition's from the whole's."""
    for thing in schema.objects:
        if not thing.origin_key and (thing.kind == "constraint" or (thing.kind == "index" and thing.fact("unique"))):
            yield thing


def _object_name(one: tuple[object, SchemaObject]) -> str:
    return one[1].name


def _arbiter_definition(definition: str) -> str:
    """What a bare unique index on the columns of a constraint is defined as: ON CONFLICT (columns) finds either."""
    return re.sub(r"^(?:PRIMARY KEY|UNIQUE) (?=\()", "USING btree ", definition)


def _is_arbiter(rule: SchemaObject) -> bool:
    return rule.kind == "index" or str(rule.fact("definition")).startswith(("UNIQUE", "PRIMARY KEY", "EXCLUDE"))


def _check_column(
    relation: SchemaObject, old: SchemaObject, new: SchemaObject, *, through_view: bool
) -> Iterator[Incompatibility]:
    """What breaks about a column; where a view stands in for its table, the defaults are those of the table behind."""

    def broken(message: str, remedy: str) -> Incompatibility:
        stricter = remedy == _COMPLY_FIRST
        return Incompatibility(
            object_name=relation.name, message=f"column {new.name} {message}", remedy=remedy, only_rejects_rows=stricter
        )

    if not is_type_widened(str(old.fact("type")), str(new.fact("type"))):
        yield broken(f"is {new.fact('type')}, no longer {old.fact('type')}", _EXPAND_THEN_CONTRACT)
    if new.fact("NOT NULL") and not old.fact("NOT NULL"):
        yield broken("takes no NULL any more", _COMPLY_FIRST)
    if (new.fact("generated") and not old.fact("generated")) or (
        new.fact("identity") == "always" and old.fact("identity") != "always"
    ):
        yield broken("is generated now: INSERTs and UPDATEs that name it fail", _EXPAND_THEN_CONTRACT)
    elif _has_default(old) and not _has_default(new) and not through_view:
        result = "fail" if new.fact("NOT NULL") else "leave it NULL"
        yield broken(f"has no default any more: INSERTs that do not name it {result}", _EXPAND_THEN_CONTRACT)
    yield from _check_privileges(old, new)


def _has_default(column: SchemaObject) -> bool:
    return any(column.fact(label) is not None for label in ("default", "generated", "identity"))


def _is_required(column: SchemaObject) -> bool:
    return column.fact("NOT NULL") is not None and not _has_default(column)


def _check_privileges(old: SchemaObject, new: SchemaObject) -> Iterator[Incompatibility]:
    for item in _fact_items(old, "privileges"):
        if item not in _fact_items(new, "privileges"):
            yield Incompatibility(
                object_name=old.name, message=f"{new.kind} {new.name}: {item} is revoked", remedy=_KEEP_PRIVILEGE
            )


def _fact_items(thing: SchemaObject, label: str) -> tuple[str, ...]:
    fact = thing.fact(label)
    return fact if isinstance(fact, tuple) else ()
