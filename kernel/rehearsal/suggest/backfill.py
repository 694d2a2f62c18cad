"""ADD COLUMN with a volatile default: added without it, then filled in batches.

Source: PostgreSQL documentation, "ALTER TABLE", Notes: a volatile default rewrites the table and its indexes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from psycopg import sql

from kernel.lint.action import read_column_definition
from kernel.rehearsal.suggest.constraints import not_null_steps
from kernel.rehearsal.suggest.indexes import concurrent_step
from kernel.rehearsal.suggest.model import CannotRewrite, RewriteStep, choose_dollar_quote, comment_text, quote_name

if TYPE_CHECKING:
    from kernel.rehearsal.alter_table import AlterTable, AlterTableAction
    from kernel.rehearsal.suggest.catalog import TableCatalog, TableInfo


_POSTGRES_14 = 140000
_PAGES_PER_BATCH = 512  # 4 MB of rows locked at a time
_SUPPORTED_CLAUSES = frozenset({"default", "not null"})
_CLAUSE_KEYWORDS = ("NOT", "NULL", "DEFAULT", "COLLATE", "STORAGE", "COMPRESSION", "CONSTRAINT")


def add_column_with_default(altered: AlterTable, action: AlterTableAction, catalog: TableCatalog) -> list[RewriteStep]:
    """Rewrite ADD COLUMN: the column, its default, the backfill, and NOT NULL if it was declared."""
    table, column = catalog.table(altered.quoted_name), action.action
    if read_column_definition(column.words).clauses - _SUPPORTED_CLAUSES:
        raise CannotRewrite("the new column has constraints other than NOT NULL; add them in later files")
    _require_backfill_possible(table, catalog)
    if column.name in table.columns:
        raise CannotRewrite("the column exists before the migration")
    definition, default, is_required = _split_definition(altered, action)
    quoted = quote_name(column.name)
    steps = [
        RewriteStep(
            sql=altered.alter_sql(definition) + altered.alter_sql(f"ALTER COLUMN {quoted} SET DEFAULT {default}"),
            comment="Without its default the column is added at once; the default holds for new rows.",
        ),
        replace(
            _backfill_step(table, f"{quoted} = DEFAULT", f"{quoted} IS NULL"),
            nondeterministic_columns=((table.quoted, column.name),),
        ),
    ]
    return [*steps, *(not_null_steps(altered, table, column.name, catalog) if is_required else ())]


def _require_backfill_possible(table: TableInfo, catalog: TableCatalog) -> None:
    """Raise CannotRewrite where an UPDATE of every row would do more than fill a column, or cannot run in batches."""
    if catalog.server_version < _POSTGRES_14:
        raise CannotRewrite("before PostgreSQL 14 a range of a table's pages cannot be read alone")
    if table.kind != "r":
        raise CannotRewrite(f"{comment_text(table.quoted)} is not an ordinary table, and cannot be filled in batches")
    if table.has_inheritance:
        raise CannotRewrite(f"{comment_text(table.quoted)} has partitions, parents or children, and needs a batch each")
    if table.update_triggers:
        raise CannotRewrite(
            f"the backfill would fire the trigger {comment_text(table.update_triggers[0])} for every row"
        )
    if table.has_rules:
        raise CannotRewrite(f"{comment_text(table.quoted)} has rules, which would rewrite the backfill")


def _backfill_step(table: TableInfo, assignment: str, condition: str) -> RewriteStep:
    """A DO block that commits after each range of pages.

    It goes by ctid because every table has one, whatever its key is, and because rows that are written while it runs
    have their value already. A TID range scan reads such a range alone since PostgreSQL 14 (release notes: "Allow TID
    range scans"). Rows that have a value are skipped, so that an interrupted block can run again.
    """
    tag = choose_dollar_quote(f"{table.quoted}{assignment}{condition}")
    block = f"""\
DO {tag}
DECLARE
    batch CONSTANT bigint := {_PAGES_PER_BATCH};
    pages CONSTANT bigint := pg_relation_size({sql.Literal(table.quoted).as_string(None)}::regclass)
        / current_setting('block_size')::bigint;
    page bigint := 0;
BEGIN
    WHILE page <= pages LOOP
        UPDATE {table.quoted} SET {assignment}
        WHERE ctid >= format('(%s,0)', page)::tid AND ctid < format('(%s,0)', page + batch)::tid
            AND {condition};
        COMMIT;
        page := page + batch;
    END LOOP;
END
{tag};
"""  # noqa: S608 - names are quoted by the server; the file is shown to the user and run on a clone
    comment = (
        "Filled in batches of pages, each committed: only the rows of a batch are locked, and only while it runs. "
        "Safe to run again."
    )
    return concurrent_step(block, label="backfill", comment=comment)


def _split_definition(altered: AlterTable, action: AlterTableAction) -> tuple[str, str, bool]:
    """ADD COLUMN without DEFAULT and NOT NULL, the default, and whether NOT NULL was declared."""
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
            raise CannotRewrite("the new column has a named constraint")
        else:
            reader.index += 1
            reader.take_until(*_CLAUSE_KEYWORDS)
            kept.append(altered.statement.text(begin, reader.index))
    return " ".join(kept), default, is_required
