"""What a statement does, as far as the rules ask: one act for each thing, three for ALTER TABLE with three actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernel.rehearsal.static.words import Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One thing that a statement does.

    `verb` names it in plain words, such as "create index"; `relation` is the table, view … that it is about; `name`
    the column, constraint, index … made or changed; `other` a second relation: the parent of a foreign key or a
    partition, the new name. `traits` are words that make a difference. `words` are what defines it: a column's type and
    constraints, a query. `columns` are those of a key or an index. `begin` is the byte of the statement to point at.
    """

    verb: str
    relation: str = ""
    begin: int = 0
    name: str = ""
    other: str = ""
    traits: frozenset[str] = frozenset()
    words: tuple[Word, ...] = ()
    columns: tuple[str, ...] = ()
