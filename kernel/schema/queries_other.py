"""Catalog queries for all objects that are not tables or parts of tables."""

from __future__ import annotations

from kernel.schema.queries_tables import (
    FIRST_USER_OID,
    USER_SCHEMAS,
    comment_sql,
    key_sql,
    no_member_sql,
    owner_sql,
    privileges_sql,
    sorted_options_sql,
)

# Every piece that the queries are put together from is a constant of this package: nothing is injected.
# ruff: noqa: S608


_TYPES = f"""
SELECT {key_sql("pg_type", "t.oid")},
  CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'r' THEN 'range type' ELSE 'type' END, '', '', 0,
  n.nspname, t.typname, quote_ident(n.nspname) || '.' || quote_ident(t.typname),
  (SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid) AS "labels",
  CASE t.typtype WHEN 'd' THEN format_type(t.typbasetype, t.typtypmod)
    WHEN 'r' THEN format_type(r.rngsubtype, NULL) END AS "type", t.typdefault AS "default",
  CASE WHEN t.typnotnull THEN 'NOT NULL' END AS "NOT NULL",
  CASE WHEN t.typtype = 'd' AND t.typcollation <> coalesce(b.typcollation, 0) THEN t.typcollation::regcollation::text
    WHEN t.typtype = 'r' AND r.rngcollation <> 0 THEN r.rngcollation::regcollation::text END AS "collation",
  CASE t.typtype WHEN 'r' THEN concat_ws(' ', r.rngmultitypid::regtype, r.rngcanonical, r.rngsubdiff)
    WHEN 'b' THEN concat_ws(' ', t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin, t.typmodout,
      t.typanalyze, t.typsubscript, t.typlen, t.typbyval, t.typalign, t.typstorage, t.typcategory, t.typispreferred,
      t.typdelim, nullif(t.typelem, 0)::regtype) END AS "definition", {owner_sql("t.typowner")} AS "owner",
  {privileges_sql("t.typacl", "T", "t.typowner")} AS "privileges", {comment_sql("pg_type", "t.oid")} AS "comment"
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace AND {USER_SCHEMAS}
  LEFT JOIN pg_type b ON b.oid = t.typbasetype LEFT JOIN pg_range r ON r.rngtypid = t.oid
WHERE (t.typtype IN ('e', 'd', 'r', 'p') OR t.typtype = 'b' AND NOT EXISTS (
    SELECT FROM pg_type elements WHERE elements.typarray = t.oid)) AND {no_member_sql("pg_type", "t.oid")}
"""

_DOMAIN_CONSTRAINTS = f"""
SELECT {key_sql("pg_constraint", "k.oid")}, 'constraint', {key_sql("pg_type", "t.oid")}, '', 0, n.nspname, k.conname,
  quote_ident(k.conname) || ' on ' || quote_ident(n.nspname) || '.' || quote_ident(t.typname),
  regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', '') AS "definition",
  CASE WHEN NOT k.convalidated THEN 'not validated' END AS "validated",
  {comment_sql("pg_constraint", "k.oid")} AS "comment"
FROM pg_constraint k JOIN pg_type t ON t.oid = k.contypid
  JOIN pg_namespace n ON n.oid = t.typnamespace AND {USER_SCHEMAS}
WHERE k.contype <> 'n' AND {no_member_sql("pg_type", "t.oid")}
"""

_FUNCTIONS = f"""
SELECT {key_sql("pg_proc", "p.oid")},
  CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END, '', '', 0, n.nspname,
  p.proname,
  quote_ident(n.nspname) || '.' || quote_ident(p.proname) || '(' || pg_get_function_identity_arguments(p.oid) || ')',
  pg_get_function_arguments(p.oid) AS "arguments", pg_get_function_result(p.oid) AS "returns",
  quote_ident(l.lanname) AS "language",
  coalesce(pg_get_function_sqlbody(p.oid), a.body, concat_ws(' ', p.prosrc, p.probin))
    || CASE p.prokind WHEN 'w' THEN ' WINDOW' ELSE '' END AS "body",
  CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END AS "volatility",
  CASE WHEN p.proisstrict THEN 'strict' END AS "strict",
  CASE WHEN p.prosecdef THEN 'security definer' END AS "security definer",
  CASE WHEN p.proleakproof THEN 'leakproof' END AS "leakproof",
  CASE p.proparallel WHEN 's' THEN 'safe' WHEN 'r' THEN 'restricted' ELSE 'unsafe' END AS "parallel",
  p.procost::text AS "cost", nullif(p.prorows, 0)::text AS "rows",
  nullif(p.prosupport, 0)::regprocedure::text AS "support", {sorted_options_sql("p.proconfig")} AS "settings",
  {owner_sql("p.proowner")} AS "owner", {privileges_sql("p.proacl", "f", "p.proowner")} AS "privileges",
  {comment_sql("pg_proc", "p.oid")} AS "comment"
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND {USER_SCHEMAS} JOIN pg_language l ON l.oid = p.prolang
  LEFT JOIN LATERAL (SELECT concat_ws(' ', a.aggkind, a.aggnumdirectargs, a.aggtransfn::regprocedure,
      nullif(a.aggfinalfn, 0)::regprocedure, nullif(a.aggcombinefn, 0)::regprocedure,
      nullif(a.aggserialfn, 0)::regprocedure, nullif(a.aggdeserialfn, 0)::regprocedure,
      nullif(a.aggmtransfn, 0)::regprocedure, nullif(a.aggminvtransfn, 0)::regprocedure,
      nullif(a.aggmfinalfn, 0)::regprocedure, a.aggfinalextra, a.aggmfinalextra, a.aggfinalmodify, a.aggmfinalmodify,
      nullif(a.aggsortop, 0)::regoperator, a.aggtranstype::regtype, a.aggtransspace, a.aggmtransspace,
      quote_nullable(a.agginitval), quote_nullable(a.aggminitval)) AS body
    FROM pg_aggregate a WHERE a.aggfnoid = p.oid) a ON p.prokind = 'a'
WHERE {no_member_sql("pg_proc", "p.oid")}
"""

_CASTS = f"""
SELECT {key_sql("pg_cast", "k.oid")}, 'cast', '', '', 0, '', '',
  format('(%s AS %s)', format_type(k.castsource, NULL), format_type(k.casttarget, NULL)),
  CASE k.castmethod WHEN 'f' THEN k.castfunc::regprocedure::text WHEN 'i' THEN 'through text' ELSE 'none' END
    AS "function",
  CASE k.castcontext WHEN 'a' THEN 'as assignment' WHEN 'i' THEN 'as implicit' END AS "context",
  {comment_sql("pg_cast", "k.oid")} AS "comment"
FROM pg_cast k WHERE k.oid >= {FIRST_USER_OID} AND {no_member_sql("pg_cast", "k.oid")}
"""

_OPERATORS = f"""
SELECT {key_sql("pg_operator", "o.oid")}, 'operator', '', '', 0, n.nspname, o.oprname, o.oid::regoperator::text,
  concat_ws(' ', o.oprresult::regtype, o.oprcode::regprocedure, 'commutator', nullif(o.oprcom, 0)::regoperator,
    'negator', nullif(o.oprnegate, 0)::regoperator, 'restrict', nullif(o.oprrest, 0)::regprocedure,
    'join', nullif(o.oprjoin, 0)::regprocedure, o.oprcanmerge, o.oprcanhash) AS "definition",
  {owner_sql("o.oprowner")} AS "owner", {comment_sql("pg_operator", "o.oid")} AS "comment"
FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace AND {USER_SCHEMAS}
WHERE {no_member_sql("pg_operator", "o.oid")}
"""

_FAMILIES = f"""
SELECT {key_sql("pg_opfamily", "f.oid")}, 'operator family', '', '', 0, n.nspname, f.opfname,
  quote_ident(n.nspname) || '.' || quote_ident(f.opfname) || ' using ' || quote_ident(m.amname),
  (SELECT array_agg(member COLLATE "C" ORDER BY member COLLATE "C") FROM (
    SELECT format('operator %s %s', amopstrategy, amopopr::regoperator) FROM pg_amop WHERE amopfamily = f.oid
    UNION ALL
    SELECT format('function %s %s', amprocnum, amproc::regprocedure) FROM pg_amproc WHERE amprocfamily = f.oid
  ) AS members (member)) AS "members", {owner_sql("f.opfowner")} AS "owner",
  {comment_sql("pg_opfamily", "f.oid")} AS "comment"
FROM pg_opfamily f JOIN pg_namespace n ON n.oid = f.opfnamespace AND {USER_SCHEMAS} JOIN pg_am m ON m.oid = f.opfmethod
WHERE {no_member_sql("pg_opfamily", "f.oid")}
"""

_CLASSES = f"""
SELECT {key_sql("pg_opclass", "o.oid")}, 'operator class', '', '', 0, n.nspname, o.opcname,
  quote_ident(n.nspname) || '.' || quote_ident(o.opcname) || ' using ' || quote_ident(m.amname),
  format_type(o.opcintype, NULL) || coalesce(' storing ' || format_type(nullif(o.opckeytype, 0), NULL), '') AS "type",
  (SELECT format('%I.%I', fn.nspname, f.opfname) FROM pg_opfamily f JOIN pg_namespace fn ON fn.oid = f.opfnamespace
    WHERE f.oid = o.opcfamily) AS "family", CASE WHEN o.opcdefault THEN 'default' END AS "default",
  {owner_sql("o.opcowner")} AS "owner", {comment_sql("pg_opclass", "o.oid")} AS "comment"
FROM pg_opclass o JOIN pg_namespace n ON n.oid = o.opcnamespace AND {USER_SCHEMAS} JOIN pg_am m ON m.oid = o.opcmethod
WHERE {no_member_sql("pg_opclass", "o.oid")}
"""

TYPE_QUERIES = (_TYPES, _DOMAIN_CONSTRAINTS, _FUNCTIONS, _CASTS, _OPERATORS, _FAMILIES, _CLASSES)


_SCHEMAS = f"""
SELECT {key_sql("pg_namespace", "n.oid")}, 'schema', '', '', 0, n.nspname, n.nspname, quote_ident(n.nspname),
  {owner_sql("n.nspowner")} AS "owner", {privileges_sql("n.nspacl", "n", "n.nspowner")} AS "privileges",
  {comment_sql("pg_namespace", "n.oid")} AS "comment"
FROM pg_namespace n WHERE {USER_SCHEMAS} AND {no_member_sql("pg_namespace", "n.oid")}
"""

_EXTENSIONS = f"""
SELECT {key_sql("pg_extension", "x.oid")}, 'extension', '', '', 0, '', x.extname, quote_ident(x.extname),
  x.extversion AS "version", quote_ident(n.nspname) AS "schema", {owner_sql("x.extowner")} AS "owner",
  {comment_sql("pg_extension", "x.oid")} AS "comment"
FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace
"""

# Privileges on the system's objects and on those of extensions that differ from the initial ones.
_SYSTEM_PRIVILEGES = tuple(
    f"""
SELECT {key_sql(catalog, "o.oid")}, '{kind}', '', '', 0, n.nspname, o.{prefix}name::text, {name},
  {privileges_sql(f"o.{acl}", letter, f"o.{prefix}owner")} AS "privileges"
FROM {catalog} o JOIN pg_namespace n ON n.oid = o.{prefix}namespace
WHERE {condition} AND o.{acl} IS NOT NULL AND n.nspname !~ '^(pg_t|information_schema$)'
  AND (NOT ({USER_SCHEMAS}) OR NOT {no_member_sql(catalog, "o.oid")})
  AND o.{acl} IS DISTINCT FROM coalesce((SELECT i.initprivs FROM pg_init_privs i WHERE i.objoid = o.oid
    AND i.classoid = '{catalog}'::regclass AND i.objsubid = 0), acldefault('{letter}', o.{prefix}owner))
"""
    for catalog, kind, prefix, acl, letter, name, condition in (
        ("pg_class", "system table", "rel", "relacl", "r", "o.oid::regclass::text", "o.relkind <> 'S'"),
        ("pg_proc", "system function", "pro", "proacl", "f", "o.oid::regprocedure::text", "true"),
    )
)

_LANGUAGES = f"""
SELECT {key_sql("pg_language", "l.oid")}, 'language', '', '', 0, '', l.lanname, quote_ident(l.lanname),
  concat_ws(' ', CASE WHEN l.lanpltrusted THEN 'trusted' END, nullif(l.lanplcallfoid, 0)::regprocedure,
    nullif(l.laninline, 0)::regprocedure, nullif(l.lanvalidator, 0)::regprocedure) AS "definition",
  {owner_sql("l.lanowner")} AS "owner", {privileges_sql("l.lanacl", "l", "l.lanowner")} AS "privileges",
  {comment_sql("pg_language", "l.oid")} AS "comment"
FROM pg_language l
"""

_ACCESS_METHODS = f"""
SELECT {key_sql("pg_am", "m.oid")}, 'access method', '', '', 0, '', m.amname, quote_ident(m.amname),
  m.amhandler::text AS "handler", {comment_sql("pg_am", "m.oid")} AS "comment"
FROM pg_am m WHERE m.oid >= {FIRST_USER_OID} AND {no_member_sql("pg_am", "m.oid")}
"""

_TRANSFORMS = f"""
SELECT {key_sql("pg_transform", "t.oid")}, 'transform', '', '', 0, '', '',
  format('for %s language %I', format_type(t.trftype, NULL), l.lanname),
  concat_ws(' ', nullif(t.trffromsql, 0)::regprocedure, nullif(t.trftosql, 0)::regprocedure) AS "functions",
  {comment_sql("pg_transform", "t.oid")} AS "comment"
FROM pg_transform t JOIN pg_language l ON l.oid = t.trflang WHERE {no_member_sql("pg_transform", "t.oid")}
"""

# The columns of the catalog differ between versions of PostgreSQL; collversion belongs to the operating system.
_COLLATIONS = f"""
SELECT {key_sql("pg_collation", "c.oid")}, 'collation', '', '', 0, n.nspname, c.collname,
  quote_ident(n.nspname) || '.' || quote_ident(c.collname),
  (to_jsonb(c) - '{{oid,collname,collnamespace,collowner,collversion}}'::text[])::text AS "definition",
  {owner_sql("c.collowner")} AS "owner", {comment_sql("pg_collation", "c.oid")} AS "comment"
FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace AND {USER_SCHEMAS}
WHERE {no_member_sql("pg_collation", "c.oid")}
"""

_CONVERSIONS = f"""
SELECT {key_sql("pg_conversion", "c.oid")}, 'conversion', '', '', 0, n.nspname, c.conname,
  quote_ident(n.nspname) || '.' || quote_ident(c.conname),
  concat_ws(' ', pg_encoding_to_char(c.conforencoding), pg_encoding_to_char(c.contoencoding), c.conproc, c.condefault)
    AS "definition",
  {owner_sql("c.conowner")} AS "owner", {comment_sql("pg_conversion", "c.oid")} AS "comment"
FROM pg_conversion c JOIN pg_namespace n ON n.oid = c.connamespace AND {USER_SCHEMAS}
WHERE {no_member_sql("pg_conversion", "c.oid")}
"""

_TEXT_SEARCH = tuple(
    f"""
SELECT {key_sql(catalog, "o.oid")}, 'text search {kind}', '', '', 0, n.nspname, o.{prefix}name,
  quote_ident(n.nspname) || '.' || quote_ident(o.{prefix}name), {definition} AS "definition", {owner} AS "owner",
  {comment_sql(catalog, "o.oid")} AS "comment"
FROM {catalog} o JOIN pg_namespace n ON n.oid = o.{prefix}namespace AND {USER_SCHEMAS}
WHERE {no_member_sql(catalog, "o.oid")}
"""
    for catalog, kind, prefix, owner, definition in (
        (
            *("pg_ts_config", "configuration", "cfg", owner_sql("o.cfgowner")),
            """(SELECT (SELECT format('%I.%I', pn.nspname, p.prsname) FROM pg_ts_parser p JOIN pg_namespace pn
      ON pn.oid = p.prsnamespace WHERE p.oid = o.cfgparser)
    || coalesce(string_agg(format(' %s=%s', m.maptokentype, m.mapdict::regdictionary), ''
      ORDER BY m.maptokentype, m.mapseqno), '') FROM pg_ts_config_map m WHERE m.mapcfg = o.oid)""",
        ),
        (
            *("pg_ts_dict", "dictionary", "dict", owner_sql("o.dictowner")),
            """(SELECT format('%I.%I ', tn.nspname, t.tmplname) FROM pg_ts_template t JOIN pg_namespace tn
      ON tn.oid = t.tmplnamespace WHERE t.oid = o.dicttemplate) || coalesce(o.dictinitoption, '')""",
        ),
        ("pg_ts_template", "template", "tmpl", "NULL", "concat_ws(' ', o.tmplinit, o.tmpllexize)"),
        (
            *("pg_ts_parser", "parser", "prs", "NULL"),
            "concat_ws(' ', o.prsstart, o.prstoken, o.prsend, o.prsheadline, o.prslextype)",
        ),
    )
)

_EVENT_TRIGGERS = f"""
SELECT {key_sql("pg_event_trigger", "t.oid")}, 'event trigger', '', '', 0, '', t.evtname, quote_ident(t.evtname),
  concat_ws(' ', t.evtevent, t.evttags, t.evtfoid::regprocedure) AS "definition",
  CASE t.evtenabled WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'on replicas only' WHEN 'A' THEN 'always' END AS "enabled",
  {owner_sql("t.evtowner")} AS "owner", {comment_sql("pg_event_trigger", "t.oid")} AS "comment"
FROM pg_event_trigger t WHERE {no_member_sql("pg_event_trigger", "t.oid")}
"""

_DEFAULT_PRIVILEGES = f"""
SELECT {key_sql("pg_default_acl", "d.oid")}, 'default privileges', '', '', 0, coalesce(n.nspname, ''), '',
  format('of %s on %s%s', {owner_sql("d.defaclrole")},
    CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions'
      WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' ELSE 'large objects' END,
    ' in schema ' || quote_ident(n.nspname)), {privileges_sql("d.defaclacl", "r", "d.defaclrole")} AS "privileges"
FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
"""

_DATABASE = f"""
SELECT 'pg_database:', 'database', '', '', 0, '', '', '',
  (SELECT {sorted_options_sql("s.setconfig")} FROM pg_db_role_setting s WHERE s.setdatabase = d.oid AND s.setrole = 0)
    AS "settings",
  {owner_sql("d.datdba")} AS "owner", {privileges_sql("d.datacl", "d", "d.datdba")} AS "privileges",
  (SELECT m.description FROM pg_shdescription m WHERE m.classoid = 'pg_database'::regclass AND m.objoid = d.oid)
    AS "comment"
FROM pg_database d WHERE d.datname = current_database()
UNION ALL
SELECT 'pg_db_role_setting:' || s.setrole, 'role', '', '', 0, '', '', {owner_sql("s.setrole")} || ' in this database',
  {sorted_options_sql("s.setconfig")}, NULL, NULL, NULL
FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
WHERE d.datname = current_database() AND s.setrole <> 0
"""

DATABASE_QUERIES = (
    _SCHEMAS,
    _EXTENSIONS,
    *_SYSTEM_PRIVILEGES,
    _LANGUAGES,
    _ACCESS_METHODS,
    _TRANSFORMS,
    _COLLATIONS,
    _CONVERSIONS,
    *_TEXT_SEARCH,
    _EVENT_TRIGGERS,
    _DEFAULT_PRIVILEGES,
    _DATABASE,
)


# Their options hold passwords: values are never shown, and those of a mapping cannot be read by all roles.
_WRAPPERS = f"""
SELECT {key_sql("pg_foreign_data_wrapper", "w.oid")}, 'foreign-data wrapper', '', '', 0, '', w.fdwname,
  quote_ident(w.fdwname),
  concat_ws(' ', nullif(w.fdwhandler, 0)::regprocedure, nullif(w.fdwvalidator, 0)::regprocedure) AS "definition",
  {sorted_options_sql("w.fdwoptions")} AS "connection options", {owner_sql("w.fdwowner")} AS "owner",
  {privileges_sql("w.fdwacl", "F", "w.fdwowner")} AS "privileges",
  {comment_sql("pg_foreign_data_wrapper", "w.oid")} AS "comment"
FROM pg_foreign_data_wrapper w WHERE {no_member_sql("pg_foreign_data_wrapper", "w.oid")}
"""
_SERVERS = f"""
SELECT {key_sql("pg_foreign_server", "s.oid")}, 'foreign server', '', '', 0, '', s.srvname, quote_ident(s.srvname),
  quote_ident(w.fdwname) AS "wrapper", s.srvtype AS "type", s.srvversion AS "version",
  {sorted_options_sql("s.srvoptions")} AS "connection options", {owner_sql("s.srvowner")} AS "owner",
  {privileges_sql("s.srvacl", "S", "s.srvowner")} AS "privileges",
  {comment_sql("pg_foreign_server", "s.oid")} AS "comment"
FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
WHERE {no_member_sql("pg_foreign_server", "s.oid")}
"""
_MAPPINGS = f"""
SELECT {key_sql("pg_user_mapping", "u.umid")}, 'user mapping', {key_sql("pg_foreign_server", "u.srvid")}, '', 0, '',
  u.usename, CASE u.umuser WHEN 0 THEN 'public' ELSE quote_ident(u.usename) END || ' on ' || quote_ident(u.srvname),
  {sorted_options_sql("u.umoptions")} AS "connection options"
FROM pg_user_mappings u
"""

_PUBLICATIONS = f"""
SELECT {key_sql("pg_publication", "p.oid")}, 'publication', '', '', 0, '', p.pubname, quote_ident(p.pubname),
  (to_jsonb(p) - '{{oid,pubname,pubowner}}'::text[])::text AS "definition",
  (SELECT array_agg(r.prrelid::regclass::text ORDER BY r.prrelid::regclass::text COLLATE "C") FROM pg_publication_rel r
    WHERE r.prpubid = p.oid) AS "tables", {owner_sql("p.pubowner")} AS "owner",
  {comment_sql("pg_publication", "p.oid")} AS "comment"
FROM pg_publication p
"""
_PUBLISHED = f"""
SELECT {key_sql("pg_publication_rel", "r.oid")}, 'published table', {key_sql("pg_publication", "p.oid")}, '', 0, '',
  p.pubname, r.prrelid::regclass::text || ' in ' || quote_ident(p.pubname),
  (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = r.prrelid
    AND a.attnum = ANY (r.prattrs)) AS "columns", pg_get_expr(r.prqual, r.prrelid) AS "rows"
FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
UNION ALL
SELECT {key_sql("pg_publication_namespace", "s.oid")}, 'published schema', {key_sql("pg_publication", "p.oid")}, '', 0,
  '', p.pubname, quote_ident(n.nspname) || ' in ' || quote_ident(p.pubname), NULL, NULL
FROM pg_publication_namespace s JOIN pg_publication p ON p.oid = s.pnpubid JOIN pg_namespace n ON n.oid = s.pnnspid
"""
# Without the connection string, which only a superuser may read.
_SUBSCRIPTIONS = f"""
SELECT {key_sql("pg_subscription", "s.oid")}, 'subscription', '', '', 0, '', s.subname, quote_ident(s.subname),
  s.subpublications AS "publications", CASE WHEN NOT s.subenabled THEN 'disabled' END AS "enabled",
  {owner_sql("s.subowner")} AS "owner", {comment_sql("pg_subscription", "s.oid")} AS "comment"
FROM pg_subscription s WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

EXTERNAL_QUERIES = (_WRAPPERS, _SERVERS, _MAPPINGS, _PUBLICATIONS, _SUBSCRIPTIONS)
QUERIES_SINCE_15 = (_PUBLISHED,)
