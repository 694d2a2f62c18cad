"""Relations as the migration's own session sees them: its locks, their files, the rows read and written.

Only this session sees what it has not committed. Relations are identified by OID: a statement may rename or drop them.
The system catalogs are left out: their OIDs are below FirstNormalObjectId (PostgreSQL's source, access/transam.h).
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
# The migration may have set a role with few privileges: every role may call these functions, and no name depends on the
# search_path. {scope} is "xact_" for counters of the open transaction, "" for the totals.
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
# FULL JOIN: a dropped relation has a lock and no row in pg_class.
_ALL_SOURCE = "pg_catalog.pg_class c FULL JOIN held ON held.relation = c.oid"
_LOCKED_SQL = _SNAPSHOT_SQL.format(scope="xact_", source=_LOCKED_SOURCE)
_ALL_SQL = _SNAPSHOT_SQL.format(scope="xact_", source=_ALL_SOURCE)
_ALL_TOTALS_SQL = _SNAPSHOT_SQL.format(scope="", source=_ALL_SOURCE)
# A session adds its counters to the totals at most once a second, unless this function forces it (15 and newer).
_FLUSH_SQL = "SELECT pg_catalog.pg_stat_force_next_flush()"
FLUSH_SERVER_VERSION = 150000


@dataclass(frozen=True, slots=True)
class RowCounters:
    """Rows of a relation read sequentially (of an index: entries read, and the number of scans) and written."""

    read: int = 0
    scans: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    def since(self, before: RowCounters) -> RowCounters:
        """The difference, at least 0: a TRUNCATE resets counters."""
        return RowCounters(
            read=max(0, self.read - before.read),
            scans=max(0, self.scans - before.scans),
            inserted=max(0, self.inserted - before.inserted),
            updated=max(0, self.updated - before.updated),
            deleted=max(0, self.deleted - before.deleted),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationState:
    """The state of a relation. `name` is None for a dropped one, of which only its lock is known.

    `modes` are the locks that the session holds on it, by the names of LOCK TABLE. `owner_oid` is the table that an
    index or a TOAST table belongs to, `parent_oid` the parent of a partition or child table, 0 for others. `rows` is
    the planner's estimate, -1 without one.
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
    """Relations by OID, and the position in the WAL in bytes, read by one query."""

    wal_position: int
    relations: dict[int, RelationState]


def read_locked_relations(connection: Connection, *, but: range = range(0)) -> CatalogSnapshot:
    """The relations that the open transaction has locked, with its own counters; without the OIDs `but`."""
    return _read_snapshot(connection, f"{_LOCKED_SQL} AND (relation < {but.start} OR relation >= {but.stop})")


def read_all_relations(connection: Connection) -> CatalogSnapshot:
    """All relations, with the counters of the open transaction."""
    return _read_snapshot(connection, _ALL_SQL)


def read_all_relations_with_totals(connection: Connection) -> CatalogSnapshot:
    """All relations, with their total counters; only outside a transaction."""
    flush_counters(connection)
    return _read_snapshot(connection, _ALL_TOTALS_SQL)


def flush_counters(connection: Connection) -> None:
    """Add the session's counters to the totals, so that the next transaction counts from 0; outside a transaction."""
    if connection.info.server_version >= FLUSH_SERVER_VERSION:
        connection.execute(_FLUSH_SQL)


def _read_snapshot(connection: Connection, query: str) -> CatalogSnapshot:
    cursor = connection.execute(query.encode())
    (position,) = cursor.fetchone() or (0,)
    cursor.nextset()
    states = {}
    for oid, modes, name, kind, filenode, owner, parent, rows, pages, of_toast, *counted in cursor.fetchall():
        if of_toast:  # goes with its TOAST table, which goes with its table
            continue
        states[oid] = RelationState(
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
    return CatalogSnapshot(wal_position=position, relations=states)


_SIZES_SQL = f"""
SELECT pg_catalog.int8(oid), pg_catalog.pg_table_size(oid) FROM pg_catalog.pg_class
WHERE oid >= {FIRST_NORMAL_OID} AND relkind IN ('r', 'm', 'i', 't', 'S')
"""  # noqa: S608 - a constant
_DEPENDENT_KINDS = frozenset({"index", "partitioned index", "toast table"})


class KnownRelations:
    """The relations of a clone by OID, under the name each had when it was first seen; new ones are `created`."""

    def __init__(self, connection: Connection, before: Mapping[int, RelationState]) -> None:
        sizes: dict[int, int] = dict(connection.execute(_SIZES_SQL.encode()).fetchall())
        self._by_oid: dict[int, Relation] = {}
        self._created_indexes: list[int] = []
        # Tables first: an index or TOAST table has the name of its table.
        for state in sorted(before.values(), key=lambda one: one.kind in _DEPENDENT_KINDS):
            self._add(state, created=False, size_bytes=sizes.get(state.oid, 0), root=_root_name(state, before))

    def add_new(self, states: Mapping[int, RelationState]) -> None:
        """Add the relations that are not known yet."""
        new = (state for oid, state in states.items() if oid not in self._by_oid and state.name is not None)
        for state in sorted(new, key=lambda one: one.kind in _DEPENDENT_KINDS):
            self._add(state, created=True)

    def get(self, oid: int) -> Relation | None:
        """The relation, None for one that a single statement created and dropped: it blocked no session."""
        return self._by_oid.get(oid)

    def settle_created_indexes(self) -> None:
        """A transaction ended: other sessions use the indexes that it created on existing tables."""
        for oid in self._created_indexes:
            self._by_oid[oid] = replace(self._by_oid[oid], created=False)
        self._created_indexes.clear()

    def get_all(self, oids: Iterable[int]) -> list[Relation]:
        """The relations of these OIDs that are known."""
        return [self._by_oid[oid] for oid in oids if oid in self._by_oid]

    def _add(self, state: RelationState, *, created: bool, size_bytes: int = 0, root: str = "") -> None:
        table = self._by_oid.get(state.owner_oid) if state.kind in _DEPENDENT_KINDS else None
        self._by_oid[state.oid] = Relation(
            oid=state.oid,
            name=state.name or "",
            kind=state.kind or RELATION_KINDS["r"],
            rows=max(0, round(state.rows)),
            size_bytes=size_bytes,
            created=created,
            table=table.name if table else "",
            root=root,
        )
        if created and table and not table.created:
            self._created_indexes.append(state.oid)


def _root_name(state: RelationState, states: Mapping[int, RelationState]) -> str:
    """The topmost parent of a partition or child table, "" without parent; of several parents the first counts."""
    top = state
    while parent := states.get(top.parent_oid):
        top = parent
    return "" if top is state or state.kind in _DEPENDENT_KINDS else top.name or ""
