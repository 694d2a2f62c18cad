"""What the database says of the tables that a migration names. Reads only.

Definitions come with every name qualified, whatever the search path is. Source of the catalogs: PostgreSQL
documentation, "System Catalogs".
"""

# The only piece that a query is put together from is a constant of kernel.rehearsal.schema.query.
# ruff: noqa: S608

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kernel.rehearsal.schema.query import column_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kernel.database import Connection

_TABLE = (
    """
SELECT c.oid::bigint, n.nspname, c.relname, format('%%I.%%I', n.nspname, c.relname), c.relkind::text,
  EXISTS (SELECT FROM pg_inherits WHERE c.oid IN (inhrelid, inhparent)),
  coalesce((SELECT json_agg(json_build_object('number', a.attnum, 'name', a.attname, 'quoted', quote_ident(a.attname),
      'required', a.attnotnull,
      'default', CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END,
      'computed', a.attgenerated <> '' OR a.attidentity <> '',
      'comment', quote_literal(col_description(c.oid, a.attnum)),
      'plain', a.attacl IS NULL AND """
    + column_options("a.attoptions")
    + """ IS NULL AND a.attstorage = t.typstorage
        AND coalesce(a.attstattarget, -1) = -1 AND a.attcompression::text = '') ORDER BY a.attnum)
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
      LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]'),
  coalesce((SELECT json_agg(json_build_object('name', k.conname, 'quoted', quote_ident(k.conname),
      'kind', k.contype::text, 'definition', pg_get_constraintdef(k.oid), 'columns', coalesce(k.conkey, '{}'),
      'valid', k.convalidated, 'deferrable', k.condeferrable, 'deferred', k.condeferred,
      'comment', quote_literal(obj_description(k.oid, 'pg_constraint'))) ORDER BY k.conname)
    FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype IN ('c', 'f', 'p', 'u', 'x')), '[]'),
  coalesce((SELECT json_agg(json_build_object('name', x.relname, 'quoted', quote_ident(x.relname),
      'definition', pg_get_indexdef(x.oid), 'valid', i.indisvalid,
      'columns', coalesce((SELECT array_agg(DISTINCT p.refobjsubid::int) FROM pg_depend p
        WHERE p.classid = 'pg_class'::regclass AND p.objid = x.oid AND p.refclassid = 'pg_class'::regclass
        AND p.refobjid = c.oid AND p.refobjsubid > 0), '{}'),
      'keys', i.indkey::int2[],
      'constraint', (SELECT k.conname FROM pg_constraint k WHERE k.conindid = x.oid AND k.conrelid = c.oid
        AND k.contype IN ('p', 'u', 'x')),
      'plain', x.reltablespace = 0 AND NOT i.indisclustered AND NOT i.indisreplident,
      'comment', quote_literal(obj_description(x.oid, 'pg_class'))) ORDER BY x.relname)
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid), '[]'),
  coalesce((SELECT json_agg(format('%%s', g.tgname) ORDER BY g.tgname) FROM pg_trigger g
    WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgenabled <> 'D' AND g.tgtype & 16 <> 0), '[]'),
  EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type <> '1'),
  coalesce((SELECT json_agg(DISTINCT jsonb_build_object('column', p.refobjsubid,
      'what', pg_describe_object(p.classid, p.objid, p.objsubid)))
    FROM pg_depend p LEFT JOIN pg_constraint k ON p.classid = 'pg_constraint'::regclass AND k.oid = p.objid
      LEFT JOIN pg_attrdef d ON p.classid = 'pg_attrdef'::regclass AND d.oid = p.objid
      LEFT JOIN pg_class x ON p.classid = 'pg_class'::regclass AND x.oid = p.objid
    WHERE p.refclassid = 'pg_class'::regclass AND p.refobjid = c.oid AND p.refobjsubid > 0
      AND NOT coalesce(k.conrelid = c.oid AND k.contype IN ('c', 'f', 'p', 'u', 'n')
        OR d.adrelid = c.oid AND d.adnum = p.refobjsubid OR x.relkind IN ('i', 'S'), false)), '[]'),
  coalesce((SELECT json_agg(json_build_object('column', p.refobjsubid, 'sequence', p.objid::regclass::text))
    FROM pg_depend p JOIN pg_class x ON x.oid = p.objid AND x.relkind = 'S'
    WHERE p.classid = 'pg_class'::regclass AND p.refclassid = 'pg_class'::regclass AND p.refobjid = c.oid
      AND p.refobjsubid > 0 AND p.deptype = 'a'), '[]'),
  (SELECT array_agg(name) FROM (SELECT relname FROM pg_class WHERE relnamespace = c.relnamespace
    UNION SELECT conname FROM pg_constraint WHERE connamespace = c.relnamespace
    UNION SELECT proname FROM pg_proc WHERE pronamespace = c.relnamespace) AS names (name))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %s
"""
)
# A name that stands in an earlier statement of the file and is not there yet, or is none, is NULL.
_RESOLVED = "SELECT to_regclass(%s)::oid::bigint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column. `default` is an expression, `computed` tells of generated and identity columns.

    `comment` is a literal of SQL, or None. A `plain` one has no privileges, options or storage of its own.
    """

    number: int
    name: str
    quoted: str
    required: bool = False
    default: str | None = None
    computed: bool = False
    comment: str | None = None
    plain: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """A constraint; `kind` is a letter of pg_constraint.contype, `columns` are numbers, `comment` is a literal."""

    name: str
    quoted: str
    kind: str
    definition: str
    columns: tuple[int, ...]
    valid: bool = True
    deferrable: bool = False
    deferred: bool = False
    comment: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An index. `columns` are all that it depends on, predicate and expressions included, `keys` those it stores.

    `constraint` is the one that it stands for. A `plain` one has no tablespace and is no replica identity.
    """

    name: str
    quoted: str
    definition: str
    columns: tuple[int, ...]
    keys: tuple[int, ...]
    constraint: str | None = None
    valid: bool = True
    plain: bool = True
    comment: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A relation as it was before the migration. `kind` is a letter of pg_class.relkind.

    `family` tells of inheritance and partitions, `firing` names the triggers that an UPDATE fires, `rules` that there
    are some beside that of a view. `dependents` are (column, description) of what hangs on a column and is neither
    index nor constraint nor default of this table, `sequences` (column, name) of those that a column owns. `taken` are
    the names in its schema that something new cannot have.
    """

    oid: int
    schema: str
    name: str
    quoted: str
    kind: str = "r"
    family: bool = False
    columns: tuple[Column, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    indexes: tuple[Index, ...] = ()
    firing: tuple[str, ...] = ()
    rules: bool = False
    dependents: tuple[tuple[int, str], ...] = ()
    sequences: tuple[tuple[int, str], ...] = ()
    taken: frozenset[str] = frozenset()

    def column(self, name: str) -> Column | None:
        """The column of this name, unquoted; None when it has none."""
        return next((one for one in self.columns if one.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The relations by their names as the file writes them; one that is not there is missing here."""

    tables: Mapping[str, Table] = field(default_factory=dict)
    server_version: int = 0


def read(connection: Connection, written: Iterable[str]) -> Facts:
    """The facts about the relations that the names, as a file writes them, lead to. Raises psycopg.Error."""
    with connection.transaction():
        found = {}
        for name in dict.fromkeys(written):
            row = connection.execute(_RESOLVED, (name,)).fetchone()
            if row and row[0] is not None:
                found[name] = int(row[0])
        connection.execute("SET LOCAL search_path = pg_catalog")
        tables = {oid: _table(connection, oid) for oid in set(found.values())}
    return Facts(
        tables={name: tables[oid] for name, oid in found.items()}, server_version=connection.info.server_version
    )


def _table(connection: Connection, oid: int) -> Table:
    (row,) = connection.execute(_TABLE, (oid,)).fetchall()
    columns, constraints, indexes, firing, rules, dependents, sequences, taken = row[6:]
    return Table(
        oid=row[0],
        schema=row[1],
        name=row[2],
        quoted=row[3],
        kind=row[4],
        family=row[5],
        columns=tuple(Column(**one) for one in columns),
        constraints=tuple(Constraint(**_frozen(one)) for one in constraints),
        indexes=tuple(Index(**_frozen(one)) for one in indexes),
        firing=tuple(firing),
        rules=rules,
        dependents=tuple((one["column"], one["what"]) for one in dependents),
        sequences=tuple((one["column"], one["sequence"]) for one in sequences),
        taken=frozenset(taken or ()),
    )


def _frozen(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
