"""The schema of a database as a value, and what makes two of them differ, in words.

    differences = diff_schemas(read_schema(session), read_schema(other_session), oids=False)

Of different databases, or of schemas of one, by names alone:

    comparable = comparable_schema(read_schema(session), namespace="tenant_1")

What migration files make, without a database: they run on a throwaway server, and the result is cached.

    built = build_schema(migrations, BuildTarget(), bindir=None)
    history = build_history(migrations)[("column", "public.users.email")]  # the files that made and changed it
"""

from __future__ import annotations

from kernel.schema.build import ObjectHistory, build_history, build_schema, read_build_target
from kernel.schema.built import BuildTarget, BuiltSchema
from kernel.schema.diff import Line, diff_schemas, lines, schemas_equal
from kernel.schema.missing_objects import find_missing_objects
from kernel.schema.relative import comparable_digest, comparable_schema, split_by_namespace
from kernel.schema.snapshot import Fact, Schema, SchemaObject, fact_items, read_schema

__all__ = [
    "BuildTarget",
    "BuiltSchema",
    "Fact",
    "Line",
    "ObjectHistory",
    "Schema",
    "SchemaObject",
    "build_history",
    "build_schema",
    "comparable_digest",
    "comparable_schema",
    "diff_schemas",
    "fact_items",
    "find_missing_objects",
    "lines",
    "read_build_target",
    "read_schema",
    "schemas_equal",
    "split_by_namespace",
]
