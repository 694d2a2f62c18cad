"""The queries for what a database has to do with others: foreign data, publications, subscriptions."""

# Every piece that the queries are put together from is a constant of these modules: nothing here is injected.
# ruff: noqa: S608

from __future__ import annotations

from kernel.rehearsal.schema.query import Query, comment, key, no_member, owner, privileges, sorted_options

# Their options hold passwords: the value of one is nowhere shown, and a mapping's not even to everybody who may look.
_WRAPPERS = Query(
    labels=("definition", "connection options", "owner", "privileges", "comment"),
    sql=f"""
SELECT {key("pg_foreign_data_wrapper", "w.oid")}, 'foreign-data wrapper', '', '', 0, '', w.fdwname,
  quote_ident(w.fdwname),
  concat_ws(' ', nullif(w.fdwhandler, 0)::regprocedure, nullif(w.fdwvalidator, 0)::regprocedure),
  {sorted_options("w.fdwoptions")}, {owner("w.fdwowner")}, {privileges("w.fdwacl", "F", "w.fdwowner")},
  {comment("pg_foreign_data_wrapper", "w.oid")}
FROM pg_foreign_data_wrapper w WHERE {no_member("pg_foreign_data_wrapper", "w.oid")}
""",
)
_SERVERS = Query(
    labels=("wrapper", "type", "version", "connection options", "owner", "privileges", "comment"),
    sql=f"""
SELECT {key("pg_foreign_server", "s.oid")}, 'foreign server', '', '', 0, '', s.srvname, quote_ident(s.srvname),
  quote_ident(w.fdwname), s.srvtype, s.srvversion, {sorted_options("s.srvoptions")}, {owner("s.srvowner")},
  {privileges("s.srvacl", "S", "s.srvowner")}, {comment("pg_foreign_server", "s.oid")}
FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
WHERE {no_member("pg_foreign_server", "s.oid")}
""",
)
_MAPPINGS = Query(
    labels=("connection options",),
    sql=f"""
SELECT {key("pg_user_mapping", "u.umid")}, 'user mapping', {key("pg_foreign_server", "u.srvid")}, '', 0, '', u.usename,
  CASE u.umuser WHEN 0 THEN 'public' ELSE quote_ident(u.usename) END || ' on ' || quote_ident(u.srvname),
  {sorted_options("u.umoptions")}
FROM pg_user_mappings u
""",
)

_PUBLICATIONS = Query(
    labels=("definition", "tables", "owner", "comment"),
    sql=f"""
SELECT {key("pg_publication", "p.oid")}, 'publication', '', '', 0, '', p.pubname, quote_ident(p.pubname),
  (to_jsonb(p) - '{{oid,pubname,pubowner}}'::text[])::text,
  (SELECT array_agg(r.prrelid::regclass::text ORDER BY r.prrelid::regclass::text COLLATE "C") FROM pg_publication_rel r
    WHERE r.prpubid = p.oid),
  {owner("p.pubowner")}, {comment("pg_publication", "p.oid")}
FROM pg_publication p
""",
)
_PUBLISHED = Query(
    since=150_000,
    labels=("columns", "rows"),
    sql=f"""
SELECT {key("pg_publication_rel", "r.oid")}, 'published table', {key("pg_publication", "p.oid")}, '', 0, '', p.pubname,
  r.prrelid::regclass::text || ' in ' || quote_ident(p.pubname),
  (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = r.prrelid
    AND a.attnum = ANY (r.prattrs)),
  pg_get_expr(r.prqual, r.prrelid)
FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
UNION ALL
SELECT {key("pg_publication_namespace", "s.oid")}, 'published schema', {key("pg_publication", "p.oid")}, '', 0, '',
  p.pubname, quote_ident(n.nspname) || ' in ' || quote_ident(p.pubname), NULL, NULL
FROM pg_publication_namespace s JOIN pg_publication p ON p.oid = s.pnpubid JOIN pg_namespace n ON n.oid = s.pnnspid
""",
)
# Not its connection string, which nobody but a superuser may read.
_SUBSCRIPTIONS = Query(
    labels=("publications", "enabled", "owner", "comment"),
    sql=f"""
SELECT {key("pg_subscription", "s.oid")}, 'subscription', '', '', 0, '', s.subname, quote_ident(s.subname),
  s.subpublications, CASE WHEN NOT s.subenabled THEN 'disabled' END, {owner("s.subowner")},
  {comment("pg_subscription", "s.oid")}
FROM pg_subscription s WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
""",
)

QUERIES = (_WRAPPERS, _SERVERS, _MAPPINGS, _PUBLICATIONS, _PUBLISHED, _SUBSCRIPTIONS)
