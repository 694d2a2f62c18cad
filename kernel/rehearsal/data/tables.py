"""The tables of both databases in pairs, from their catalogs: which were touched, and what became of their columns.

A clone made with CREATE DATABASE … TEMPLATE keeps the OIDs and file nodes of its template, and starts with empty
statistics, which count what was done to the clone. A table is the same one as long as its OID is: a rename is seen as a
rename. Where the OID is missing, the relation that has taken over the name is its counterpart: tables are swapped that
way. Partitions belong to the table that is, or was, their partitioned table: a row that moves between them is not lost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from psycopg.rows import dict_row

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from kernel.db.connection import Connection


# Without system tables, temporary tables (of one session) and foreign tables (of another server).
_TABLES = """
WITH RECURSIVE base (oid, base, typmod) AS (
  SELECT oid, oid, -1 FROM pg_type WHERE typtype <> 'd'
  UNION ALL
  SELECT t.oid, base.base, CASE WHEN t.typtypmod >= 0 THEN t.typtypmod ELSE base.typmod END
  FROM base JOIN pg_type t ON t.typbasetype = base.oid AND t.typtype = 'd'
)
SELECT c.oid::bigint, n.nspname AS schema, c.relname AS name, format('%I.%I', n.nspname, c.relname) AS quoted,
  c.relkind::text AS kind, greatest(c.reltuples, 0)::bigint AS estimated_rows,  -- -1 where nothing was analyzed yet
  coalesce(pg_partition_root(c.oid), c.oid)::bigint AS root_oid,
  coalesce(pg_relation_filenode(c.oid), 0)::bigint AS filenode,
  coalesce(pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid) + pg_stat_get_tuples_deleted(c.oid),
    0)::bigint AS rows_written,
  coalesce((SELECT json_agg(json_build_object(
      'number', a.attnum, 'name', a.attname, 'quoted', quote_ident(a.attname),
      'type_oid', a.atttypid::bigint,
      'type', format_type(a.atttypid, a.atttypmod),
      'base', format_type(b.base, CASE WHEN b.base = a.atttypid THEN a.atttypmod ELSE b.typmod END),
      'kind', CASE WHEN t.typtype = 'e' THEN 'enum' WHEN t.oid < 16384 AND t.typtype = 'b' THEN t.typname ELSE '' END,
      'generated', a.attgenerated <> '') ORDER BY a.attnum)
    FROM pg_attribute a JOIN base b ON b.oid = a.atttypid JOIN pg_type t ON t.oid = b.base
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]') AS columns,
  coalesce((SELECT json_agg(i.indkey::int2[] ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid)
    FROM (SELECT indexrelid, indisprimary, indnkeyatts, (indkey::int2[])[0:indnkeyatts - 1] AS indkey FROM pg_index
      WHERE indrelid = c.oid AND indisunique AND indisvalid AND indpred IS NULL AND indexprs IS NULL) i
    WHERE NOT EXISTS (SELECT FROM unnest(i.indkey::int2[]) AS k (number)
      LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number WHERE a.attnotnull IS NOT TRUE)), '[]')
    AS keys
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't' AND c.oid >= 16384
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
ORDER BY n.nspname, c.relname
"""
PARTITIONED_TABLE_KIND = "p"
MATERIALIZED_VIEW_KIND = "m"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogColumn:
    """A column. `quoted`, `type` and `base` are SQL text; `base` is the base type of a domain, else the type itself.

    `kind` is the name of a built-in base type, "enum", or "" for every other type.
    """

    number: int
    name: str
    quoted: str
    type_oid: int
    type: str
    base: str
    kind: str
    generated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogTable:
    """A table, partition, partitioned table or materialized view.

    `quoted` is its qualified name as SQL text. `estimated_rows` is the planner's estimate. `root_oid` is the topmost
    partitioned table, or the relation itself. `filenode` is 0 without storage. `rows_written` are the rows inserted,
    updated and deleted, by the statistics. `keys` are the column numbers of its keys, the primary key first, then the
    shortest: unique, valid, not partial and NOT NULL.
    """

    oid: int
    schema: str
    name: str
    quoted: str
    kind: str
    estimated_rows: int
    root_oid: int
    filenode: int
    rows_written: int
    columns: tuple[CatalogColumn, ...]
    keys: tuple[tuple[int, ...], ...]


def read_tables(connection: Connection) -> dict[int, CatalogTable]:
    """The relations by OID. Types are qualified as the session's search path needs it."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_TABLES).fetchall()
    for row in rows:
        row["columns"] = tuple(CatalogColumn(**column) for column in row["columns"])
        row["keys"] = tuple(tuple(key) for key in row["keys"])
    return {row["oid"]: CatalogTable(**row) for row in rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSide:
    """A table in one of the databases: `head` is the (partitioned) table, `leaves` are the relations with its rows.

    `unchanged_leaves` are the same in the other database: same file, nothing written.
    """

    head: CatalogTable
    leaves: tuple[CatalogTable, ...]
    unchanged_leaves: tuple[CatalogTable, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnPair:
    """A column that both sides have, under the name that it has in each."""

    before: CatalogColumn
    after: CatalogColumn

    @property
    def name(self) -> str:
        """Its name in production."""
        return self.before.name


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePair:
    """A table on both sides, or on the one that has it, and its columns.

    `key` are the columns that identify a row, () when there are none; `key_kept` says that they are unique in the clone
    too. `touched` says that rows may differ: the table was rewritten or written, or a column dropped and added again.
    """

    before: TableSide | None
    after: TableSide | None
    shared_columns: tuple[ColumnPair, ...] = ()
    key: tuple[ColumnPair, ...] = ()
    key_kept: bool = True
    dropped_columns: tuple[CatalogColumn, ...] = ()
    touched: bool = True

    @property
    def head(self) -> CatalogTable:
        """The table in production, or the one that the migration created."""
        return self._present_side.head

    @property
    def leaves(self) -> tuple[CatalogTable, ...]:
        """The relations with its rows on that side."""
        return self._present_side.leaves

    @property
    def _present_side(self) -> TableSide:
        side = self.before or self.after
        if side is None:
            raise ValueError("a table has a side")
        return side

    @property
    def derived(self) -> bool:
        """Whether its rows are computed from other tables: nothing is lost with them."""
        return self.head.kind == MATERIALIZED_VIEW_KIND


def pair_tables(
    before: Mapping[int, CatalogTable], after: Mapping[int, CatalogTable], *, written: Container[int] = ()
) -> tuple[TablePair, ...]:
    """The tables of both sides ordered by name; `written` are OIDs of relations that traced statements wrote."""
    counterparts = _counterparts(before, after)
    groups = _DisjointSets()
    for oid, relation in before.items():
        groups.join((0, relation.root_oid), (0, oid))
        if (counterpart := counterparts.get(oid)) is not None:
            groups.join((0, oid), (1, counterpart.oid))
    for oid, relation in after.items():
        groups.join((1, relation.root_oid), (1, oid))
    found = []
    for members in groups.groups():
        old = [before[oid] for side, oid in members if side == 0]
        new = [after[oid] for side, oid in members if side == 1]
        found.append(_make_table_pair(old, new, counterparts, written))
    return tuple(sorted(found, key=lambda table: (table.head.schema, table.head.name)))


def _counterparts(before: Mapping[int, CatalogTable], after: Mapping[int, CatalogTable]) -> dict[int, CatalogTable]:
    """The relation of the clone for each relation of the template."""
    created = {(one.schema, one.name): one for one in after.values() if one.oid not in before}
    counterparts = {}
    for oid, relation in before.items():
        counterpart = after.get(oid) or created.get((relation.schema, relation.name))
        if counterpart is not None:
            counterparts[oid] = counterpart
    return counterparts


class _DisjointSets:
    """Relations of either side (0 is the template) that share rows: disjoint sets with union and find."""

    def __init__(self) -> None:
        self._parents: dict[tuple[int, int], tuple[int, int]] = {}

    def join(self, one: tuple[int, int], other: tuple[int, int]) -> None:
        self._parents[self._root(other)] = self._root(one)

    def groups(self) -> Iterable[list[tuple[int, int]]]:
        sets: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for member in self._parents:
            sets.setdefault(self._root(member), []).append(member)
        return sets.values()

    def _root(self, member: tuple[int, int]) -> tuple[int, int]:
        self._parents.setdefault(member, member)
        while (above := self._parents[member]) != member:
            member = above
        return member


def _make_table_pair(
    old: list[CatalogTable], new: list[CatalogTable], counterparts: dict[int, CatalogTable], written: Container[int]
) -> TablePair:
    if not old or not new:
        side = _make_side(old or new, ())
        return TablePair(before=side if old else None, after=side if new else None)
    unchanged = {
        one.oid
        for one in old
        if (counterpart := counterparts.get(one.oid)) is not None
        and counterpart.oid == one.oid
        and counterpart.filenode == one.filenode
        and not counterpart.rows_written
        and one.oid not in written
    }
    before, after = _make_side(old, unchanged), _make_side(new, unchanged)
    shared = _pair_columns(before.head, after.head)
    if before.head.oid == after.head.oid and any(one.before.number != one.after.number for one in shared):
        # DROP COLUMN and ADD COLUMN of the same name write no row, and may change every value.
        before, after = replace(before, unchanged_leaves=()), replace(after, unchanged_leaves=())
    kept_before = {column.before.number for column in shared}
    key, key_kept = _row_key(before.head, after.head, shared)
    return TablePair(
        before=before,
        after=after,
        shared_columns=shared,
        key=key,
        key_kept=key_kept,
        dropped_columns=tuple(one for one in before.head.columns if one.number not in kept_before),
        touched=len(before.unchanged_leaves) < len(before.leaves) or len(after.unchanged_leaves) < len(after.leaves),
    )


def _make_side(relations: list[CatalogTable], unchanged: Container[int]) -> TableSide:
    leaves = tuple(one for one in relations if one.kind != PARTITIONED_TABLE_KIND)
    heads = [one for one in relations if one.root_oid == one.oid]
    # A partitioned table before one that was detached from it, or is attached to it later.
    head = min(heads, key=lambda one: (one.kind != PARTITIONED_TABLE_KIND, one.schema, one.name))
    return TableSide(head=head, leaves=leaves, unchanged_leaves=tuple(one for one in leaves if one.oid in unchanged))


def _pair_columns(before: CatalogTable, after: CatalogTable) -> tuple[ColumnPair, ...]:
    """The columns of both: by number in the same table, else by name, as when one was dropped and added again."""
    numbers = {one.number: one for one in after.columns} if before.oid == after.oid else {}
    pairs = {one.number: numbers[one.number] for one in before.columns if one.number in numbers}
    taken = {one.number for one in pairs.values()}
    names = {one.name: one for one in after.columns if one.number not in taken}
    pairs |= {one.number: names[one.name] for one in before.columns if one.number not in pairs and one.name in names}
    return tuple(ColumnPair(before=one, after=pairs[one.number]) for one in before.columns if one.number in pairs)


def _row_key(
    before: CatalogTable, after: CatalogTable, shared: tuple[ColumnPair, ...]
) -> tuple[tuple[ColumnPair, ...], bool]:
    """The key that identifies rows, one that both sides have if there is any; and whether both have it."""
    by_number = {column.before.number: column for column in shared}
    keys = [tuple(by_number[one] for one in key) for key in before.keys if by_number.keys() >= set(key)]
    kept = {frozenset(key) for key in after.keys}
    both = [key for key in keys if frozenset(column.after.number for column in key) in kept]
    return (both or keys or [()])[0], bool(both)
