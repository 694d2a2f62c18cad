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

from kernel.rehearsal.result import Standstill

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kernel.db.connection import Connection
    from kernel.rehearsal.result import Relation


class ProbeKind(Enum):
    """What an application does to a relation."""

    READ = "read"
    WRITE = "write"


# By pg_class.relkind. Where more than one page would be read, or another server be asked, the read too is only planned.
_READ_ONE_PAGE = "SELECT FROM {} WHERE ctid = '(0,1)'"
_PLAN_READ = "EXPLAIN (COSTS off) SELECT FROM {}"
_PLAN_WRITE = "EXPLAIN (COSTS off) DELETE FROM {}"
_STATEMENTS_BY_RELKIND = {
    ProbeKind.READ: {"r": _READ_ONE_PAGE, "m": _READ_ONE_PAGE, "p": _PLAN_READ, "v": _PLAN_READ, "f": _PLAN_READ},
    ProbeKind.WRITE: {"r": _PLAN_WRITE, "p": _PLAN_WRITE},
}
# An application goes by the name: what was put in its place is what it meets. Only where nothing has that name any
# more is the relation followed to its new one.
_RELATIONS_QUERY = """
SELECT place::int, nspname, relname, relkind::text
FROM unnest(%s::int8[], %s::text[]) WITH ORDINALITY AS asked (oid, name, place)
JOIN pg_class c ON c.oid = coalesce(to_regclass(asked.name)::oid, asked.oid::oid)
JOIN pg_namespace n ON n.oid = relnamespace
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A statement that asks for a relation under the name it has now."""

    relation: Relation
    kind: ProbeKind
    statement: bytes


def create_probes(connection: Connection, relations: Sequence[Relation]) -> tuple[Probe, ...]:
    """What to ask of each of the relations that are there: a read, and of tables a write. Of an index: nothing."""
    asked = ([one.oid for one in relations], [one.name for one in relations])
    found = connection.execute(_RELATIONS_QUERY, asked).fetchall()
    return tuple(
        Probe(relation=relations[place - 1], kind=kind, statement=statement)
        for place, schema, name, relkind in sorted(found)
        for kind in ProbeKind
        if (statement := _probe_statement(kind, relkind, schema, name))
    )


def follow_probe(connection: Connection, lost: Probe) -> Probe | None:
    """A probe whose statement was refused, for what is there now; None when that is nothing, or nothing else."""
    for one in create_probes(connection, [lost.relation]):
        if one.kind is lost.kind and one.statement != lost.statement:
            return one
    return None


def _probe_statement(kind: ProbeKind, relkind: str, schema: str, name: str) -> bytes:
    text = _STATEMENTS_BY_RELKIND[kind].get(relkind)
    return sql.SQL(text).format(sql.Identifier(schema, name)).as_bytes() if text else b""


# Waits of single probes, made into what an application felt of a relation.


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeWait:
    """A probe that was kept waiting from `began` to `ended`, in seconds of time.monotonic().

    It may have given up, and be the next attempt of one: `since` is when the first of them in a row began.
    """

    relation: Relation
    kind: ProbeKind
    waiting_since: float
    began_at: float
    ended_at: float


def summarize_standstills(relations: Iterable[Relation], waits: Sequence[ProbeWait]) -> tuple[Standstill, ...]:
    """A Standstill for each of the relations, the worst first; without waits, nothing stood still."""
    found = []
    for relation in relations:
        own = [one for one in waits if one.relation == relation]
        reads, writes = ([(one.waiting_since, one.ended_at) for one in own if one.kind is kind] for kind in ProbeKind)
        found.append(
            Standstill(
                relation=relation.name,
                reads_longest_seconds=_longest_seconds(reads),
                reads_total_seconds=_total_seconds(reads),
                writes_longest_seconds=_longest_seconds(writes),
                writes_total_seconds=_total_seconds(writes),
                queued=_max_concurrent((one.began_at, one.ended_at) for one in own),
            )
        )
    return tuple(sorted(found, key=lambda one: (-one.reads_longest_seconds, -one.writes_longest_seconds, one.relation)))


def _longest_seconds(stretches: Iterable[tuple[float, float]]) -> float:
    return max((end - begin for begin, end in stretches), default=0.0)


def _total_seconds(stretches: Iterable[tuple[float, float]]) -> float:
    """How long all of them last, times that several share counted once."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(stretches):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def _max_concurrent(stretches: Iterable[tuple[float, float]]) -> int:
    """How many of them there are at one time, at most. One that ends as another begins is not there with it."""
    changes = sorted(change for begin, end in stretches for change in ((begin, 1), (end, -1)))
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most
