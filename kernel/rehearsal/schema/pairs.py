"""The objects of two schemas, each with what became of it: the same, renamed, changed, gone or new. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kernel.rehearsal.schema.value import Fact, Schema, Thing

_WITH_SCHEMA = ("index", "sequence")  # parts of a table whose name does not begin with the table's
_EDGE = r'[\w"$.]'


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """An object of both schemas."""

    before: Thing
    after: Thing

    @property
    def renamed(self) -> bool:
        """Whether it has another name of its own; that its table has another name is the table's affair."""
        return self.before.bare != self.after.bare

    @property
    def remade(self) -> bool:
        """Whether it is another object of the same name, as far as OIDs tell."""
        return self.before.key != self.after.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A fact that is another one."""

    label: str
    before: Fact
    after: Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """What two schemas have in common, and what only one of them has."""

    common: tuple[Pair, ...]
    dropped: tuple[Thing, ...]
    added: tuple[Thing, ...]


def match(before: Schema, after: Schema, *, oids: bool) -> Pairs:
    """Find each object again: by its OID, where `oids` says that equal ones mean one object, and else by its name."""
    old, new = list(before.things), list(after.things)
    common: list[Pair] = []
    if oids:
        common += _take(old, new, lambda thing: (thing.kind, thing.key))
    common += _take(old, new, lambda thing: thing.identity)
    return Pairs(common=tuple(common), dropped=tuple(old), added=tuple(new))


def _take(old: list[Thing], new: list[Thing], by: Callable[[Thing], tuple[str, str]]) -> Iterator[Pair]:
    """The pairs that are equal `by` something; both lists keep the rest."""
    at = {by(thing): thing for thing in new}
    found = {by(thing): thing for thing in old if by(thing) in at}
    old[:] = [thing for thing in old if by(thing) not in found]
    new[:] = [thing for thing in new if by(thing) not in found]
    return (Pair(before=thing, after=at[which]) for which, thing in found.items())


class Renamings:
    """The new names of what is renamed, to read the text of an old fact with.

    A view that is defined by a renamed table has another text, and nobody has changed it.
    """

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self._schemas: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._columns: dict[str, dict[str, str]] = {}
        moved: list[Pair] = []
        for pair in pairs:
            if pair.before.name == pair.after.name:
                continue
            if pair.before.kind == "schema":
                self._schemas[pair.before.schema] = pair.after.schema
                self._names[f"{pair.before.name}."] = f"{pair.after.name}."
            elif pair.before.place and pair.renamed:
                old, new = (thing.name for thing in (pair.before, pair.after))
                self._names[old] = new
                self._columns.setdefault(pair.before.of, {})[_last(pair.before)] = _last(pair.after)
            elif not pair.before.of or pair.before.kind in _WITH_SCHEMA:
                moved.append(pair)
        for pair in moved:
            if pair.renamed or not self.moved_along(pair):
                self._names[pair.before.name] = pair.after.name
        self._pattern = _pattern(self._names)
        self._column_patterns = {of: _pattern(names) for of, names in self._columns.items()}

    def moved_along(self, pair: Pair) -> bool:
        """Whether an object is in another schema only because its schema has another name."""
        return self._schemas.get(pair.before.schema, pair.before.schema) == pair.after.schema

    def read(self, thing: Thing, fact: Fact) -> Fact:
        """A fact of before, in the names of after."""
        if isinstance(fact, tuple):
            return tuple(self._text(thing, one) for one in fact)
        return fact and self._text(thing, fact)

    def _text(self, thing: Thing, text: str) -> str:
        if self._names:
            text = self._pattern.sub(lambda found: self._names[found[0]], text)
        if names := self._columns.get(thing.of):
            text = self._column_patterns[thing.of].sub(lambda found: names[found[0]], text)
        return text


def _pattern(names: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(names, key=len, reverse=True)
    ends = (re.escape(name) + ("" if name.endswith(".") else r'(?![\w"$])') for name in longest_first)
    return re.compile(rf"(?<!{_EDGE})(?:{'|'.join(ends)})")


def _last(column: Thing) -> str:
    """A column's own name as the server quotes it: what stands behind the name of its table."""
    quoted = '"' + column.bare.replace('"', '""') + '"'
    return quoted if column.name.endswith(f".{quoted}") else column.bare


def changes(pair: Pair, renamings: Renamings) -> tuple[Change, ...]:
    """The facts that differ, and not only by a name in them."""
    if pair.before.facts == pair.after.facts:
        return ()
    return tuple(
        Change(label=label, before=old, after=new)
        for label, old, new in zip(pair.before.labels, pair.before.facts, pair.after.facts, strict=True)
        if old != new and renamings.read(pair.before, old) != new
    )
