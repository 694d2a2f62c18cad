"""What makes two schemas differ, in words: a line for each thing done, the losses first. Pure."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel.sql.passwords import mask_passwords

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kernel.rehearsal.schema.snapshot import Fact, Schema, SchemaObject


# The objects of two schemas, each with what became of it: the same, renamed, changed, gone or new. Pure.


_SCHEMA_QUALIFIED_PARTS = ("index", "sequence")  # parts of a table whose name does not begin with the table's
_NAME_CHARACTER = r'[\w"$.]'


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectPair:
    """An object of both schemas."""

    before: SchemaObject
    after: SchemaObject

    @property
    def renamed(self) -> bool:
        """Whether it has another name of its own; that its table has another name is the table's affair."""
        return self.before.bare_name != self.after.bare_name

    @property
    def recreated(self) -> bool:
        """Whether it is another object of the same name, as far as OIDs tell."""
        return self.before.key != self.after.key


@dataclass(frozen=True, slots=True, kw_only=True)
class FactChange:
    """A fact that is another one."""

    label: str
    before: Fact
    after: Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedObjects:
    """What two schemas have in common, and what only one of them has."""

    common: tuple[ObjectPair, ...]
    dropped: tuple[SchemaObject, ...]
    added: tuple[SchemaObject, ...]


def pair_objects(before: Schema, after: Schema, *, oids: bool) -> PairedObjects:
    """Find each object again: by its OID, where `oids` says that equal ones mean one object, and else by its name."""
    old, new = list(before.objects), list(after.objects)
    common: list[ObjectPair] = []
    if oids:
        common += _take_pairs(old, new, lambda thing: (thing.kind, thing.key))
    common += _take_pairs(old, new, lambda thing: thing.identity)
    return PairedObjects(common=tuple(common), dropped=tuple(old), added=tuple(new))


def _take_pairs(
    old: list[SchemaObject], new: list[SchemaObject], by: Callable[[SchemaObject], tuple[str, str]]
) -> Iterator[ObjectPair]:
    """The pairs that are equal `by` something; both lists keep the rest."""
    at = {by(thing): thing for thing in new}
    found = {by(thing): thing for thing in old if by(thing) in at}
    old[:] = [thing for thing in old if by(thing) not in found]
    new[:] = [thing for thing in new if by(thing) not in found]
    return (ObjectPair(before=thing, after=at[which]) for which, thing in found.items())


class Renamings:
    """The new names of what is renamed, to read the text of an old fact with.

    A view that is defined by a renamed table has another text, and nobody has changed it.
    """

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
                old, new = (thing.name for thing in (pair.before, pair.after))
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
        """Whether an object is in another schema only because its schema has another name."""
        return self._schemas.get(pair.before.schema, pair.before.schema) == pair.after.schema

    def translate(self, thing: SchemaObject, fact: Fact) -> Fact:
        """A fact of before, in the names of after."""
        if isinstance(fact, tuple):
            return tuple(self._translate_text(thing, one) for one in fact)
        return fact and self._translate_text(thing, fact)

    def _translate_text(self, thing: SchemaObject, text: str) -> str:
        if self._names:
            text = self._pattern.sub(lambda found: self._names[found[0]], text)
        if names := self._columns.get(thing.parent_key):
            text = self._column_patterns[thing.parent_key].sub(lambda found: names[found[0]], text)
        return text


def _names_pattern(names: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(names, key=len, reverse=True)
    ends = (re.escape(name) + ("" if name.endswith(".") else r'(?![\w"$])') for name in longest_first)
    return re.compile(rf"(?<!{_NAME_CHARACTER})(?:{'|'.join(ends)})")


def _quoted_column_name(column: SchemaObject) -> str:
    """A column's own name as the server quotes it: what stands behind the name of its table."""
    quoted = '"' + column.bare_name.replace('"', '""') + '"'
    return quoted if column.name.endswith(f".{quoted}") else column.bare_name


def changed_facts(pair: ObjectPair, renamings: Renamings) -> tuple[FactChange, ...]:
    """The facts that differ, and not only by a name in them."""
    if pair.before.facts == pair.after.facts:
        return ()
    return tuple(
        FactChange(label=label, before=old, after=new)
        for label, old, new in zip(pair.before.labels, pair.before.facts, pair.after.facts, strict=True)
        if old != new and renamings.translate(pair.before, old) != new
    )


# Facts that changed, in words. Pure.
#
# What may hold a secret (settings, options of foreign servers) is told by its name only; what is long, not at all.


_MAX_VALUE_CHARACTERS = 160
_SECRET_ITEM_LABELS = {"settings": "setting", "connection options": "option"}
_LONG_FACTS = ("definition", "body", "comment")
_SHORT_DEFINITIONS = ("constraint", "index")
# What a fact that is absent means.
_DEFAULTS = {
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
# Of facts that are there or not: what is said when they come, and when they go.
_FLAGS = {
    "validated": ("not validated any more", "validated"),
    "valid": ("invalid", "valid again"),
    "ready": ("not ready", "ready"),
    "populated": ("not populated any more", "populated"),
    "NOT NULL": ("NOT NULL set", "NOT NULL dropped"),
    "enabled": ("", "enabled"),
}


def describe_change(thing: SchemaObject, one: FactChange) -> Iterator[str]:
    """What changed about an object, a phrase for each thing that somebody could have done."""
    if isinstance(one.before, tuple) or isinstance(one.after, tuple):
        yield from _describe_items(one.label, _fact_items(one.before), _fact_items(one.after))
    elif one.label in _LONG_FACTS and not (one.label == "definition" and thing.kind in _SHORT_DEFINITIONS):
        done = "added" if one.before is None else "dropped" if one.after is None else "changed"
        yield f"{one.label} {done}"
    elif one.label in _FLAGS and None in (one.before, one.after):
        come, gone = _FLAGS[one.label]
        yield gone if one.after is None else come or one.after
    elif one.label in _DEFAULTS or None not in (one.before, one.after):
        usual = _DEFAULTS.get(one.label, "")
        yield f"{one.label} {_shorten(one.before or usual)} -> {_shorten(one.after or usual)}"
    else:
        value, done = (one.after, "set") if one.before is None else (one.before, "dropped")
        yield f"{value} {done}" if value == one.label else f"{one.label} {_shorten(str(value))} {done}"


def describe_added_object(thing: SchemaObject) -> str:
    """How a new object is described behind its name; "" where the name has to do."""
    if thing.place:
        default = thing.fact("default")
        generated = thing.fact("generated")
        identity = thing.fact("identity")
        parts = (
            thing.fact("type"),
            thing.fact("NOT NULL"),
            f"DEFAULT {_shorten(str(default))}" if default else "",
            f"GENERATED {str(identity).upper()} AS IDENTITY" if identity else "",
            f"GENERATED ALWAYS AS ({_shorten(str(generated))})" if generated else "",
        )
        return " ".join(str(part) for part in parts if part)
    if thing.kind in _SHORT_DEFINITIONS:
        flags = (thing.fact("unique"), thing.fact("definition"), thing.fact("validated"), thing.fact("valid"))
        return " ".join(_shorten(str(part)) for part in flags if part)
    return ""


def printable_line(text: str) -> str:
    """The text as one line for everybody's terminal: names may hold line breaks and worse, expressions a password."""
    return "".join(
        letter if unicodedata.category(letter)[0] != "C" else letter.encode("unicode_escape").decode()
        for letter in mask_passwords(text)
    )


def _fact_items(fact: Fact) -> tuple[str, ...]:
    return fact if isinstance(fact, tuple) else () if fact is None else (fact,)


def _describe_items(label: str, before: tuple[str, ...], after: tuple[str, ...]) -> Iterator[str]:
    gone = [item for item in before if item not in after]
    new = [item for item in after if item not in before]
    if label == "privileges":
        yield from (f"{item} revoked" for item in gone)
        yield from (f"{item} granted" for item in new)
    elif label in _SECRET_ITEM_LABELS:
        yield from _describe_named_items(_SECRET_ITEM_LABELS[label], gone, new)
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
    text = " ".join(str(value).split())
    return text if len(text) <= _MAX_VALUE_CHARACTERS else text[:_MAX_VALUE_CHARACTERS] + "…"


# Lines of one table stand together, in this order; so do the tables, the types …
_KINDS = (
    *("schema", "table", "partitioned table", "foreign table", "view", "materialized view", "composite type", "column"),
    *("constraint", "index", "sequence", "trigger", "rule", "policy", "statistics", "enum", "domain", "range type"),
    *("type", "function", "procedure", "aggregate", "extension"),
)
_KIND_RANKS = {kind: rank for rank, kind in enumerate(_KINDS)}
_LOST, _CHANGED, _ADDED = range(3)
# Of these, another one under the same name has other contents.
_WITH_CONTENTS = ("table", "partitioned table", "sequence", "column")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line, `about` a thing that is a part of the `group` of that key; `weight` is how much it matters.

    `kind` is the kind of the object that the text is about: of a column that came or went, the table's.
    """

    weight: int
    group: str
    about: SchemaObject
    kind: str
    text: str


def diff_schemas(before: Schema, after: Schema, *, oids: bool = True, remade: bool = True) -> tuple[str, ...]:
    """The texts of `lines`."""
    return tuple(line.text for line in lines(before, after, oids=oids, remade=remade))


def lines(before: Schema, after: Schema, *, oids: bool = True, remade: bool = True) -> tuple[Line, ...]:
    """The lines, the most important first, those about one table together; () when a migration would see none.

    `oids` tells that equal OIDs mean the same object: both schemas are of one database, or of copies made by TEMPLATE.
    Then a renamed object is known again. `remade` asks to be told of tables and columns that were dropped and made
    again under their name, which is a difference of contents.
    """
    matched = pair_objects(before, after, oids=oids)
    by_key = {thing.key: thing for schema in (before, after) for thing in schema.objects}
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
    """Whether both would be dumped alike: the same objects of the same names, columns in the same order."""
    return _comparable_by_name(before) == _comparable_by_name(after)


def _comparable_by_name(schema: Schema) -> tuple[object, object]:
    names = {thing.key: thing.name for thing in schema.objects}
    orders = {names[key]: columns for key, columns in schema.column_orders().items() if key in names}
    return frozenset((thing.kind, thing.name, thing.facts) for thing in schema.objects), orders


def _kind_rank(thing: SchemaObject) -> int:
    return _KIND_RANKS.get(thing.kind, len(_KINDS))


def _group_key(thing: SchemaObject) -> str:
    return thing.parent_key or thing.key


def _dropped_and_added_lines(matched: PairedObjects, by_key: dict[str, SchemaObject]) -> Iterator[Line]:
    """What only one side has, but for what came or went with the table, the constraint, the column it belongs to."""
    for things, weight, done in ((matched.dropped, _LOST, "dropped"), (matched.added, _ADDED, "added")):
        keys = {thing.key for thing in things}
        for thing in things:
            if thing.parent_key in keys or thing.origin_key in keys:
                continue
            whole = by_key.get(thing.parent_key)
            description = describe_added_object(thing) if weight == _ADDED else ""
            if thing.place and whole:
                kind, name = whole.kind, thing.name.removeprefix(f"{whole.name}.")
                text = f"{whole.kind} {whole.name}: column {name} {description} {done}".replace("  ", " ")
            else:
                kind = thing.kind
                text = f"{thing.kind} {thing.name}: {done}" + (f", {description}" if description else "")
            yield Line(weight=weight, group=_group_key(thing), about=thing, kind=kind, text=text)


def _changed_lines(matched: PairedObjects, *, remade: bool) -> Iterator[Line]:
    renamings = Renamings(matched.common)
    facts = {pair.after.key: changed_facts(pair, renamings) for pair in matched.common}
    names = {pair.after.key: (pair.before.bare_name, pair.after.bare_name) for pair in matched.common if pair.renamed}
    dropped = {thing.key for thing in matched.dropped}
    anew = {
        pair.after.key for pair in matched.common if remade and pair.recreated and pair.before.parent_key not in dropped
    }
    for pair in matched.common:
        thing, group = pair.after, _group_key(pair.after)
        what = f"{thing.kind} {thing.name}".rstrip()
        if pair.renamed and names.get(thing.origin_key) != names[thing.key]:
            text = f"{thing.kind} {pair.before.name} renamed to {_quoted_new_name(pair)}"
            yield Line(weight=_LOST, group=group, about=thing, kind=thing.kind, text=text)
        if not thing.parent_key and not renamings.moved_along(pair) and thing.kind != "schema":
            text = f"{thing.kind} {pair.before.name} moved to schema {thing.schema}"
            yield Line(weight=_LOST, group=group, about=thing, kind=thing.kind, text=text)
        if thing.key in anew and thing.kind in _WITH_CONTENTS and not {thing.parent_key, thing.origin_key} & anew:
            text = f"{what}: dropped, and made again"
            yield Line(weight=_LOST, group=group, about=thing, kind=thing.kind, text=text)
        for change in facts[thing.key]:
            if change not in facts.get(thing.origin_key, ()):
                for phrase in describe_change(thing, change):
                    text = f"{what}: {phrase}"
                    yield Line(weight=_CHANGED, group=group, about=thing, kind=thing.kind, text=text)


def _quoted_new_name(pair: ObjectPair) -> str:
    """The new name of a renamed object, as the server quotes it."""
    quoted = '"' + pair.after.bare_name.replace('"', '""') + '"'
    return quoted if quoted in pair.after.name else pair.after.bare_name


def _reordered_lines(matched: PairedObjects) -> Iterator[Line]:
    """Tables whose columns, as far as both have them, stand in another order."""
    orders: dict[str, list[ObjectPair]] = {}
    for pair in matched.common:
        if pair.before.place:
            orders.setdefault(pair.after.parent_key, []).append(pair)
    wholes = {pair.after.key: pair.after for pair in matched.common}
    for key, columns in orders.items():
        old = sorted(columns, key=lambda pair: pair.before.place)
        new = sorted(columns, key=lambda pair: pair.after.place)
        if old != new and key in wholes:
            whole = wholes[key]
            text = f"{whole.kind} {whole.name}: columns in another order"
            yield Line(weight=_CHANGED, group=key, about=whole, kind=whole.kind, text=text)
