"""ALTER TABLE action by action: what is written of each, and the statement to write it in again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.lint.actions import read_actions
from kernel.rehearsal.suggest.model import CannotRewrite, RewriteStep, read_quoted_name
from kernel.rehearsal.suggest.source import StatementText
from kernel.sql.reader import WordReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.lint.action import Action
    from kernel.rehearsal.suggest.catalog import CatalogState, TableInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterTableAction:
    """An action from the word `begin` of its statement to the one ahead of `end`; `act` is how the rules see it."""

    begin: int
    end: int
    action: Action | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterTable:
    """The statement, its actions in the order in which they happen.

    `written` is the table as it stands there, ONLY included; `name` is as the facts have it.
    """

    statement: StatementText
    table_sql: str
    table_name: str
    actions: tuple[AlterTableAction, ...]

    def action_reader(self, action: AlterTableAction) -> WordReader:
        """A reader at the beginning of an action, which ends with it; its `at` counts from the statement's words."""
        reader = WordReader(self.statement.words[: action.end])
        reader.index = action.begin
        return reader

    def action_text(self, action: AlterTableAction) -> str:
        """The action as it is written."""
        return self.statement.text(action.begin, action.end)

    def alter_sql(self, *actions: str) -> str:
        """ALTER TABLE with these actions."""
        return f"ALTER TABLE {self.table_sql} {', '.join(actions)};\n"

    def table_info(self, ground: CatalogState) -> TableInfo:
        """What is known of the table. Raises Unsure."""
        return ground.table(self.table_name)


def parse_alter_table(sql: bytes) -> AlterTable:
    """ALTER TABLE taken apart. Raises Unsure for what is no plain list of actions."""
    cut = StatementText(sql)
    reader = cut.reader()
    if not reader.take("ALTER", "TABLE"):
        raise CannotRewrite("the statement is no ALTER TABLE")
    if reader.take("IF", "EXISTS"):
        raise CannotRewrite("with IF EXISTS it is not known whether there is anything to alter")
    begin = reader.index
    reader.take("ONLY")
    name = read_quoted_name(reader)
    written = cut.text(begin, reader.index)
    head = cut.words[: reader.index]
    reader.take("*")
    actions = []
    while reader.index < cut.end:
        start = reader.index
        reader.take_until(",", ";")
        acts = tuple(read_actions((*head, *cut.words[start : reader.index])))
        actions.append(AlterTableAction(begin=start, end=reader.index, action=acts[0] if acts else None))
        reader.take(",")
    return AlterTable(
        statement=cut, table_sql=written, table_name=name, actions=tuple(sorted(actions, key=_execution_pass))
    )


def _execution_pass(action: AlterTableAction) -> int:
    """When it happens: PostgreSQL goes through the actions in passes, whatever their order is.

    Source: AlterTablePass in PostgreSQL's source (src/backend/commands/tablecmds.c).
    """
    verb = action.action.verb if action.action else ""
    return 0 if verb.startswith("drop ") else {"change type": 1, "add column": 2}.get(verb, 3)


def keep_actions(altered: AlterTable, actions: list[AlterTableAction]) -> Iterator[RewriteStep]:
    """The actions that nothing is suggested for, in one statement; nothing for none."""
    if actions:
        yield RewriteStep(sql=altered.alter_sql(*(altered.action_text(one) for one in actions)))


def read_changed_tables(sql: bytes) -> Iterator[str]:
    """The table that ALTER TABLE or CREATE INDEX is about, as the facts have it; nothing for other statements."""
    reader = StatementText(sql).reader()
    if reader.take("ALTER", "TABLE"):
        reader.take("IF", "EXISTS")
        reader.take("ONLY")
        yield read_quoted_name(reader)
    elif reader.key == "CREATE":
        reader.take_until("ON")
        if reader.take("ON"):
            reader.take("ONLY")
            yield read_quoted_name(reader)
