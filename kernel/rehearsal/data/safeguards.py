"""What guards a table's rows in the golden copy, constraints, triggers and defaults, and does no more in the clone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.database import Connection
    from kernel.rehearsal.data.sides import Row
    from kernel.rehearsal.data.touched import Table

# A row each: (table, kind, OID, name, definition without the table's name).
_SAFEGUARDS = """
SELECT c.conrelid::bigint, CASE c.contype WHEN 'p' THEN 'primary key' WHEN 'u' THEN 'unique constraint'
    WHEN 'f' THEN 'foreign key' WHEN 'c' THEN 'check' ELSE 'exclusion constraint' END,
  c.oid::bigint, quote_ident(c.conname), pg_get_constraintdef(c.oid)
FROM pg_constraint c WHERE c.conrelid <> 0 AND c.contype IN ('p', 'u', 'f', 'c', 'x')
UNION ALL
SELECT t.tgrelid::bigint, 'trigger', t.oid::bigint, quote_ident(t.tgname), t.tgfoid::regproc || ' ' || t.tgtype
FROM pg_trigger t WHERE NOT t.tgisinternal
UNION ALL
SELECT d.adrelid::bigint, 'default', 0, quote_ident(a.attname), a.attname FROM pg_attrdef d
JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum WHERE a.attgenerated = ''
UNION ALL
SELECT a.attrelid::bigint, 'default', 0, quote_ident(a.attname), a.attname FROM pg_attribute a
WHERE a.attidentity <> '' AND NOT a.attisdropped
UNION ALL
SELECT a.attrelid::bigint, 'not null', 0, quote_ident(a.attname), a.attname FROM pg_attribute a
WHERE a.attnotnull AND a.attnum > 0 AND NOT a.attisdropped
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """A safeguard that the golden copy has on a table or column that is still there, and the clone has not.

    `kind` is primary key, unique constraint, foreign key, check, exclusion constraint, trigger, default or not null.
    """

    table: str
    kind: str
    name: str


def read(connection: Connection) -> list[Row]:
    """The safeguards of all tables: (OID of the table, kind, OID of its own or 0, quoted name, what it says)."""
    return connection.execute(_SAFEGUARDS.encode()).fetchall()


def gone(tables: tuple[Table, ...], before: list[Row], after: list[Row]) -> Iterator[Gone]:
    """The safeguards that the clone lacks: neither the same one is there nor one that says the same of the same table.

    Of columns it is enough that they have a default, whatever it is, or forbid NULL.
    """
    present = {(kind, oid) for _, kind, oid, _, _ in after if oid}
    said = {(table, kind, definition) for table, kind, _, _, definition in after}
    for table in tables:
        if table.before is None or table.after is None:
            continue
        renamed = {column.before.name: column.after.name for column in table.shared}
        for oid, kind, own, name, definition in before:
            if oid != table.before.head.oid or (kind, own) in present:
                continue
            wanted = definition
            if not own:
                if definition not in renamed:
                    continue  # the column is gone itself
                wanted = renamed[definition]
            if (table.after.head.oid, kind, wanted) not in said:
                yield Gone(table=table.head.quoted, kind=kind, name=name)
