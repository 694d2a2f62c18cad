"""The relations of a database that hold rows, as its catalog has them: one query, no table is read.

A clone made with CREATE DATABASE … TEMPLATE keeps the OIDs and file nodes of its template, and begins with empty
statistics: whatever they count there was done to the clone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kernel.database import Connection

# System tables hold no rows of ours; temporary ones are their session's alone; foreign ones belong to another server.
_RELATIONS = """
WITH RECURSIVE base (oid, base, typmod) AS (
  SELECT oid, oid, -1 FROM pg_type WHERE typtype <> 'd'
  UNION ALL
  SELECT t.oid, base.base, CASE WHEN t.typtypmod >= 0 THEN t.typtypmod ELSE base.typmod END
  FROM base JOIN pg_type t ON t.typbasetype = base.oid AND t.typtype = 'd'
)
SELECT c.oid::bigint, n.nspname, c.relname, format('%I.%I', n.nspname, c.relname), c.relkind::text, c.reltuples::bigint,
  coalesce(pg_partition_root(c.oid), c.oid)::bigint,
  coalesce(pg_relation_filenode(c.oid), 0)::bigint,
  coalesce(pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid) + pg_stat_get_tuples_deleted(c.oid),
    0)::bigint,
  coalesce((SELECT json_agg(json_build_object(
      'number', a.attnum, 'name', a.attname, 'quoted', quote_ident(a.attname),
      'type_oid', a.atttypid::bigint, 'typmod', a.atttypmod,
      'type', format_type(a.atttypid, a.atttypmod),
      'base', format_type(b.base, CASE WHEN b.base = a.atttypid THEN a.atttypmod ELSE b.typmod END),
      'kind', CASE WHEN t.typtype = 'e' THEN 'enum' WHEN t.oid < 16384 AND t.typtype = 'b' THEN t.typname ELSE '' END,
      'required', a.attnotnull, 'generated', a.attgenerated <> '') ORDER BY a.attnum)
    FROM pg_attribute a JOIN base b ON b.oid = a.atttypid JOIN pg_type t ON t.oid = b.base
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]'),
  coalesce((SELECT json_agg(i.indkey::int2[] ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid)
    FROM (SELECT indexrelid, indisprimary, indnkeyatts, (indkey::int2[])[0:indnkeyatts - 1] AS indkey FROM pg_index
      WHERE indrelid = c.oid AND indisunique AND indisvalid AND indpred IS NULL AND indexprs IS NULL) i
    WHERE NOT EXISTS (SELECT FROM unnest(i.indkey::int2[]) AS k (number)
      LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number WHERE a.attnotnull IS NOT TRUE)), '[]')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't' AND c.oid >= 16384
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
ORDER BY n.nspname, c.relname
"""
PARTITIONED = "p"
MATERIALIZED = "m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column. `quoted`, `type` and `base` are spelled for SQL; `base` is that of a domain, any other type itself.

    `kind` is the name of a built-in base type, "enum", or "" for every other type.
    """

    number: int
    name: str
    quoted: str
    type_oid: int
    typmod: int
    type: str
    base: str
    kind: str
    required: bool
    generated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A table, partition, partitioned table or materialized view.

    `quoted` is its qualified name, spelled for SQL. `rows` is the planner's estimate. `root` is the OID of the topmost
    partitioned table, a relation's own outside of any. `filenode` is 0 where there is no storage. `written` are the
    rows inserted, updated and deleted, as the statistics count them. `keys` are the column numbers of its keys, the
    primary key first, then the shortest: unique, valid, total and NOT NULL.
    """

    oid: int
    schema: str
    name: str
    quoted: str
    kind: str
    rows: int
    root: int
    filenode: int
    written: int
    columns: tuple[Column, ...]
    keys: tuple[tuple[int, ...], ...]


def read(connection: Connection) -> dict[int, Relation]:
    """The relations by OID, as the database holds them now. Types are spelled for the session's search path."""
    return {row[0]: _relation(row) for row in connection.execute(_RELATIONS).fetchall()}


def _relation(row: tuple[Any, ...]) -> Relation:
    oid, schema, name, quoted, kind, rows, root, filenode, written, columns, keys = row
    return Relation(
        oid=oid,
        schema=schema,
        name=name,
        quoted=quoted,
        kind=kind,
        rows=max(rows, 0),  # -1 where nothing was analyzed yet
        root=root,
        filenode=filenode,
        written=written,
        columns=tuple(Column(**column) for column in columns),
        keys=tuple(tuple(key) for key in keys),
    )
