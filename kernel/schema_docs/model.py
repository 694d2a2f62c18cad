"""What is documented: relations with their parts and references, functions and types, from the objects of a schema."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.db.connection import format_identifier
from kernel.schema.snapshot import fact_items

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from kernel.schema.snapshot import Schema, SchemaObject


# The names of the files that made and changed each object, by its kind and name.
History = dict[tuple[str, str], tuple[str, ...]]

TABLE_KINDS = ("table", "partitioned table", "foreign table")
VIEW_KINDS = ("view", "materialized view")
TYPE_KINDS = ("enum", "domain", "range type", "composite type")
FUNCTION_KINDS = ("function", "procedure", "aggregate")

# As pg_get_constraintdef writes it: names that are no plain words stand in double quotes.
_NAME = r'(?:[a-z_][a-z0-9_]*|"(?:[^"]|"")+")'
_NAMES = rf"\((?P<{{}}>(?:PERIOD )?{_NAME}(?:, (?:PERIOD )?{_NAME})*)\)"
_KEY = re.compile(r"(?P<kind>PRIMARY KEY|UNIQUE)(?: NULLS NOT DISTINCT)? " + _NAMES.format("columns"))
_INDEX = re.compile(r"USING \w+ " + _NAMES.format("columns") + r"(?: |$)")
_FOREIGN_KEY = re.compile(
    "FOREIGN KEY " + _NAMES.format("columns") + rf" REFERENCES (?P<table>{_NAME}\.{_NAME})" + _NAMES.format("parents")
)
_TO_OWNER = " to its owner"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKey:
    """A reference of `table` to `parent`, both qualified names. `optional` when a column may be NULL.

    `single` when a row of the parent is referenced by one row at most.
    """

    constraint: SchemaObject
    table: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    optional: bool
    single: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A table or view with its parts, in the order of their names; columns in that of the table.

    `files` are the migrations that touched it or a part of it.
    """

    obj: SchemaObject
    columns: tuple[SchemaObject, ...]
    parts: Mapping[str, tuple[SchemaObject, ...]]
    primary_key: tuple[str, ...]
    unique_keys: tuple[tuple[str, ...], ...]
    foreign_keys: tuple[ForeignKey, ...]
    partitions: tuple[SchemaObject, ...]
    files: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.obj.name

    @property
    def is_table(self) -> bool:
        return self.obj.kind in TABLE_KINDS

    @property
    def privileges(self) -> tuple[str, ...]:
        """The privileges of others than the owner, on the relation and on its columns."""
        on_columns = (
            f"{item.replace(' to ', f' ({column.bare_name}) to ', 1)}"
            for column in self.columns
            for item in granted(column)
        )
        return (*granted(self.obj), *on_columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentedType:
    """A type with its values: the labels of an enum, the columns of a composite type, the checks of a domain."""

    obj: SchemaObject
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentedSchema:
    """All that the pages show, in the order of names; `history` says which files made and changed each object.

    `left_out` are the files that could not run, so that what they make is missing.
    """

    relations: tuple[Relation, ...]
    functions: tuple[SchemaObject, ...]
    types: tuple[DocumentedType, ...]
    extensions: tuple[SchemaObject, ...]
    history: History
    left_out: tuple[str, ...] = ()

    @property
    def tables(self) -> tuple[Relation, ...]:
        return tuple(relation for relation in self.relations if relation.is_table)

    @property
    def views(self) -> tuple[Relation, ...]:
        return tuple(relation for relation in self.relations if not relation.is_table)

    def references_to(self, name: str) -> tuple[ForeignKey, ...]:
        """The foreign keys of all tables that reference the table `name`."""
        return tuple(key for relation in self.relations for key in relation.foreign_keys if key.parent == name)

    def files_of(self, obj: SchemaObject) -> tuple[str, ...]:
        """The files that made an object and changed it, in their order."""
        return self.history.get(obj.identity, ())


def document_schema(schema: Schema, history: History, left_out: tuple[str, ...] = ()) -> DocumentedSchema:
    """Group the objects of a schema. A partition is listed with its table, and is no relation of its own."""
    parts: dict[str, list[SchemaObject]] = {}
    for obj in schema.objects:
        parts.setdefault(obj.parent_key, []).append(obj)
    own = sorted(parts.get("", ()), key=lambda obj: (obj.schema, obj.bare_name, obj.name))
    tables = [obj for obj in own if obj.kind in (*TABLE_KINDS, *VIEW_KINDS)]
    partitions = {obj.key for obj in tables if obj.fact("partition of")}
    relations = tuple(
        _relation(obj, parts.get(obj.key, ()), [one for one in tables if one.key in partitions], history)
        for obj in tables
        if obj.key not in partitions
    )
    return DocumentedSchema(
        relations=relations,
        functions=tuple(obj for obj in own if obj.kind in FUNCTION_KINDS and not _is_constructor(obj)),
        types=tuple(
            DocumentedType(obj=obj, values=tuple(_values(obj, parts.get(obj.key, ()))))
            for obj in own
            if obj.kind in TYPE_KINDS
        ),
        extensions=tuple(obj for obj in own if obj.kind == "extension" and obj.bare_name != "plpgsql"),
        history=history,
        left_out=left_out,
    )


def _is_constructor(function: SchemaObject) -> bool:
    """Whether PostgreSQL has made a function together with a range type."""
    own_type = function.name.partition("(")[0]
    return text_of(function, "language") == "internal" and text_of(function, "returns") == own_type


def _values(obj: SchemaObject, own: Iterable[SchemaObject]) -> Iterator[str]:
    yield from (f"'{label}'" for label in fact_items(obj.fact("labels")))
    yield from (text for label in ("type", "collation", "NOT NULL") if (text := text_of(obj, label)))
    if default := text_of(obj, "default"):
        yield f"DEFAULT {default}"
    for part in sorted(own, key=lambda part: (part.place, part.bare_name)):
        yield text_of(part, "definition") or f"{format_identifier(part.bare_name)} {text_of(part, 'type')}"


def granted(obj: SchemaObject) -> tuple[str, ...]:
    """The privileges on an object that others than its owner have; those of the owner depend on the version."""
    return tuple(item for item in fact_items(obj.fact("privileges")) if not item.endswith(_TO_OWNER))


def text_of(obj: SchemaObject, label: str) -> str:
    """A fact as text, "" for the default."""
    return ", ".join(fact_items(obj.fact(label)))


def constraint_kind(constraint: SchemaObject) -> str:
    """PRIMARY KEY, FOREIGN KEY, UNIQUE, CHECK, EXCLUDE or another beginning of the definition."""
    words = text_of(constraint, "definition").split(" ", 2)
    return " ".join(words[:2]) if words[1:2] == ["KEY"] else words[0]


def plain_columns(definition: str) -> tuple[str, ...]:
    """The columns of a key, a foreign key or an index, from its definition; () for expressions."""
    match = _KEY.match(definition) or _FOREIGN_KEY.match(definition) or _INDEX.match(definition)
    return split_names(match["columns"]) if match else ()


def _relation(
    obj: SchemaObject, own: Iterable[SchemaObject], partitions: Iterable[SchemaObject], history: History
) -> Relation:
    by_kind: dict[str, list[SchemaObject]] = {}
    for part in own:
        by_kind.setdefault(part.kind, []).append(part)
    columns = tuple(sorted(by_kind.pop("column", ()), key=lambda column: column.place))
    parts = {kind: tuple(sorted(found, key=lambda part: part.bare_name)) for kind, found in sorted(by_kind.items())}
    keys = [
        (match["kind"], split_names(match["columns"]))
        for constraint in parts.get("constraint", ())
        if (match := _KEY.match(text_of(constraint, "definition")))
    ]
    unique = tuple(names for _, names in keys)
    nullable = {column.bare_name for column in columns if not column.fact("NOT NULL")}
    foreign_keys = tuple(
        ForeignKey(
            constraint=constraint,
            table=obj.name,
            columns=(names := split_names(match["columns"])),
            parent=match["table"],
            parent_columns=split_names(match["parents"]),
            optional=not nullable.isdisjoint(names),
            single=any(set(key) <= set(names) for key in unique),
        )
        for constraint in parts.get("constraint", ())
        if (match := _FOREIGN_KEY.match(text_of(constraint, "definition")))
    )
    files = {
        name
        for one in (obj, *columns, *(part for found in parts.values() for part in found))
        for name in history.get(one.identity, ())
    }
    return Relation(
        obj=obj,
        columns=columns,
        parts=parts,
        primary_key=next((names for kind, names in keys if kind == "PRIMARY KEY"), ()),
        unique_keys=unique,
        foreign_keys=foreign_keys,
        partitions=tuple(one for one in partitions if text_of(one, "partition of").startswith(f"{obj.name} ")),
        files=tuple(sorted(files, key=version_number)),
    )


def version_number(filename: str) -> tuple[float, str]:
    """What files are ordered by: their version as a number, and repeatable files after all versions."""
    version = filename.partition("_")[0]
    return (int(version), "") if version.isdigit() else (math.inf, filename)


def split_names(text: str) -> tuple[str, ...]:
    """The raw names in a list that the server has written: `a, "b c"`."""
    return tuple(
        name[1:-1].replace('""', '"') if name.startswith('"') else name
        for name in re.findall(_NAME, text.replace("PERIOD ", ""))
    )
