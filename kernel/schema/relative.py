"""Schemas that can be compared across databases: names relative to a namespace, and keys without OIDs. Pure.

The tenants of a database have the same tables, each under the name of its own schema, which also stands in the texts of
views, defaults, constraints and functions. Owners and grants are left out, as they belong to the tenant.
"""

from __future__ import annotations

import hashlib
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from psycopg import sql

from kernel.schema.snapshot import Schema, SchemaObject

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from kernel.schema.snapshot import Fact

_NAMESPACE = "schema"
_NAMESPACE_ITSELF = "itself"
_OF_ITS_OWN = ("owner", "privileges", "populated")  # facts; the last is a state, which REFRESH changes
_PRIVILEGE_KINDS = ("system table", "system function", "default privileges")
_SETTINGS = "settings"  # the fact in which a namespace stands alone: SET search_path of a function
_PLACEHOLDER = "its schema"
_NAME_CHARACTER = r'[\w"$.]'


def split_by_namespace(schema: Schema, namespaces: Collection[str]) -> dict[str, Schema]:
    """Return for each of these namespaces a Schema with its objects, in one pass."""
    objects: dict[str, list[SchemaObject]] = {name: [] for name in namespaces}
    for obj in schema.objects:
        if (of_namespace := objects.get(obj.schema)) is not None:
            of_namespace.append(obj)
    return {name: Schema(objects=tuple(found)) for name, found in objects.items()}


def comparable_schema(
    schema: Schema, *, namespace: str = "", left_out: Collection[str] = (), ignored: Sequence[str] = ()
) -> Schema:
    """Return a schema by names alone: its keys are made of kinds and names, and names are relative to `namespace`.

    `left_out` are the bare names of tables to leave out, `ignored` patterns of names; both with the parts of a table.
    """
    relative = _RelativeNames(namespace)
    kept = list(_without(schema.objects, relative, frozenset(left_out), ignored))
    keys = {obj.key: f"{obj.kind} {relative.name(obj)}" for obj in kept}
    objects = []
    for obj in kept:
        facts = [
            (label, relative.fact(label, fact))
            for label, fact in zip(obj.labels, obj.facts, strict=True)
            if label not in _OF_ITS_OWN
        ]
        objects.append(
            obj._replace(
                key=keys[obj.key],
                parent_key=keys.get(obj.parent_key, ""),
                origin_key=keys.get(obj.origin_key, ""),
                schema="" if namespace else obj.schema,
                bare_name=relative.bare_name(obj),
                name=relative.name(obj),
                labels=tuple(label for label, _ in facts),
                facts=tuple(fact for _, fact in facts),
            )
        )
    return Schema(objects=tuple(sorted(objects, key=lambda obj: (obj.kind, obj.name))))


def comparable_digest(schema: Schema) -> str:
    """The SHA-256 of a comparable schema, in hex. Columns count in their order, and not by their numbers."""
    orders = sorted(schema.column_orders().items())
    objects = [(obj.kind, obj.name, obj.labels, obj.facts) for obj in schema.objects]
    return hashlib.sha256(repr((objects, orders)).encode(errors="surrogateescape")).hexdigest()


def _without(
    objects: Iterable[SchemaObject], relative: _RelativeNames, left_out: frozenset[str], ignored: Sequence[str]
) -> Iterator[SchemaObject]:
    """Yield the objects without those that are left out; parts come after the object that they are a part of."""
    excluded: set[str] = set()
    for obj in objects:
        is_ignored = any(fnmatchcase(name, pattern) for pattern in ignored for name in (obj.name, relative.name(obj)))
        is_left_out = not obj.parent_key and obj.bare_name in left_out
        if is_ignored or is_left_out or obj.parent_key in excluded or obj.kind in _PRIVILEGE_KINDS:
            excluded.add(obj.key)
        else:
            yield obj


class _RelativeNames:
    """Names and texts without the name of a namespace; as they are for ""."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        written = "|".join({re.escape(namespace), re.escape(sql.Identifier(namespace).as_string())})
        self._qualifier = re.compile(rf"(?<!{_NAME_CHARACTER})(?:{written})\.")
        self._word = re.compile(rf"(?<!{_NAME_CHARACTER})(?:{written})(?!{_NAME_CHARACTER})")

    def name(self, obj: SchemaObject) -> str:
        if not self._namespace:
            return obj.name
        return self._qualifier.sub("", obj.name) if obj.kind != _NAMESPACE else _NAMESPACE_ITSELF

    def bare_name(self, obj: SchemaObject) -> str:
        return obj.bare_name if obj.kind != _NAMESPACE or not self._namespace else _NAMESPACE_ITSELF

    def fact(self, label: str, fact: Fact) -> Fact:
        if not self._namespace:
            return fact
        if isinstance(fact, tuple):
            return tuple(self._text(label, one) for one in fact)
        return fact and self._text(label, fact)

    def _text(self, label: str, text: str) -> str:
        text = self._qualifier.sub("", text)
        return self._word.sub(_PLACEHOLDER, text) if label == _SETTINGS else text
