"""What is asked of a relation, many times a second: a read and a write that wait as an application's would.

Both take the locks of the real thing, on the table, its indexes and its partitions, and change nothing. The read
fetches one page of the table. The write is planned and not run: that takes every lock of a DELETE (ROW EXCLUSIVE, as
for an INSERT and an UPDATE), but fires no trigger, writes no row, and is in the migration's way for a moment only.
Sources: PostgreSQL documentation, "Explicit Locking" and "EXPLAIN"; get_relation_info of plancat.c, for the indexes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.database import Connection
    from kernel.rehearsal.result import Relation


class Kind(Enum):
    """What an application does to a relation."""

    READ = "read"
    WRITE = "write"


# By pg_class.relkind. Where more than one page would be read, or another server be asked, the read too is only planned.
_PAGE = "SELECT FROM {} WHERE ctid = '(0,1)'"
_PLANNED = "EXPLAIN (COSTS off) SELECT FROM {}"
_PLANNED_WRITE = "EXPLAIN (COSTS off) DELETE FROM {}"
_ASKED = {
    Kind.READ: {"r": _PAGE, "m": _PAGE, "p": _PLANNED, "v": _PLANNED, "f": _PLANNED},
    Kind.WRITE: {"r": _PLANNED_WRITE, "p": _PLANNED_WRITE},
}
# An application goes by the name: what was put in its place is what it meets. Only where nothing has that name any
# more is the relation followed to its new one.
_FIND = """
SELECT place::int, nspname, relname, relkind::text
FROM unnest(%s::int8[], %s::text[]) WITH ORDINALITY AS asked (oid, name, place)
JOIN pg_class c ON c.oid = coalesce(to_regclass(asked.name)::oid, asked.oid::oid)
JOIN pg_namespace n ON n.oid = relnamespace
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A statement that asks for a relation under the name it has now."""

    relation: Relation
    kind: Kind
    statement: bytes


def probes(connection: Connection, relations: Sequence[Relation]) -> tuple[Probe, ...]:
    """What to ask of each of the relations that are there: a read, and of tables a write. Of an index: nothing."""
    asked = ([one.oid for one in relations], [one.name for one in relations])
    found = connection.execute(_FIND, asked).fetchall()
    return tuple(
        Probe(relation=relations[place - 1], kind=kind, statement=statement)
        for place, schema, name, relkind in sorted(found)
        for kind in Kind
        if (statement := _statement(kind, relkind, schema, name))
    )


def again(connection: Connection, lost: Probe) -> Probe | None:
    """A probe whose statement was refused, for what is there now; None when that is nothing, or nothing else."""
    for one in probes(connection, [lost.relation]):
        if one.kind is lost.kind and one.statement != lost.statement:
            return one
    return None


def _statement(kind: Kind, relkind: str, schema: str, name: str) -> bytes:
    text = _ASKED[kind].get(relkind)
    return sql.SQL(text).format(sql.Identifier(schema, name)).as_bytes() if text else b""
