"""Catalog queries for tables and their parts, and the SQL expressions that all catalog queries share.

The columns of a row are the fields of a SchemaObject up to `name`, then its facts under their labels.

Source of the catalogs: PostgreSQL documentation, "System Catalogs"; of the defaults of privileges, "Privileges".
"""

from __future__ import annotations

# Every piece that the queries are put together from is a constant of this package: nothing is injected.
# ruff: noqa: S608


# Only the system creates schemas that begin with pg_, those of temporary tables too.
USER_SCHEMAS = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
FIRST_USER_OID = 16384  # the first OID that initdb does not assign

# Options that the server writes into pg_attribute.attoptions for its own use: pg_attver, the version of a column's
# definition, since 15.20 and the minor releases of that day. pg_dump leaves it out, too.
SERVER_OPTIONS = ("pg_attver",)


def key_sql(catalog: str, oid: str) -> str:
    """The SQL expression of an object's key."""
    return f"'{catalog}:' || {oid}"


def no_member_sql(catalog: str, oid: str) -> str:
    """The SQL condition that an object belongs to no extension."""
    return (
        f"NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = '{catalog}'::regclass AND e.objid = {oid}"
        " AND e.deptype = 'e')"
    )


def privileges_sql(acl: str, kind: str, owner: str) -> str:
    """The SQL expression of the privileges, an item each, in an order that does not depend on the order of grants.

    `kind` is the letter of the kind of object in acldefault(). The owner's privileges are the same text for every
    owner: a change of the owner is one change and not two.
    """
    return f"""(
  SELECT array_agg(DISTINCT format('%s%s to %s', g.privilege_type,
    CASE WHEN g.is_grantable THEN ' (and to grant it)' END,
    CASE g.grantee WHEN 0 THEN 'public' WHEN {owner} THEN 'its owner' ELSE quote_ident(pg_get_userbyid(g.grantee)) END)
    COLLATE "C")
  FROM aclexplode(coalesce({acl}, acldefault('{kind}', {owner}))) AS g)"""


def comment_sql(catalog: str, oid: str) -> str:
    """The SQL expression of an object's comment."""
    return (
        f"(SELECT d.description FROM pg_description d WHERE d.classoid = '{catalog}'::regclass"
        f" AND d.objoid = {oid} AND d.objsubid = 0)"
    )


def owner_sql(oid: str) -> str:
    """The SQL expression of an owner's name."""
    return f"quote_ident(pg_get_userbyid({oid}))"


def sorted_options_sql(options: str) -> str:
    """The SQL expression of an array of name=value, sorted: the order has no meaning."""
    return f"""(SELECT array_agg(o COLLATE "C" ORDER BY o COLLATE "C") FROM unnest({options}) AS o)"""


def column_options(attoptions: str) -> str:
    """The SQL expression of a column's options less SERVER_OPTIONS; NULL where none is left."""
    names = ", ".join(f"'{name}'" for name in SERVER_OPTIONS)
    return f"(SELECT array_agg(o) FROM unnest({attoptions}) AS o WHERE split_part(o, '=', 1) NOT IN ({names}))"


_TABLE_NAME = "quote_ident(n.nspname) || '.' || quote_ident(c.relname)"
_FROM_TABLES = f"""
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND {USER_SCHEMAS}
"""
_NO_MEMBERS = no_member_sql("pg_class", "c.oid")

_RELATIONS = f"""
SELECT {key_sql("pg_class", "c.oid")},
  CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table'
    WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' ELSE 'composite type' END,
  '', '', 0, n.nspname, c.relname, {_TABLE_NAME}, {owner_sql("c.relowner")} AS "owner",
  CASE WHEN c.relkind = 'c' THEN {privileges_sql("t.typacl", "T", "t.typowner")}
    ELSE {privileges_sql("c.relacl", "r", "c.relowner")} END AS "privileges",
  CASE WHEN c.relkind = 'c' THEN {comment_sql("pg_type", "c.reltype")} ELSE {comment_sql("pg_class", "c.oid")} END
    AS "comment",
  CASE c.relpersistence WHEN 'u' THEN 'unlogged' END AS "persistence",
  (SELECT a.amname FROM pg_am a WHERE a.oid = c.relam) AS "access method",
  (SELECT s.spcname FROM pg_tablespace s WHERE s.oid = c.reltablespace) AS "tablespace",
  {sorted_options_sql("c.reloptions || (SELECT array_agg('toast.' || o) FROM unnest(toast.reloptions) AS o)")}
    AS "options",
  CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END AS "partition key",
  CASE WHEN c.relispartition THEN (SELECT i.inhparent::regclass::text || ' ' FROM pg_inherits i
      WHERE i.inhrelid = c.oid) || pg_get_expr(c.relpartbound, c.oid) END AS "partition of",
  CASE WHEN NOT c.relispartition AND c.relkind IN ('r', 'f') THEN (SELECT array_agg(i.inhparent::regclass::text
      ORDER BY i.inhseqno) FROM pg_inherits i WHERE i.inhrelid = c.oid) END AS "inherits",
  CASE WHEN c.relrowsecurity AND c.relforcerowsecurity THEN 'on, forced' WHEN c.relrowsecurity THEN 'on'
    WHEN c.relforcerowsecurity THEN 'off, forced' END AS "row security",
  CASE c.relreplident WHEN 'd' THEN NULL WHEN 'i' THEN 'an index' WHEN 'f' THEN 'full'
    WHEN 'n' THEN CASE WHEN c.relkind IN ('r', 'p') THEN 'nothing' END END AS "replica identity",
  CASE WHEN c.reloftype <> 0 THEN format_type(c.reloftype, NULL) END AS "type",
  CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END AS "definition",
  CASE WHEN c.relkind = 'm' AND NOT c.relispopulated THEN 'not populated' END AS "populated",
  (SELECT quote_ident(s.srvname) FROM pg_foreign_table f JOIN pg_foreign_server s ON s.oid = f.ftserver
    WHERE f.ftrelid = c.oid) AS "server",
  (SELECT {sorted_options_sql("f.ftoptions")} FROM pg_foreign_table f WHERE f.ftrelid = c.oid) AS "connection options"
{_FROM_TABLES} LEFT JOIN pg_class toast ON toast.oid = c.reltoastrelid LEFT JOIN pg_type t ON t.oid = c.reltype
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND {_NO_MEMBERS}
"""

# A column that a table inherits is reported with the table that it comes from.
_INHERITED = """CASE WHEN a.attinhcount > 0 THEN (SELECT 'pg_attribute:' || p.attrelid || ':' || p.attnum
    FROM pg_inherits i JOIN pg_attribute p ON p.attrelid = i.inhparent AND p.attname = a.attname
    WHERE i.inhrelid = c.oid ORDER BY i.inhseqno LIMIT 1) ELSE '' END"""
_COLUMNS = f"""
SELECT 'pg_attribute:' || c.oid || ':' || a.attnum, 'column', {key_sql("pg_class", "c.oid")}, {_INHERITED}, a.attnum,
  n.nspname, a.attname, {_TABLE_NAME} || '.' || quote_ident(a.attname),
  format_type(a.atttypid, a.atttypmod) AS "type",
  CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END AS "collation",
  CASE WHEN a.attnotnull THEN 'NOT NULL' END AS "NOT NULL",
  CASE WHEN a.atthasdef AND a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END AS "default",
  CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid)
    || CASE a.attgenerated WHEN 's' THEN ' stored' ELSE ' virtual' END END AS "generated",
  CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' END AS "identity",
  CASE WHEN a.attstorage <> t.typstorage THEN CASE a.attstorage WHEN 'p' THEN 'plain' WHEN 'e' THEN 'external'
    WHEN 'm' THEN 'main' ELSE 'extended' END END AS "storage",
  CASE a.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END AS "compression",
  nullif(a.attstattarget, -1)::text AS "statistics target",
  CASE WHEN a.attoptions || a.attfdwoptions IS NOT NULL THEN
    {sorted_options_sql(column_options("a.attoptions") + " || a.attfdwoptions")} END AS "options",
  CASE WHEN a.attacl IS NOT NULL THEN {privileges_sql("a.attacl", "c", "c.relowner")} END AS "privileges",
  m.description AS "comment"
{_FROM_TABLES} JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  LEFT JOIN pg_description m ON m.classoid = 'pg_class'::regclass AND m.objoid = c.oid AND m.objsubid = a.attnum
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND {_NO_MEMBERS}
"""

# The last value is data. A sequence that a column owns is a part of the column's table.
_SEQUENCES = f"""
SELECT {key_sql("pg_class", "c.oid")}, 'sequence', coalesce({key_sql("pg_class", "o.refobjid")}, ''),
  coalesce('pg_attribute:' || o.refobjid || ':' || o.refobjsubid, ''), 0, n.nspname, c.relname, {_TABLE_NAME},
  format_type(s.seqtypid, NULL) AS "type",
  format('%s to %s by %s from %s, cache %s%s', s.seqmin, s.seqmax, s.seqincrement, s.seqstart, s.seqcache,
    CASE WHEN s.seqcycle THEN ', cycle' END) AS "range",
  o.refobjid::regclass::text || '.' || quote_ident(a.attname) AS "owned by",
  CASE c.relpersistence WHEN 'u' THEN 'unlogged' END AS "persistence", {owner_sql("c.relowner")} AS "owner",
  {privileges_sql("c.relacl", "s", "c.relowner")} AS "privileges", {comment_sql("pg_class", "c.oid")} AS "comment"
{_FROM_TABLES} JOIN pg_sequence s ON s.seqrelid = c.oid
  LEFT JOIN pg_depend o ON o.classid = 'pg_class'::regclass AND o.objid = c.oid AND o.objsubid = 0
    AND o.refclassid = 'pg_class'::regclass AND o.deptype IN ('a', 'i') AND o.refobjsubid > 0
  LEFT JOIN pg_attribute a ON a.attrelid = o.refobjid AND a.attnum = o.refobjsubid
WHERE {_NO_MEMBERS}
"""

TABLE_QUERIES = (_RELATIONS, _COLUMNS, _SEQUENCES)


_ENABLED = "CASE {} WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'on replicas only' WHEN 'A' THEN 'always' END"

# From version 18 on, NOT NULL is a constraint as well; the column reports it, unless it is not validated.
_CONSTRAINTS = f"""
SELECT {key_sql("pg_constraint", "k.oid")}, 'constraint', {key_sql("pg_class", "c.oid")},
  CASE WHEN k.conparentid <> 0 THEN {key_sql("pg_constraint", "k.conparentid")} ELSE '' END, 0, n.nspname, k.conname,
  quote_ident(k.conname) || ' on ' || {_TABLE_NAME},
  regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', '') AS "definition",
  CASE WHEN NOT k.convalidated THEN 'not validated' END AS "validated",
  CASE WHEN k.contype = 'f' THEN (SELECT 'disabled' FROM pg_trigger t WHERE t.tgconstraint = k.oid
    AND t.tgenabled <> 'O' LIMIT 1) END AS "triggers",
  {comment_sql("pg_constraint", "k.oid")} AS "comment"
{_FROM_TABLES} JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype <> 't'
  AND (k.contype <> 'n' OR NOT k.convalidated)
WHERE {_NO_MEMBERS}
"""

# The definition is without the names of the index and its table: both may be renamed.
_INDEXES = f"""
SELECT {key_sql("pg_class", "x.oid")}, 'index', {key_sql("pg_class", "c.oid")},
  coalesce((SELECT {key_sql("pg_constraint", "k.oid")} FROM pg_constraint k
      WHERE k.conindid = x.oid AND k.conrelid = c.oid AND k.contype IN ('p', 'u', 'x')),
    (SELECT {key_sql("pg_class", "p.inhparent")} FROM pg_inherits p WHERE p.inhrelid = x.oid), ''), 0, xn.nspname,
  x.relname, quote_ident(xn.nspname) || '.' || quote_ident(x.relname),
  substr(pg_get_indexdef(x.oid), length('CREATE INDEX  ON  ' || quote_ident(x.relname) || {_TABLE_NAME})
    + CASE WHEN i.indisunique THEN length('UNIQUE ') ELSE 0 END
    + CASE x.relkind WHEN 'I' THEN length('ONLY ') ELSE 0 END + 1) AS "definition",
  CASE WHEN i.indisunique THEN 'unique' END AS "unique", CASE WHEN NOT i.indisvalid THEN 'invalid' END AS "valid",
  CASE WHEN NOT i.indisready THEN 'not ready' END AS "ready",
  CASE WHEN i.indisclustered THEN 'clustered' END AS "clustered",
  CASE WHEN i.indisreplident THEN 'replica identity' END AS "replica identity",
  (SELECT s.spcname FROM pg_tablespace s WHERE s.oid = x.reltablespace) AS "tablespace",
  (SELECT array_agg(a.attnum || ': ' || a.attstattarget ORDER BY a.attnum) FROM pg_attribute a
    WHERE a.attrelid = x.oid AND a.attstattarget >= 0) AS "statistics targets",
  (SELECT p.inhparent::regclass::text FROM pg_inherits p WHERE p.inhrelid = x.oid) AS "partition of",
  {comment_sql("pg_class", "x.oid")} AS "comment"
{_FROM_TABLES} JOIN pg_index i ON i.indrelid = c.oid JOIN pg_class x ON x.oid = i.indexrelid
  JOIN pg_namespace xn ON xn.oid = x.relnamespace
WHERE {_NO_MEMBERS}
"""

_TRIGGERS = f"""
SELECT {key_sql("pg_trigger", "t.oid")}, 'trigger', {key_sql("pg_class", "c.oid")},
  CASE WHEN t.tgparentid <> 0 THEN {key_sql("pg_trigger", "t.tgparentid")} ELSE '' END, 0, n.nspname, t.tgname,
  quote_ident(t.tgname) || ' on ' || {_TABLE_NAME}, pg_get_triggerdef(t.oid) AS "definition",
  {_ENABLED.format("t.tgenabled")} AS "enabled", {comment_sql("pg_trigger", "t.oid")} AS "comment"
{_FROM_TABLES} JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal
WHERE {_NO_MEMBERS}
"""

_RULES = f"""
SELECT {key_sql("pg_rewrite", "r.oid")}, 'rule', {key_sql("pg_class", "c.oid")}, '', 0, n.nspname, r.rulename,
  quote_ident(r.rulename) || ' on ' || {_TABLE_NAME}, pg_get_ruledef(r.oid) AS "definition",
  {_ENABLED.format("r.ev_enabled")} AS "enabled", {comment_sql("pg_rewrite", "r.oid")} AS "comment"
{_FROM_TABLES} JOIN pg_rewrite r ON r.ev_class = c.oid AND r.rulename <> '_RETURN'
WHERE {_NO_MEMBERS}
"""

_POLICIES = f"""
SELECT {key_sql("pg_policy", "p.oid")}, 'policy', {key_sql("pg_class", "c.oid")}, '', 0, n.nspname, p.polname,
  quote_ident(p.polname) || ' on ' || {_TABLE_NAME},
  CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
    ELSE 'ALL' END AS "command", CASE WHEN NOT p.polpermissive THEN 'restrictive' END AS "kind",
  (SELECT array_agg(CASE r WHEN 0 THEN 'public' ELSE quote_ident(pg_get_userbyid(r)) END ORDER BY 1)
    FROM unnest(p.polroles) AS r) AS "roles", pg_get_expr(p.polqual, c.oid) AS "using",
  pg_get_expr(p.polwithcheck, c.oid) AS "check", {comment_sql("pg_policy", "p.oid")} AS "comment"
{_FROM_TABLES} JOIN pg_policy p ON p.polrelid = c.oid
WHERE {_NO_MEMBERS}
"""

_STATISTICS = f"""
SELECT {key_sql("pg_statistic_ext", "s.oid")}, 'statistics', {key_sql("pg_class", "s.stxrelid")}, '', 0, n.nspname,
  s.stxname, quote_ident(n.nspname) || '.' || quote_ident(s.stxname), pg_get_statisticsobjdef(s.oid) AS "definition",
  nullif(s.stxstattarget, -1)::text AS "target", {owner_sql("s.stxowner")} AS "owner",
  {comment_sql("pg_statistic_ext", "s.oid")} AS "comment"
FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace AND {USER_SCHEMAS}
WHERE {no_member_sql("pg_statistic_ext", "s.oid")}
"""

TABLE_PART_QUERIES = (_CONSTRAINTS, _INDEXES, _TRIGGERS, _RULES, _POLICIES, _STATISTICS)
