"""NOT NULL without reading the table under a lock: a CHECK that is validated before proves it.

Source: PostgreSQL documentation, "ALTER TABLE", SET NOT NULL: no scan where a valid CHECK proves that no NULL exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.lint.action import read_key_columns
from kernel.rehearsal.suggest.indexes import unique_index_step
from kernel.rehearsal.suggest.model import CannotRewrite, RewriteStep, StatementRewrite, StepTransaction, quote_name

if TYPE_CHECKING:
    from kernel.rehearsal.suggest.alter_table import AlterTable, AlterTableAction
    from kernel.rehearsal.suggest.catalog import CatalogState, TableInfo
    from kernel.sql.reader import WordReader


def set_not_null(altered: AlterTable, action: AlterTableAction, ground: CatalogState) -> StatementRewrite:
    """ALTER COLUMN … SET NOT NULL in three files."""
    column = action.action.name if action.action else ""
    return StatementRewrite(steps=tuple(not_null_steps(altered, altered.table_info(ground), column, ground)))


def not_null_steps(altered: AlterTable, table: TableInfo, column: str, ground: CatalogState) -> list[RewriteStep]:
    """A CHECK that is not valid yet, its validation, NOT NULL, and an end to the CHECK."""
    check, quoted = quote_name(ground.reserve_default_name(table, (column,), "present")), quote_name(column)
    return [
        RewriteStep(
            sql=altered.alter_sql(f"ADD CONSTRAINT {check} CHECK ({quoted} IS NOT NULL) NOT VALID"),
            comment="No new NULL from here on; the rows that are there are checked in the next file.",
        ),
        validate_constraints_step(altered.table_sql, check),
        RewriteStep(
            sql=altered.alter_sql(f"ALTER COLUMN {quoted} SET NOT NULL")
            + altered.alter_sql(f"DROP CONSTRAINT {check}"),
            label="not_null",
            comment="The CHECK proves it: no row is read under this lock.",
        ),
    ]


def validate_constraints_step(table: str, *constraints: str) -> RewriteStep:
    """VALIDATE CONSTRAINT, in a transaction of its own: what is locked ahead of it would stay locked meanwhile."""
    actions = ", ".join(f"VALIDATE CONSTRAINT {one}" for one in constraints)
    return RewriteStep(
        sql=f"ALTER TABLE {table} {actions};\n",
        transaction=StepTransaction.SEPARATE,
        label="validate",
        comment="Every row is read, while others read and write (SHARE UPDATE EXCLUSIVE).",
    )


# Constraints on a table in use: added without looking at the rows, which are looked at afterwards under a weak lock.
#
# Source: PostgreSQL documentation, "ALTER TABLE", NOT VALID, VALIDATE CONSTRAINT, ADD table_constraint_using_index.


_NOT_VALID_COMMENT = "From here on no new row can violate it; those that are there are checked in the next file."
_POSTGRES_18 = 180000


def add_check(altered: AlterTable, action: AlterTableAction, ground: CatalogState) -> StatementRewrite:
    """ADD CHECK: NOT VALID, then VALIDATE CONSTRAINT."""
    table = altered.table_info(ground)
    reader = altered.action_reader(action)
    reader.take("ADD")
    name = _read_constraint_name(altered, reader)
    if not name:
        used = {
            word.text
            for _, word in altered.statement.column_words(ground.column_names(table), reader.index, action.end)
        }
        # The column, if there is only one: that is how PostgreSQL calls the constraint.
        name = quote_name(ground.reserve_default_name(table, used if len(used) == 1 else (), "check"))
    return _add_not_valid(altered, name, altered.statement.text(reader.index, action.end))


def add_foreign_key(altered: AlterTable, action: AlterTableAction, ground: CatalogState) -> StatementRewrite:
    """ADD FOREIGN KEY: NOT VALID, then VALIDATE CONSTRAINT, which locks the parent for nobody but other DDL."""
    table = altered.table_info(ground)
    if table.kind == "p" and ground.server_version < _POSTGRES_18:
        raise CannotRewrite("a foreign key of a partitioned table cannot be added NOT VALID before PostgreSQL 18")
    reader = altered.action_reader(action)
    reader.take("ADD")
    name = _read_constraint_name(altered, reader)
    if not name:
        columns = action.action.columns if action.action else ()
        name = quote_name(ground.reserve_default_name(table, columns, "fkey"))
    return _add_not_valid(altered, name, altered.statement.text(reader.index, action.end))


def _add_not_valid(altered: AlterTable, name: str, definition: str) -> StatementRewrite:
    """The two steps of a constraint that PostgreSQL can add NOT VALID."""
    return StatementRewrite(
        steps=(
            RewriteStep(
                sql=altered.alter_sql(f"ADD CONSTRAINT {name} {definition} NOT VALID"), comment=_NOT_VALID_COMMENT
            ),
            validate_constraints_step(altered.table_sql, name),
        )
    )


def add_unique(altered: AlterTable, action: AlterTableAction, ground: CatalogState) -> StatementRewrite:
    """ADD UNIQUE or PRIMARY KEY: the index first, concurrently, then the constraint that takes it over."""
    table = altered.table_info(ground)
    reader = altered.action_reader(action)
    reader.take("ADD")
    name = _read_constraint_name(altered, reader)
    primary = bool(reader.take("PRIMARY", "KEY"))
    if not primary:
        reader.take("UNIQUE")
    apart = " NULLS NOT DISTINCT" if reader.take("NULLS", "NOT", "DISTINCT") else ""
    reader.take("NULLS", "DISTINCT")
    begin = reader.index
    reader.take_group()
    keys, options, rest = altered.statement.text(begin, reader.index), "", ""
    columns = action.action.columns if action.action else ()
    if not all(columns) or not columns:
        raise CannotRewrite("the key is written in a way that is not known here")
    named, include = columns, ""  # PostgreSQL names the index by all that it stores
    while reader.index < action.end:
        begin = reader.index
        if reader.take("INCLUDE"):
            named += read_key_columns(reader.take_group())
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
        name = quote_name(ground.reserve_default_name(table, () if primary else named, "pkey" if primary else "key"))
    steps: list[RewriteStep] = []
    if primary:
        steps += _primary_key_not_null_steps(altered, table, columns, ground)
    steps.append(unique_index_step(name, table, altered.table_sql, f"{keys}{include}{apart}{options}"))
    kind = "PRIMARY KEY" if primary else "UNIQUE"
    takes = altered.alter_sql(f"ADD CONSTRAINT {name} {kind} USING INDEX {name}{rest}")
    steps.append(
        RewriteStep(sql=takes, label="constraint", comment="The index is there: nothing is read under this lock.")
    )
    return StatementRewrite(steps=tuple(steps))


def _primary_key_not_null_steps(
    altered: AlterTable, table: TableInfo, columns: tuple[str, ...], ground: CatalogState
) -> list[RewriteStep]:
    """The columns of a primary key that are not NOT NULL yet: USING INDEX would read every row to find out."""
    found: list[RewriteStep] = []
    for one in columns:
        known = table.column(one)
        if known is None or not known.required:
            found += not_null_steps(altered, table, one, ground)
    return found


def _read_constraint_name(altered: AlterTable, reader: WordReader) -> str:
    """The name of the constraint as it is written, "" if it has none; the reader goes past it."""
    if not reader.take("CONSTRAINT"):
        return ""
    begin = reader.index
    reader.index += 1
    return altered.statement.text(begin, reader.index)
