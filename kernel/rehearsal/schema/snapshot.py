"""A schema as a value: every object of it, by name, with all that a migration can make different about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from kernel.db.ledger import LEDGER_TABLE, PROGRESS_TABLE, find_ledger
from kernel.errors import DatabaseRefused, LedgerShape
from kernel.rehearsal.schema.queries_other import DATABASE_QUERIES, EXTERNAL_QUERIES, TYPE_QUERIES
from kernel.rehearsal.schema.queries_tables import TABLE_PART_QUERIES, TABLE_QUERIES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from kernel.db.connection import Connection, Session


Fact = str | tuple[str, ...] | None


class SchemaObject(NamedTuple):
    """An object of a database; a tuple, since large schemas have tens of thousands of them.

    `key` is its catalog and OID, which copies made by TEMPLATE keep. `of` is the key of what it is a part of: the table
    of a column, an index, a trigger; "" for what stands by itself. `via` is the key of what it comes with: the index of
    a constraint with that constraint, a partition's column with the column of the partitioned table. `place` orders the
    columns of a table. `schema` and `bare` are raw names, `name` is qualified and quoted by the server.
    The facts are what `labels` call them, and None where everything is as it is by default.
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
        """What it is told apart by when OIDs mean nothing."""
        return self.kind, self.name

    def fact(self, label: str) -> Fact:
        """One of its facts; None also where its kind knows nothing of the sort."""
        return self.facts[self.labels.index(label)] if label in self.labels else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """All objects of a database but the system's, those of extensions, and those that were left out."""

    objects: tuple[SchemaObject, ...]

    def column_orders(self) -> dict[str, tuple[str, ...]]:
        """The columns of each table, view and composite type by its key, in their order."""
        found: dict[str, list[tuple[int, str]]] = {}
        for thing in self.objects:
            if thing.place:
                found.setdefault(thing.parent_key, []).append((thing.place, thing.bare_name))
        return {key: tuple(bare for _, bare in sorted(columns)) for key, columns in found.items()}


# Read the schema of a database: some three dozen catalog queries in one read-only transaction.


# Wholes come ahead of their parts.
_QUERIES = (*DATABASE_QUERIES, *EXTERNAL_QUERIES, *TYPE_QUERIES, *TABLE_QUERIES, *TABLE_PART_QUERIES)
# What the server writes of an expression depends on the session; pg_dump sets the same. Names come out qualified.
_SESSION_SETTINGS = (
    ("search_path", "pg_catalog"),
    ("quote_all_identifiers", "off"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("statement_timeout", "0"),
    ("jit", "off"),  # compiling these queries takes as long as running them
)


def read_schema(session: Session, *, left_out: Collection[str] = ()) -> Schema:
    """Everything in a database that a migration can make or alter. Read-only; the session's settings come back.

    Without the system's objects, those of extensions (the extension stands for them), temporary ones, the ledger's own
    tables, and what `left_out` names: schemas with all in them, and event triggers. Roles and tablespaces are the
    server's and not the database's. Settings, owner and privileges of the database itself are not copied by TEMPLATE:
    compare a clone with itself. Raises psycopg.Error.
    """
    connection = session.connection
    ours = _ledger_tables(session)
    with connection.transaction():
        before = [_set_local(connection, name, value) for name, value in _SESSION_SETTINGS]
        things = tuple(_without_excluded(_read_objects(connection), ours, frozenset(left_out)))
        for (name, _), value in zip(
            _SESSION_SETTINGS, before, strict=True
        ):  # a transaction around ours keeps what is set LOCAL
            _set_local(connection, name, value)
    return Schema(objects=things)


def _ledger_tables(session: Session) -> frozenset[tuple[str, str]]:
    """(schema, name) of the tables that are no migration's affair; another runner's of the same name are not ours."""
    try:
        schema = find_ledger(session).schema
    except (LedgerShape, DatabaseRefused):  # another runner's table, or a search path that names no schema any more
        return frozenset()
    return frozenset({(schema, LEDGER_TABLE), (schema, PROGRESS_TABLE)})


def _set_local(connection: Connection, name: str, value: str) -> str:
    """Set a setting until the transaction ends; its value before."""
    row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    connection.execute("SELECT set_config(%s, %s, true)", (name, value))
    return str(row[0]) if row else ""


def _read_objects(connection: Connection) -> Iterator[SchemaObject]:
    version = connection.info.server_version
    for query in _QUERIES:
        if not query.min_version <= version < query.below_version:
            continue
        for row in connection.execute(query.sql.encode()).fetchall():
            facts = row[8:]
            if list in map(type, facts):
                facts = tuple(tuple(fact) if isinstance(fact, list) else fact for fact in facts)
            yield SchemaObject._make((*row[:8], query.labels, facts))


def _without_excluded(
    things: Iterator[SchemaObject], ours: frozenset[tuple[str, str]], left_out: frozenset[str]
) -> Iterator[SchemaObject]:
    gone: set[str] = set()
    for thing in things:
        named = thing.schema in left_out or (thing.kind == "event trigger" and thing.bare_name in left_out)
        if named or thing.parent_key in gone or (not thing.parent_key and (thing.schema, thing.bare_name) in ours):
            gone.add(thing.key)
        else:
            yield thing
