"""Statements as words with the text between them, and ALTER TABLE as a list of actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from kernel.lint.action import Action
from kernel.lint.actions import read_actions
from kernel.sql.reader import Word, WordReader, read_words

if TYPE_CHECKING:
    from collections.abc import Sequence


class StatementText:
    """The words of a statement, and the text between them; one that is not `complete` has more words than are read."""

    def __init__(self, text: bytes) -> None:
        self.sql = text
        self.words = read_words(text)
        self.complete = not (self.words and read_words(text[self.words[-1].end :]))

    def reader(self) -> WordReader:
        """A reader at the first word; the methods here count words as its `index` does."""
        return WordReader(self.words)

    @property
    def end(self) -> int:
        """The number of words without the semicolon."""
        return len(self.words) - (bool(self.words) and self.words[-1].key == ";")

    def text(self, begin: int, end: int | None = None) -> str:
        """The text from the word `begin` to the one before `end`, without comments after it."""
        end = self.end if end is None else end
        if begin >= end:
            return ""
        return self.sql[self.words[begin].begin : self.words[end - 1].end].decode(errors="replace").lstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterTableAction:
    """An action from the word `begin` of its statement to the word before `end`; `action` is the linter's reading.

    An action that no rule is about has no verb.
    """

    begin: int
    end: int
    action: Action


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterTable:
    """The statement, with its actions as they are written. `name` are the words of the table's name."""

    statement: StatementText
    name: Sequence[Word]
    only: bool
    if_exists: bool
    actions: tuple[AlterTableAction, ...]

    def words_of(self, action: AlterTableAction) -> Sequence[Word]:
        """The words of an action."""
        return self.statement.words[action.begin : action.end]

    def written(self, words: Sequence[Word]) -> str:
        """The text from the first of these words to the last, "" for none."""
        return self.statement.sql[words[0].begin : words[-1].end].decode(errors="replace") if words else ""

    @property
    def table(self) -> str:
        """The table as it is written, without ONLY."""
        return self.written(self.name)

    @property
    def quoted_name(self) -> str:
        """The name with each part quoted."""
        return ".".join(sql.Identifier(word.text).as_string() for word in self.name if word.is_name)

    def action_reader(self, action: AlterTableAction) -> WordReader:
        """A reader of one action; its `index` counts the words of the statement."""
        reader = WordReader(self.statement.words[: action.end])
        reader.index = action.begin
        return reader

    def alter_sql(self, *actions: str) -> str:
        """ALTER TABLE with these actions."""
        return f"ALTER TABLE {'ONLY ' if self.only else ''}{self.table} {', '.join(actions)};\n"


def parse_alter_table(text: bytes) -> AlterTable | None:
    """Parse ALTER TABLE; None for any other statement."""
    statement = StatementText(text)
    reader = statement.reader()
    if not reader.take("ALTER", "TABLE"):
        return None
    if_exists, only = reader.take("IF", "EXISTS"), reader.take("ONLY")
    begin = reader.index
    if not reader.take_name():
        return None
    head = statement.words[: reader.index]
    reader.take("*")
    actions = []
    while reader.index < statement.end:
        start = reader.index
        reader.take_until(",", ";")
        action = next(read_actions((*head, *statement.words[start : reader.index])), Action(verb=""))
        actions.append(AlterTableAction(begin=start, end=reader.index, action=action))
        reader.take(",")
    return AlterTable(statement=statement, name=head[begin:], only=only, if_exists=if_exists, actions=tuple(actions))
