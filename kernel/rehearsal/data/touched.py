"""Which tables a migration touched: decided by the catalogs of both databases, without reading a row.

A table is the same one as long as its OID is: TEMPLATE keeps them, so that a rename is seen as what it is. Where the
OID is gone, the relation that took the name over stands for it: that is how tables are swapped. Partitions count with
all that was, or is, their partitioned table: a row that moves between them is not lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.rehearsal.data.catalog import MATERIALIZED, PARTITIONED

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from kernel.rehearsal.data.catalog import Column, Relation


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A table in one of the databases: `head` is the table or the partitioned one, `leaves` are what holds its rows.

    Of them, `still` are those that are the same on the other side: same file, nothing written.
    """

    head: Relation
    leaves: tuple[Relation, ...]
    still: tuple[Relation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """A column that both sides have, under the name that each knows it by."""

    before: Column
    after: Column

    @property
    def name(self) -> str:
        """What it is called in production."""
        return self.before.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table on both sides, or on the one that has it, and what its columns became.

    `key` are the columns that rows are told apart by, () when there are none; `key_kept` says that it is unique in the
    clone too. `touched` says that rows may differ: rewritten or written.
    """

    before: Side | None
    after: Side | None
    shared: tuple[Shared, ...] = ()
    key: tuple[Shared, ...] = ()
    key_kept: bool = True
    dropped: tuple[Column, ...] = ()
    added: tuple[Column, ...] = ()
    touched: bool = True

    @property
    def head(self) -> Relation:
        """The table as production knows it, or as the migration made it."""
        return self._own.head

    @property
    def leaves(self) -> tuple[Relation, ...]:
        """What holds its rows on that side."""
        return self._own.leaves

    @property
    def _own(self) -> Side:
        side = self.before or self.after
        if side is None:
            raise ValueError("a table has a side")
        return side

    @property
    def derived(self) -> bool:
        """Whether its rows are computed from others: nothing is lost with them."""
        return self.head.kind == MATERIALIZED


def tables(
    before: Mapping[int, Relation], after: Mapping[int, Relation], *, written: Container[int] = ()
) -> tuple[Table, ...]:
    """The tables of both sides in the order of their names; `written` are OIDs that the witnesses saw written."""
    twins = _twins(before, after)
    groups = _Groups()
    for oid, relation in before.items():
        groups.join((0, relation.root), (0, oid))
        if (twin := twins.get(oid)) is not None:
            groups.join((0, oid), (1, twin.oid))
    for oid, relation in after.items():
        groups.join((1, relation.root), (1, oid))
    found = []
    for members in groups.all():
        old = [before[oid] for side, oid in members if side == 0]
        new = [after[oid] for side, oid in members if side == 1]
        found.append(_table(old, new, twins, written))
    return tuple(sorted(found, key=lambda table: (table.head.schema, table.head.name)))


def _twins(before: Mapping[int, Relation], after: Mapping[int, Relation]) -> dict[int, Relation]:
    """What each relation of the golden copy is in the clone."""
    fresh = {(one.schema, one.name): one for one in after.values() if one.oid not in before}
    twins = {}
    for oid, relation in before.items():
        twin = after.get(oid) or fresh.get((relation.schema, relation.name))
        if twin is not None:
            twins[oid] = twin
    return twins


class _Groups:
    """Relations of either side (0 is the golden copy) that share rows: disjoint sets, joined step by step."""

    def __init__(self) -> None:
        self._up: dict[tuple[int, int], tuple[int, int]] = {}

    def join(self, one: tuple[int, int], other: tuple[int, int]) -> None:
        self._up[self._top(other)] = self._top(one)

    def all(self) -> Iterable[list[tuple[int, int]]]:
        sets: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for member in self._up:
            sets.setdefault(self._top(member), []).append(member)
        return sets.values()

    def _top(self, member: tuple[int, int]) -> tuple[int, int]:
        self._up.setdefault(member, member)
        while (above := self._up[member]) != member:
            member = above
        return member


def _table(old: list[Relation], new: list[Relation], twins: dict[int, Relation], written: Container[int]) -> Table:
    if not old or not new:
        side = _side(old or new, ())
        return Table(before=side if old else None, after=side if new else None)
    still = {
        one.oid
        for one in old
        if (twin := twins.get(one.oid)) is not None
        and twin.oid == one.oid
        and twin.filenode == one.filenode
        and not twin.written
        and one.oid not in written
    }
    before, after = _side(old, still), _side(new, still)
    shared = _shared(before.head, after.head)
    kept_before = {column.before.number for column in shared}
    kept_after = {column.after.number for column in shared}
    key, key_kept = _key(before.head, after.head, shared)
    return Table(
        before=before,
        after=after,
        shared=shared,
        key=key,
        key_kept=key_kept,
        dropped=tuple(one for one in before.head.columns if one.number not in kept_before),
        added=tuple(one for one in after.head.columns if one.number not in kept_after),
        touched=len(before.still) < len(before.leaves) or len(after.still) < len(after.leaves),
    )


def _side(relations: list[Relation], still: Container[int]) -> Side:
    leaves = tuple(one for one in relations if one.kind != PARTITIONED)
    heads = [one for one in relations if one.root == one.oid]
    # A partitioned table ahead of one that was detached from it, or is attached to it later.
    head = min(heads, key=lambda one: (one.kind != PARTITIONED, one.schema, one.name))
    return Side(head=head, leaves=leaves, still=tuple(one for one in leaves if one.oid in still))


def _shared(before: Relation, after: Relation) -> tuple[Shared, ...]:
    """The columns of both: by number in the same table, else by name, as when one was dropped and made anew."""
    numbers = {one.number: one for one in after.columns} if before.oid == after.oid else {}
    pairs = {one.number: numbers[one.number] for one in before.columns if one.number in numbers}
    taken = {one.number for one in pairs.values()}
    names = {one.name: one for one in after.columns if one.number not in taken}
    pairs |= {one.number: names[one.name] for one in before.columns if one.number not in pairs and one.name in names}
    return tuple(Shared(before=one, after=pairs[one.number]) for one in before.columns if one.number in pairs)


def _key(before: Relation, after: Relation, shared: tuple[Shared, ...]) -> tuple[tuple[Shared, ...], bool]:
    """The key to tell rows apart by, one that both sides have if there is any; and whether both have it."""
    by_number = {column.before.number: column for column in shared}
    keys = [tuple(by_number[one] for one in key) for key in before.keys if by_number.keys() >= set(key)]
    kept = {frozenset(key) for key in after.keys}
    both = [key for key in keys if frozenset(column.after.number for column in key) in kept]
    return (both or keys or [()])[0], bool(both)
