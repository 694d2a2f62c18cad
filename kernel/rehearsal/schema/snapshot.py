"""Read the schema of a database: some three dozen catalog queries in one read-only transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel import ledger
from kernel.apply import progress
from kernel.errors import DatabaseRefused, LedgerShape
from kernel.rehearsal.schema import parts, relations, remote, surroundings, types
from kernel.rehearsal.schema.value import Schema, Thing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from kernel.database import Connection, Session

# Wholes come ahead of their parts.
_QUERIES = (*surroundings.QUERIES, *remote.QUERIES, *types.QUERIES, *relations.QUERIES, *parts.QUERIES)
# What the server writes of an expression depends on the session; pg_dump sets the same. Names come out qualified.
_PLAIN = (
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


def read(session: Session, *, left_out: Collection[str] = ()) -> Schema:
    """Everything in a database that a migration can make or alter. Read-only; the session's settings come back.

    Without the system's objects, those of extensions (the extension stands for them), temporary ones, the ledger's own
    tables, and what `left_out` names: schemas with all in them, and event triggers. Roles and tablespaces are the
    server's and not the database's. Settings, owner and privileges of the database itself are not copied by TEMPLATE:
    compare a clone with itself. Raises psycopg.Error.
    """
    connection = session.connection
    ours = _ours(session)
    with connection.transaction():
        before = [_set(connection, name, value) for name, value in _PLAIN]
        things = tuple(_kept(_things(connection), ours, frozenset(left_out)))
        for (name, _), value in zip(_PLAIN, before, strict=True):  # a transaction around ours keeps what is set LOCAL
            _set(connection, name, value)
    return Schema(things=things)


def _ours(session: Session) -> frozenset[tuple[str, str]]:
    """(schema, name) of the tables that are no migration's affair; another runner's of the same name are not ours."""
    try:
        schema = ledger.find(session).schema
    except (LedgerShape, DatabaseRefused):  # another runner's table, or a search path that names no schema any more
        return frozenset()
    return frozenset({(schema, ledger.TABLE), (schema, progress.TABLE)})


def _set(connection: Connection, name: str, value: str) -> str:
    """Set a setting until the transaction ends; its value before."""
    row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    connection.execute("SELECT set_config(%s, %s, true)", (name, value))
    return str(row[0]) if row else ""


def _things(connection: Connection) -> Iterator[Thing]:
    version = connection.info.server_version
    for query in _QUERIES:
        if not query.since <= version < query.until:
            continue
        for row in connection.execute(query.sql.encode()).fetchall():
            facts = row[8:]
            if list in map(type, facts):
                facts = tuple(tuple(fact) if isinstance(fact, list) else fact for fact in facts)
            yield Thing._make((*row[:8], query.labels, facts))


def _kept(things: Iterator[Thing], ours: frozenset[tuple[str, str]], left_out: frozenset[str]) -> Iterator[Thing]:
    gone: set[str] = set()
    for thing in things:
        named = thing.schema in left_out or (thing.kind == "event trigger" and thing.bare in left_out)
        if named or thing.of in gone or (not thing.of and (thing.schema, thing.bare) in ours):
            gone.add(thing.key)
        else:
            yield thing
