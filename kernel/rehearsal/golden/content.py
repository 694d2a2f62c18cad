"""Whether a database holds anything that somebody would miss."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernel.database import Session

_SHOWN = 3
# Whatever stands outside of the system's schemas and does not belong to an extension; names only, never rows.
_OBJECTS = """
WITH system AS (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_' OR nspname = 'information_schema'),
member AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e')
SELECT name FROM (
    SELECT 1, format('schema %I', nspname), 'pg_namespace'::regclass, oid FROM pg_namespace
    WHERE oid NOT IN (SELECT oid FROM system) AND nspname <> 'public'
    UNION ALL SELECT CASE relkind WHEN 'S' THEN 5 ELSE 0 END,
        format('%s %s', CASE relkind WHEN 'S' THEN 'sequence' WHEN 'v' THEN 'view' ELSE 'table' END, oid::regclass),
        'pg_class'::regclass, oid FROM pg_class
    WHERE relnamespace NOT IN (SELECT oid FROM system) AND relkind IN ('r', 'p', 'f', 'm', 'v', 'S')
    UNION ALL SELECT 2, format('function %s', oid::regprocedure), 'pg_proc'::regclass, oid FROM pg_proc
    WHERE pronamespace NOT IN (SELECT oid FROM system)
    UNION ALL SELECT 3, format('type %s', oid::regtype), 'pg_type'::regclass, oid FROM pg_type
    WHERE typnamespace NOT IN (SELECT oid FROM system) AND typtype IN ('c', 'd', 'e', 'r')
        AND (typrelid = 0 OR typrelid IN (SELECT oid FROM pg_class WHERE relkind = 'c'))
    UNION ALL SELECT 4, format('large object %s', oid), 'pg_largeobject_metadata'::regclass, oid
    FROM pg_largeobject_metadata
) AS objects (rank, name, classid, objid)
WHERE (classid, objid) NOT IN (SELECT classid, objid FROM member)
ORDER BY rank, name
"""


def held(session: Session) -> str:
    """What the database holds, in a few words; "" when it is as good as new."""
    names = [name for (name,) in session.connection.execute(_OBJECTS)]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
