"""The schema as JSON in the shape of tbls (https://github.com/k1LoW/tbls), for its viewers and linters.

Without the version of the server, which differs where nothing else does.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kernel.schema_docs.model import constraint_kind, plain_columns, split_names, text_of

if TYPE_CHECKING:
    from kernel.schema.snapshot import SchemaObject
    from kernel.schema_docs.model import DocumentedSchema, ForeignKey, Relation


_DESCRIPTION = "Made by inv db.docs from the migrations."
# What the file begins with, whatever its schema is called.
JSON_HEAD = '{\n  "name": "Schema",\n  "desc": "' + _DESCRIPTION
_TYPES = {"table": "BASE TABLE", "view": "VIEW", "materialized view": "MATERIALIZED VIEW"}


def tbls_json(schema: DocumentedSchema, name: str) -> str:
    """The text of schema.json; `name` is that of the schema as a whole."""
    document = {
        "name": name,
        "desc": _DESCRIPTION,
        "tables": [_table(relation) for relation in schema.relations],
        "relations": [_relation(key) for relation in schema.relations for key in relation.foreign_keys],
        "functions": [
            {
                "name": f"{one.schema}.{one.bare_name}",
                "return_type": text_of(one, "returns"),
                "arguments": text_of(one, "arguments"),
                "type": one.kind.upper(),
            }
            for one in schema.functions
        ],
        "enums": [
            {"name": _name(one.obj), "values": list(one.obj.fact("labels") or ())}
            for one in schema.types
            if one.obj.kind == "enum"
        ],
        "driver": {"name": "postgres", "database_version": "", "meta": {"current_schema": "public"}},
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _name(obj: SchemaObject) -> str:
    return f"{obj.schema}.{obj.bare_name}"


def _unquoted(name: str) -> str:
    """The raw form of a qualified name as the server quotes it."""
    return ".".join(split_names(name))


def _table(relation: Relation) -> dict[str, object]:
    name = _name(relation.obj)
    parts = relation.parts
    return {
        "name": name,
        "type": _TYPES.get(relation.obj.kind, relation.obj.kind.upper()),
        "comment": text_of(relation.obj, "comment"),
        "columns": [
            {
                "name": column.bare_name,
                "type": text_of(column, "type"),
                "nullable": not column.fact("NOT NULL"),
                "default": column.fact("default"),
                "extra_def": text_of(column, "generated"),
                "comment": text_of(column, "comment"),
            }
            for column in relation.columns
        ],
        "indexes": [
            {
                "name": index.bare_name,
                "def": text_of(index, "definition"),
                "table": name,
                "columns": list(plain_columns(text_of(index, "definition"))),
                "comment": text_of(index, "comment"),
            }
            for index in parts.get("index", ())
        ],
        "constraints": [_constraint(relation, one) for one in parts.get("constraint", ())],
        "triggers": [
            {"name": one.bare_name, "def": text_of(one, "definition"), "comment": text_of(one, "comment")}
            for one in parts.get("trigger", ())
        ],
        "def": text_of(relation.obj, "definition"),
    }


def _constraint(relation: Relation, constraint: SchemaObject) -> dict[str, object]:
    reference = next((key for key in relation.foreign_keys if key.constraint is constraint), None)
    return {
        "name": constraint.bare_name,
        "type": constraint_kind(constraint),
        "def": text_of(constraint, "definition"),
        "table": _name(relation.obj),
        "referenced_table": _unquoted(reference.parent) if reference else None,
        "columns": list(plain_columns(text_of(constraint, "definition"))),
        "referenced_columns": list(reference.parent_columns) if reference else [],
        "comment": text_of(constraint, "comment"),
    }


def _relation(key: ForeignKey) -> dict[str, object]:
    return {
        "table": _unquoted(key.table),
        "columns": list(key.columns),
        "cardinality": "zero_or_one" if key.single else "zero_or_more",
        "parent_table": _unquoted(key.parent),
        "parent_columns": list(key.parent_columns),
        "parent_cardinality": "zero_or_one" if key.optional else "exactly_one",
        "def": text_of(key.constraint, "definition"),
        "virtual": False,
    }
