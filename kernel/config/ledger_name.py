"""The name of the ledger, as KERNEL_MIGRATIONS_TABLE gives it: a table, or schema.table, by the rules of SQL.

Source: PostgreSQL documentation, "Identifiers and Key Words": a name is folded to lower case unless it is quoted, and a
doubled quote in a quoted name is a quote.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = r'"(?:[^"]|"")+"|[^\W\d][\w$]*'
_QUALIFIED = re.compile(rf"(?:(?P<schema>{_NAME})\.)?(?P<table>{_NAME})")
_EXPECTED = (
    "expected a table or schema.table, such as billing.schema_migrations; "
    'write a name with other characters in double quotes, as in SQL: "my-app".schema_migrations'
)
_NAME_BYTES = 63  # PostgreSQL cuts longer names off
# Of the tables next to the ledger: one has the progress of unfinished files, one the records of repeatable files.
PROGRESS_SUFFIX = "_progress"
REPEATABLE_SUFFIX = "_repeatable"
TABLE_SUFFIXES = ("", PROGRESS_SUFFIX, REPEATABLE_SUFFIX)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerName:
    """The name of a ledger. Without a `schema` the table is looked for on the search path."""

    schema: str | None = None
    table: str = "schema_migrations"


DEFAULT_LEDGER = LedgerName()


def parse_ledger_name(text: str) -> LedgerName:
    """Parse a table name as SQL reads it. Raises ValueError."""
    match = _QUALIFIED.fullmatch(text)
    if match is None:
        raise ValueError(_EXPECTED)
    schema = _read_name(match["schema"]) if match["schema"] else None
    table = _read_name(match["table"])
    for name, longest in ((schema or "", _NAME_BYTES), (table, _NAME_BYTES - len(PROGRESS_SUFFIX))):
        if len(name.encode()) > longest:
            raise ValueError(f"a name in it is longer than {longest} bytes; shorten it")
    for suffix in (PROGRESS_SUFFIX, REPEATABLE_SUFFIX):
        if table.endswith(suffix):
            raise ValueError(f"a table whose name ends in {suffix} belongs to another ledger; choose another name")
    if schema and (schema.startswith("pg_") or schema == "information_schema"):
        raise ValueError("the schema is one of the server's own; choose another")
    return LedgerName(schema=schema, table=table)


def _read_name(text: str) -> str:
    return text[1:-1].replace('""', '"') if text.startswith('"') else text.lower()
