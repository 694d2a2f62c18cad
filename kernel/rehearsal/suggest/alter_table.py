"""ALTER TABLE as a list of actions, each with its text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.lint.action import Action
from kernel.lint.actions import read_actions
from kernel.rehearsal.suggest.model import CannotRewrite, RewriteStep, read_quoted_name
from kernel.rehearsal.suggest.source import StatementText
from kernel.sql.reader import WordReader, read_words

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterTableAction:
    """An action from the word `begin` of its statement to the word before `end`; `action` is the linter's reading."""

    begin: int
    end: int
    action: Action


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterTable:
    """The statement, with its actions in the order in which PostgreSQL runs them.

    `table_sql` is the table as it is written, with ONLY; `table_name` is the key of the table in the catalog.
    """

    statement: StatementText
    table_sql: str
    table_name: str
    actions: tuple[AlterTableAction, ...]

    def action_reader(self, action: AlterTableAction) -> WordReader:
        """A reader of one action; its `index` counts the words of the statement."""
        reader = WordReader(self.statement.words[: action.end])
        reader.index = action.begin
        return reader

    def alter_sql(self, *actions: str) -> str:
        """ALTER TABLE with these actions."""
        return f"ALTER TABLE {self.table_sql} {', '.join(actions)};\n"

    def keep_actions(self, actions: Sequence[AlterTableAction]) -> list[RewriteStep]:
        """One statement with these actions as they are written; [] for none."""
        texts = [self.statement.text(action.begin, action.end) for action in actions]
        return [RewriteStep(sql=self.alter_sql(*texts))] if texts else []


def parse_alter_table(sql: bytes) -> AlterTable:
    """Parse ALTER TABLE. Raises CannotRewrite for any other statement, and for IF EXISTS."""
    statement = StatementText(sql)
    reader = statement.reader()
    if not reader.take("ALTER", "TABLE"):
        raise CannotRewrite("the statement is not ALTER TABLE")
    if reader.take("IF", "EXISTS"):
        raise CannotRewrite("with IF EXISTS it is not known whether the table exists")
    begin = reader.index
    reader.take("ONLY")
    name = read_quoted_name(reader)
    table_sql = statement.text(begin, reader.index)
    head = statement.words[: reader.index]
    reader.take("*")
    actions = []
    while reader.index < statement.end:
        start = reader.index
        reader.take_until(",", ";")
        # An action that no rule is about has no verb here.
        action = next(read_actions((*head, *statement.words[start : reader.index])), Action(verb=""))
        actions.append(AlterTableAction(begin=start, end=reader.index, action=action))
        reader.take(",")
    return AlterTable(
        statement=statement, table_sql=table_sql, table_name=name, actions=tuple(sorted(actions, key=_execution_pass))
    )


def _execution_pass(action: AlterTableAction) -> int:
    """PostgreSQL runs the actions in passes, whatever their order is.

    Source: AlterTablePass in PostgreSQL's source (src/backend/commands/tablecmds.c).
    """
    verb = action.action.verb
    return 0 if verb.startswith("drop ") else {"change type": 1, "add column": 2}.get(verb, 3)


def changed_table(sql: bytes) -> str:
    """The catalog key of the table that ALTER TABLE or CREATE INDEX is about; "" for other statements."""
    reader = WordReader(read_words(sql))
    if reader.take("ALTER", "TABLE"):
        reader.take("IF", "EXISTS")
    elif reader.key == "CREATE":
        reader.take_until("ON")
        reader.take("ON")
    else:
        return ""
    reader.take("ONLY")
    return read_quoted_name(reader)
