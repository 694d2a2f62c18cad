"""A schema as a value: every object of it, by name, with all that a migration can make different about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

Fact = str | tuple[str, ...] | None


class Thing(NamedTuple):
    """An object of a database; a tuple, since large schemas have tens of thousands of them.

    `key` is its catalog and OID, which copies made by TEMPLATE keep. `of` is the key of what it is a part of: the table
    of a column, an index, a trigger; "" for what stands by itself. `via` is the key of what it comes with: the index of
    a constraint with that constraint, a partition's column with the column of the partitioned table. `place` orders the
    columns of a table. `schema` and `bare` are raw names, `name` is qualified and quoted by the server.
    The facts are what `labels` call them, and None where everything is as it is by default.
    """

    key: str
    kind: str
    of: str
    via: str
    place: int
    schema: str
    bare: str
    name: str
    labels: tuple[str, ...]
    facts: tuple[Fact, ...]

    @property
    def identity(self) -> tuple[str, str]:
        """What it is told apart by when OIDs mean nothing."""
        return self.kind, self.name

    def fact(self, label: str) -> Fact:
        """One of its facts; None also where its kind knows nothing of the sort."""
        return self.facts[self.labels.index(label)] if label in self.labels else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """All objects of a database but the system's, those of extensions, and those that were left out."""

    things: tuple[Thing, ...]

    def orders(self) -> dict[str, tuple[str, ...]]:
        """The columns of each table, view and composite type by its key, in their order."""
        found: dict[str, list[tuple[int, str]]] = {}
        for thing in self.things:
            if thing.place:
                found.setdefault(thing.of, []).append((thing.place, thing.bare))
        return {key: tuple(bare for _, bare in sorted(columns)) for key, columns in found.items()}
