"""Sequences that are behind their columns, and keys that near the end of their type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from kernel.rehearsal.data.sides import rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.database import Connection

NEAR_END = 0.8  # of what the type holds

# Integer columns that are a key of their own, or have a sequence that counts up: (column, index or sequence, …).
_COUNTERS = """
SELECT c.oid::bigint, a.attnum, n.nspname, c.relname, a.attname,
  format('%I.%I.%I', n.nspname, c.relname, a.attname), format_type(a.atttypid, NULL),
  (2::numeric ^ (8 * a.attlen - 1) - 1)::bigint, s.nspname, s.relname,
  s.oid IS NOT NULL AND pg_sequence_last_value(s.oid) IS NOT NULL, s.seqincrement
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND NOT c.relispartition
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
  SELECT q.oid, m.nspname, q.relname, p.seqincrement FROM pg_depend d
  JOIN pg_class q ON q.oid = d.objid AND q.relkind = 'S'
  JOIN pg_sequence p ON p.seqrelid = q.oid AND p.seqincrement > 0 AND NOT p.seqcycle
  JOIN pg_namespace m ON m.oid = q.relnamespace
  WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
    AND d.refobjid = c.oid AND d.refobjsubid = a.attnum LIMIT 1) s ON true
WHERE a.attnum > 0 AND NOT a.attisdropped AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
  AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND (s.oid IS NOT NULL OR EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid
    AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum))
ORDER BY 6
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """A sequence whose next value its column already has, or has gone past: an INSERT will fail, or repeat a key."""

    sequence: str
    column: str
    next_value: int
    greatest: int
    before: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NearEnd:
    """A key near the greatest value that its type holds."""

    column: str
    type: str
    greatest: int
    limit: int
    before: bool = False


def troubled(connection: Connection) -> Iterator[Behind | NearEnd]:
    """The sequences and keys of a database that are in trouble, or soon will be."""
    for row in connection.execute(_COUNTERS.encode()).fetchall():
        _, _, schema, table, column, label, kind, limit, sequence_schema, sequence, called, step = row
        column_name = sql.Identifier(column)
        ((greatest,),) = rows(
            connection, sql.SQL("SELECT max({}) FROM {}").format(column_name, sql.Identifier(schema, table))
        )
        if greatest is None:
            continue
        if sequence is not None:
            name = sql.Identifier(sequence_schema, sequence)
            ((last, quoted),) = rows(
                connection,
                sql.SQL("SELECT last_value, format('%I.%I', {}::text, {}::text) FROM {}").format(
                    sql.Literal(sequence_schema), sql.Literal(sequence), name
                ),
            )
            next_value = last + step if called else last
            if next_value <= greatest:
                yield Behind(sequence=quoted, column=label, next_value=next_value, greatest=greatest, before=False)
        if greatest > limit * NEAR_END:
            yield NearEnd(column=label, type=kind, greatest=greatest, limit=limit)
