"""The queries for tables, views and sequences, and for their columns."""

# Every piece that the queries are put together from is a constant of these modules: nothing here is injected.
# ruff: noqa: S608

from __future__ import annotations

from kernel.rehearsal.schema.query import (
    OF_USERS,
    Query,
    column_options,
    comment,
    key,
    no_member,
    owner,
    privileges,
    sorted_options,
)

RELATION = "quote_ident(n.nspname) || '.' || quote_ident(c.relname)"
FROM = f"""
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND {OF_USERS}
"""
WITHOUT_MEMBERS = no_member("pg_class", "c.oid")

_RELATIONS = Query(
    labels=(
        "owner",
        "privileges",
        "comment",
        "persistence",
        "access method",
        "tablespace",
        "options",
        "partition key",
        "partition of",
        "inherits",
        "row security",
        "replica identity",
        "type",
        "definition",
        "populated",
        "server",
        "connection options",
    ),
    sql=f"""
SELECT {key("pg_class", "c.oid")}, CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table'
    WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' ELSE 'composite type' END,
  '', '', 0, n.nspname, c.relname, {RELATION},
  {owner("c.relowner")},
  CASE WHEN c.relkind = 'c' THEN {privileges("t.typacl", "T", "t.typowner")}
    ELSE {privileges("c.relacl", "r", "c.relowner")} END,
  CASE WHEN c.relkind = 'c' THEN {comment("pg_type", "c.reltype")} ELSE {comment("pg_class", "c.oid")} END,
  CASE c.relpersistence WHEN 'u' THEN 'unlogged' END,
  (SELECT a.amname FROM pg_am a WHERE a.oid = c.relam),
  (SELECT s.spcname FROM pg_tablespace s WHERE s.oid = c.reltablespace),
  {sorted_options("c.reloptions || (SELECT array_agg('toast.' || o) FROM unnest(toast.reloptions) AS o)")},
  CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END,
  CASE WHEN c.relispartition THEN (SELECT i.inhparent::regclass::text || ' ' FROM pg_inherits i
      WHERE i.inhrelid = c.oid) || pg_get_expr(c.relpartbound, c.oid) END,
  CASE WHEN NOT c.relispartition AND c.relkind IN ('r', 'f') THEN (SELECT array_agg(i.inhparent::regclass::text
      ORDER BY i.inhseqno) FROM pg_inherits i WHERE i.inhrelid = c.oid) END,
  CASE WHEN c.relrowsecurity AND c.relforcerowsecurity THEN 'on, forced' WHEN c.relrowsecurity THEN 'on'
    WHEN c.relforcerowsecurity THEN 'off, forced' END,
  CASE c.relreplident WHEN 'd' THEN NULL WHEN 'i' THEN 'an index' WHEN 'f' THEN 'full'
    WHEN 'n' THEN CASE WHEN c.relkind IN ('r', 'p') THEN 'nothing' END END,
  CASE WHEN c.reloftype <> 0 THEN format_type(c.reloftype, NULL) END,
  CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
  CASE WHEN c.relkind = 'm' AND NOT c.relispopulated THEN 'not populated' END,
  (SELECT quote_ident(s.srvname) FROM pg_foreign_table f JOIN pg_foreign_server s ON s.oid = f.ftserver
    WHERE f.ftrelid = c.oid),
  (SELECT {sorted_options("f.ftoptions")} FROM pg_foreign_table f WHERE f.ftrelid = c.oid)
{FROM} LEFT JOIN pg_class toast ON toast.oid = c.reltoastrelid LEFT JOIN pg_type t ON t.oid = c.reltype
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND {WITHOUT_MEMBERS}
""",
)

# A column that a table inherits is reported with the table that it comes from.
_INHERITED = """CASE WHEN a.attinhcount > 0 THEN (SELECT 'pg_attribute:' || p.attrelid || ':' || p.attnum
    FROM pg_inherits i JOIN pg_attribute p ON p.attrelid = i.inhparent AND p.attname = a.attname
    WHERE i.inhrelid = c.oid ORDER BY i.inhseqno LIMIT 1) ELSE '' END"""
_COLUMNS = Query(
    labels=(
        "type",
        "collation",
        "NOT NULL",
        "default",
        "generated",
        "identity",
        "storage",
        "compression",
        "statistics target",
        "options",
        "privileges",
        "comment",
    ),
    sql=f"""
SELECT 'pg_attribute:' || c.oid || ':' || a.attnum, 'column', {key("pg_class", "c.oid")}, {_INHERITED}, a.attnum,
  n.nspname, a.attname, {RELATION} || '.' || quote_ident(a.attname),
  format_type(a.atttypid, a.atttypmod),
  CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END,
  CASE WHEN a.attnotnull THEN 'NOT NULL' END,
  CASE WHEN a.atthasdef AND a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END,
  CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid)
    || CASE a.attgenerated WHEN 's' THEN ' stored' ELSE ' virtual' END END,
  CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' END,
  CASE WHEN a.attstorage <> t.typstorage THEN CASE a.attstorage WHEN 'p' THEN 'plain' WHEN 'e' THEN 'external'
    WHEN 'm' THEN 'main' ELSE 'extended' END END,
  CASE a.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END,
  nullif(a.attstattarget, -1)::text,
  CASE WHEN a.attoptions || a.attfdwoptions IS NOT NULL THEN
    {sorted_options(column_options("a.attoptions") + " || a.attfdwoptions")} END,
  CASE WHEN a.attacl IS NOT NULL THEN {privileges("a.attacl", "c", "c.relowner")} END,
  m.description
{FROM} JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  LEFT JOIN pg_description m ON m.classoid = 'pg_class'::regclass AND m.objoid = c.oid AND m.objsubid = a.attnum
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND {WITHOUT_MEMBERS}
""",
)

# The last value is the data's affair. A sequence that a column owns is a part of the column's table.
_SEQUENCES = Query(
    labels=("type", "range", "owned by", "persistence", "owner", "privileges", "comment"),
    sql=f"""
SELECT {key("pg_class", "c.oid")}, 'sequence', coalesce({key("pg_class", "o.refobjid")}, ''),
  coalesce('pg_attribute:' || o.refobjid || ':' || o.refobjsubid, ''), 0,
  n.nspname, c.relname, {RELATION},
  format_type(s.seqtypid, NULL),
  format('%s to %s by %s from %s, cache %s%s', s.seqmin, s.seqmax, s.seqincrement, s.seqstart, s.seqcache,
    CASE WHEN s.seqcycle THEN ', cycle' END),
  o.refobjid::regclass::text || '.' || quote_ident(a.attname),
  CASE c.relpersistence WHEN 'u' THEN 'unlogged' END,
  {owner("c.relowner")}, {privileges("c.relacl", "s", "c.relowner")}, {comment("pg_class", "c.oid")}
{FROM} JOIN pg_sequence s ON s.seqrelid = c.oid
  LEFT JOIN pg_depend o ON o.classid = 'pg_class'::regclass AND o.objid = c.oid AND o.objsubid = 0
    AND o.refclassid = 'pg_class'::regclass AND o.deptype IN ('a', 'i') AND o.refobjsubid > 0
  LEFT JOIN pg_attribute a ON a.attrelid = o.refobjid AND a.attnum = o.refobjsubid
WHERE {WITHOUT_MEMBERS}
""",
)

QUERIES = (_RELATIONS, _COLUMNS, _SEQUENCES)
