"""What the database knows of the tables that a migration names. Reads only.

Source: PostgreSQL documentation, "System Catalogs".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from psycopg.rows import class_row

from kernel.rehearsal.suggest.model import CannotRewrite, choose_name, comment_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from kernel.db.connection import Connection
    from kernel.lint.action import Action


_TABLE_QUERY = """
SELECT n.nspname AS schema, c.relname AS name, format('%%I.%%I', n.nspname, c.relname) AS quoted,
  c.relkind::text AS kind, EXISTS (SELECT FROM pg_inherits WHERE c.oid IN (inhrelid, inhparent)) AS has_inheritance,
  coalesce((SELECT json_object_agg(attname, attnotnull) FROM pg_attribute
    WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped), '{}') AS columns,
  ARRAY(SELECT tgname::text FROM pg_trigger
    WHERE tgrelid = c.oid AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype & 16 <> 0 ORDER BY tgname)
    AS update_triggers,
  EXISTS (SELECT FROM pg_rewrite WHERE ev_class = c.oid AND ev_type <> '1') AS has_rules,
  ARRAY(SELECT relname::text FROM pg_class WHERE relnamespace = c.relnamespace
    UNION SELECT conname::text FROM pg_constraint WHERE connamespace = c.relnamespace) AS used_names
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
    update_triggers: Sequence[str] = ()
    has_rules: bool = False
    used_names: Collection[str] = ()


def read_table_catalog(connection: Connection, names: Iterable[str]) -> TableCatalog:
    """Look up names on the search path of the database. Raises psycopg.Error."""
    tables = {}
    with connection.cursor(row_factory=class_row(TableInfo)) as cursor:
        for name in dict.fromkeys(names):
            if table := cursor.execute(_TABLE_QUERY, (name,)).fetchone():
                tables[name] = table
    return TableCatalog(tables=tables, server_version=connection.info.server_version)


@dataclass(slots=True, kw_only=True)
class TableCatalog:
    """The relations before a statement: what the database had, and what earlier statements of the file added.

    `tables` are by their names as `read_quoted_name` gives them; `server_version` as libpq counts: 170005.
    """

    tables: Mapping[str, TableInfo]
    server_version: int = 0
    _reserved: set[tuple[str, str]] = field(init=False, default_factory=set)
    _added_columns: dict[str, set[str]] = field(init=False, default_factory=dict)

    def table(self, quoted_name: str) -> TableInfo:
        """The relation of a name that `read_quoted_name` gave. Raises CannotRewrite if the database had none."""
        if (table := self.tables.get(quoted_name)) is None:
            raise CannotRewrite(f"{comment_text(quoted_name)} does not exist before the migration")
        return table

    def column_names(self, table: TableInfo) -> set[str]:
        """The names of its columns, including those that the file has added."""
        return {*table.columns, *self._added_columns.get(table.quoted, ())}

    def reserve_default_name(self, table: TableInfo, columns: Iterable[str], label: str) -> str:
        """The name that PostgreSQL would choose now; from here on it counts as used."""
        used = {*table.used_names} | {name for schema, name in self._reserved if schema == table.schema}
        name = choose_name(table.name, columns, label, used)
        self._reserved.add((table.schema, name))
        return name

    def apply(self, quoted_name: str, actions: Iterable[Action]) -> None:
        """Take the actions of a statement on this table into account."""
        if (table := self.tables.get(quoted_name)) is None:
            return
        for action in actions:
            if action.verb == "add column":
                self._added_columns.setdefault(table.quoted, set()).add(action.name)
            elif action.verb == "create index" and action.name:
                self._reserved.add((table.schema, action.name.rpartition(".")[2]))
