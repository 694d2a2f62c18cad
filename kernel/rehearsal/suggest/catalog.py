"""What the database knows of the tables that a migration names. Reads only.

Source: PostgreSQL documentation, "System Catalogs".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel.rehearsal.suggest.model import CannotRewrite, choose_name, comment_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kernel.db.connection import Connection
    from kernel.lint.action import Action


_TABLE_QUERY = """
SELECT n.nspname, c.relname, format('%%I.%%I', n.nspname, c.relname), c.relkind::text,
  EXISTS (SELECT FROM pg_inherits WHERE c.oid IN (inhrelid, inhparent)),
  (SELECT json_object_agg(attname, attnotnull) FROM pg_attribute
    WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
  ARRAY(SELECT tgname::text FROM pg_trigger
    WHERE tgrelid = c.oid AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype & 16 <> 0 ORDER BY tgname),
  EXISTS (SELECT FROM pg_rewrite WHERE ev_class = c.oid AND ev_type <> '1'),
  ARRAY(SELECT relname::text FROM pg_class WHERE relnamespace = c.relnamespace
    UNION SELECT conname::text FROM pg_constraint WHERE connamespace = c.relnamespace)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableInfo:
    """A relation as it was before the migration. `kind` is a letter of pg_class.relkind.

    `quoted` is schema and name, quoted where SQL needs it; `columns` maps each to whether it is NOT NULL;
    `has_inheritance` is true of partitions, parents and children; `update_triggers` are those that an UPDATE fires;
    `used_names` are those of relations and constraints in its schema.
    """

    schema: str
    name: str
    quoted: str
    kind: str = "r"
    has_inheritance: bool = False
    columns: Mapping[str, bool] = field(default_factory=dict)
    update_triggers: tuple[str, ...] = ()
    has_rules: bool = False
    used_names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCatalog:
    """The relations by their names as `read_quoted_name` gives them; names of no relation are missing."""

    tables: Mapping[str, TableInfo] = field(default_factory=dict)
    server_version: int = 0


def read_table_catalog(connection: Connection, names: Iterable[str]) -> TableCatalog:
    """Look up names on the search path of the database. Raises psycopg.Error."""
    tables = {}
    for name in dict.fromkeys(names):
        for row in connection.execute(_TABLE_QUERY, (name,)):
            schema, relation, quoted, kind, has_inheritance, columns, triggers, has_rules, used_names = row
            tables[name] = TableInfo(
                schema=schema,
                name=relation,
                quoted=quoted,
                kind=kind,
                has_inheritance=has_inheritance,
                columns=columns or {},
                update_triggers=tuple(triggers),
                has_rules=has_rules,
                used_names=frozenset(used_names),
            )
    return TableCatalog(tables=tables, server_version=connection.info.server_version)


class CatalogState:
    """The catalog before a statement: what the database had, and what earlier statements of the file added."""

    def __init__(self, catalog: TableCatalog) -> None:
        self._catalog = catalog
        self._reserved: set[tuple[str, str]] = set()
        self._added_columns: dict[str, set[str]] = {}

    @property
    def server_version(self) -> int:
        """As libpq counts: 170005."""
        return self._catalog.server_version

    def table(self, quoted_name: str) -> TableInfo:
        """The relation of a name that `read_quoted_name` gave. Raises CannotRewrite if the database had none."""
        if (table := self._catalog.tables.get(quoted_name)) is None:
            raise CannotRewrite(f"{comment_text(quoted_name)} does not exist before the migration")
        return table

    def column_names(self, table: TableInfo) -> set[str]:
        """The names of its columns, including those that the file has added."""
        return {*table.columns, *self._added_columns.get(table.quoted, ())}

    def reserve_default_name(self, table: TableInfo, columns: Iterable[str], label: str) -> str:
        """The name that PostgreSQL would choose now; from here on it counts as used."""
        used = table.used_names | {name for schema, name in self._reserved if schema == table.schema}
        name = choose_name(table.name, columns, label, used)
        self._reserved.add((table.schema, name))
        return name

    def apply(self, quoted_name: str, actions: Iterable[Action]) -> None:
        """Take the actions of a statement on this table into account."""
        if (table := self._catalog.tables.get(quoted_name)) is None:
            return
        for action in actions:
            if action.verb == "add column":
                self._added_columns.setdefault(table.quoted, set()).add(action.name)
            elif action.verb == "create index" and action.name:
                self._reserved.add((table.schema, action.name.rpartition(".")[2]))
