"""Read the schema of a database as a value: all objects with all facts that a migration can change.

Some three dozen catalog queries run in one read-only transaction.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from psycopg import sql

from kernel.config.ledger_name import TABLE_SUFFIXES
from kernel.db.ledger import find_ledger
from kernel.errors import DatabaseRefused, LedgerElsewhere, LedgerShape
from kernel.schema.queries_other import DATABASE_QUERIES, EXTERNAL_QUERIES, QUERIES_SINCE_15, TYPE_QUERIES
from kernel.schema.queries_tables import TABLE_PART_QUERIES, TABLE_QUERIES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from kernel.db.connection import Connection, Session


Fact = str | tuple[str, ...] | None


class SchemaObject(NamedTuple):
    """An object of a database; a tuple, since large schemas have tens of thousands of them.

    `key` is its catalog and OID, which clones of a template keep. `parent_key` is of the object that it is a part of:
    the table of a column, an index, a trigger; "" for an object of its own. `origin_key` is of the object that it is
    created with: the index of a constraint with that constraint, a partition's column with the column of the
    partitioned table. `place` orders the columns of a table. `schema` and `bare_name` are raw names, `name` is
    qualified and quoted by the server. `labels` are the names of the facts, which are None for the default.
    """

    key: str
    kind: str
    parent_key: str
    origin_key: str
    place: int
    schema: str
    bare_name: str
    name: str
    labels: tuple[str, ...]
    facts: tuple[Fact, ...]

    @property
    def identity(self) -> tuple[str, str]:
        """What identifies it without its OID."""
        return self.kind, self.name

    def fact(self, label: str) -> Fact:
        """One of its facts; None also where its kind has no such fact."""
        return self.facts[self.labels.index(label)] if label in self.labels else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """All objects of a database without the system's, those of extensions, and those that were left out."""

    objects: tuple[SchemaObject, ...]

    def column_orders(self) -> dict[str, tuple[str, ...]]:
        """The column names of each table, view and composite type by its key, in their order."""
        found: dict[str, list[tuple[int, str]]] = {}
        for obj in self.objects:
            if obj.place:
                found.setdefault(obj.parent_key, []).append((obj.place, obj.bare_name))
        return {key: tuple(bare for _, bare in sorted(columns)) for key, columns in found.items()}


def fact_items(fact: Fact) -> tuple[str, ...]:
    """The items of a fact, one for a fact that is no list, () for None."""
    return fact if isinstance(fact, tuple) else () if fact is None else (fact,)


# Objects come before their parts.
_QUERIES = (*DATABASE_QUERIES, *EXTERNAL_QUERIES, *TYPE_QUERIES, *TABLE_QUERIES, *TABLE_PART_QUERIES)
ALL_QUERIES = (*_QUERIES, *QUERIES_SINCE_15)
_TABLES_OF_NAME = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = ANY (%(names)s) AND c.relkind = 'r' AND (n.nspname = %(schema)s OR %(schema)s::text IS NULL)
"""
_KEY_CATALOG = re.compile(r"'(pg_\w+):'")
_POSTGRES_15 = 150000
# The text of an expression depends on the session's settings; pg_dump sets the same. Names are qualified.
SESSION_SETTINGS = (
    ("search_path", "pg_catalog"),
    ("quote_all_identifiers", "off"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("statement_timeout", "0"),
    ("lock_timeout", "30s"),  # a definition waits for a session that has locked its table in ACCESS EXCLUSIVE mode
    ("jit", "off"),  # compiling these queries takes as long as running them
)


def read_schema(session: Session, *, left_out: Collection[str] = ()) -> Schema:
    """All objects that a migration can create or alter. Read-only; the session's settings are restored.

    Without the system's objects, those of extensions, temporary ones, the ledger's own tables, and what `left_out`
    names: schemas with their objects, and event triggers. Roles and tablespaces belong to the server. TEMPLATE does not
    copy settings, owner and privileges of the database itself: compare a clone with itself. Raises psycopg.Error.
    """
    connection = session.connection
    ledger = _ledger_tables(session)
    # The settings are rolled back: an outer transaction would keep what is set LOCAL.
    with connection.transaction(force_rollback=True):
        for name, value in SESSION_SETTINGS:
            connection.execute("SELECT set_config(%s, %s, true)", (name, value))
        objects = tuple(_without_excluded(read_objects(connection), ledger, frozenset(left_out)))
    return Schema(objects=objects)


def _ledger_tables(session: Session) -> frozenset[tuple[str, str]]:
    """(schema, name) of the ledger's tables; another runner's table of the same name is not one."""
    try:
        ledger = find_ledger(session)
    except LedgerShape:  # another tool's table
        return frozenset()
    except (LedgerElsewhere, DatabaseRefused):  # this role may not use it, or its search path does not find it
        name = session.migrations_table
        rows = session.connection.execute(
            _TABLES_OF_NAME, {"schema": name.schema, "names": [name.table + suffix for suffix in TABLE_SUFFIXES]}
        )
        return frozenset((str(schema), str(table)) for schema, table in rows.fetchall())
    return frozenset((ledger.schema, table) for table in ledger.tables)


def read_objects(connection: Connection, keys: Collection[str] | None = None) -> Iterator[SchemaObject]:
    """Yield the objects, or of them those with these keys; the session has to have SESSION_SETTINGS."""
    catalogs = None if keys is None else {key.partition(":")[0] for key in keys}
    wanted = b"" if keys is None else sql.Literal(list(keys)).as_bytes(connection)
    for query in (*_QUERIES, *(QUERIES_SINCE_15 if connection.info.server_version >= _POSTGRES_15 else ())):
        text = query.encode()
        if catalogs is not None:
            if catalogs.isdisjoint(_KEY_CATALOG.findall(query)):
                continue
            text = b"SELECT * FROM (%b) AS objects (key) WHERE key = ANY (%b)" % (text, wanted)
        cursor = connection.execute(text)
        labels = tuple(column.name for column in (cursor.description or ())[8:])
        for row in cursor.fetchall():
            facts = row[8:]
            if list in map(type, facts):
                facts = tuple(tuple(fact) if isinstance(fact, list) else fact for fact in facts)
            yield SchemaObject._make((*row[:8], labels, facts))


def _without_excluded(
    objects: Iterator[SchemaObject], ledger: frozenset[tuple[str, str]], left_out: frozenset[str]
) -> Iterator[SchemaObject]:
    excluded: set[str] = set()
    for obj in objects:
        named = obj.schema in left_out or (obj.kind == "event trigger" and obj.bare_name in left_out)
        if named or obj.parent_key in excluded or (not obj.parent_key and (obj.schema, obj.bare_name) in ledger):
            excluded.add(obj.key)
        else:
            yield obj
