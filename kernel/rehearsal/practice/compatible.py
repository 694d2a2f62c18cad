"""Backward compatible: what the application that runs now, and knows only the old schema, would trip over. Pure.

It knows things by their names: a table that was renamed is gone for it, unless a view of the old name gives it the same
columns. Source: the specification, "Backwards Compatibility".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kernel.rehearsal.practice.blame import Broken, placed
from kernel.rehearsal.practice.fault import Checked, checked
from kernel.rehearsal.practice.widened import widened
from kernel.rehearsal.schema import pairs
from kernel.rehearsal.schema.pairs import Renamings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel.rehearsal.result import Run
    from kernel.rehearsal.schema.value import Schema, Thing

NAME = "backward compatible"

_TABLES = ("table", "partitioned table", "foreign table")
_RELATIONS = (*_TABLES, "view", "materialized view")
# Others that an application names: in a cast, in a call.
_NAMED = ("enum", "domain", "range type", "composite type", "type", "function", "procedure", "aggregate", "extension")
_CALLED_BY_THE_SERVER = ("trigger", "event_trigger")
_LATER = "add the new beside the old, and take the old away once no running version needs it"
_IN_STEPS = "add it nullable or with a default, fill it, and require it once every running version writes it"
_STRICTER = "let every running version keep to it first"
_GRANT = "grant it until no running version needs it"


def check(before: Schema, after: Schema, *, runs: Sequence[Run] = ()) -> Checked:
    """Compare the schema that the application knows with the one that it will meet.

    `before` and `after` are of one database, or of copies made by TEMPLATE. With the `runs` of the migrations each
    fault says which of them is to blame, where only one can be.
    """
    broken = dict.fromkeys(_Comparison(before, after).broken())
    return checked(NAME, [placed(one, runs) for one in broken])


class _Comparison:
    """Two schemas as the application sees them: by names."""

    def __init__(self, before: Schema, after: Schema) -> None:
        self._before = before
        self._after = after
        self._old = {thing.key: thing for thing in before.things}
        self._new = {thing.key: thing for thing in after.things}
        self._relations = {thing.name: thing for thing in after.things if thing.kind in _RELATIONS}
        self._names = {thing.identity: thing for thing in after.things}
        self._schemas = {thing.schema for thing in after.things if thing.kind == "schema"}
        self._old_columns, self._new_columns = _columns(before), _columns(after)

    def broken(self) -> Iterator[Broken]:
        """Everything that breaks, table by table."""
        for old in sorted(self._before.things, key=lambda thing: (thing.kind != "schema", thing.name)):
            if old.kind == "schema":
                if old.identity not in self._names:
                    yield Broken(about=old.name, message=f"{old.kind} {old.name} {self._fate(old)}", remedy=_LATER)
            elif old.kind in _RELATIONS:
                yield from self._relation(old)
            elif old.kind in _NAMED or (old.kind == "sequence" and not old.of):
                yield from self._named(old)
        yield from self._new_rules()

    def _fate(self, old: Thing) -> str:
        """What became of a thing that has its name no more."""
        new = self._new.get(old.key)
        if new is None or new.kind != old.kind:
            return "is gone"
        return f"is {new.name} now" if new.name != old.name else "is another one"

    def _schema_is_gone(self, old: Thing) -> bool:
        return bool(old.schema) and old.schema not in self._schemas

    def _relation(self, old: Thing) -> Iterator[Broken]:
        new = self._relations.get(old.name)
        if new is None:
            if not self._schema_is_gone(old):
                yield Broken(about=old.name, message=f"{old.kind} {old.name} {self._fate(old)}", remedy=_LATER)
            return
        what = f"{new.kind} {new.name}"
        columns = self._new_columns.get(new.key, {})
        known = self._old_columns.get(old.key, {})
        for bare, column in known.items():
            if bare in columns:
                yield from _column(old, column, columns[bare], through_view=new.kind == "view" and old.kind != "view")
            else:
                message = f"column {column.name} {self._fate(column)}"
                yield Broken(about=old.name, message=message, remedy=_LATER)
        for bare, column in columns.items():
            if bare not in known and old.kind in _TABLES and _must_be_given(column):
                message = (
                    f"column {column.name} is new, NOT NULL and without a default: INSERTs that do not name it fail"
                )
                yield Broken(about=old.name, message=message, remedy=_IN_STEPS)
        if new.fact("populated") and not old.fact("populated"):
            message = f"{what} is not populated any more, and cannot be read"
            yield Broken(about=old.name, message=message, remedy="refresh it in the same migration")
        if str(new.fact("row security") or "").startswith("on") and not old.fact("row security"):
            message = f"{what} has row security now: rows that no policy shows are hidden"
            yield Broken(about=old.name, message=message, remedy="add policies for the roles of every running version")
        yield from _revoked(old, new)

    def _named(self, old: Thing) -> Iterator[Broken]:
        if str(old.fact("returns")) in _CALLED_BY_THE_SERVER:
            return
        what = f"{old.kind} {old.name}"
        new = self._names.get(old.identity)
        if new is None:
            if not self._schema_is_gone(old):
                yield Broken(about=old.name, message=f"{what} {self._fate(old)}", remedy=_LATER)
            return
        if new.fact("returns") != old.fact("returns"):
            message = f"{what} returns {new.fact('returns')}, no longer {old.fact('returns')}"
            yield Broken(about=old.name, message=message, remedy=_LATER)
        for label in _listed(old, "labels"):
            if label not in _listed(new, "labels"):
                yield Broken(about=old.name, message=f"{what} has no value '{label}' any more", remedy=_LATER)
        if new.fact("NOT NULL") and not old.fact("NOT NULL"):
            yield Broken(about=old.name, message=f"{what} takes no NULL any more", remedy=_STRICTER, stricter=True)
        yield from _revoked(old, new)

    def _new_rules(self) -> Iterator[Broken]:
        """Constraints and unique indexes of what was there before: new ones refuse, lost ones break ON CONFLICT."""
        matched = pairs.match(self._before, self._after, oids=True)
        renamings = Renamings(matched.common)
        now = {pair.before.key: pair.after for pair in matched.common}
        before = {
            (now[rule.of].key, str(renamings.read(rule, rule.fact("definition")))): rule
            for rule in _rules(self._before)
            if rule.of in now
        }
        after = {(rule.of, str(rule.fact("definition"))): rule for rule in _rules(self._after)}
        was = {whole.key: self._old[key] for key, whole in now.items()}
        for (of, definition), rule in sorted(after.items(), key=_by_name):
            known = (of, definition) in before or (of, _arbiter(definition)) in before
            if of in was and not known and self._restricts(was[of], definition):
                message = f"{rule.kind} {rule.name} is new: rows that it does not allow are refused: {definition}"
                yield Broken(about=was[of].name, message=message, remedy=_STRICTER, stricter=True)
        served = {(of, _arbiter(definition)) for of, definition in after}
        for (of, definition), rule in sorted(before.items(), key=_by_name):
            if (of, definition) not in after and _decides_conflicts(rule) and (of, definition) not in served:
                message = f"{rule.kind} {rule.name} is gone: INSERT … ON CONFLICT that relies on it fails: {definition}"
                yield Broken(about=was[of].name, message=message, remedy=_LATER)

    def _restricts(self, whole: Thing, definition: str) -> bool:
        """Whether a rule is about columns that the application knows, not only about new ones; or about a domain."""
        own, _, _ = definition.partition(" REFERENCES ")
        known = self._old_columns.get(whole.key, ())
        return whole.kind == "domain" or any(re.search(rf"(?<!\w){re.escape(bare)}(?!\w)", own) for bare in known)


def _columns(schema: Schema) -> dict[str, dict[str, Thing]]:
    """The columns of each relation by its key, by their names."""
    found: dict[str, dict[str, Thing]] = {}
    for thing in schema.things:
        if thing.place:
            found.setdefault(thing.of, {})[thing.bare] = thing
    return found


def _rules(schema: Schema) -> Iterator[Thing]:
    """What restricts rows. The index of a constraint is not told apart from it, nor a partition's from the whole's."""
    for thing in schema.things:
        if not thing.via and (thing.kind == "constraint" or (thing.kind == "index" and thing.fact("unique"))):
            yield thing


def _by_name(one: tuple[object, Thing]) -> str:
    return one[1].name


def _arbiter(definition: str) -> str:
    """What a bare unique index on the columns of a constraint is defined as: ON CONFLICT (columns) finds either."""
    return re.sub(r"^(?:PRIMARY KEY|UNIQUE) (?=\()", "USING btree ", definition)


def _decides_conflicts(rule: Thing) -> bool:
    return rule.kind == "index" or str(rule.fact("definition")).startswith(("UNIQUE", "PRIMARY KEY", "EXCLUDE"))


def _column(relation: Thing, old: Thing, new: Thing, *, through_view: bool) -> Iterator[Broken]:
    """What breaks about a column; where a view stands in for its table, the defaults are those of the table behind."""

    def broken(message: str, remedy: str) -> Broken:
        stricter = remedy == _STRICTER
        return Broken(about=relation.name, message=f"column {new.name} {message}", remedy=remedy, stricter=stricter)

    if not widened(str(old.fact("type")), str(new.fact("type"))):
        yield broken(f"is {new.fact('type')}, no longer {old.fact('type')}", _LATER)
    if new.fact("NOT NULL") and not old.fact("NOT NULL"):
        yield broken("takes no NULL any more", _STRICTER)
    if (new.fact("generated") and not old.fact("generated")) or (
        new.fact("identity") == "always" and old.fact("identity") != "always"
    ):
        yield broken("is generated now: INSERTs and UPDATEs that name it fail", _LATER)
    elif _has_default(old) and not _has_default(new) and not through_view:
        result = "fail" if new.fact("NOT NULL") else "leave it NULL"
        yield broken(f"has no default any more: INSERTs that do not name it {result}", _LATER)
    yield from _revoked(old, new)


def _has_default(column: Thing) -> bool:
    return any(column.fact(label) is not None for label in ("default", "generated", "identity"))


def _must_be_given(column: Thing) -> bool:
    return column.fact("NOT NULL") is not None and not _has_default(column)


def _revoked(old: Thing, new: Thing) -> Iterator[Broken]:
    for item in _listed(old, "privileges"):
        if item not in _listed(new, "privileges"):
            yield Broken(about=old.name, message=f"{new.kind} {new.name}: {item} is revoked", remedy=_GRANT)


def _listed(thing: Thing, label: str) -> tuple[str, ...]:
    fact = thing.fact(label)
    return fact if isinstance(fact, tuple) else ()
