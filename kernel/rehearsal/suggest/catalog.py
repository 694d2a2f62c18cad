"""What the database says of the tables that a migration names. Reads only.

Definitions come with every name qualified, whatever the search path is. Source of the catalogs: PostgreSQL
documentation, "System Catalogs".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kernel.rehearsal.schema.queries_tables import column_options
from kernel.rehearsal.suggest.model import CannotRewrite, choose_name, comment_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kernel.db.connection import Connection
    from kernel.lint.action import Action


# The only piece that a query is put together from is a constant of kernel.rehearsal.schema.query.
# ruff: noqa: S608


_TABLE_QUERY = (
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
_RESOLVE_QUERY = "SELECT to_regclass(%s)::oid::bigint"


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnInfo:
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
class ConstraintInfo:
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
class IndexInfo:
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
class TableInfo:
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
    has_inheritance: bool = False
    columns: tuple[ColumnInfo, ...] = ()
    constraints: tuple[ConstraintInfo, ...] = ()
    indexes: tuple[IndexInfo, ...] = ()
    update_triggers: tuple[str, ...] = ()
    has_rules: bool = False
    dependents: tuple[tuple[int, str], ...] = ()
    sequences: tuple[tuple[int, str], ...] = ()
    used_names: frozenset[str] = frozenset()

    def column(self, name: str) -> ColumnInfo | None:
        """The column of this name, unquoted; None when it has none."""
        return next((one for one in self.columns if one.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCatalog:
    """The relations by their names as the file writes them; one that is not there is missing here."""

    tables: Mapping[str, TableInfo] = field(default_factory=dict)
    server_version: int = 0


def read_table_catalog(connection: Connection, written: Iterable[str]) -> TableCatalog:
    """The facts about the relations that the names, as a file writes them, lead to. Raises psycopg.Error."""
    with connection.transaction():
        found = {}
        for name in dict.fromkeys(written):
            row = connection.execute(_RESOLVE_QUERY, (name,)).fetchone()
            if row and row[0] is not None:
                found[name] = int(row[0])
        connection.execute("SET LOCAL search_path = pg_catalog")
        tables = {oid: _read_table(connection, oid) for oid in set(found.values())}
    return TableCatalog(
        tables={name: tables[oid] for name, oid in found.items()}, server_version=connection.info.server_version
    )


def _read_table(connection: Connection, oid: int) -> TableInfo:
    (row,) = connection.execute(_TABLE_QUERY, (oid,)).fetchall()
    columns, constraints, indexes, firing, rules, dependents, sequences, taken = row[6:]
    return TableInfo(
        oid=row[0],
        schema=row[1],
        name=row[2],
        quoted=row[3],
        kind=row[4],
        has_inheritance=row[5],
        columns=tuple(ColumnInfo(**one) for one in columns),
        constraints=tuple(ConstraintInfo(**_lists_to_tuples(one)) for one in constraints),
        indexes=tuple(IndexInfo(**_lists_to_tuples(one)) for one in indexes),
        update_triggers=tuple(firing),
        has_rules=rules,
        dependents=tuple((one["column"], one["what"]) for one in dependents),
        sequences=tuple((one["column"], one["sequence"]) for one in sequences),
        used_names=frozenset(taken or ()),
    )


def _lists_to_tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


# What is known where a statement stands: the database's facts, and what the file itself has added to them so far.


# Of these, what was known of a table's other columns still holds; and of those, nobody knows what they are about.
_HARMLESS_VERBS = frozenset({"add column", "change type", "insert", "update", "delete", "select"})
_OPAQUE_VERBS = frozenset({"do", "call", "drop index", "create function", "rename object"})


class CatalogState:
    """Facts that grow with each statement of the file. Names that were given are not given again."""

    def __init__(self, facts: TableCatalog) -> None:
        self._catalog = facts
        self._reserved: set[tuple[str, str]] = set()
        self._added_columns: dict[str, set[str]] = {}
        self._actions: list[Action] = []

    @property
    def server_version(self) -> int:
        """As libpq counts: 170005."""
        return self._catalog.server_version

    def table(self, written: str) -> TableInfo:
        """The relation that a name leads to; `written` as `name` below gives it. Raises Unsure when none was there."""
        table = self._catalog.tables.get(written)
        if table is None:
            raise CannotRewrite(f"{comment_text(written)} is not there before the migration, so nothing is known of it")
        return table

    def ordinary_table(self, written: str, *, why: str) -> TableInfo:
        """The same for a table that is neither partitioned nor inherits. Raises Unsure, which says why not."""
        table = self.table(written)
        if table.kind != "r":
            raise CannotRewrite(f"{comment_text(table.quoted)} is no ordinary table, and {why}")
        return table

    def column_names(self, table: TableInfo) -> set[str]:
        """The names of its columns, those that the file has added included."""
        return {one.name for one in table.columns} | self._added_columns.get(table.quoted, set())

    def used_names(self, table: TableInfo) -> set[str]:
        """The names that nothing new in the table's schema can have."""
        return set(table.used_names) | {name for schema, name in self._reserved if schema == table.schema}

    def reserve_default_name(self, table: TableInfo, columns: Iterable[str], label: str) -> str:
        """The name that PostgreSQL would give now, not given again from here on."""
        name = choose_name(table.name, columns, label, self.used_names(table))
        self._reserved.add((table.schema, name))
        return name

    def reserve_replacement_name(self, table: TableInfo, name: str, label: str) -> str:
        """A free name for what is to take the place of something called `name`, not given again."""
        found = choose_name("", (name,), label, self.used_names(table))
        self._reserved.add((table.schema, found))
        return found

    def may_have_changed(self, table: TableInfo) -> bool:
        """Whether what was done so far may have changed what hangs on the table's columns."""
        return any(
            act.verb not in _HARMLESS_VERBS
            and (act.verb in _OPAQUE_VERBS or act.relation.rpartition(".")[2] == table.name)
            for act in self._actions
        )

    def apply(self, written: str, acts: Iterable[Action]) -> None:
        """Take in what a statement has done; `written` is the table that it adds something to, if any."""
        acts = tuple(acts)
        self._actions += acts
        table = self._catalog.tables.get(written)
        for act in acts if table else ():
            if act.verb == "add column":
                self._added_columns.setdefault(table.quoted if table else "", set()).add(act.name)
            elif act.verb == "create index" and act.name and table:
                self._reserved.add((table.schema, act.name.rpartition(".")[2]))
