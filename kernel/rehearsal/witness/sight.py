"""What the migration's own session says of relations: the locks it holds, their files, what was read and written.

Only it sees what it has not committed yet. Relations are known by OID: a statement may rename or drop them. The system
catalogs are left out: their OIDs lie below FirstNormalObjectId (PostgreSQL's source, access/transam.h).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel.rehearsal import modes

if TYPE_CHECKING:
    from kernel.database import Connection

FIRST_NORMAL_OID = 16384
KINDS = {
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
POSITION = "pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::pg_catalog.int8"
# A role that the migration has taken may be allowed little: everything here is open to everybody, and no name is left
# to its search_path. {scope} is "xact_" for what the open transaction did, "" for all that was ever done.
_SIGHT = f"""
SELECT {POSITION};
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
_HELD = "held LEFT JOIN pg_catalog.pg_class c ON c.oid = held.relation"
# Joined from both sides: a relation that is dropped is left with its lock alone.
_EVERYTHING = "pg_catalog.pg_class c FULL JOIN held ON held.relation = c.oid"
_OF_HELD = _SIGHT.format(scope="xact_", source=_HELD)
_OF_ALL = _SIGHT.format(scope="xact_", source=_EVERYTHING)
_OF_ALL_EVER = _SIGHT.format(scope="", source=_EVERYTHING)
# What a transaction did reaches the counters of everybody at its session's leisure, unless told to (15 and newer).
_FLUSH = "SELECT pg_catalog.pg_stat_force_next_flush()"
FLUSHES_SINCE = 150000


@dataclass(frozen=True, slots=True)
class Counters:
    """Rows of a relation read one after the other (of an index: entries read, in so many scans) and written."""

    read: int = 0
    scans: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    def since(self, before: Counters) -> Counters:
        """The difference; a TRUNCATE takes back what was counted before it, which makes nothing negative here."""
        return Counters(
            read=max(0, self.read - before.read),
            scans=max(0, self.scans - before.scans),
            inserted=max(0, self.inserted - before.inserted),
            updated=max(0, self.updated - before.updated),
            deleted=max(0, self.deleted - before.deleted),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
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
    owner: int = 0
    parent: int = 0
    rows: float = -1
    pages: int = 0
    counters: Counters = field(default_factory=Counters)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What was seen at once: relations by their OID, and the position in the log of changes, in bytes."""

    position: int
    sights: dict[int, Sight]


def held(connection: Connection, *, but: range = range(0)) -> View:
    """The relations that the open transaction holds locks on, with what it did to them; without the OIDs `but`."""
    return _view(connection, f"{_OF_HELD} AND (relation < {but.start} OR relation >= {but.stop})")


def everything(connection: Connection) -> View:
    """All relations, with what the open transaction did to them."""
    return _view(connection, _OF_ALL)


def ever(connection: Connection) -> View:
    """All relations, with what was ever done to them; only with what is committed, and outside of a transaction."""
    flush(connection)
    return _view(connection, _OF_ALL_EVER)


def flush(connection: Connection) -> None:
    """Outside of a transaction: hand what it counted over, so that the next transaction counts from nothing."""
    if connection.info.server_version >= FLUSHES_SINCE:
        connection.execute(_FLUSH)


def _view(connection: Connection, query: str) -> View:
    cursor = connection.execute(query.encode())
    (position,) = cursor.fetchone() or (0,)
    cursor.nextset()
    sights = {}
    for oid, its_modes, name, kind, filenode, owner, parent, rows, pages, of_toast, *counted in cursor.fetchall():
        if of_toast:  # goes with its TOAST table, which goes with its table
            continue
        sights[oid] = Sight(
            oid=oid,
            modes=tuple(modes.NAMES[mode] for mode in its_modes or () if mode in modes.NAMES),
            name=name,
            kind=KINDS.get(kind, ""),
            filenode=filenode or 0,
            owner=owner or 0,
            parent=parent or 0,
            rows=-1 if rows is None else rows,
            pages=pages or 0,
            counters=Counters(*(count or 0 for count in counted)),
        )
    return View(position=position, sights=sights)
