"""Catalog queries for all objects that are not tables or parts of tables."""

from __future__ import annotations

from kernel.rehearsal.schema.queries_tables import (
    FIRST_USER_OID,
    USER_SCHEMAS,
    CatalogQuery,
    comment_sql,
    key_sql,
    no_member_sql,
    owner_sql,
    privileges_sql,
    sorted_options_sql,
)

# Every piece that the queries are put together from is a constant of this package: nothing is injected.
# ruff: noqa: S608


_TYPES = CatalogQuery(
    labels=("labels", "type", "default", "NOT NULL", "collation", "definition", "owner", "privileges", "comment"),
    sql=f"""
SELECT {key_sql("pg_type", "t.oid")},
  CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'r' THEN 'range type' ELSE 'type' END,
  '', '', 0, n.nspname, t.typname, quote_ident(n.nspname) || '.' || quote_ident(t.typname),
  (SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid),
  CASE t.typtype WHEN 'd' THEN format_type(t.typbasetype, t.typtypmod)
    WHEN 'r' THEN format_type(r.rngsubtype, NULL) END,
  t.typdefault, CASE WHEN t.typnotnull THEN 'NOT NULL' END,
  CASE WHEN t.typtype = 'd' AND t.typcollation <> coalesce(b.typcollation, 0) THEN t.typcollation::regcollation::text
    WHEN t.typtype = 'r' AND r.rngcollation <> 0 THEN r.rngcollation::regcollation::text END,
  CASE t.typtype WHEN 'r' THEN concat_ws(' ', r.rngmultitypid::regtype, r.rngcanonical, r.rngsubdiff)
    WHEN 'b' THEN concat_ws(' ', t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin, t.typmodout,
      t.typanalyze, t.typsubscript, t.typlen, t.typbyval, t.typalign, t.typstorage, t.typcategory, t.typispreferred,
      t.typdelim, nullif(t.typelem, 0)::regtype) END,
  {owner_sql("t.typowner")}, {privileges_sql("t.typacl", "T", "t.typowner")}, {comment_sql("pg_type", "t.oid")}
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace AND {USER_SCHEMAS}
  LEFT JOIN pg_type b ON b.oid = t.typbasetype LEFT JOIN pg_range r ON r.rngtypid = t.oid
WHERE (t.typtype IN ('e', 'd', 'r', 'p') OR t.typtype = 'b' AND NOT EXISTS (
    SELECT FROM pg_type elements WHERE elements.typarray = t.oid)) AND {no_member_sql("pg_type", "t.oid")}
""",
)

_DOMAIN_CONSTRAINTS = CatalogQuery(
    labels=("definition", "validated", "comment"),
    sql=f"""
SELECT {key_sql("pg_constraint", "k.oid")}, 'constraint', {key_sql("pg_type", "t.oid")}, '', 0, n.nspname, k.conname,
  quote_ident(k.conname) || ' on ' || quote_ident(n.nspname) || '.' || quote_ident(t.typname),
  regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', ''),
  CASE WHEN NOT k.convalidated THEN 'not validated' END, {comment_sql("pg_constraint", "k.oid")}
FROM pg_constraint k JOIN pg_type t ON t.oid = k.contypid
  JOIN pg_namespace n ON n.oid = t.typnamespace AND {USER_SCHEMAS}
WHERE k.contype <> 'n' AND {no_member_sql("pg_type", "t.oid")}
""",
)

_FUNCTIONS = CatalogQuery(
    labels=(
        "arguments",
        "returns",
        "language",
        "body",
        "volatility",
        "strict",
        "security definer",
        "leakproof",
        "parallel",
        "cost",
        "rows",
        "support",
        "settings",
        "owner",
        "privileges",
        "comment",
    ),
    sql=f"""
SELECT {key_sql("pg_proc", "p.oid")},
  CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
  '', '', 0, n.nspname, p.proname,
  quote_ident(n.nspname) || '.' || quote_ident(p.proname) || '(' || pg_get_function_identity_arguments(p.oid) || ')',
  pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), quote_ident(l.lanname),
  coalesce(pg_get_function_sqlbody(p.oid), a.body, concat_ws(' ', p.prosrc, p.probin))
    || CASE p.prokind WHEN 'w' THEN ' WINDOW' ELSE '' END,
  CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END,
  CASE WHEN p.proisstrict THEN 'strict' END, CASE WHEN p.prosecdef THEN 'security definer' END,
  CASE WHEN p.proleakproof THEN 'leakproof' END,
  CASE p.proparallel WHEN 's' THEN 'safe' WHEN 'r' THEN 'restricted' ELSE 'unsafe' END,
  p.procost::text, nullif(p.prorows, 0)::text, nullif(p.prosupport, 0)::regprocedure::text,
  {sorted_options_sql("p.proconfig")},
  {owner_sql("p.proowner")}, {privileges_sql("p.proacl", "f", "p.proowner")}, {comment_sql("pg_proc", "p.oid")}
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
""",
)

_CASTS = CatalogQuery(
    labels=("function", "context", "comment"),
    sql=f"""
SELECT {key_sql("pg_cast", "k.oid")}, 'cast', '', '', 0, '', '',
  format('(%s AS %s)', format_type(k.castsource, NULL), format_type(k.casttarget, NULL)),
  CASE k.castmethod WHEN 'f' THEN k.castfunc::regprocedure::text WHEN 'i' THEN 'through text' ELSE 'none' END,
  CASE k.castcontext WHEN 'a' THEN 'as assignment' WHEN 'i' THEN 'as implicit' END, {comment_sql("pg_cast", "k.oid")}
FROM pg_cast k WHERE k.oid >= {FIRST_USER_OID} AND {no_member_sql("pg_cast", "k.oid")}
""",
)

_OPERATORS = CatalogQuery(
    labels=("definition", "owner", "comment"),
    sql=f"""
SELECT {key_sql("pg_operator", "o.oid")}, 'operator', '', '', 0, n.nspname, o.oprname, o.oid::regoperator::text,
  concat_ws(' ', o.oprresult::regtype, o.oprcode::regprocedure, 'commutator', nullif(o.oprcom, 0)::regoperator,
    'negator', nullif(o.oprnegate, 0)::regoperator, 'restrict', nullif(o.oprrest, 0)::regprocedure,
    'join', nullif(o.oprjoin, 0)::regprocedure, o.oprcanmerge, o.oprcanhash),
  {owner_sql("o.oprowner")}, {comment_sql("pg_operator", "o.oid")}
FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace AND {USER_SCHEMAS}
WHERE {no_member_sql("pg_operator", "o.oid")}
""",
)

_FAMILIES = CatalogQuery(
    labels=("members", "owner", "comment"),
    sql=f"""
SELECT {key_sql("pg_opfamily", "f.oid")}, 'operator family', '', '', 0, n.nspname, f.opfname,
  quote_ident(n.nspname) || '.' || quote_ident(f.opfname) || ' using ' || quote_ident(m.amname),
  (SELECT array_agg(member COLLATE "C" ORDER BY member COLLATE "C") FROM (
    SELECT format('operator %s %s', amopstrategy, amopopr::regoperator) FROM pg_amop WHERE amopfamily = f.oid
    UNION ALL
    SELECT format('function %s %s', amprocnum, amproc::regprocedure) FROM pg_amproc WHERE amprocfamily = f.oid
  ) AS members (member)),
  {owner_sql("f.opfowner")}, {comment_sql("pg_opfamily", "f.oid")}
FROM pg_opfamily f JOIN pg_namespace n ON n.oid = f.opfnamespace AND {USER_SCHEMAS} JOIN pg_am m ON m.oid = f.opfmethod
WHERE {no_member_sql("pg_opfamily", "f.oid")}
""",
)

_CLASSES = CatalogQuery(
    labels=("type", "family", "default", "owner", "comment"),
    sql=f"""
SELECT {key_sql("pg_opclass", "o.oid")}, 'operator class', '', '', 0, n.nspname, o.opcname,
  quote_ident(n.nspname) || '.' || quote_ident(o.opcname) || ' using ' || quote_ident(m.amname),
  format_type(o.opcintype, NULL) || coalesce(' storing ' || format_type(nullif(o.opckeytype, 0), NULL), ''),
  (SELECT format('%I.%I', fn.nspname, f.opfname) FROM pg_opfamily f JOIN pg_namespace fn ON fn.oid = f.opfnamespace
    WHERE f.oid = o.opcfamily),
  CASE WHEN o.opcdefault THEN 'default' END, {owner_sql("o.opcowner")}, {comment_sql("pg_opclass", "o.oid")}
FROM pg_opclass o JOIN pg_namespace n ON n.oid = o.opcnamespace AND {USER_SCHEMAS} JOIN pg_am m ON m.oid = o.opcmethod
WHERE {no_member_sql("pg_opclass", "o.oid")}
""",
)

TYPE_QUERIES = (_TYPES, _DOMAIN_CONSTRAINTS, _FUNCTIONS, _CASTS, _OPERATORS, _FAMILIES, _CLASSES)


_SCHEMAS = CatalogQuery(
    labels=("owner", "privileges", "comment"),
    sql=f"""
SELECT {key_sql("pg_namespace", "n.oid")}, 'schema', '', '', 0, n.nspname, n.nspname, quote_ident(n.nspname),
  {owner_sql("n.nspowner")}, {privileges_sql("n.nspacl", "n", "n.nspowner")}, {comment_sql("pg_namespace", "n.oid")}
FROM pg_namespace n WHERE {USER_SCHEMAS} AND {no_member_sql("pg_namespace", "n.oid")}
""",
)

_EXTENSIONS = CatalogQuery(
    labels=("version", "schema", "owner", "comment"),
    sql=f"""
SELECT {key_sql("pg_extension", "x.oid")}, 'extension', '', '', 0, '', x.extname, quote_ident(x.extname),
  x.extversion, quote_ident(n.nspname), {owner_sql("x.extowner")}, {comment_sql("pg_extension", "x.oid")}
FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace
""",
)

# Privileges on the system's objects and on those of extensions that differ from the initial ones.
_SYSTEM_PRIVILEGES = CatalogQuery(
    labels=("privileges",),
    sql="\nUNION ALL\n".join(
        f"""
SELECT {key_sql(catalog, "o.oid")}, '{kind}', '', '', 0, n.nspname, o.{prefix}name::text, {name},
  {privileges_sql(f"o.{acl}", letter, f"o.{prefix}owner")}
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
    ),
)

_LANGUAGES = CatalogQuery(
    labels=("definition", "owner", "privileges", "comment"),
    sql=f"""
SELECT {key_sql("pg_language", "l.oid")}, 'language', '', '', 0, '', l.lanname, quote_ident(l.lanname),
  concat_ws(' ', CASE WHEN l.lanpltrusted THEN 'trusted' END, nullif(l.lanplcallfoid, 0)::regprocedure,
    nullif(l.laninline, 0)::regprocedure, nullif(l.lanvalidator, 0)::regprocedure),
  {owner_sql("l.lanowner")}, {privileges_sql("l.lanacl", "l", "l.lanowner")}, {comment_sql("pg_language", "l.oid")}
FROM pg_language l
""",
)

_ACCESS_METHODS = CatalogQuery(
    labels=("handler", "comment"),
    sql=f"""
SELECT {key_sql("pg_am", "m.oid")}, 'access method', '', '', 0, '', m.amname, quote_ident(m.amname),
  m.amhandler::text, {comment_sql("pg_am", "m.oid")}
FROM pg_am m WHERE m.oid >= {FIRST_USER_OID} AND {no_member_sql("pg_am", "m.oid")}
""",
)

_TRANSFORMS = CatalogQuery(
    labels=("functions", "comment"),
    sql=f"""
SELECT {key_sql("pg_transform", "t.oid")}, 'transform', '', '', 0, '', '',
  format('for %s language %I', format_type(t.trftype, NULL), l.lanname),
  concat_ws(' ', nullif(t.trffromsql, 0)::regprocedure, nullif(t.trftosql, 0)::regprocedure),
  {comment_sql("pg_transform", "t.oid")}
FROM pg_transform t JOIN pg_language l ON l.oid = t.trflang WHERE {no_member_sql("pg_transform", "t.oid")}
""",
)

# The columns of the catalog differ between versions of PostgreSQL; collversion belongs to the operating system.
_COLLATIONS = CatalogQuery(
    labels=("definition", "owner", "comment"),
    sql=f"""
SELECT {key_sql("pg_collation", "c.oid")}, 'collation', '', '', 0, n.nspname, c.collname,
  quote_ident(n.nspname) || '.' || quote_ident(c.collname),
  (to_jsonb(c) - '{{oid,collname,collnamespace,collowner,collversion}}'::text[])::text,
  {owner_sql("c.collowner")}, {comment_sql("pg_collation", "c.oid")}
FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace AND {USER_SCHEMAS}
WHERE {no_member_sql("pg_collation", "c.oid")}
""",
)

_CONVERSIONS = CatalogQuery(
    labels=("definition", "owner", "comment"),
    sql=f"""
SELECT {key_sql("pg_conversion", "c.oid")}, 'conversion', '', '', 0, n.nspname, c.conname,
  quote_ident(n.nspname) || '.' || quote_ident(c.conname),
  concat_ws(' ', pg_encoding_to_char(c.conforencoding), pg_encoding_to_char(c.contoencoding), c.conproc, c.condefault),
  {owner_sql("c.conowner")}, {comment_sql("pg_conversion", "c.oid")}
FROM pg_conversion c JOIN pg_namespace n ON n.oid = c.connamespace AND {USER_SCHEMAS}
WHERE {no_member_sql("pg_conversion", "c.oid")}
""",
)


def _text_search(catalog: str, kind: str, prefix: str, definition: str, owner: str = "NULL") -> CatalogQuery:
    return CatalogQuery(
        labels=("definition", "owner", "comment"),
        sql=f"""
SELECT {key_sql(catalog, "o.oid")}, 'text search {kind}', '', '', 0, n.nspname, o.{prefix}name,
  quote_ident(n.nspname) || '.' || quote_ident(o.{prefix}name), {definition}, {owner}, {comment_sql(catalog, "o.oid")}
FROM {catalog} o JOIN pg_namespace n ON n.oid = o.{prefix}namespace AND {USER_SCHEMAS}
WHERE {no_member_sql(catalog, "o.oid")}
""",
    )


_TEXT_SEARCH = (
    _text_search(
        "pg_ts_config",
        "configuration",
        "cfg",
        """(SELECT (SELECT format('%I.%I', pn.nspname, p.prsname) FROM pg_ts_parser p JOIN pg_namespace pn
      ON pn.oid = p.prsnamespace WHERE p.oid = o.cfgparser)
    || coalesce(string_agg(format(' %s=%s', m.maptokentype, m.mapdict::regdictionary), ''
      ORDER BY m.maptokentype, m.mapseqno), '') FROM pg_ts_config_map m WHERE m.mapcfg = o.oid)""",
        owner_sql("o.cfgowner"),
    ),
    _text_search(
        "pg_ts_dict",
        "dictionary",
        "dict",
        """(SELECT format('%I.%I ', tn.nspname, t.tmplname) FROM pg_ts_template t JOIN pg_namespace tn
      ON tn.oid = t.tmplnamespace WHERE t.oid = o.dicttemplate) || coalesce(o.dictinitoption, '')""",
        owner_sql("o.dictowner"),
    ),
    _text_search("pg_ts_template", "template", "tmpl", "concat_ws(' ', o.tmplinit, o.tmpllexize)"),
    _text_search(
        "pg_ts_parser",
        "parser",
        "prs",
        "concat_ws(' ', o.prsstart, o.prstoken, o.prsend, o.prsheadline, o.prslextype)",
    ),
)

_EVENT_TRIGGERS = CatalogQuery(
    labels=("definition", "enabled", "owner", "comment"),
    sql=f"""
SELECT {key_sql("pg_event_trigger", "t.oid")}, 'event trigger', '', '', 0, '', t.evtname, quote_ident(t.evtname),
  concat_ws(' ', t.evtevent, t.evttags, t.evtfoid::regprocedure),
  CASE t.evtenabled WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'on replicas only' WHEN 'A' THEN 'always' END,
  {owner_sql("t.evtowner")}, {comment_sql("pg_event_trigger", "t.oid")}
FROM pg_event_trigger t WHERE {no_member_sql("pg_event_trigger", "t.oid")}
""",
)

_DEFAULT_PRIVILEGES = CatalogQuery(
    labels=("privileges",),
    sql=f"""
SELECT {key_sql("pg_default_acl", "d.oid")}, 'default privileges', '', '', 0, coalesce(n.nspname, ''), '',
  format('of %s on %s%s', {owner_sql("d.defaclrole")},
    CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions'
      WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' ELSE 'large objects' END,
    ' in schema ' || quote_ident(n.nspname)),
  {privileges_sql("d.defaclacl", "r", "d.defaclrole")}
FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
""",
)

_DATABASE = CatalogQuery(
    labels=("settings", "owner", "privileges", "comment"),
    sql=f"""
SELECT 'pg_database:', 'database', '', '', 0, '', '', '',
  (SELECT {sorted_options_sql("s.setconfig")} FROM pg_db_role_setting s WHERE s.setdatabase = d.oid AND s.setrole = 0),
  {owner_sql("d.datdba")}, {privileges_sql("d.datacl", "d", "d.datdba")},
  (SELECT m.description FROM pg_shdescription m WHERE m.classoid = 'pg_database'::regclass AND m.objoid = d.oid)
FROM pg_database d WHERE d.datname = current_database()
UNION ALL
SELECT 'pg_db_role_setting:' || s.setrole, 'role', '', '', 0, '', '', {owner_sql("s.setrole")} || ' in this database',
  {sorted_options_sql("s.setconfig")}, NULL, NULL, NULL
FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
WHERE d.datname = current_database() AND s.setrole <> 0
""",
)

DATABASE_QUERIES = (
    _SCHEMAS,
    _EXTENSIONS,
    _SYSTEM_PRIVILEGES,
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
_WRAPPERS = CatalogQuery(
    labels=("definition", "connection options", "owner", "privileges", "comment"),
    sql=f"""
SELECT {key_sql("pg_foreign_data_wrapper", "w.oid")}, 'foreign-data wrapper', '', '', 0, '', w.fdwname,
  quote_ident(w.fdwname),
  concat_ws(' ', nullif(w.fdwhandler, 0)::regprocedure, nullif(w.fdwvalidator, 0)::regprocedure),
  {sorted_options_sql("w.fdwoptions")}, {owner_sql("w.fdwowner")}, {privileges_sql("w.fdwacl", "F", "w.fdwowner")},
  {comment_sql("pg_foreign_data_wrapper", "w.oid")}
FROM pg_foreign_data_wrapper w WHERE {no_member_sql("pg_foreign_data_wrapper", "w.oid")}
""",
)
_SERVERS = CatalogQuery(
    labels=("wrapper", "type", "version", "connection options", "owner", "privileges", "comment"),
    sql=f"""
SELECT {key_sql("pg_foreign_server", "s.oid")}, 'foreign server', '', '', 0, '', s.srvname, quote_ident(s.srvname),
  quote_ident(w.fdwname), s.srvtype, s.srvversion, {sorted_options_sql("s.srvoptions")}, {owner_sql("s.srvowner")},
  {privileges_sql("s.srvacl", "S", "s.srvowner")}, {comment_sql("pg_foreign_server", "s.oid")}
FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
WHERE {no_member_sql("pg_foreign_server", "s.oid")}
""",
)
_MAPPINGS = CatalogQuery(
    labels=("connection options",),
    sql=f"""
SELECT {key_sql("pg_user_mapping", "u.umid")}, 'user mapping', {key_sql("pg_foreign_server", "u.srvid")}, '', 0, '',
  u.usename,
  CASE u.umuser WHEN 0 THEN 'public' ELSE quote_ident(u.usename) END || ' on ' || quote_ident(u.srvname),
  {sorted_options_sql("u.umoptions")}
FROM pg_user_mappings u
""",
)

_PUBLICATIONS = CatalogQuery(
    labels=("definition", "tables", "owner", "comment"),
    sql=f"""
SELECT {key_sql("pg_publication", "p.oid")}, 'publication', '', '', 0, '', p.pubname, quote_ident(p.pubname),
  (to_jsonb(p) - '{{oid,pubname,pubowner}}'::text[])::text,
  (SELECT array_agg(r.prrelid::regclass::text ORDER BY r.prrelid::regclass::text COLLATE "C") FROM pg_publication_rel r
    WHERE r.prpubid = p.oid),
  {owner_sql("p.pubowner")}, {comment_sql("pg_publication", "p.oid")}
FROM pg_publication p
""",
)
_PUBLISHED = CatalogQuery(
    min_version=150_000,
    labels=("columns", "rows"),
    sql=f"""
SELECT {key_sql("pg_publication_rel", "r.oid")}, 'published table', {key_sql("pg_publication", "p.oid")}, '', 0, '',
  p.pubname,
  r.prrelid::regclass::text || ' in ' || quote_ident(p.pubname),
  (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = r.prrelid
    AND a.attnum = ANY (r.prattrs)),
  pg_get_expr(r.prqual, r.prrelid)
FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
UNION ALL
SELECT {key_sql("pg_publication_namespace", "s.oid")}, 'published schema', {key_sql("pg_publication", "p.oid")}, '', 0,
  '', p.pubname, quote_ident(n.nspname) || ' in ' || quote_ident(p.pubname), NULL, NULL
FROM pg_publication_namespace s JOIN pg_publication p ON p.oid = s.pnpubid JOIN pg_namespace n ON n.oid = s.pnnspid
""",
)
# Without the connection string, which only a superuser may read.
_SUBSCRIPTIONS = CatalogQuery(
    labels=("publications", "enabled", "owner", "comment"),
    sql=f"""
SELECT {key_sql("pg_subscription", "s.oid")}, 'subscription', '', '', 0, '', s.subname, quote_ident(s.subname),
  s.subpublications, CASE WHEN NOT s.subenabled THEN 'disabled' END, {owner_sql("s.subowner")},
  {comment_sql("pg_subscription", "s.oid")}
FROM pg_subscription s WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
""",
)

EXTERNAL_QUERIES = (_WRAPPERS, _SERVERS, _MAPPINGS, _PUBLICATIONS, _PUBLISHED, _SUBSCRIPTIONS)
