"""The differences of two schemas, a line of text for each change, the losses first. Pure."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from psycopg import sql

from kernel.schema.snapshot import fact_items
from kernel.sql.passwords import mask_passwords
from kernel.units import clip_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kernel.schema.snapshot import Fact, Schema, SchemaObject


_SCHEMA_QUALIFIED_PARTS = ("index", "sequence")  # parts of a table whose name does not begin with the table's
_NAME_CHARACTER = r'[\w"$.]'


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectPair:
    """An object of both schemas."""

    before: SchemaObject
    after: SchemaObject

    @property
    def renamed(self) -> bool:
        """Whether its own name changed; a new name of its table does not count."""
        return self.before.bare_name != self.after.bare_name

    @property
    def recreated(self) -> bool:
        """Whether it is another object of the same name, by its OID."""
        return self.before.key != self.after.key


@dataclass(frozen=True, slots=True, kw_only=True)
class FactChange:
    """A fact that changed."""

    label: str
    before: Fact
    after: Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedObjects:
    """The objects that two schemas have in common, and those that only one of them has."""

    common: tuple[ObjectPair, ...]
    dropped: tuple[SchemaObject, ...]
    added: tuple[SchemaObject, ...]


def pair_objects(before: Schema, after: Schema, *, oids: bool) -> PairedObjects:
    """Pair the objects: by OID, where `oids` says that equal OIDs mean one object, and else by name."""
    old, new = list(before.objects), list(after.objects)
    common: list[ObjectPair] = []
    if oids:
        common += _take_pairs(old, new, lambda obj: (obj.kind, obj.key))
    common += _take_pairs(old, new, lambda obj: obj.identity)
    return PairedObjects(common=tuple(common), dropped=tuple(old), added=tuple(new))


def _take_pairs(
    old: list[SchemaObject], new: list[SchemaObject], by: Callable[[SchemaObject], tuple[str, str]]
) -> Iterator[ObjectPair]:
    """Remove the objects that are equal `by` a key from both lists, and return them in pairs."""
    at = {by(obj): obj for obj in new}
    found = {by(obj): obj for obj in old if by(obj) in at}
    old[:] = [obj for obj in old if by(obj) not in found]
    new[:] = [obj for obj in new if by(obj) not in found]
    return (ObjectPair(before=obj, after=at[which]) for which, obj in found.items())


class Renamings:
    """Translates the text of old facts to new names: a view of a renamed table has another text, and did not change."""

    def __init__(self, pairs: Iterable[ObjectPair]) -> None:
        self._schemas: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._columns: dict[str, dict[str, str]] = {}
        moved: list[ObjectPair] = []
        for pair in pairs:
            if pair.before.name == pair.after.name:
                continue
            if pair.before.kind == "schema":
                self._schemas[pair.before.schema] = pair.after.schema
                self._names[f"{pair.before.name}."] = f"{pair.after.name}."
            elif pair.before.place and pair.renamed:
                old, new = (obj.name for obj in (pair.before, pair.after))
                self._names[old] = new
                self._columns.setdefault(pair.before.parent_key, {})[_quoted_column_name(pair.before)] = (
                    _quoted_column_name(pair.after)
                )
            elif not pair.before.parent_key or pair.before.kind in _SCHEMA_QUALIFIED_PARTS:
                moved.append(pair)
        for pair in moved:
            if pair.renamed or not self.moved_along(pair):
                self._names[pair.before.name] = pair.after.name
        self._pattern = _names_pattern(self._names)
        self._column_patterns = {of: _names_pattern(names) for of, names in self._columns.items()}

    def moved_along(self, pair: ObjectPair) -> bool:
        """Whether an object is in another schema only because its schema was renamed."""
        return self._schemas.get(pair.before.schema, pair.before.schema) == pair.after.schema

    def translate(self, obj: SchemaObject, fact: Fact) -> Fact:
        """A fact of the old schema, in the names of the new one."""
        if isinstance(fact, tuple):
            return tuple(self._translate_text(obj, one) for one in fact)
        return fact and self._translate_text(obj, fact)

    def _translate_text(self, obj: SchemaObject, text: str) -> str:
        if self._names:
            text = self._pattern.sub(lambda found: self._names[found[0]], text)
        if names := self._columns.get(obj.parent_key):
            text = self._column_patterns[obj.parent_key].sub(lambda found: names[found[0]], text)
        return text


def _names_pattern(names: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(names, key=len, reverse=True)
    ends = (re.escape(name) + ("" if name.endswith(".") else r'(?![\w"$])') for name in longest_first)
    return re.compile(rf"(?<!{_NAME_CHARACTER})(?:{'|'.join(ends)})")


def _quoted_column_name(column: SchemaObject) -> str:
    """A column's own name as the server quotes it, without the name of its table."""
    quoted = _quote(column.bare_name)
    return quoted if column.name.endswith(f".{quoted}") else column.bare_name


def _quote(name: str) -> str:
    return sql.Identifier(name).as_string()


def changed_facts(pair: ObjectPair, renamings: Renamings) -> tuple[FactChange, ...]:
    """The facts that differ by more than renamed objects."""
    if pair.before.facts == pair.after.facts:
        return ()
    return tuple(
        FactChange(label=label, before=old, after=new)
        for label, old, new in zip(pair.before.labels, pair.before.facts, pair.after.facts, strict=True)
        if old != new and renamings.translate(pair.before, old) != new
    )


# Of facts that may hold a secret (settings, options of foreign servers) only the name is shown, of long ones no text.
_MAX_VALUE_CHARACTERS = 160
SECRET_ITEM_LABELS = {"settings": "setting", "connection options": "option"}
LONG_FACTS = ("definition", "body", "comment")
_SHORT_DEFINITIONS = ("constraint", "index")
# The meaning of a fact that is None.
DEFAULT_VALUES = {
    "row security": "off",
    "persistence": "logged",
    "replica identity": "default",
    "storage": "that of the type",
    "compression": "default",
    "statistics target": "default",
    "target": "default",
    "tablespace": "default",
    "kind": "permissive",
    "rows": "all",
}
# Facts that are set or not: the phrases for setting and for dropping them.
_FLAGS = {
    "validated": ("not validated any more", "validated"),
    "triggers": ("triggers disabled", "triggers enabled"),
    "valid": ("invalid", "valid again"),
    "ready": ("not ready", "ready"),
    "populated": ("not populated any more", "populated"),
    "NOT NULL": ("NOT NULL set", "NOT NULL dropped"),
    "enabled": ("", "enabled"),
}


def describe_change(obj: SchemaObject, one: FactChange) -> Iterator[str]:
    """The phrases for one changed fact, one for each command that could have caused it."""
    if isinstance(one.before, tuple) or isinstance(one.after, tuple):
        yield from _describe_items(one.label, fact_items(one.before), fact_items(one.after))
    elif one.label in LONG_FACTS and not (one.label == "definition" and obj.kind in _SHORT_DEFINITIONS):
        done = "added" if one.before is None else "dropped" if one.after is None else "changed"
        yield f"{one.label} {done}"
    elif one.label in _FLAGS and None in (one.before, one.after):
        phrase_set, phrase_dropped = _FLAGS[one.label]
        yield phrase_dropped if one.after is None else phrase_set or one.after
    elif one.label in DEFAULT_VALUES or None not in (one.before, one.after):
        default = DEFAULT_VALUES.get(one.label, "")
        yield f"{one.label} {_shorten(one.before or default)} -> {_shorten(one.after or default)}"
    else:
        value, done = (one.after, "set") if one.before is None else (one.before, "dropped")
        yield f"{value} {done}" if value == one.label else f"{one.label} {_shorten(str(value))} {done}"


def describe_added_object(obj: SchemaObject) -> str:
    """The description of a new object after its name; "" where the name is enough."""
    if obj.place:
        default = obj.fact("default")
        generated = obj.fact("generated")
        identity = obj.fact("identity")
        parts = (
            obj.fact("type"),
            obj.fact("NOT NULL"),
            f"DEFAULT {_shorten(str(default))}" if default else "",
            f"GENERATED {str(identity).upper()} AS IDENTITY" if identity else "",
            f"GENERATED ALWAYS AS ({_shorten(str(generated))})" if generated else "",
        )
        return " ".join(str(part) for part in parts if part)
    if obj.kind in _SHORT_DEFINITIONS:
        flags = (obj.fact("unique"), obj.fact("definition"), obj.fact("validated"), obj.fact("valid"))
        return " ".join(_shorten(str(part)) for part in flags if part)
    return ""


def printable_line(text: str) -> str:
    """The text as one line without control characters, which names may hold, and without passwords."""
    return "".join(
        letter if unicodedata.category(letter)[0] != "C" else letter.encode("unicode_escape").decode()
        for letter in mask_passwords(text)
    )


def _describe_items(label: str, before: tuple[str, ...], after: tuple[str, ...]) -> Iterator[str]:
    gone = [item for item in before if item not in after]
    new = [item for item in after if item not in before]
    if label == "privileges":
        yield from (f"{item} revoked" for item in gone)
        yield from (f"{item} granted" for item in new)
    elif label in SECRET_ITEM_LABELS:
        yield from _describe_named_items(SECRET_ITEM_LABELS[label], gone, new)
    elif label == "labels" and len(before) == len(after) and gone:
        yield from (f"value '{old}' renamed to '{now}'" for old, now in zip(before, after, strict=True) if old != now)
    else:
        one = "value" if label == "labels" else label
        yield from (f"{one} {_shorten(item)} taken away" for item in gone)
        yield from (f"{one} {_shorten(item)} added" for item in new)
    if not gone and not new:
        yield f"order of {label} changed"


def _describe_named_items(what: str, gone: list[str], new: list[str]) -> Iterator[str]:
    old_names, new_names = ([item.partition("=")[0] for item in items] for items in (gone, new))
    yield from (f"{what} {name} {'changed' if name in new_names else 'taken away'}" for name in old_names)
    yield from (f"{what} {name} set" for name in new_names if name not in old_names)


def _shorten(value: Fact) -> str:
    return clip_text(" ".join(str(value).split()), _MAX_VALUE_CHARACTERS)


# Lines are ordered by kind: first those of a table and its parts, then those of types and so on.
_KINDS = (
    *("schema", "table", "partitioned table", "foreign table", "view", "materialized view", "composite type", "column"),
    *("constraint", "index", "sequence", "trigger", "rule", "policy", "statistics", "enum", "domain", "range type"),
    *("type", "function", "procedure", "aggregate", "extension"),
)
_KIND_RANKS = {kind: rank for rank, kind in enumerate(_KINDS)}
_LOST, _CHANGED, _ADDED = range(3)
# Kinds whose objects hold data: a recreated one has other data.
_WITH_CONTENTS = ("table", "partitioned table", "sequence", "column")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line about an object, which is a part of the object with the key `group`; lower `weight` is more important.

    `kind` is the kind of the object in the text: of an added or dropped column, the table's.
    """

    weight: int
    group: str
    about: SchemaObject
    kind: str
    text: str


def diff_schemas(before: Schema, after: Schema, *, oids: bool = True, remade: bool = True) -> tuple[str, ...]:
    """The texts of `lines`, with the same parameters."""
    return tuple(line.text for line in lines(before, after, oids=oids, remade=remade))


def lines(before: Schema, after: Schema, *, oids: bool = True, remade: bool = True) -> tuple[Line, ...]:
    """The differences as lines, the most important first, those about one table together; () without differences.

    `oids` says that equal OIDs mean the same object: both schemas are of one database, or of clones of one template.
    Then renamed objects are recognized. With `remade` there are lines for tables and columns that were dropped and
    created again under their name, which have other data.
    """
    matched = pair_objects(before, after, oids=oids)
    by_key = {obj.key: obj for schema in (before, after) for obj in schema.objects}
    found = (
        *_dropped_and_added_lines(matched, by_key),
        *_changed_lines(matched, remade=remade and oids),
        *_reordered_lines(matched),
    )
    weights: dict[str, int] = {}
    for line in found:
        weights[line.group] = min(line.weight, weights.get(line.group, _ADDED))

    def rank(line: Line) -> tuple[object, ...]:
        root, about = by_key.get(line.group, line.about), line.about
        of_group = (weights[line.group], _kind_rank(root), root.name)
        return (*of_group, line.weight, _kind_rank(about), about.kind, about.place, about.name)

    return tuple(replace(line, text=printable_line(line.text)) for line in sorted(found, key=rank))


def schemas_equal(before: Schema, after: Schema) -> bool:
    """Whether both have the same objects of the same names, and columns in the same order."""
    return _comparable_by_name(before) == _comparable_by_name(after)


def _comparable_by_name(schema: Schema) -> tuple[object, object]:
    names = {obj.key: obj.name for obj in schema.objects}
    orders = {names[key]: columns for key, columns in schema.column_orders().items() if key in names}
    return frozenset((obj.kind, obj.name, obj.facts) for obj in schema.objects), orders


def _kind_rank(obj: SchemaObject) -> int:
    return _KIND_RANKS.get(obj.kind, len(_KINDS))


def _line(weight: int, obj: SchemaObject, text: str, *, kind: str = "") -> Line:
    return Line(weight=weight, group=obj.parent_key or obj.key, about=obj, kind=kind or obj.kind, text=text)


def _dropped_and_added_lines(matched: PairedObjects, by_key: dict[str, SchemaObject]) -> Iterator[Line]:
    """Objects of one side only, without the parts of an added or dropped table, constraint or column."""
    for objects, weight, verb in ((matched.dropped, _LOST, "dropped"), (matched.added, _ADDED, "added")):
        keys = {obj.key for obj in objects}
        for obj in objects:
            if obj.parent_key in keys or obj.origin_key in keys:
                continue
            table = by_key.get(obj.parent_key)
            description = describe_added_object(obj) if weight == _ADDED else ""
            if obj.place and table:
                kind, name = table.kind, obj.name.removeprefix(f"{table.name}.")
                text = f"{table.kind} {table.name}: column {name} {description} {verb}".replace("  ", " ")
            else:
                kind = obj.kind
                text = f"{obj.kind} {obj.name}: {verb}" + (f", {description}" if description else "")
            yield _line(weight, obj, text, kind=kind)


def _changed_lines(matched: PairedObjects, *, remade: bool) -> Iterator[Line]:
    renamings = Renamings(matched.common)
    facts = {pair.after.key: changed_facts(pair, renamings) for pair in matched.common}
    names = {pair.after.key: (pair.before.bare_name, pair.after.bare_name) for pair in matched.common if pair.renamed}
    dropped = {obj.key for obj in matched.dropped}
    recreated = {
        pair.after.key for pair in matched.common if remade and pair.recreated and pair.before.parent_key not in dropped
    }
    for pair in matched.common:
        obj = pair.after
        what = f"{obj.kind} {obj.name}".rstrip()
        if pair.renamed and names.get(obj.origin_key) != names[obj.key]:
            text = f"{obj.kind} {pair.before.name} renamed to {_quoted_new_name(pair)}"
            yield _line(_LOST, obj, text)
        if not obj.parent_key and not renamings.moved_along(pair) and obj.kind != "schema":
            text = f"{obj.kind} {pair.before.name} moved to schema {obj.schema}"
            yield _line(_LOST, obj, text)
        if obj.key in recreated and obj.kind in _WITH_CONTENTS and not {obj.parent_key, obj.origin_key} & recreated:
            text = f"{what}: dropped, and made again"
            yield _line(_LOST, obj, text)
        for change in facts[obj.key]:
            if change not in facts.get(obj.origin_key, ()):
                for phrase in describe_change(obj, change):
                    text = f"{what}: {phrase}"
                    yield _line(_CHANGED, obj, text)


def _quoted_new_name(pair: ObjectPair) -> str:
    """The new name of a renamed object, as the server quotes it."""
    quoted = _quote(pair.after.bare_name)
    return quoted if quoted in pair.after.name else pair.after.bare_name


def _reordered_lines(matched: PairedObjects) -> Iterator[Line]:
    """Tables whose common columns have another order."""
    orders: dict[str, list[ObjectPair]] = {}
    for pair in matched.common:
        if pair.before.place:
            orders.setdefault(pair.after.parent_key, []).append(pair)
    tables = {pair.after.key: pair.after for pair in matched.common}
    for key, columns in orders.items():
        old = sorted(columns, key=lambda pair: pair.before.place)
        new = sorted(columns, key=lambda pair: pair.after.place)
        if old != new and key in tables:
            table = tables[key]
            text = f"{table.kind} {table.name}: columns in another order"
            yield _line(_CHANGED, table, text)
