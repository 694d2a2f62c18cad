"""The schema as SQL that is made to be compared, not to be run: in the order of names, a line for each part.

A change of the schema is a small difference of this text, in a review or between two databases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.db.connection import format_identifier
from kernel.schema_docs.model import granted, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.schema.snapshot import SchemaObject
    from kernel.schema_docs.model import DocumentedSchema, DocumentedType, Relation


SQL_HEAD = (
    "-- The schema, for comparison: in the order of names, and not to be run. Made by inv db.docs from the migrations."
)
_FUNCTION_FACTS = (
    "returns",
    "language",
    "volatility",
    "strict",
    "security definer",
    "leakproof",
    "parallel",
    "settings",
)


def sql_text(schema: DocumentedSchema) -> str:
    """The text of schema.sql."""
    blocks = [[SQL_HEAD]]
    blocks += [[f"CREATE EXTENSION {one.name};"] for one in schema.extensions]
    blocks += [list(_type(one)) for one in schema.types]
    blocks += [list(_relation(relation)) for relation in schema.relations]
    blocks += [list(_function(one)) for one in schema.functions]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _type(documented: DocumentedType) -> Iterator[str]:
    obj = documented.obj
    yield f"CREATE {obj.kind.upper()} {obj.name} ({', '.join(documented.values)});"
    yield from _comment(obj, obj.kind)


def _relation(relation: Relation) -> Iterator[str]:
    obj = relation.obj
    if relation.is_table:
        yield from _table(relation)
    else:
        yield f"CREATE {obj.kind.upper()} {obj.name} AS"
        yield text_of(obj, "definition")
    for label in ("persistence", "inherits", "row security", "options", "server"):
        if text := text_of(obj, label):
            yield f"-- {label}: {' '.join(text.split())}"
    yield from _parts(relation)
    yield from (f"GRANT {item};" for item in relation.privileges)
    for one in (obj, *relation.columns, *(part for found in relation.parts.values() for part in found)):
        yield from _comment(one, one.kind)


def _table(relation: Relation) -> Iterator[str]:
    body = [_column(column) for column in relation.columns]
    body += [
        f"CONSTRAINT {format_identifier(one.bare_name)} {text_of(one, 'definition')}"
        + (" NOT VALID" if one.fact("validated") else "")
        for one in relation.parts.get("constraint", ())
    ]
    yield f"CREATE {relation.obj.kind.upper()} {relation.name} ("
    yield ",\n".join(f"    {line}" for line in body)
    partitioned = text_of(relation.obj, "partition key")
    yield f") PARTITION BY {partitioned};" if partitioned else ");"


def _parts(relation: Relation) -> Iterator[str]:
    for partition in relation.partitions:
        yield f"CREATE TABLE {partition.name} PARTITION OF {text_of(partition, 'partition of')};"
    for index in relation.parts.get("index", ()):
        if not index.origin_key.startswith("pg_constraint:"):
            unique = "UNIQUE " if index.fact("unique") else ""
            name = format_identifier(index.bare_name)
            yield f"CREATE {unique}INDEX {name} ON {relation.name} {text_of(index, 'definition')};"
    for kind in ("trigger", "rule", "statistics"):
        for one in relation.parts.get(kind, ()):
            state = text_of(one, "enabled")
            yield f"{text_of(one, 'definition').removesuffix(';')};" + (f" -- {state}" if state else "")
    for policy in relation.parts.get("policy", ()):
        yield (
            " ".join((f"CREATE POLICY {format_identifier(policy.bare_name)} ON {relation.name}", *_policy(policy)))
            + ";"
        )


def _column(column: SchemaObject) -> str:
    words = [format_identifier(column.bare_name), text_of(column, "type")]
    for label, before in (
        ("collation", "COLLATE "),
        ("default", "DEFAULT "),
        ("generated", "GENERATED AS "),
        ("identity", "IDENTITY "),
        ("NOT NULL", ""),
    ):
        if text := text_of(column, label):
            words.append(before + text)
    return " ".join(words)


def _policy(policy: SchemaObject) -> Iterator[str]:
    if kind := text_of(policy, "kind"):
        yield f"AS {kind.upper()}"
    yield f"FOR {text_of(policy, 'command')} TO {text_of(policy, 'roles')}"
    if using := text_of(policy, "using"):
        yield f"USING ({using})"
    if check := text_of(policy, "check"):
        yield f"WITH CHECK ({check})"


def _function(obj: SchemaObject) -> Iterator[str]:
    yield f"CREATE {obj.kind.upper()} {obj.name}"
    arguments = text_of(obj, "arguments")
    yield f"    -- arguments: {' '.join(arguments.split())}" if arguments else "    -- no arguments"
    yield from (f"    -- {label}: {text}" for label in _FUNCTION_FACTS if (text := text_of(obj, label)))
    yield f"AS {_literal(text_of(obj, 'body'))};"
    yield from (f"GRANT {item} ON {obj.name};" for item in granted(obj))
    yield from _comment(obj, obj.kind)


def _comment(obj: SchemaObject, kind: str) -> Iterator[str]:
    if comment := text_of(obj, "comment"):
        yield f"COMMENT ON {kind.upper()} {obj.name} IS {_literal(comment)};"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
