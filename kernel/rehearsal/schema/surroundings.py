"""The queries for schemas, extensions, languages, text search, privileges and settings."""

# Every piece that the queries are put together from is a constant of these modules: nothing here is injected.
# ruff: noqa: S608

from __future__ import annotations

from kernel.rehearsal.schema.query import (
    FIRST_OF_USERS,
    OF_USERS,
    Query,
    comment,
    key,
    no_member,
    owner,
    privileges,
    sorted_options,
)

_SCHEMAS = Query(
    labels=("owner", "privileges", "comment"),
    sql=f"""
SELECT {key("pg_namespace", "n.oid")}, 'schema', '', '', 0, n.nspname, n.nspname, quote_ident(n.nspname),
  {owner("n.nspowner")}, {privileges("n.nspacl", "n", "n.nspowner")}, {comment("pg_namespace", "n.oid")}
FROM pg_namespace n WHERE {OF_USERS} AND {no_member("pg_namespace", "n.oid")}
""",
)

_EXTENSIONS = Query(
    labels=("version", "schema", "owner", "comment"),
    sql=f"""
SELECT {key("pg_extension", "x.oid")}, 'extension', '', '', 0, '', x.extname, quote_ident(x.extname),
  x.extversion, quote_ident(n.nspname), {owner("x.extowner")}, {comment("pg_extension", "x.oid")}
FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace
""",
)

# What is granted on the system's objects and on those of extensions, as far as it is not what they came with.
_GRANTED = Query(
    labels=("privileges",),
    sql="\nUNION ALL\n".join(
        f"""
SELECT {key(catalog, "o.oid")}, '{kind}', '', '', 0, n.nspname, o.{prefix}name::text, {name},
  {privileges(f"o.{acl}", letter, f"o.{prefix}owner")}
FROM {catalog} o JOIN pg_namespace n ON n.oid = o.{prefix}namespace
WHERE {condition} AND o.{acl} IS NOT NULL AND n.nspname !~ '^(pg_t|information_schema$)'
  AND (NOT ({OF_USERS}) OR NOT {no_member(catalog, "o.oid")})
  AND o.{acl} IS DISTINCT FROM coalesce((SELECT i.initprivs FROM pg_init_privs i WHERE i.objoid = o.oid
    AND i.classoid = '{catalog}'::regclass AND i.objsubid = 0), acldefault('{letter}', o.{prefix}owner))
"""
        for catalog, kind, prefix, acl, letter, name, condition in (
            ("pg_class", "system table", "rel", "relacl", "r", "o.oid::regclass::text", "o.relkind <> 'S'"),
            ("pg_proc", "system function", "pro", "proacl", "f", "o.oid::regprocedure::text", "true"),
        )
    ),
)

_LANGUAGES = Query(
    labels=("definition", "owner", "privileges", "comment"),
    sql=f"""
SELECT {key("pg_language", "l.oid")}, 'language', '', '', 0, '', l.lanname, quote_ident(l.lanname),
  concat_ws(' ', CASE WHEN l.lanpltrusted THEN 'trusted' END, nullif(l.lanplcallfoid, 0)::regprocedure,
    nullif(l.laninline, 0)::regprocedure, nullif(l.lanvalidator, 0)::regprocedure),
  {owner("l.lanowner")}, {privileges("l.lanacl", "l", "l.lanowner")}, {comment("pg_language", "l.oid")}
FROM pg_language l
""",
)

_ACCESS_METHODS = Query(
    labels=("handler", "comment"),
    sql=f"""
SELECT {key("pg_am", "m.oid")}, 'access method', '', '', 0, '', m.amname, quote_ident(m.amname),
  m.amhandler::text, {comment("pg_am", "m.oid")}
FROM pg_am m WHERE m.oid >= {FIRST_OF_USERS} AND {no_member("pg_am", "m.oid")}
""",
)

_TRANSFORMS = Query(
    labels=("functions", "comment"),
    sql=f"""
SELECT {key("pg_transform", "t.oid")}, 'transform', '', '', 0, '', '',
  format('for %s language %I', format_type(t.trftype, NULL), l.lanname),
  concat_ws(' ', nullif(t.trffromsql, 0)::regprocedure, nullif(t.trftosql, 0)::regprocedure),
  {comment("pg_transform", "t.oid")}
FROM pg_transform t JOIN pg_language l ON l.oid = t.trflang WHERE {no_member("pg_transform", "t.oid")}
""",
)

# Their columns are other ones in each version of PostgreSQL; collversion is the operating system's.
_COLLATIONS = Query(
    labels=("definition", "owner", "comment"),
    sql=f"""
SELECT {key("pg_collation", "c.oid")}, 'collation', '', '', 0, n.nspname, c.collname,
  quote_ident(n.nspname) || '.' || quote_ident(c.collname),
  (to_jsonb(c) - '{{oid,collname,collnamespace,collowner,collversion}}'::text[])::text,
  {owner("c.collowner")}, {comment("pg_collation", "c.oid")}
FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace AND {OF_USERS}
WHERE {no_member("pg_collation", "c.oid")}
""",
)

_CONVERSIONS = Query(
    labels=("definition", "owner", "comment"),
    sql=f"""
SELECT {key("pg_conversion", "c.oid")}, 'conversion', '', '', 0, n.nspname, c.conname,
  quote_ident(n.nspname) || '.' || quote_ident(c.conname),
  concat_ws(' ', pg_encoding_to_char(c.conforencoding), pg_encoding_to_char(c.contoencoding), c.conproc, c.condefault),
  {owner("c.conowner")}, {comment("pg_conversion", "c.oid")}
FROM pg_conversion c JOIN pg_namespace n ON n.oid = c.connamespace AND {OF_USERS}
WHERE {no_member("pg_conversion", "c.oid")}
""",
)


def _text_search(catalog: str, kind: str, prefix: str, definition: str, its_owner: str = "NULL") -> Query:
    return Query(
        labels=("definition", "owner", "comment"),
        sql=f"""
SELECT {key(catalog, "o.oid")}, 'text search {kind}', '', '', 0, n.nspname, o.{prefix}name,
  quote_ident(n.nspname) || '.' || quote_ident(o.{prefix}name), {definition}, {its_owner}, {comment(catalog, "o.oid")}
FROM {catalog} o JOIN pg_namespace n ON n.oid = o.{prefix}namespace AND {OF_USERS} WHERE {no_member(catalog, "o.oid")}
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
        owner("o.cfgowner"),
    ),
    _text_search(
        "pg_ts_dict",
        "dictionary",
        "dict",
        """(SELECT format('%I.%I ', tn.nspname, t.tmplname) FROM pg_ts_template t JOIN pg_namespace tn
      ON tn.oid = t.tmplnamespace WHERE t.oid = o.dicttemplate) || coalesce(o.dictinitoption, '')""",
        owner("o.dictowner"),
    ),
    _text_search("pg_ts_template", "template", "tmpl", "concat_ws(' ', o.tmplinit, o.tmpllexize)"),
    _text_search(
        "pg_ts_parser",
        "parser",
        "prs",
        "concat_ws(' ', o.prsstart, o.prstoken, o.prsend, o.prsheadline, o.prslextype)",
    ),
)

_EVENT_TRIGGERS = Query(
    labels=("definition", "enabled", "owner", "comment"),
    sql=f"""
SELECT {key("pg_event_trigger", "t.oid")}, 'event trigger', '', '', 0, '', t.evtname, quote_ident(t.evtname),
  concat_ws(' ', t.evtevent, t.evttags, t.evtfoid::regprocedure),
  CASE t.evtenabled WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'on replicas only' WHEN 'A' THEN 'always' END,
  {owner("t.evtowner")}, {comment("pg_event_trigger", "t.oid")}
FROM pg_event_trigger t WHERE {no_member("pg_event_trigger", "t.oid")}
""",
)

_DEFAULT_PRIVILEGES = Query(
    labels=("privileges",),
    sql=f"""
SELECT {key("pg_default_acl", "d.oid")}, 'default privileges', '', '', 0, coalesce(n.nspname, ''), '',
  format('of %s on %s%s', {owner("d.defaclrole")}, CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences'
    WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' ELSE 'large objects' END,
    ' in schema ' || quote_ident(n.nspname)),
  {privileges("d.defaclacl", "r", "d.defaclrole")}
FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
""",
)

_DATABASE = Query(
    labels=("settings", "owner", "privileges", "comment"),
    sql=f"""
SELECT 'pg_database:', 'database', '', '', 0, '', '', '',
  (SELECT {sorted_options("s.setconfig")} FROM pg_db_role_setting s WHERE s.setdatabase = d.oid AND s.setrole = 0),
  {owner("d.datdba")}, {privileges("d.datacl", "d", "d.datdba")},
  (SELECT m.description FROM pg_shdescription m WHERE m.classoid = 'pg_database'::regclass AND m.objoid = d.oid)
FROM pg_database d WHERE d.datname = current_database()
UNION ALL
SELECT 'pg_db_role_setting:' || s.setrole, 'role', '', '', 0, '', '', {owner("s.setrole")} || ' in this database',
  {sorted_options("s.setconfig")}, NULL, NULL, NULL
FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
WHERE d.datname = current_database() AND s.setrole <> 0
""",
)

QUERIES = (
    _SCHEMAS,
    _EXTENSIONS,
    _GRANTED,
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
