"""What is known where a statement stands: the database's facts, and what the file itself has added to them so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.suggest import names
from kernel.rehearsal.suggest.piece import Unsure, comment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel.rehearsal.static.act import Act
    from kernel.rehearsal.static.words import Reader
    from kernel.rehearsal.suggest.facts import Facts, Table


# Of these, what was known of a table's other columns still holds; and of those, nobody knows what they are about.
_UNDISTURBING = frozenset({"add column", "change type", "insert", "update", "delete", "select"})
_UNTOLD = frozenset({"do", "call", "drop index", "create function", "rename object"})


class Ground:
    """Facts that grow with each statement of the file. Names that were given are not given again."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._given: set[tuple[str, str]] = set()
        self._columns: dict[str, set[str]] = {}
        self._done: list[Act] = []

    @property
    def server_version(self) -> int:
        """As libpq counts: 170005."""
        return self._facts.server_version

    def table(self, written: str) -> Table:
        """The relation that a name leads to; `written` as `name` below gives it. Raises Unsure when none was there."""
        table = self._facts.tables.get(written)
        if table is None:
            raise Unsure(f"{comment(written)} is not there before the migration, so nothing is known of it")
        return table

    def plain_table(self, written: str, *, why: str) -> Table:
        """The same for a table that is neither partitioned nor inherits. Raises Unsure, which says why not."""
        table = self.table(written)
        if table.kind != "r":
            raise Unsure(f"{comment(table.quoted)} is no ordinary table, and {why}")
        return table

    def columns(self, table: Table) -> set[str]:
        """The names of its columns, those that the file has added included."""
        return {one.name for one in table.columns} | self._columns.get(table.quoted, set())

    def taken(self, table: Table) -> set[str]:
        """The names that nothing new in the table's schema can have."""
        return set(table.taken) | {name for schema, name in self._given if schema == table.schema}

    def default_name(self, table: Table, columns: Iterable[str], label: str) -> str:
        """The name that PostgreSQL would give now, not given again from here on."""
        name = names.chosen(table.name, columns, label, self.taken(table))
        self._given.add((table.schema, name))
        return name

    def name_beside(self, table: Table, name: str, label: str) -> str:
        """A free name for what is to take the place of something called `name`, not given again."""
        found = names.chosen("", (name,), label, self.taken(table))
        self._given.add((table.schema, found))
        return found

    def disturbed(self, table: Table) -> bool:
        """Whether what was done so far may have changed what hangs on the table's columns."""
        return any(
            act.verb not in _UNDISTURBING and (act.verb in _UNTOLD or act.relation.rpartition(".")[2] == table.name)
            for act in self._done
        )

    def learn(self, written: str, acts: Iterable[Act]) -> None:
        """Take in what a statement has done; `written` is the table that it adds something to, if any."""
        acts = tuple(acts)
        self._done += acts
        table = self._facts.tables.get(written)
        for act in acts if table else ():
            if act.verb == "add column":
                self._columns.setdefault(table.quoted if table else "", set()).add(act.name)
            elif act.verb == "create index" and act.name and table:
                self._given.add((table.schema, act.name.rpartition(".")[2]))


def name(reader: Reader) -> str:
    """The name at which a reader stands, quoted, as Source.written gives it; the reader goes past it."""
    parts: list[str] = []
    while reader.at < len(reader.words) and reader.words[reader.at].named:
        parts.append(names.quoted(reader.words[reader.at].text))
        reader.at += 1
        if not reader.take("."):
            break
    return ".".join(parts)
