"""The queries for what hangs on a table: constraints, indexes, triggers, rules, policies, statistics."""

# Every piece that the queries are put together from is a constant of these modules: nothing here is injected.
# ruff: noqa: S608

from __future__ import annotations

from kernel.rehearsal.schema.query import OF_USERS, Query, comment, key, no_member, owner
from kernel.rehearsal.schema.relations import FROM, RELATION, WITHOUT_MEMBERS

_ENABLED = "CASE {} WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'on replicas only' WHEN 'A' THEN 'always' END"

# From version 18 on, NOT NULL is a constraint as well; the column tells of it, unless it is not validated.
_CONSTRAINTS = Query(
    labels=("definition", "validated", "comment"),
    sql=f"""
SELECT {key("pg_constraint", "k.oid")}, 'constraint', {key("pg_class", "c.oid")},
  CASE WHEN k.conparentid <> 0 THEN {key("pg_constraint", "k.conparentid")} ELSE '' END, 0,
  n.nspname, k.conname, quote_ident(k.conname) || ' on ' || {RELATION},
  regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', ''),
  CASE WHEN NOT k.convalidated THEN 'not validated' END,
  {comment("pg_constraint", "k.oid")}
{FROM} JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype <> 't' AND (k.contype <> 'n' OR NOT k.convalidated)
WHERE {WITHOUT_MEMBERS}
""",
)

# The name of the index and that of its table are left out of the definition: both may be changed by themselves.
_INDEXES = Query(
    labels=(
        "definition",
        "unique",
        "valid",
        "ready",
        "clustered",
        "replica identity",
        "tablespace",
        "statistics targets",
        "partition of",
        "comment",
    ),
    sql=f"""
SELECT {key("pg_class", "x.oid")}, 'index', {key("pg_class", "c.oid")},
  coalesce((SELECT {key("pg_constraint", "k.oid")} FROM pg_constraint k WHERE k.conindid = x.oid AND k.conrelid = c.oid
      AND k.contype IN ('p', 'u', 'x')),
    (SELECT {key("pg_class", "p.inhparent")} FROM pg_inherits p WHERE p.inhrelid = x.oid), ''), 0,
  xn.nspname, x.relname, quote_ident(xn.nspname) || '.' || quote_ident(x.relname),
  substr(pg_get_indexdef(x.oid), length('CREATE INDEX  ON  ' || quote_ident(x.relname) || {RELATION})
    + CASE WHEN i.indisunique THEN length('UNIQUE ') ELSE 0 END
    + CASE x.relkind WHEN 'I' THEN length('ONLY ') ELSE 0 END + 1),
  CASE WHEN i.indisunique THEN 'unique' END,
  CASE WHEN NOT i.indisvalid THEN 'invalid' END,
  CASE WHEN NOT i.indisready THEN 'not ready' END,
  CASE WHEN i.indisclustered THEN 'clustered' END,
  CASE WHEN i.indisreplident THEN 'replica identity' END,
  (SELECT s.spcname FROM pg_tablespace s WHERE s.oid = x.reltablespace),
  (SELECT array_agg(a.attnum || ': ' || a.attstattarget ORDER BY a.attnum) FROM pg_attribute a
    WHERE a.attrelid = x.oid AND a.attstattarget >= 0),
  (SELECT p.inhparent::regclass::text FROM pg_inherits p WHERE p.inhrelid = x.oid),
  {comment("pg_class", "x.oid")}
{FROM} JOIN pg_index i ON i.indrelid = c.oid JOIN pg_class x ON x.oid = i.indexrelid
  JOIN pg_namespace xn ON xn.oid = x.relnamespace
WHERE {WITHOUT_MEMBERS}
""",
)

_TRIGGERS = Query(
    labels=("definition", "enabled", "comment"),
    sql=f"""
SELECT {key("pg_trigger", "t.oid")}, 'trigger', {key("pg_class", "c.oid")},
  CASE WHEN t.tgparentid <> 0 THEN {key("pg_trigger", "t.tgparentid")} ELSE '' END, 0,
  n.nspname, t.tgname, quote_ident(t.tgname) || ' on ' || {RELATION},
  pg_get_triggerdef(t.oid), {_ENABLED.format("t.tgenabled")}, {comment("pg_trigger", "t.oid")}
{FROM} JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal
WHERE {WITHOUT_MEMBERS}
""",
)

_RULES = Query(
    labels=("definition", "enabled", "comment"),
    sql=f"""
SELECT {key("pg_rewrite", "r.oid")}, 'rule', {key("pg_class", "c.oid")}, '', 0,
  n.nspname, r.rulename, quote_ident(r.rulename) || ' on ' || {RELATION},
  pg_get_ruledef(r.oid), {_ENABLED.format("r.ev_enabled")}, {comment("pg_rewrite", "r.oid")}
{FROM} JOIN pg_rewrite r ON r.ev_class = c.oid AND r.rulename <> '_RETURN'
WHERE {WITHOUT_MEMBERS}
""",
)

_POLICIES = Query(
    labels=("command", "kind", "roles", "using", "check", "comment"),
    sql=f"""
SELECT {key("pg_policy", "p.oid")}, 'policy', {key("pg_class", "c.oid")}, '', 0,
  n.nspname, p.polname, quote_ident(p.polname) || ' on ' || {RELATION},
  CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
    ELSE 'ALL' END,
  CASE WHEN NOT p.polpermissive THEN 'restrictive' END,
  (SELECT array_agg(CASE r WHEN 0 THEN 'public' ELSE quote_ident(pg_get_userbyid(r)) END ORDER BY 1)
    FROM unnest(p.polroles) AS r),
  pg_get_expr(p.polqual, c.oid), pg_get_expr(p.polwithcheck, c.oid), {comment("pg_policy", "p.oid")}
{FROM} JOIN pg_policy p ON p.polrelid = c.oid
WHERE {WITHOUT_MEMBERS}
""",
)

_STATISTICS = Query(
    labels=("definition", "target", "owner", "comment"),
    sql=f"""
SELECT {key("pg_statistic_ext", "s.oid")}, 'statistics', {key("pg_class", "s.stxrelid")}, '', 0,
  n.nspname, s.stxname, quote_ident(n.nspname) || '.' || quote_ident(s.stxname),
  pg_get_statisticsobjdef(s.oid), nullif(s.stxstattarget, -1)::text, {owner("s.stxowner")},
  {comment("pg_statistic_ext", "s.oid")}
FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace AND {OF_USERS}
WHERE {no_member("pg_statistic_ext", "s.oid")}
""",
)

QUERIES = (_CONSTRAINTS, _INDEXES, _TRIGGERS, _RULES, _POLICIES, _STATISTICS)
