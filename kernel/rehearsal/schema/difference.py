"""What makes two schemas differ, in words: a line for each thing done, the losses first. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel.rehearsal.schema import pairs, words
from kernel.rehearsal.schema.pairs import Renamings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.rehearsal.schema.pairs import Pair, Pairs
    from kernel.rehearsal.schema.value import Schema, Thing

# Lines of one table stand together, in this order; so do the tables, the types …
_KINDS = (
    *("schema", "table", "partitioned table", "foreign table", "view", "materialized view", "composite type", "column"),
    *("constraint", "index", "sequence", "trigger", "rule", "policy", "statistics", "enum", "domain", "range type"),
    *("type", "function", "procedure", "aggregate", "extension"),
)
_ORDER = {kind: rank for rank, kind in enumerate(_KINDS)}
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
    about: Thing
    kind: str
    text: str


def difference(before: Schema, after: Schema, *, oids: bool = True, remade: bool = True) -> tuple[str, ...]:
    """The texts of `lines`."""
    return tuple(line.text for line in lines(before, after, oids=oids, remade=remade))


def lines(before: Schema, after: Schema, *, oids: bool = True, remade: bool = True) -> tuple[Line, ...]:
    """The lines, the most important first, those about one table together; () when a migration would see none.

    `oids` tells that equal OIDs mean the same object: both schemas are of one database, or of copies made by TEMPLATE.
    Then a renamed object is known again. `remade` asks to be told of tables and columns that were dropped and made
    again under their name, which is a difference of contents.
    """
    matched = pairs.match(before, after, oids=oids)
    by_key = {thing.key: thing for schema in (before, after) for thing in schema.things}
    found = (*_one_sided(matched, by_key), *_changed(matched, remade=remade and oids), *_reordered(matched))
    weights: dict[str, int] = {}
    for line in found:
        weights[line.group] = min(line.weight, weights.get(line.group, _ADDED))

    def rank(line: Line) -> tuple[object, ...]:
        root, about = by_key.get(line.group, line.about), line.about
        of_group = (weights[line.group], _place(root), root.name)
        return (*of_group, line.weight, _place(about), about.kind, about.place, about.name)

    return tuple(replace(line, text=words.line(line.text)) for line in sorted(found, key=rank))


def equal(before: Schema, after: Schema) -> bool:
    """Whether both would be dumped alike: the same objects of the same names, columns in the same order."""
    return _by_name(before) == _by_name(after)


def _by_name(schema: Schema) -> tuple[object, object]:
    names = {thing.key: thing.name for thing in schema.things}
    orders = {names[key]: columns for key, columns in schema.orders().items() if key in names}
    return frozenset((thing.kind, thing.name, thing.facts) for thing in schema.things), orders


def _place(thing: Thing) -> int:
    return _ORDER.get(thing.kind, len(_KINDS))


def _group(thing: Thing) -> str:
    return thing.of or thing.key


def _one_sided(matched: Pairs, by_key: dict[str, Thing]) -> Iterator[Line]:
    """What only one side has, but for what came or went with the table, the constraint, the column it belongs to."""
    for things, weight, done in ((matched.dropped, _LOST, "dropped"), (matched.added, _ADDED, "added")):
        keys = {thing.key for thing in things}
        for thing in things:
            if thing.of in keys or thing.via in keys:
                continue
            whole = by_key.get(thing.of)
            description = words.introduced(thing) if weight == _ADDED else ""
            if thing.place and whole:
                kind, name = whole.kind, thing.name.removeprefix(f"{whole.name}.")
                text = f"{whole.kind} {whole.name}: column {name} {description} {done}".replace("  ", " ")
            else:
                kind = thing.kind
                text = f"{thing.kind} {thing.name}: {done}" + (f", {description}" if description else "")
            yield Line(weight=weight, group=_group(thing), about=thing, kind=kind, text=text)


def _changed(matched: Pairs, *, remade: bool) -> Iterator[Line]:
    renamings = Renamings(matched.common)
    facts = {pair.after.key: pairs.changes(pair, renamings) for pair in matched.common}
    names = {pair.after.key: (pair.before.bare, pair.after.bare) for pair in matched.common if pair.renamed}
    dropped = {thing.key for thing in matched.dropped}
    anew = {pair.after.key for pair in matched.common if remade and pair.remade and pair.before.of not in dropped}
    for pair in matched.common:
        thing, group = pair.after, _group(pair.after)
        what = f"{thing.kind} {thing.name}".rstrip()
        if pair.renamed and names.get(thing.via) != names[thing.key]:
            text = f"{thing.kind} {pair.before.name} renamed to {_own_name(pair)}"
            yield Line(weight=_LOST, group=group, about=thing, kind=thing.kind, text=text)
        if not thing.of and not renamings.moved_along(pair) and thing.kind != "schema":
            text = f"{thing.kind} {pair.before.name} moved to schema {thing.schema}"
            yield Line(weight=_LOST, group=group, about=thing, kind=thing.kind, text=text)
        if thing.key in anew and thing.kind in _WITH_CONTENTS and not {thing.of, thing.via} & anew:
            text = f"{what}: dropped, and made again"
            yield Line(weight=_LOST, group=group, about=thing, kind=thing.kind, text=text)
        for change in facts[thing.key]:
            if change not in facts.get(thing.via, ()):
                for phrase in words.change(thing, change):
                    text = f"{what}: {phrase}"
                    yield Line(weight=_CHANGED, group=group, about=thing, kind=thing.kind, text=text)


def _own_name(pair: Pair) -> str:
    """The new name of a renamed object, as the server quotes it."""
    quoted = '"' + pair.after.bare.replace('"', '""') + '"'
    return quoted if quoted in pair.after.name else pair.after.bare


def _reordered(matched: Pairs) -> Iterator[Line]:
    """Tables whose columns, as far as both have them, stand in another order."""
    orders: dict[str, list[Pair]] = {}
    for pair in matched.common:
        if pair.before.place:
            orders.setdefault(pair.after.of, []).append(pair)
    wholes = {pair.after.key: pair.after for pair in matched.common}
    for key, columns in orders.items():
        old = sorted(columns, key=lambda pair: pair.before.place)
        new = sorted(columns, key=lambda pair: pair.after.place)
        if old != new and key in wholes:
            whole = wholes[key]
            text = f"{whole.kind} {whole.name}: columns in another order"
            yield Line(weight=_CHANGED, group=key, about=whole, kind=whole.kind, text=text)
