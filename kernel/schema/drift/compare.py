"""Compare the live catalog with the schema that files make. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.schema.diff import (
    DEFAULT_VALUES,
    LONG_FACTS,
    SECRET_ITEM_LABELS,
    FactChange,
    Renamings,
    pair_objects,
    printable_line,
)
from kernel.schema.drift.difference import DifferenceState, ObjectDifference
from kernel.schema.drift.partitions import job_partitions
from kernel.schema.drift.renamed import take_renamed
from kernel.schema.drift.statements import VIEW_KINDS, WITH_ROWS, SchemaParts
from kernel.schema.snapshot import Schema, fact_items
from kernel.units import clip_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from kernel.schema.built import BuiltSchema
    from kernel.schema.diff import ObjectPair
    from kernel.schema.snapshot import Fact, SchemaObject


_PRIVILEGE_LABELS = ("owner", "privileges")
_PRIVILEGE_KINDS = ("system table", "system function", "default privileges")
MAJOR = 10000  # of a version as a number
_STATES = ("populated",)  # REFRESH changes it
_OF_RELEASE = {
    ("extension", "version"),
    ("extension", "comment"),
    ("language", "definition"),
    ("table", "access method"),
}
_OF_DEFINITION = ("type", "collation")  # of a view's column
_MAX_VALUE_CHARACTERS = 160
_QUALIFIER = re.compile(r'(?:\b[a-z_]\w*|"(?:[^"]|"")*")\.')
_NOT_A_NAME = re.compile(r"[\s()]+|::[\w\s\"\[\].]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The differences, those of one object together; `notes` are what is no difference."""

    differences: tuple[ObjectDifference, ...]
    notes: tuple[str, ...]
    made: SchemaParts
    live: SchemaParts


def compare_schemas(built: BuiltSchema, live: Schema, *, version: int, privileges: bool) -> Comparison:
    """Compare by name; `version` is that of the database, such as 170010. Owners and grants with `privileges`."""
    made_parts, live_parts = SchemaParts(built.schema.objects, built.version), SchemaParts(live.objects, version)
    made = Schema(objects=tuple(one for one in built.schema.objects if privileges or one.kind not in _PRIVILEGE_KINDS))
    live = Schema(objects=tuple(one for one in live.objects if privileges or one.kind not in _PRIVILEGE_KINDS))
    paired = pair_objects(made, live, oids=False)
    missing, extra = list(paired.dropped), list(paired.added)
    by_job = job_partitions(extra, live_parts, {pair.after.key for pair in paired.common})
    extra = [one for one in extra if one.key not in by_job.keys and one.parent_key not in by_job.keys]
    renamed = take_renamed(missing, extra, made_parts, live_parts)
    equality = _FactEquality(
        built=built,
        privileges=privileges,
        same_major=version // MAJOR == built.version // MAJOR,
        renamings=Renamings(renamed),
    )
    differences = [
        *(_difference(DifferenceState.MISSING, one, None) for one in _whole(missing, [one.before for one in renamed])),
        *(_difference(DifferenceState.EXTRA, None, one) for one in _whole(extra, [one.after for one in renamed])),
        *map(_renamed_difference, renamed),
        *_changed(paired.common, equality, live_parts),
        *_reordered(paired.common, made_parts, live_parts),
    ]
    shown = tuple(one for one in differences if not _is_consequence(one, made_parts, live_parts))
    return Comparison(differences=shown, notes=tuple(by_job.notes(live_parts)), made=made_parts, live=live_parts)


def _difference(state: DifferenceState, made: SchemaObject | None, live: SchemaObject | None) -> ObjectDifference:
    of = live.fact("partition of") if live and live.kind != "index" else None
    text = f"{state}, a partition that is not equal to its table: {of}" if of else str(state)
    return ObjectDifference(state=state, made=made, live=live, text=printable_line(text))


def _renamed_difference(pair: ObjectPair) -> ObjectDifference:
    new = pair.after.bare_name if pair.before.schema == pair.after.schema else pair.after.name
    reason = "by its columns" if pair.before.kind in WITH_ROWS else "and is the same"
    text = printable_line(f"has the name {new} here, {reason}")
    return ObjectDifference(state=DifferenceState.RENAMED, made=pair.before, live=pair.after, text=text)


def _whole(objects: Collection[SchemaObject], renamed: Iterable[SchemaObject]) -> Iterator[SchemaObject]:
    """Yield the objects without the parts of one of them, or of a renamed one, and what is made with one of them."""
    keys = {obj.key for obj in (*objects, *renamed)}
    yield from (obj for obj in objects if obj.parent_key not in keys and obj.origin_key not in keys)


def _is_consequence(one: ObjectDifference, made: SchemaParts, live: SchemaParts) -> bool:
    """Whether a difference follows from another one: a view's columns from its definition, a sequence from identity."""
    if one.made and one.live:
        return False
    own, other = (made, live) if one.made else (live, made)
    parent, origin = own.parent(one.about), own.by_key.get(one.about.origin_key)
    if one.about.kind == "column" and parent and parent.kind in VIEW_KINDS:
        return True
    if one.about.kind != "sequence" or origin is None or not origin.fact("identity"):
        return False
    column = other.find(origin)
    return column is None or not column.fact("identity")


@dataclass(frozen=True, slots=True, kw_only=True)
class _FactEquality:
    """Decides whether a fact of the files and one of the database are the same."""

    built: BuiltSchema
    privileges: bool
    same_major: bool
    renamings: Renamings

    def changes(self, pair: ObjectPair) -> tuple[FactChange, ...]:
        """The facts of a pair that differ."""
        made, live = pair.before, pair.after
        if made.facts == live.facts:
            return ()
        restored = self.built.restored.get(made.key, {})
        return tuple(
            FactChange(label=label, before=old, after=now)
            for label, old, now in zip(made.labels, made.facts, live.facts, strict=True)
            if old != now
            and now not in (restored.get(label, old), self.renamings.translate(made, old))
            and self._counts(made, label)
            and not (made.kind == "user mapping" and now is None)  # this role may not see its options
            and (self.same_major or not _equal_across_majors(label, old, now))
        )

    def _counts(self, obj: SchemaObject, label: str) -> bool:
        if label in _STATES or (not self.privileges and label in _PRIVILEGE_LABELS):
            return False
        if obj.kind == "database" and label == "owner":  # it is made before the first file
            return False
        return self.same_major or (obj.kind.replace("partitioned ", ""), label) not in _OF_RELEASE


def _equal_across_majors(label: str, made: Fact, live: Fact) -> bool:
    """Whether texts are the same but for qualifiers, parentheses and casts, which versions of PostgreSQL write or not.

    Of the columns of a catalog, as JSON, those of both versions are compared.
    """
    if not isinstance(made, str) or not isinstance(live, str):
        return False
    if made.startswith("{") and live.startswith("{"):
        try:
            old, new = json.loads(made), json.loads(live)
        except ValueError:
            return False
        return all(old[name] == new[name] for name in old.keys() & new.keys())
    return label in ("definition", "body", "using", "check") and _plain_text(made) == _plain_text(live)


def _plain_text(text: str) -> str:
    return _NOT_A_NAME.sub("", _QUALIFIER.sub("", text))


def _changed(pairs: Iterable[ObjectPair], equality: _FactEquality, live: SchemaParts) -> Iterator[ObjectDifference]:
    changes = {pair.after.key: equality.changes(pair) for pair in pairs}
    for pair in pairs:
        obj = pair.after
        above = (*changes.get(obj.origin_key, ()), *changes.get(obj.parent_key, ()))
        own = tuple(one for one in changes[obj.key] if not _follows(one, obj, above, live))
        if own:
            text = "; ".join(phrase for one in own for phrase in _describe(one))
            state = DifferenceState.DIFFERENT
            yield ObjectDifference(state=state, made=pair.before, live=obj, text=printable_line(text), changes=own)


def _follows(change: FactChange, obj: SchemaObject, above: Iterable[FactChange], live: SchemaParts) -> bool:
    """Whether a change follows from one of the table, of the constraint of an index, or of the table of a partition."""
    parent = live.parent(obj)
    if obj.kind == "column" and parent and parent.kind in VIEW_KINDS:
        return change.label in _OF_DEFINITION
    if obj.kind == "index" and change.label == "partition of":
        return any(one.label == change.label for one in above)
    return change in above


def _reordered(pairs: Iterable[ObjectPair], made: SchemaParts, live: SchemaParts) -> Iterator[ObjectDifference]:
    """Tables whose common columns have another order."""
    columns: dict[str, list[ObjectPair]] = {}
    for pair in pairs:
        if pair.before.place:
            columns.setdefault(pair.after.parent_key, []).append(pair)
    for key, common in columns.items():
        by_files = [pair.before.key for pair in sorted(common, key=lambda pair: pair.before.place)]
        here = [pair.before.key for pair in sorted(common, key=lambda pair: pair.after.place)]
        table, of_files = live.by_key.get(key), made.parent(common[0].before)
        if by_files != here and table and of_files and table.kind != "composite type":
            text = "columns in another order"
            yield ObjectDifference(state=DifferenceState.DIFFERENT, made=of_files, live=table, text=text)


def _describe(change: FactChange) -> Iterator[str]:
    """The phrases for a fact: what it is in the database, and what the files make it."""
    label, made, live = change.label, change.before, change.after
    if isinstance(made, tuple) or isinstance(live, tuple):
        yield from _describe_items(label, fact_items(made), fact_items(live))
    elif label in LONG_FACTS and not (isinstance(made, str) and isinstance(live, str) and _are_short(made, live)):
        yield f"{label} is {'extra' if made is None else 'missing' if live is None else 'another'}"
    elif label in (made, live):  # a fact that is set or not
        yield f"{label} is {'extra' if made is None else 'missing'}"
    else:
        default = DEFAULT_VALUES.get(label, "none")
        yield f"{label} is {_shorten(live or default)}, and the files make it {_shorten(made or default)}"


def _are_short(*texts: str) -> bool:
    return all(len(text) <= _MAX_VALUE_CHARACTERS and "\n" not in text.strip() for text in texts)


def _describe_items(label: str, made: tuple[str, ...], live: tuple[str, ...]) -> Iterator[str]:
    missing = [one for one in made if one not in live]
    extra = [one for one in live if one not in made]
    if label in SECRET_ITEM_LABELS:  # values may be secrets
        names = {one.partition("=")[0]: None for one in (*missing, *extra)}
        yield f"{label} differ: {', '.join(names)}"
        return
    yield from (f"{label}: {_shorten(one)} is missing" for one in missing)
    yield from (f"{label}: {_shorten(one)} is extra" for one in extra)
    if not missing and not extra:
        yield f"{label} are in another order"


def _shorten(value: Fact) -> str:
    return clip_text(" ".join(str(value).split()), _MAX_VALUE_CHARACTERS)
