"""ALTER TABLE action by action: what is written of each, and the statement to write it in again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.rehearsal.static import statement
from kernel.rehearsal.static.words import Reader
from kernel.rehearsal.suggest import ground as ground_
from kernel.rehearsal.suggest.cut import Cut
from kernel.rehearsal.suggest.piece import Piece, Unsure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.rehearsal.static.act import Act
    from kernel.rehearsal.suggest.facts import Table
    from kernel.rehearsal.suggest.ground import Ground


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """An action from the word `begin` of its statement to the one ahead of `end`; `act` is how the rules see it."""

    begin: int
    end: int
    act: Act | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Altered:
    """The statement, its actions in the order in which they happen.

    `written` is the table as it stands there, ONLY included; `name` is as the facts have it.
    """

    cut: Cut
    written: str
    name: str
    actions: tuple[Action, ...]

    def reader(self, action: Action) -> Reader:
        """A reader at the beginning of an action, which ends with it; its `at` counts from the statement's words."""
        reader = Reader(self.cut.words[: action.end])
        reader.at = action.begin
        return reader

    def text(self, action: Action) -> str:
        """The action as it is written."""
        return self.cut.text(action.begin, action.end)

    def alter(self, *actions: str) -> str:
        """ALTER TABLE with these actions."""
        return f"ALTER TABLE {self.written} {', '.join(actions)};\n"

    def table(self, ground: Ground) -> Table:
        """What is known of the table. Raises Unsure."""
        return ground.table(self.name)


def read(sql: bytes) -> Altered:
    """ALTER TABLE taken apart. Raises Unsure for what is no plain list of actions."""
    cut = Cut(sql)
    reader = cut.reader()
    if not reader.take("ALTER", "TABLE"):
        raise Unsure("the statement is no ALTER TABLE")
    if reader.take("IF", "EXISTS"):
        raise Unsure("with IF EXISTS it is not known whether there is anything to alter")
    begin = reader.at
    reader.take("ONLY")
    name = ground_.name(reader)
    written = cut.text(begin, reader.at)
    head = cut.words[: reader.at]
    reader.take("*")
    actions = []
    while reader.at < cut.end:
        start = reader.at
        reader.until(",", ";")
        acts = tuple(statement.acts((*head, *cut.words[start : reader.at])))
        actions.append(Action(begin=start, end=reader.at, act=acts[0] if acts else None))
        reader.take(",")
    return Altered(cut=cut, written=written, name=name, actions=tuple(sorted(actions, key=_pass)))


def _pass(action: Action) -> int:
    """When it happens: PostgreSQL goes through the actions in passes, whatever their order is.

    Source: AlterTablePass in PostgreSQL's source (src/backend/commands/tablecmds.c).
    """
    verb = action.act.verb if action.act else ""
    return 0 if verb.startswith("drop ") else {"change type": 1, "add column": 2}.get(verb, 3)


def plain(altered: Altered, actions: list[Action]) -> Iterator[Piece]:
    """The actions that nothing is suggested for, in one statement; nothing for none."""
    if actions:
        yield Piece(sql=altered.alter(*(altered.text(one) for one in actions)))


def names(sql: bytes) -> Iterator[str]:
    """The table that ALTER TABLE or CREATE INDEX is about, as the facts have it; nothing for other statements."""
    reader = Cut(sql).reader()
    if reader.take("ALTER", "TABLE"):
        reader.take("IF", "EXISTS")
        reader.take("ONLY")
        yield ground_.name(reader)
    elif reader.key == "CREATE":
        reader.until("ON")
        if reader.take("ON"):
            reader.take("ONLY")
            yield ground_.name(reader)
