"""The live catalog against the schema that the applied files make: what is missing, extra or different, and remedies.

check = check_schema(session, plan, migrations, location, bindir=None)
"""

from __future__ import annotations

from kernel.schema.drift.check import check_schema
from kernel.schema.drift.difference import DifferenceState, SchemaCheck, SchemaDifference

__all__ = ["DifferenceState", "SchemaCheck", "SchemaDifference", "check_schema"]
