"""The schema of a database as a value, and what makes two of them differ, in words.

differences = diff_schemas(read_schema(session), read_schema(other_session), oids=False)
"""

from __future__ import annotations

from kernel.rehearsal.schema.diff import diff_schemas, schemas_equal
from kernel.rehearsal.schema.snapshot import Schema, read_schema

__all__ = ["Schema", "diff_schemas", "read_schema", "schemas_equal"]
