"""What the migration's own session says of relations: the locks it holds, their files, what was read and written.

Only it sees what it has not committed yet. Relations are known by OID: a statement may rename or drop them. The system
catalogs are left out: their OIDs lie below FirstNormalObjectId (PostgreSQL's source, access/transam.h).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kernel.lint.lock_modes import LOCK_MODE_NAMES
from kernel.rehearsal.result import Relation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kernel.db.connection import Connection


FIRST_NORMAL_OID = 16384
RELATION_KINDS = {
    "r": "table",
    "p": "partitioned table",
    "i": "index",
    "I": "partitioned index",
    "v": "view",
    "m": "materialized view",
    "S": "sequence",
    "t": "toast table",
    "f": "foreign table",
    "c": "composite type",
}
WAL_POSITION_SQL = "pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::pg_catalog.int8"
# A role that the migration has taken may be allowed little: everything here is open to everybody, and no name is left
# to its search_path. {scope} is "xact_" for what the open transaction did, "" for all that was ever done.
_SNAPSHOT_SQL = f"""
SELECT {WAL_POSITION_SQL};
WITH held AS MATERIALIZED (
  SELECT relation, pg_catalog.array_agg(mode) AS modes FROM pg_catalog.pg_lock_status()
  WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'relation' AND granted AND relation >= {FIRST_NORMAL_OID}
    AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
  GROUP BY relation)
SELECT pg_catalog.int8(coalesce(held.relation, c.oid)), held.modes,
  pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
  c.relkind::text, pg_catalog.int8(c.relfilenode),
  CASE WHEN c.relkind = 't' THEN pg_catalog.substr(c.relname, 10)::pg_catalog.int8  -- pg_toast_OID
    ELSE pg_catalog.int8(i.indrelid) END,
  (SELECT pg_catalog.int8(inhparent) FROM pg_catalog.pg_inherits WHERE inhrelid = c.oid AND inhseqno = 1),
  c.reltuples::pg_catalog.float8, c.relpages, n.nspname ~ '^pg_toast' AND c.relkind = 'i',
  pg_catalog.pg_stat_get_{{scope}}tuples_returned(c.oid), pg_catalog.pg_stat_get_{{scope}}numscans(c.oid),
  pg_catalog.pg_stat_get_{{scope}}tuples_inserted(c.oid), pg_catalog.pg_stat_get_{{scope}}tuples_updated(c.oid),
  pg_catalog.pg_stat_get_{{scope}}tuples_deleted(c.oid)
FROM {{source}}
LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
WHERE coalesce(held.relation, c.oid) >= {FIRST_NORMAL_OID}
"""  # noqa: S608 - constants
_LOCKED_SOURCE = "held LEFT JOIN pg_catalog.pg_class c ON c.oid = held.relation"
# Joined from both sides: a relation that is dropped is left with its lock alone.
_ALL_SOURCE = "pg_catalog.pg_class c FULL JOIN held ON held.relation = c.oid"
_LOCKED_SQL = _SNAPSHOT_SQL.format(scope="xact_", source=_LOCKED_SOURCE)
_ALL_SQL = _SNAPSHOT_SQL.format(scope="xact_", source=_ALL_SOURCE)
_ALL_TOTALS_SQL = _SNAPSHOT_SQL.format(scope="", source=_ALL_SOURCE)
# What a transaction did reaches the counters of everybody at its session's leisure, unless told to (15 and newer).
_FLUSH_SQL = "SELECT pg_catalog.pg_stat_force_next_flush()"
FLUSH_SERVER_VERSION = 150000


@dataclass(frozen=True, slots=True)
class RowCounters:
    """Rows of a relation read one after the other (of an index: entries read, in so many scans) and written."""

    read: int = 0
    scans: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    def since(self, before: RowCounters) -> RowCounters:
        """The difference; a TRUNCATE takes back what was counted before it, which makes nothing negative here."""
        return RowCounters(
            read=max(0, self.read - before.read),
            scans=max(0, self.scans - before.scans),
            inserted=max(0, self.inserted - before.inserted),
            updated=max(0, self.updated - before.updated),
            deleted=max(0, self.deleted - before.deleted),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationState:
    """A relation as it is now. `name` is None once it is dropped: then nothing but its lock is left.

    `modes` are the locks that the session holds on it, by the names of LOCK TABLE. `owner` is the OID of the table that
    an index or a TOAST table belongs to, `parent` of the one that a partition or an heir is of, 0 for others. `rows` is
    -1 where the planner knows nothing.
    """

    oid: int
    modes: tuple[str, ...]
    name: str | None
    kind: str = ""
    filenode: int = 0
    owner_oid: int = 0
    parent_oid: int = 0
    rows: float = -1
    pages: int = 0
    counters: RowCounters = field(default_factory=RowCounters)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogSnapshot:
    """What was seen at once: relations by their OID, and the position in the log of changes, in bytes."""

    wal_position: int
    relations: dict[int, RelationState]


def read_locked_relations(connection: Connection, *, but: range = range(0)) -> CatalogSnapshot:
    """The relations that the open transaction holds locks on, with what it did to them; without the OIDs `but`."""
    return _read_snapshot(connection, f"{_LOCKED_SQL} AND (relation < {but.start} OR relation >= {but.stop})")


def read_all_relations(connection: Connection) -> CatalogSnapshot:
    """All relations, with what the open transaction did to them."""
    return _read_snapshot(connection, _ALL_SQL)


def read_all_relations_with_totals(connection: Connection) -> CatalogSnapshot:
    """All relations, with what was ever done to them; only with what is committed, and outside of a transaction."""
    flush_counters(connection)
    return _read_snapshot(connection, _ALL_TOTALS_SQL)


def flush_counters(connection: Connection) -> None:
    """Outside of a transaction: hand what it counted over, so that the next transaction counts from nothing."""
    if connection.info.server_version >= FLUSH_SERVER_VERSION:
        connection.execute(_FLUSH_SQL)


def _read_snapshot(connection: Connection, query: str) -> CatalogSnapshot:
    cursor = connection.execute(query.encode())
    (position,) = cursor.fetchone() or (0,)
    cursor.nextset()
    sights = {}
    for oid, modes, name, kind, filenode, owner, parent, rows, pages, of_toast, *counted in cursor.fetchall():
        if of_toast:  # goes with its TOAST table, which goes with its table
            continue
        sights[oid] = RelationState(
            oid=oid,
            modes=tuple(LOCK_MODE_NAMES[mode] for mode in modes or () if mode in LOCK_MODE_NAMES),
            name=name,
            kind=RELATION_KINDS.get(kind, ""),
            filenode=filenode or 0,
            owner_oid=owner or 0,
            parent_oid=parent or 0,
            rows=-1 if rows is None else rows,
            pages=pages or 0,
            counters=RowCounters(*(count or 0 for count in counted)),
        )
    return CatalogSnapshot(wal_position=position, relations=sights)


# The relations of a clone by their OID, each under the name that it had when it was first seen.


_SIZES_SQL = f"""
SELECT pg_catalog.int8(oid), pg_catalog.pg_table_size(oid) FROM pg_catalog.pg_class
WHERE oid >= {FIRST_NORMAL_OID} AND relkind IN ('r', 'm', 'i', 't', 'S')
"""  # noqa: S608 - a constant
_DEPENDENT_KINDS = frozenset({"index", "partitioned index", "toast table"})


class KnownRelations:
    """What was there before the first migration, and what is `created` since."""

    def __init__(self, connection: Connection, before: Mapping[int, RelationState]) -> None:
        sizes: dict[int, int] = dict(connection.execute(_SIZES_SQL.encode()).fetchall())
        self._by_oid: dict[int, Relation] = {}
        self._created_indexes: list[int] = []
        # The tables first: what belongs to one is told with the name of it.
        for sight in sorted(before.values(), key=lambda one: one.kind in _DEPENDENT_KINDS):
            self._add(sight, created=False, size_bytes=sizes.get(sight.oid, 0), root=_root_name(sight, before))

    def add_new(self, sights: Mapping[int, RelationState]) -> None:
        """Take in what is new."""
        new = (sight for oid, sight in sights.items() if oid not in self._by_oid and sight.name is not None)
        for sight in sorted(new, key=lambda one: one.kind in _DEPENDENT_KINDS):
            self._add(sight, created=True)

    def get(self, oid: int) -> Relation | None:
        """None for what came and went within one statement: nobody else can have waited for it."""
        return self._by_oid.get(oid)

    def settle_created_indexes(self) -> None:
        """A transaction has ended: what it made of indexes on tables that were there, everybody uses from now on."""
        for oid in self._created_indexes:
            self._by_oid[oid] = replace(self._by_oid[oid], created=False)
        self._created_indexes.clear()

    def get_all(self, oids: Iterable[int]) -> list[Relation]:
        """Those of them that are known."""
        return [self._by_oid[oid] for oid in oids if oid in self._by_oid]

    def _add(self, sight: RelationState, *, created: bool, size_bytes: int = 0, root: str = "") -> None:
        table = self._by_oid.get(sight.owner_oid) if sight.kind in _DEPENDENT_KINDS else None
        self._by_oid[sight.oid] = Relation(
            oid=sight.oid,
            name=sight.name or "",
            kind=sight.kind or RELATION_KINDS["r"],
            rows=max(0, round(sight.rows)),
            size_bytes=size_bytes,
            created=created,
            table=table.name if table else "",
            root=root,
        )
        if created and table and not table.created:
            self._created_indexes.append(sight.oid)


def _root_name(sight: RelationState, sights: Mapping[int, RelationState]) -> str:
    """The topmost table of a family, "" of one that has no parent; of several parents the first counts."""
    top = sight
    while parent := sights.get(top.parent_oid):
        top = parent
    return "" if top is sight or sight.kind in _DEPENDENT_KINDS else top.name or ""
