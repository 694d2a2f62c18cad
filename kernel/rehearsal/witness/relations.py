"""The relations of a clone by their OID, each under the name that it had when it was first seen."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.rehearsal.result import Relation
from kernel.rehearsal.witness.sight import FIRST_NORMAL_OID, KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kernel.database import Connection
    from kernel.rehearsal.witness.sight import Sight

_SIZES = f"""
SELECT pg_catalog.int8(oid), pg_catalog.pg_table_size(oid) FROM pg_catalog.pg_class
WHERE oid >= {FIRST_NORMAL_OID} AND relkind IN ('r', 'm', 'i', 't', 'S')
"""  # noqa: S608 - a constant
_BELONGING = frozenset({"index", "partitioned index", "toast table"})


class Relations:
    """What was there before the first migration, and what is `created` since."""

    def __init__(self, connection: Connection, before: Mapping[int, Sight]) -> None:
        sizes: dict[int, int] = dict(connection.execute(_SIZES.encode()).fetchall())
        self._known: dict[int, Relation] = {}
        self._unsettled: list[int] = []
        # The tables first: what belongs to one is told with the name of it.
        for sight in sorted(before.values(), key=lambda one: one.kind in _BELONGING):
            self._add(sight, created=False, size_bytes=sizes.get(sight.oid, 0), root=_root(sight, before))

    def meet(self, sights: Mapping[int, Sight]) -> None:
        """Take in what is new."""
        new = (sight for oid, sight in sights.items() if oid not in self._known and sight.name is not None)
        for sight in sorted(new, key=lambda one: one.kind in _BELONGING):
            self._add(sight, created=True)

    def get(self, oid: int) -> Relation | None:
        """None for what came and went within one statement: nobody else can have waited for it."""
        return self._known.get(oid)

    def settle(self) -> None:
        """A transaction has ended: what it made of indexes on tables that were there, everybody uses from now on."""
        for oid in self._unsettled:
            self._known[oid] = replace(self._known[oid], created=False)
        self._unsettled.clear()

    def named(self, oids: Iterable[int]) -> list[Relation]:
        """Those of them that are known."""
        return [self._known[oid] for oid in oids if oid in self._known]

    def _add(self, sight: Sight, *, created: bool, size_bytes: int = 0, root: str = "") -> None:
        table = self._known.get(sight.owner) if sight.kind in _BELONGING else None
        self._known[sight.oid] = Relation(
            oid=sight.oid,
            name=sight.name or "",
            kind=sight.kind or KINDS["r"],
            rows=max(0, round(sight.rows)),
            size_bytes=size_bytes,
            created=created,
            table=table.name if table else "",
            root=root,
        )
        if created and table and not table.created:
            self._unsettled.append(sight.oid)


def _root(sight: Sight, sights: Mapping[int, Sight]) -> str:
    """The topmost table of a family, "" of one that has no parent; of several parents the first counts."""
    top = sight
    while parent := sights.get(top.parent):
        top = parent
    return "" if top is sight or sight.kind in _BELONGING else top.name or ""
