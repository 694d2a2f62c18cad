"""Probes: a read and a write of a relation that wait for locks as an application's would, and change nothing.

Both take the locks of the real statement, on the table, its indexes and its partitions. The read fetches one page of
the table. The write is planned and not run: that takes every lock of a DELETE (ROW EXCLUSIVE, as for INSERT and
UPDATE), but fires no trigger, writes no row, and blocks the migration for a moment only.
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
    """What a probe does to a relation."""

    READ = "read"
    WRITE = "write"


_READ_ONE_PAGE = "SELECT FROM {} WHERE ctid = '(0,1)'"
_PLAN_READ = "EXPLAIN (COSTS off) SELECT FROM {}"
_PLAN_WRITE = "EXPLAIN (COSTS off) DELETE FROM {}"
# By pg_class.relkind. A read of more than one page, or from a foreign server, is only planned.
_STATEMENTS_BY_RELKIND = {
    ProbeKind.READ: {"r": _READ_ONE_PAGE, "m": _READ_ONE_PAGE, "p": _PLAN_READ, "v": _PLAN_READ, "f": _PLAN_READ},
    ProbeKind.WRITE: {"r": _PLAN_WRITE, "p": _PLAN_WRITE},
}
# An application addresses a relation by its name, so a replacement of the same name takes its place. Only when the name
# is free is a renamed relation followed by its OID.
_RELATIONS_QUERY = """
SELECT place::int, nspname, relname, relkind::text
FROM unnest(%s::int8[], %s::text[]) WITH ORDINALITY AS wanted (oid, name, place)
JOIN pg_class c ON c.oid = coalesce(to_regclass(wanted.name)::oid, wanted.oid::oid)
JOIN pg_namespace n ON n.oid = relnamespace
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A statement that reads or writes a relation under its current name."""

    relation: Relation
    kind: ProbeKind
    statement: bytes


def create_probes(connection: Connection, relations: Sequence[Relation]) -> tuple[Probe, ...]:
    """A read for each relation that exists, and a write for each table; nothing for indexes and sequences."""
    rows = connection.execute(
        _RELATIONS_QUERY, ([one.oid for one in relations], [one.name for one in relations])
    ).fetchall()
    return tuple(
        Probe(
            relation=relations[place - 1],
            kind=kind,
            statement=sql.SQL(statements[relkind]).format(sql.Identifier(schema, name)).as_bytes(),
        )
        for place, schema, name, relkind in sorted(rows)
        for kind, statements in _STATEMENTS_BY_RELKIND.items()
        if relkind in statements
    )


def follow_probe(connection: Connection, refused: Probe) -> Probe | None:
    """The probe for the current state of a relation whose statement was refused; None when there is no other."""
    for probe in create_probes(connection, [refused.relation]):
        if probe.kind is refused.kind and probe.statement != refused.statement:
            return probe
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeWait:
    """A probe that waited for a lock from `began_at` to `ended_at`, in seconds of time.monotonic().

    After attempts that gave up, `waiting_since` is when the first of them began.
    """

    relation: Relation
    kind: ProbeKind
    waiting_since: float
    began_at: float
    ended_at: float


def summarize_standstills(relations: Iterable[Relation], waits: Sequence[ProbeWait]) -> tuple[Standstill, ...]:
    """A Standstill for each of the relations, the longest first; all zero for a relation without waits."""
    standstills = []
    for relation in relations:
        of_relation = [wait for wait in waits if wait.relation == relation]
        reads, writes = (
            [(wait.waiting_since, wait.ended_at) for wait in of_relation if wait.kind is kind] for kind in ProbeKind
        )
        standstills.append(
            Standstill(
                relation=relation.name,
                reads_longest_seconds=_longest_seconds(reads),
                reads_total_seconds=_total_seconds(reads),
                writes_longest_seconds=_longest_seconds(writes),
                writes_total_seconds=_total_seconds(writes),
                queued=_max_concurrent((wait.began_at, wait.ended_at) for wait in of_relation),
            )
        )
    return tuple(
        sorted(standstills, key=lambda one: (-one.reads_longest_seconds, -one.writes_longest_seconds, one.relation))
    )


def _longest_seconds(spans: Iterable[tuple[float, float]]) -> float:
    return max((end - begin for begin, end in spans), default=0.0)


def _total_seconds(spans: Iterable[tuple[float, float]]) -> float:
    """The duration of the union of the spans."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def _max_concurrent(spans: Iterable[tuple[float, float]]) -> int:
    """The largest number of spans that overlap; one that ends when another begins does not overlap it."""
    changes = sorted(change for begin, end in spans for change in ((begin, 1), (end, -1)))
    most = current = 0
    for _, change in changes:
        current += change
        most = max(most, current)
    return most
