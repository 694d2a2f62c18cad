"""Filling a column in batches: a DO block that commits after each stretch of the table's pages.

By ctid and not by key, because every table has one, whatever its key is, and because what was there when it began lies
within the pages of then: what is written later has been filled by the default or the trigger. Such a stretch is read
by itself since PostgreSQL 14 (release notes: "Allow TID range scans"). Rows that are filled are passed over, so that
an interrupted block can run again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.lint.action import read_column_definition
from kernel.rehearsal.suggest.constraints import not_null_steps
from kernel.rehearsal.suggest.model import (
    CannotRewrite,
    RewriteStep,
    StatementRewrite,
    choose_dollar_quote,
    comment_text,
    quote_literal,
    quote_name,
    step_outside_transaction,
)

if TYPE_CHECKING:
    from kernel.rehearsal.suggest.alter_table import AlterTable, AlterTableAction
    from kernel.rehearsal.suggest.catalog import CatalogState, TableInfo


_POSTGRES_14 = 140000
_PAGES_PER_BATCH = 512  # 4 MB of rows locked at a time, and as much WAL at least before others get a turn
_BACKFILL_COMMENT = (
    "Batch by batch, each committed: rows are locked for a moment and the table never. By stretches of pages, since "
    "every table has them, whatever its key is; rows written meanwhile are filled already. Safe to run again."
)


def require_backfill_possible(table: TableInfo, ground: CatalogState) -> None:
    """Raise Unsure where an UPDATE of every row would do more than fill a column, or cannot be had in batches."""
    if ground.server_version < _POSTGRES_14:
        raise CannotRewrite("before PostgreSQL 14 a stretch of a table's pages cannot be read by itself")
    if table.has_inheritance:
        raise CannotRewrite(
            f"{comment_text(table.quoted)} has partitions, parents or children, whose rows a batch would mix up"
        )
    if table.update_triggers:
        raise CannotRewrite(
            f"the backfill would fire the trigger {comment_text(table.update_triggers[0])} for every row"
        )
    if table.has_rules:
        raise CannotRewrite(f"{comment_text(table.quoted)} has rules, which would rewrite the backfill")


def backfill_step(table: TableInfo, assignment: str, condition: str, *, also: str = "") -> RewriteStep:
    """The block: UPDATE … SET `assignment` WHERE `condition`, and the statement `also` behind it."""
    tag = choose_dollar_quote(f"{table.quoted}{assignment}{condition}")
    sql = f"""\
DO {tag}
DECLARE
    stretch CONSTANT bigint := {_PAGES_PER_BATCH};
    pages CONSTANT bigint := pg_relation_size({quote_literal(table.quoted)}::regclass)
        / current_setting('block_size')::bigint;
    page bigint := 0;
BEGIN
    WHILE page <= pages LOOP
        UPDATE {table.quoted} SET {assignment}
        WHERE ctid >= format('(%s,0)', page)::tid AND ctid < format('(%s,0)', page + stretch)::tid
            AND {condition};
        COMMIT;
        page := page + stretch;
    END LOOP;
END
{tag};
"""  # noqa: S608 - a file to be read by people, and run by them
    return step_outside_transaction(sql + also, label="backfill", says=_BACKFILL_COMMENT)


# A column whose default is another for every row: added empty, filled in batches.
#
# Source: PostgreSQL documentation, "ALTER TABLE", Notes: a volatile default rewrites the table and its indexes.


_SUPPORTED_CLAUSES = frozenset({"default", "not null"})
_CLAUSE_KEYWORDS = ("NOT", "NULL", "DEFAULT", "COLLATE", "STORAGE", "COMPRESSION", "CONSTRAINT")


def add_column_with_default(altered: AlterTable, action: AlterTableAction, ground: CatalogState) -> StatementRewrite:
    """ADD COLUMN with a volatile default: the column, its default, the backfill, NOT NULL if it was asked for."""
    table = ground.ordinary_table(altered.table_name, why="its rows cannot be filled in batches")
    act = action.action
    if act is None or read_column_definition(act.words).clauses - _SUPPORTED_CLAUSES:
        raise CannotRewrite("the new column has constraints besides NOT NULL; add those in files of their own first")
    require_backfill_possible(table, ground)
    if table.column(act.name):
        raise CannotRewrite("the column is there before the migration")
    definition, default, is_required = _split_definition(altered, action)
    quoted = quote_name(act.name)
    steps = [
        RewriteStep(
            sql=altered.alter_sql(definition) + altered.alter_sql(f"ALTER COLUMN {quoted} SET DEFAULT {default}"),
            comment="Without its default the column is added at once; the default holds for new rows.",
        ),
        backfill_step(table, f"{quoted} = DEFAULT", f"{quoted} IS NULL"),
    ]
    if is_required:
        steps += not_null_steps(altered, table, act.name, ground)
    return StatementRewrite(steps=tuple(steps), nondeterministic_columns=((table.quoted, act.name),))


def _split_definition(altered: AlterTable, action: AlterTableAction) -> tuple[str, str, bool]:
    """ADD COLUMN without default and NOT NULL, the default, and whether NULL is ruled out."""
    reader = altered.action_reader(action)
    kept, default, is_required, begin = [], "", False, reader.index
    reader.take_until(*_CLAUSE_KEYWORDS)
    kept.append(altered.statement.text(begin, reader.index))
    while reader.index < action.end:
        begin = reader.index
        if reader.take("DEFAULT"):
            reader.take_until(*_CLAUSE_KEYWORDS)
            default = altered.statement.text(begin + 1, reader.index)
        elif reader.take("NOT", "NULL"):
            is_required = True
        elif reader.take("CONSTRAINT"):
            raise CannotRewrite("the new column has a constraint with a name")
        else:
            reader.index += 1
            reader.take_until(*_CLAUSE_KEYWORDS)
            kept.append(altered.statement.text(begin, reader.index))
    return " ".join(kept), default, is_required
