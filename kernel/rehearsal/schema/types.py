"""The queries for types, functions and operators."""

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

_TYPES = Query(
    labels=("labels", "type", "default", "NOT NULL", "collation", "definition", "owner", "privileges", "comment"),
    sql=f"""
SELECT {key("pg_type", "t.oid")}, CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'r' THEN 'range type'
    ELSE 'type' END,
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
  {owner("t.typowner")}, {privileges("t.typacl", "T", "t.typowner")}, {comment("pg_type", "t.oid")}
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace AND {OF_USERS}
  LEFT JOIN pg_type b ON b.oid = t.typbasetype LEFT JOIN pg_range r ON r.rngtypid = t.oid
WHERE (t.typtype IN ('e', 'd', 'r', 'p') OR t.typtype = 'b' AND NOT EXISTS (
    SELECT FROM pg_type elements WHERE elements.typarray = t.oid)) AND {no_member("pg_type", "t.oid")}
""",
)

_DOMAIN_CONSTRAINTS = Query(
    labels=("definition", "validated", "comment"),
    sql=f"""
SELECT {key("pg_constraint", "k.oid")}, 'constraint', {key("pg_type", "t.oid")}, '', 0, n.nspname, k.conname,
  quote_ident(k.conname) || ' on ' || quote_ident(n.nspname) || '.' || quote_ident(t.typname),
  regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', ''),
  CASE WHEN NOT k.convalidated THEN 'not validated' END, {comment("pg_constraint", "k.oid")}
FROM pg_constraint k JOIN pg_type t ON t.oid = k.contypid JOIN pg_namespace n ON n.oid = t.typnamespace AND {OF_USERS}
WHERE k.contype <> 'n' AND {no_member("pg_type", "t.oid")}
""",
)

_FUNCTIONS = Query(
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
SELECT {key("pg_proc", "p.oid")},
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
  {sorted_options("p.proconfig")},
  {owner("p.proowner")}, {privileges("p.proacl", "f", "p.proowner")}, {comment("pg_proc", "p.oid")}
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND {OF_USERS} JOIN pg_language l ON l.oid = p.prolang
  LEFT JOIN LATERAL (SELECT concat_ws(' ', a.aggkind, a.aggnumdirectargs, a.aggtransfn::regprocedure,
      nullif(a.aggfinalfn, 0)::regprocedure, nullif(a.aggcombinefn, 0)::regprocedure,
      nullif(a.aggserialfn, 0)::regprocedure, nullif(a.aggdeserialfn, 0)::regprocedure,
      nullif(a.aggmtransfn, 0)::regprocedure, nullif(a.aggminvtransfn, 0)::regprocedure,
      nullif(a.aggmfinalfn, 0)::regprocedure, a.aggfinalextra, a.aggmfinalextra, a.aggfinalmodify, a.aggmfinalmodify,
      nullif(a.aggsortop, 0)::regoperator, a.aggtranstype::regtype, a.aggtransspace, a.aggmtransspace,
      quote_nullable(a.agginitval), quote_nullable(a.aggminitval)) AS body
    FROM pg_aggregate a WHERE a.aggfnoid = p.oid) a ON p.prokind = 'a'
WHERE {no_member("pg_proc", "p.oid")}
""",
)

_CASTS = Query(
    labels=("function", "context", "comment"),
    sql=f"""
SELECT {key("pg_cast", "k.oid")}, 'cast', '', '', 0, '', '',
  format('(%s AS %s)', format_type(k.castsource, NULL), format_type(k.casttarget, NULL)),
  CASE k.castmethod WHEN 'f' THEN k.castfunc::regprocedure::text WHEN 'i' THEN 'through text' ELSE 'none' END,
  CASE k.castcontext WHEN 'a' THEN 'as assignment' WHEN 'i' THEN 'as implicit' END, {comment("pg_cast", "k.oid")}
FROM pg_cast k WHERE k.oid >= {FIRST_OF_USERS} AND {no_member("pg_cast", "k.oid")}
""",
)

_OPERATORS = Query(
    labels=("definition", "owner", "comment"),
    sql=f"""
SELECT {key("pg_operator", "o.oid")}, 'operator', '', '', 0, n.nspname, o.oprname, o.oid::regoperator::text,
  concat_ws(' ', o.oprresult::regtype, o.oprcode::regprocedure, 'commutator', nullif(o.oprcom, 0)::regoperator,
    'negator', nullif(o.oprnegate, 0)::regoperator, 'restrict', nullif(o.oprrest, 0)::regprocedure,
    'join', nullif(o.oprjoin, 0)::regprocedure, o.oprcanmerge, o.oprcanhash),
  {owner("o.oprowner")}, {comment("pg_operator", "o.oid")}
FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace AND {OF_USERS}
WHERE {no_member("pg_operator", "o.oid")}
""",
)

_FAMILIES = Query(
    labels=("members", "owner", "comment"),
    sql=f"""
SELECT {key("pg_opfamily", "f.oid")}, 'operator family', '', '', 0, n.nspname, f.opfname,
  quote_ident(n.nspname) || '.' || quote_ident(f.opfname) || ' using ' || quote_ident(m.amname),
  (SELECT array_agg(member COLLATE "C" ORDER BY member COLLATE "C") FROM (
    SELECT format('operator %s %s', amopstrategy, amopopr::regoperator) FROM pg_amop WHERE amopfamily = f.oid
    UNION ALL
    SELECT format('function %s %s', amprocnum, amproc::regprocedure) FROM pg_amproc WHERE amprocfamily = f.oid
  ) AS members (member)),
  {owner("f.opfowner")}, {comment("pg_opfamily", "f.oid")}
FROM pg_opfamily f JOIN pg_namespace n ON n.oid = f.opfnamespace AND {OF_USERS} JOIN pg_am m ON m.oid = f.opfmethod
WHERE {no_member("pg_opfamily", "f.oid")}
""",
)

_CLASSES = Query(
    labels=("type", "family", "default", "owner", "comment"),
    sql=f"""
SELECT {key("pg_opclass", "o.oid")}, 'operator class', '', '', 0, n.nspname, o.opcname,
  quote_ident(n.nspname) || '.' || quote_ident(o.opcname) || ' using ' || quote_ident(m.amname),
  format_type(o.opcintype, NULL) || coalesce(' storing ' || format_type(nullif(o.opckeytype, 0), NULL), ''),
  (SELECT format('%I.%I', fn.nspname, f.opfname) FROM pg_opfamily f JOIN pg_namespace fn ON fn.oid = f.opfnamespace
    WHERE f.oid = o.opcfamily),
  CASE WHEN o.opcdefault THEN 'default' END, {owner("o.opcowner")}, {comment("pg_opclass", "o.oid")}
FROM pg_opclass o JOIN pg_namespace n ON n.oid = o.opcnamespace AND {OF_USERS} JOIN pg_am m ON m.oid = o.opcmethod
WHERE {no_member("pg_opclass", "o.oid")}
""",
)

QUERIES = (_TYPES, _DOMAIN_CONSTRAINTS, _FUNCTIONS, _CASTS, _OPERATORS, _FAMILIES, _CLASSES)
