"""What depends on views and functions, and the statements that give them back their owner, privileges and comments.

Sources: PostgreSQL documentation, "pg_depend", "Dependency Tracking" and "ALTER DEFAULT PRIVILEGES".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel.db.connection import Connection


_FIND_RELATION = "SELECT to_regclass(%s)::oid"
_FIND_FUNCTION = "SELECT coalesce(to_regprocedure(%s)::oid, to_regproc(%s)::oid)"
# Whatever refers to an object, to the row type of a view, or to an array of it; a rule of a view stands for the view.
_DEPENDANTS = """
WITH RECURSIVE found (classid, objid, depth) AS (
  SELECT 'pg_class'::regclass::oid, oid, 0 FROM unnest(%(relations)s::oid[]) AS oid
  UNION SELECT 'pg_proc'::regclass::oid, oid, 0 FROM unnest(%(functions)s::oid[]) AS oid
  UNION
  SELECT by.classid, by.objid, f.depth + 1
  FROM found f
  CROSS JOIN LATERAL (
    SELECT f.classid AS classid, f.objid AS objid
    UNION ALL SELECT 'pg_type'::regclass, t.oid FROM pg_class c JOIN pg_type r ON r.oid = c.reltype
      JOIN pg_type t ON t.oid IN (r.oid, r.typarray) WHERE f.classid = 'pg_class'::regclass AND c.oid = f.objid
  ) target
  JOIN pg_depend d ON d.refclassid = target.classid AND d.refobjid = target.objid AND d.deptype IN ('n', 'a')
  LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid AND r.rulename = '_RETURN'
  CROSS JOIN LATERAL (
    SELECT CASE WHEN r.oid IS NULL THEN d.classid ELSE 'pg_class'::regclass END AS classid,
      coalesce(r.ev_class, d.objid) AS objid
  ) by
  WHERE f.depth < 50 AND (by.classid, by.objid) <> (f.classid, f.objid)
)
SELECT found.classid::regclass::text, objid, i.type, coalesce(n.nspname || '.', '') || coalesce(
    c.relname, p.proname, t.tgname), coalesce(i.identity, ''), coalesce(pg_describe_object(classid, objid, 0), ''),
  coalesce(tn.nspname || '.' || tc.relname, ''), coalesce(quote_ident(tn.nspname) || '.' || quote_ident(tc.relname), '')
FROM (SELECT classid, objid, max(depth) AS depth FROM found GROUP BY 1, 2) found
CROSS JOIN LATERAL pg_identify_object(classid, objid, 0) i
LEFT JOIN pg_class c ON classid = 'pg_class'::regclass AND c.oid = objid
LEFT JOIN pg_proc p ON classid = 'pg_proc'::regclass AND p.oid = objid
LEFT JOIN pg_namespace n ON n.oid = coalesce(c.relnamespace, p.pronamespace)
LEFT JOIN pg_trigger t ON classid = 'pg_trigger'::regclass AND t.oid = objid
LEFT JOIN pg_index x ON classid = 'pg_class'::regclass AND x.indexrelid = objid
LEFT JOIN pg_class tc ON tc.oid = coalesce(t.tgrelid, x.indrelid)
LEFT JOIN pg_namespace tn ON tn.oid = tc.relnamespace
ORDER BY depth DESC, i.identity
"""
# Owner, privileges and comment of a view or function, as statements. What a new object gets by ALTER DEFAULT PRIVILEGES
# is revoked first; PUBLIC and the owner may have less than by default. Where nothing was ever granted or revoked, and
# there are no such defaults, a new object has the same privileges.
_RESTORE = """
WITH object AS (
  SELECT 'r'::"char" AS kind, relowner AS owner, coalesce(relacl, acldefault('r', relowner)) AS acl,
    relacl IS NULL AS untouched,
    CASE relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END AS word, 'TABLE' AS granted,
    (SELECT identity FROM pg_identify_object('pg_class'::regclass, oid, 0)) AS identity,
    obj_description(oid, 'pg_class') AS comment
  FROM pg_class WHERE %(catalog)s = 'pg_class' AND oid = %(oid)s
  UNION ALL
  SELECT 'f', proowner, coalesce(proacl, acldefault('f', proowner)), proacl IS NULL,
    CASE prokind WHEN 'p' THEN 'PROCEDURE' WHEN 'a' THEN 'AGGREGATE' ELSE 'FUNCTION' END,
    CASE prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END,
    (SELECT identity FROM pg_identify_object('pg_proc'::regclass, oid, 0)), obj_description(oid, 'pg_proc')
  FROM pg_proc WHERE %(catalog)s = 'pg_proc' AND oid = %(oid)s
), privilege AS (
  SELECT grantee, is_grantable, string_agg(privilege_type, ', ' ORDER BY privilege_type) AS types
  FROM object, aclexplode(acl) GROUP BY 1, 2
), by_default (grantee) AS (
  SELECT 0::oid UNION SELECT owner FROM object
  UNION SELECT a.grantee FROM object, pg_default_acl d, aclexplode(d.defaclacl) a
    WHERE d.defaclobjtype = object.kind AND d.defaclrole = quote_ident(current_user)::regrole
), restored AS (
  SELECT object.* FROM object WHERE NOT untouched OR EXISTS (SELECT FROM pg_default_acl d
    WHERE d.defaclobjtype = object.kind AND d.defaclrole = quote_ident(current_user)::regrole)
)
SELECT format('ALTER %%s %%s OWNER TO %%I', word, identity, pg_get_userbyid(owner)) FROM object
  WHERE owner <> quote_ident(current_user)::regrole
UNION ALL SELECT format('REVOKE ALL ON %%s %%s FROM %%s', granted, identity, (
  SELECT string_agg(CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END, ', ')
  FROM by_default)) FROM restored
UNION ALL SELECT format('GRANT %%s ON %%s %%s TO %%s%%s', types, granted, identity,
  CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
  CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) FROM restored, privilege
UNION ALL SELECT format('COMMENT ON %%s %%s IS %%L', word, identity, comment) FROM object
"""
# Those of the columns of a view, for each column that the view still has.
_RESTORE_COLUMNS = """
WITH restored AS (
  SELECT a.attrelid, a.attname, 1 AS place,
    format('COMMENT ON COLUMN %%I.%%I.%%I IS %%L', n.nspname, c.relname, a.attname, d.description) AS statement
  FROM pg_attribute a JOIN pg_description d ON (d.classoid, d.objoid, d.objsubid) =
      ('pg_class'::regclass, a.attrelid, a.attnum)
    JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  UNION ALL
  SELECT a.attrelid, a.attname, 2, format('GRANT %%s (%%I) ON %%I.%%I TO %%s%%s', e.privilege_type, a.attname,
    n.nspname, c.relname, CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(e.grantee)) END,
    CASE WHEN e.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
  FROM pg_attribute a CROSS JOIN LATERAL aclexplode(a.attacl) e
    JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
)
SELECT format('DO %%L', format('BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid = '
  '%%L::pg_catalog.regclass AND attname = %%L AND NOT attisdropped) THEN EXECUTE %%L; END IF; END',
  (SELECT identity FROM pg_identify_object('pg_class'::regclass, attrelid, 0)), attname, statement))
FROM restored WHERE attrelid = %(oid)s ORDER BY attname, place, statement
"""
_RESTORE_TRIGGER = """
SELECT format('COMMENT ON TRIGGER %%I ON %%s IS %%L', tgname, %(table)s::text, obj_description(oid, 'pg_trigger'))
FROM pg_trigger WHERE oid = %(oid)s
"""
_RESTORE_INDEX = (
    "SELECT format('COMMENT ON INDEX %%s IS %%L', %(identity)s::text, obj_description(%(oid)s, 'pg_class'))"
)


class ObjectIds(NamedTuple):
    """The OIDs of views and of functions."""

    relations: list[int]
    functions: list[int]


class Dependant(NamedTuple):
    """An object that depends on a replaced one, or a replaced one; `plain` and `table` are unquoted names.

    The names of one that another session drops meanwhile are "".
    """

    catalog: str
    oid: int
    kind: str
    plain: str
    identity: str
    description: str
    table: str
    table_identity: str

    @property
    def name(self) -> str:
        return self.plain.removeprefix("public.")


def find_objects(
    connection: Connection, *, relations: Iterable[str] = (), functions: Iterable[str] = ()
) -> ObjectIds | None:
    """The OIDs of what is there under these names, quoted as in SQL, functions with arguments; None for nothing."""
    try:
        found = [connection.execute(_FIND_RELATION, (name,)).fetchone() for name in relations]
        calls = [
            connection.execute(
                _FIND_FUNCTION, (name if "(" in name else f"{name}()", name.partition("(")[0])
            ).fetchone()
            for name in functions
        ]
    except psycopg.Error:  # the name of an argument is no type, for example
        if connection.broken:
            raise
        return None
    roots = ObjectIds([row[0] for row in found if row and row[0]], [row[0] for row in calls if row and row[0]])
    return roots if roots.relations or roots.functions else None


def read_dependants(connection: Connection, objects: ObjectIds) -> tuple[Dependant, ...]:
    """These objects and all that depends on them, what has to be dropped first first."""
    rows = connection.execute(_DEPENDANTS, {"relations": objects.relations, "functions": objects.functions}).fetchall()
    return tuple(Dependant(*row) for row in rows)


def restore_statements(connection: Connection, one: Dependant) -> tuple[str, ...]:
    """The statements that give an object back its owner, privileges and comments, once it was created again.

    One of them fails unless the object is there.
    """
    values = {"catalog": one.catalog, "oid": one.oid, "table": one.table_identity, "identity": one.identity}
    queries = {"index": (_RESTORE_INDEX,), "trigger": (_RESTORE_TRIGGER,)}.get(one.kind, (_RESTORE, _RESTORE_COLUMNS))
    return tuple(str(row[0]) for query in queries for row in connection.execute(query.encode(), values).fetchall())
