"""What the files up to a statement tell of the schema: types, indexes, constraints, default partitions.

Nothing here is certain, since a database may hold what no file made; so it only ever answers what is known.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from kernel.rehearsal.static import columns
from kernel.rehearsal.static.words import has

if TYPE_CHECKING:
    from kernel.rehearsal.static.act import Act


class Knowledge:
    """Learns from acts in the order in which they are run."""

    def __init__(self) -> None:
        self.types: dict[tuple[str, str], str] = {}
        self.indexes: defaultdict[str, list[tuple[str, ...]]] = defaultdict(list)
        self.default_partitions: dict[str, str] = {}
        self.validated: set[tuple[str, str]] = set()
        """(table, constraint) of what VALIDATE CONSTRAINT named."""
        self._checks: dict[tuple[str, str], frozenset[str]] = {}  # the columns that a CHECK rules NULL out for
        self._valid: set[tuple[str, str]] = set()

    def learn(self, act: Act) -> None:
        """Take an act into account."""
        table = act.relation
        match act.verb:
            case "new column" | "add column":
                column = columns.column(act.words)
                self.types[table, act.name] = column.type
                if column.clauses & {"primary key", "unique"}:
                    self.indexes[table].append((act.name,))
            case "change type":
                self.types[table, act.name] = columns.column(act.words).type
            case "create index" | "add unique" | "add primary key":
                self.indexes[table].append(act.columns)
            case "create table" if "default partition" in act.traits:
                self.default_partitions[act.other] = table
            case "add check":
                self._checks[table, act.name] = frozenset(_never_null(act))
                if "not valid" not in act.traits:
                    self._valid.add((table, act.name))
            case "validate":
                self.validated.add((table, act.name))
                self._valid.add((table, act.name))
            case "rename table":
                self._rename(table, act.other)

    def _rename(self, old: str, new: str) -> None:
        self.indexes[new] = self.indexes.pop(old, [])
        self.types |= {(new, column): kind for (table, column), kind in self.types.items() if table == old}

    def valid(self, table: str, constraint: str) -> bool:
        """Whether a constraint is known to hold for every row."""
        return (table, constraint) in self._valid

    def proven(self, table: str, column: str) -> bool:
        """Whether a validated CHECK rules NULL out.

        A constraint whose CHECK no file shows counts when its name tells of the column.
        """
        return any(
            column in self._checks[key] if key in self._checks else _tells_of(key[1], column)
            for key in self._valid
            if key[0] == table
        )

    def bounded(self, table: str) -> bool:
        """Whether a table has a validated CHECK, which may be that of its bounds as a partition."""
        return any(key[0] == table for key in self._valid)

    def indexed(self, table: str, wanted: tuple[str, ...]) -> bool:
        """Whether an index begins with these columns, in any order."""
        return any(set(found[: len(wanted)]) == set(wanted) for found in self.indexes[table])


def _tells_of(constraint: str, column: str) -> bool:
    return column in constraint


def _never_null(act: Act) -> list[str]:
    """The columns of `CHECK (a IS NOT NULL AND b IS NOT NULL)`; none where an OR is."""
    if has(act.words, "OR"):
        return []
    found = []
    for at, word in enumerate(act.words[:-3]):
        if [one.key for one in act.words[at + 1 : at + 4]] == ["IS", "NOT", "NULL"]:
            found.append(word.text)
    return found
