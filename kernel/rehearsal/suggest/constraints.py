"""Constraints on a table in use: added NOT VALID and validated under a weak lock, or built on a concurrent index.

Source: PostgreSQL documentation, "ALTER TABLE": NOT VALID, VALIDATE CONSTRAINT, ADD table_constraint_using_index, and
SET NOT NULL, which reads no row where a valid CHECK proves that no NULL exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.lint.action import read_key_columns
from kernel.rehearsal.suggest.indexes import unique_index_step
from kernel.rehearsal.suggest.model import CannotRewrite, RewriteStep, StepTransaction, quote_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.rehearsal.alter_table import AlterTable, AlterTableAction
    from kernel.rehearsal.suggest.catalog import TableCatalog, TableInfo
    from kernel.sql.reader import Word, WordReader


_POSTGRES_18 = 180000


def set_not_null(altered: AlterTable, action: AlterTableAction, catalog: TableCatalog) -> list[RewriteStep]:
    """Rewrite ALTER COLUMN … SET NOT NULL: three files."""
    return not_null_steps(altered, catalog.table(altered.quoted_name), action.action.name, catalog)


def not_null_steps(altered: AlterTable, table: TableInfo, column: str, catalog: TableCatalog) -> list[RewriteStep]:
    """Add a CHECK NOT VALID, validate it, set NOT NULL, drop the CHECK."""
    check, quoted = quote_name(catalog.reserve_default_name(table, (column,), "present")), quote_name(column)
    return [
        *_not_valid_steps(altered, check, f"CHECK ({quoted} IS NOT NULL)"),
        RewriteStep(
            sql=altered.alter_sql(f"ALTER COLUMN {quoted} SET NOT NULL")
            + altered.alter_sql(f"DROP CONSTRAINT {check}"),
            label="not_null",
            comment="The CHECK proves it: no row is read under this lock.",
        ),
    ]


def add_check(altered: AlterTable, action: AlterTableAction, catalog: TableCatalog) -> list[RewriteStep]:
    """Rewrite ADD CHECK: NOT VALID, then VALIDATE CONSTRAINT."""
    table = catalog.table(altered.quoted_name)
    reader = altered.action_reader(action)
    name = _read_constraint_name(altered, reader)
    if not name:
        used = _column_names_in(reader.words[reader.index :], catalog.column_names(table))
        # PostgreSQL uses the name of the column if there is only one.
        name = quote_name(catalog.reserve_default_name(table, used if len(used) == 1 else (), "check"))
    return _not_valid_steps(altered, name, altered.statement.text(reader.index, action.end))


def add_foreign_key(altered: AlterTable, action: AlterTableAction, catalog: TableCatalog) -> list[RewriteStep]:
    """Rewrite ADD FOREIGN KEY: NOT VALID, then VALIDATE CONSTRAINT, which blocks only DDL on the parent."""
    table = catalog.table(altered.quoted_name)
    if table.kind == "p" and catalog.server_version < _POSTGRES_18:
        raise CannotRewrite("a foreign key of a partitioned table cannot be added NOT VALID before PostgreSQL 18")
    reader = altered.action_reader(action)
    name = _read_constraint_name(altered, reader)
    if not name:
        name = quote_name(catalog.reserve_default_name(table, action.action.columns, "fkey"))
    return _not_valid_steps(altered, name, altered.statement.text(reader.index, action.end))


def add_unique(altered: AlterTable, action: AlterTableAction, catalog: TableCatalog) -> list[RewriteStep]:
    """Rewrite ADD UNIQUE or PRIMARY KEY: build the index concurrently, then add the constraint USING INDEX."""
    table = catalog.table(altered.quoted_name)
    reader = altered.action_reader(action)
    name = _read_constraint_name(altered, reader)
    primary = reader.take("PRIMARY", "KEY")
    reader.take("UNIQUE")
    nulls = " NULLS NOT DISTINCT" if reader.take("NULLS", "NOT", "DISTINCT") else ""
    reader.take("NULLS", "DISTINCT")
    begin = reader.index
    reader.take_group()
    keys, options, rest = altered.statement.text(begin, reader.index), "", ""
    columns = action.action.columns
    if not all(columns) or not columns:
        raise CannotRewrite("the key has a form that cannot be rewritten")
    stored, include = columns, ""  # PostgreSQL names the index after all columns that it stores
    while reader.index < action.end:
        begin = reader.index
        if reader.take("INCLUDE"):
            stored += read_key_columns(reader.take_group())
            include = f" {altered.statement.text(begin, reader.index)}"
        elif reader.take("WITH"):
            reader.take_group()
            options += f" {altered.statement.text(begin, reader.index)}"
        elif reader.take("USING", "INDEX", "TABLESPACE"):
            reader.take_name()
            options += f" TABLESPACE {altered.statement.text(reader.index - 1, reader.index)}"
        else:
            reader.index = action.end
            rest = f" {altered.statement.text(begin, action.end)}"
    if not name:
        name = quote_name(catalog.reserve_default_name(table, () if primary else stored, "pkey" if primary else "key"))
    steps: list[RewriteStep] = []
    for column in columns if primary else ():
        if not table.columns.get(column):  # USING INDEX would read every row to prove NOT NULL
            steps += not_null_steps(altered, table, column, catalog)
    kind = "PRIMARY KEY" if primary else "UNIQUE"
    return [
        *steps,
        unique_index_step(name, table, altered.table, f"{keys}{include}{nulls}{options}"),
        RewriteStep(
            sql=altered.alter_sql(f"ADD CONSTRAINT {name} {kind} USING INDEX {name}{rest}"),
            label="constraint",
            comment="The index exists already: no row is read under this lock.",
        ),
    ]


def _not_valid_steps(altered: AlterTable, name: str, definition: str) -> list[RewriteStep]:
    """Add a constraint NOT VALID, then validate it in another transaction, which holds no stronger lock meanwhile."""
    return [
        RewriteStep(
            sql=altered.alter_sql(f"ADD CONSTRAINT {name} {definition} NOT VALID"),
            comment="New rows are checked from here on; existing rows in the next file.",
        ),
        RewriteStep(
            sql=altered.alter_sql(f"VALIDATE CONSTRAINT {name}"),
            transaction=StepTransaction.SEPARATE,
            label="validate",
            comment="Every row is read while other sessions read and write (SHARE UPDATE EXCLUSIVE).",
        ),
    ]


def _read_constraint_name(altered: AlterTable, reader: WordReader) -> str:
    """Read ADD and the name of the constraint as it is written, "" if it has none."""
    reader.take("ADD")
    if not reader.take("CONSTRAINT"):
        return ""
    reader.index += 1
    return altered.statement.text(reader.index - 1, reader.index)


def _column_names_in(words: Sequence[Word], columns: set[str]) -> set[str]:
    """The columns that an expression mentions; functions, types and parts of longer names do not count."""
    names = set()
    for place, word in enumerate(words):
        before = words[place - 1].key if place else ""
        after = words[place + 1].key if place + 1 < len(words) else ""
        if word.is_name and word.text in columns and after not in ("(", ".") and before not in (":", "AS", "."):
            names.add(word.text)
    return names
