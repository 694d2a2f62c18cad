"""What hangs on a column and goes over to the one that takes its place: NOT NULL, default, indexes, keys, checks.

What has to be built is built ahead of the swap, concurrently or NOT VALID and then validated. The swap itself takes
the old ones down and gives the new ones their names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel.rehearsal.result import Leftover
from kernel.rehearsal.suggest.backfill import backfill_step, require_backfill_possible
from kernel.rehearsal.suggest.constraints import validate_constraints_step
from kernel.rehearsal.suggest.model import (
    CannotRewrite,
    RewriteStep,
    StatementRewrite,
    choose_dollar_quote,
    choose_name,
    comment_text,
    quote_name,
    step_outside_transaction,
    unquote_name,
)
from kernel.rehearsal.suggest.source import StatementText

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.rehearsal.suggest.alter_table import AlterTable, AlterTableAction
    from kernel.rehearsal.suggest.catalog import CatalogState, ColumnInfo, ConstraintInfo, IndexInfo, TableInfo


_KEY_KEYWORDS = {"p": "PRIMARY KEY", "u": "UNIQUE"}


@dataclass(slots=True, kw_only=True)
class DependentSteps:
    """What a swap takes, as statements but for `freed`, `parents` and `built`.

    `checks` go with the new column: a row that is written meanwhile has its value by then. `parents` are foreign keys,
    which lock another table too, each to be added by itself; `built` are indexes. `validated` names the constraints to
    validate ahead of the swap. In it, `taken_down` are about the old column, while it has its name; `freed` is what it
    must not have any more; `put_up` are about the new one, under the old name.
    """

    checks: list[str] = field(default_factory=list)
    foreign_keys: list[RewriteStep] = field(default_factory=list)
    indexes: list[RewriteStep] = field(default_factory=list)
    to_validate: list[str] = field(default_factory=list)
    drop_old: list[str] = field(default_factory=list)
    drop_properties: list[str] = field(default_factory=list)
    rename_new: list[str] = field(default_factory=list)


def move_dependents(table: TableInfo, column: ColumnInfo, new: str, ground: CatalogState) -> DependentSteps:
    """What it takes to carry everything over to the column `new`. Raises Unsure for what cannot be."""
    going = _DependentMover(table, column, new, ground)
    for constraint in table.constraints:
        if column.number in constraint.columns and constraint.kind in ("c", "f"):
            going.move_constraint(constraint)
        elif column.number in constraint.columns and constraint.kind == "x":
            raise CannotRewrite(
                f"{comment_text(constraint.quoted)} is an exclusion constraint, which cannot be built concurrently"
            )
    for index in table.indexes:
        if column.number in index.columns or column.number in index.keys:
            going.move_index(index)
    going.move_column_properties()
    return going.steps


class _DependentMover:
    def __init__(self, table: TableInfo, column: ColumnInfo, new: str, ground: CatalogState) -> None:
        self._table = table
        self._column = column
        self._new = new
        self._catalog = ground
        self._alter = f"ALTER TABLE {table.quoted}"
        self.steps = DependentSteps()

    def move_constraint(self, one: ConstraintInfo) -> None:
        """A CHECK or a foreign key: added NOT VALID under another name, validated, renamed in the swap."""
        name = self._replacement_name(one.name)
        definition = self._with_new_column(one.definition).removesuffix(" NOT VALID")
        add = f"{self._alter} ADD CONSTRAINT {name} {definition} NOT VALID;\n"
        if one.kind == "c":
            self.steps.checks.append(add)
        else:
            says = f"Takes over for {comment_text(one.quoted)}."
            self.steps.foreign_keys.append(RewriteStep(sql=add, starts_file=True, label="foreign_key", comment=says))
        if one.valid:
            self.steps.to_validate.append(name)
        self.steps.drop_old.append(f"{self._alter} DROP CONSTRAINT {one.quoted};\n")
        self.steps.rename_new.append(f"{self._alter} RENAME CONSTRAINT {name} TO {one.quoted};\n")
        self._copy_comment("CONSTRAINT", f"{one.quoted} ON {self._table.quoted}", one.comment)

    def move_index(self, one: IndexInfo) -> None:
        """An index, built concurrently under another name; one of a key becomes the key's in the swap."""
        if not one.valid:
            raise CannotRewrite(f"{comment_text(one.quoted)} is INVALID; rebuild or drop it first")
        if not one.plain:
            raise CannotRewrite(
                f"{comment_text(one.quoted)} has a tablespace, or is what the table is clustered or replicated by"
            )
        name = self._replacement_name(one.name)
        cut = StatementText(self._with_new_column(one.definition).encode())
        reader = cut.reader()
        reader.take_until("USING")
        unique = "UNIQUE " if any(word.key == "UNIQUE" for word in cut.words[:2]) else ""
        built = f"CREATE {unique}INDEX CONCURRENTLY IF NOT EXISTS {name} ON {self._table.quoted} {cut.text(reader.index)};\n"
        self.steps.indexes.append(
            step_outside_transaction(
                built, label="index", says=f"Takes over for {comment_text(one.quoted)}, while others read and write."
            )
        )
        schema = quote_name(self._table.schema)
        if one.constraint is None:
            self.steps.drop_old.append(f"DROP INDEX {schema}.{one.quoted};\n")
            self.steps.rename_new.append(f"ALTER INDEX {schema}.{name} RENAME TO {one.quoted};\n")
        else:
            self._move_key(one.constraint, name)
        self._copy_comment("INDEX", f"{schema}.{one.quoted}", one.comment)

    def _move_key(self, name: str, index: str) -> None:
        key = next(one for one in self._table.constraints if one.name == name)
        self.steps.drop_old.append(f"{self._alter} DROP CONSTRAINT {key.quoted};\n")
        waits = f"{' DEFERRABLE' if key.deferrable else ''}{' INITIALLY DEFERRED' if key.deferred else ''}"
        self.steps.rename_new.append(
            f"{self._alter} ADD CONSTRAINT {key.quoted} {_KEY_KEYWORDS[key.kind]} USING INDEX {index}{waits};\n"
        )
        self._copy_comment("CONSTRAINT", f"{key.quoted} ON {self._table.quoted}", key.comment)

    def move_column_properties(self) -> None:
        """NOT NULL, default, sequence and comment of the column itself. NOT NULL is ahead of a key that needs it."""
        table, column = self._table, self._column
        if column.required:
            name = quote_name(self._catalog.reserve_default_name(table, (column.name,), "present"))
            self.steps.checks.append(
                f"{self._alter} ADD CONSTRAINT {name} CHECK ({self._new} IS NOT NULL) NOT VALID;\n"
            )
            self.steps.to_validate.append(name)
            self.steps.drop_properties.append("NOT NULL")
            self.steps.rename_new[:0] = [
                f"{self._alter} ALTER COLUMN {column.quoted} SET NOT NULL;\n",
                f"{self._alter} DROP CONSTRAINT {name};\n",
            ]
        if column.default is not None:
            self.steps.drop_properties.append("DEFAULT")
            self.steps.rename_new.append(f"{self._alter} ALTER COLUMN {column.quoted} SET DEFAULT {column.default};\n")
        for number, sequence in table.sequences:
            if number == column.number:
                owned = f"ALTER SEQUENCE {sequence} OWNED BY {table.quoted}.{column.quoted};\n"
                self.steps.rename_new.append(owned)
        self._copy_comment("COLUMN", f"{table.quoted}.{column.quoted}", column.comment)

    def _replacement_name(self, name: str) -> str:
        """A name for what is to take the place of another, quoted."""
        return quote_name(self._catalog.reserve_replacement_name(self._table, name, "new"))

    def _copy_comment(self, kind: str, what: str, text: str | None) -> None:
        if text is not None:
            self.steps.rename_new.append(f"COMMENT ON {kind} {what} IS {text};\n")

    def _with_new_column(self, definition: str) -> str:
        """A definition with the new column in place of the old one."""
        cut = StatementText(definition.encode())
        return cut.text(replaced=dict(self._column_mentions(cut)))

    def _column_mentions(self, cut: StatementText) -> Iterator[tuple[int, str]]:
        parent = next((place for place, word in enumerate(cut.words) if word.key == "REFERENCES"), cut.end)
        for place, _ in cut.column_words((self._column.name,), end=parent):
            yield place, self._new


# Another type for a column without writing the table anew: a second column, kept in step, filled, put in its place.
#
# Four kinds of files: the column and its trigger; the backfill and what has to be built, concurrently or NOT VALID; the
# swap, a few renamings in one short transaction. The old column stays, so that the way back is open: a later file drops
# it. What cannot be carried over mechanically is a reason to suggest nothing.


@dataclass(frozen=True, slots=True, kw_only=True)
class _TypeChange:
    """The change as written: the type with its collation, and the words of the expression behind USING, if any."""

    type: str
    using: tuple[int, int] | None


def change_column_type(altered: AlterTable, action: AlterTableAction, ground: CatalogState) -> StatementRewrite:
    """ALTER COLUMN … TYPE."""
    table = ground.ordinary_table(altered.table_name, why="its columns cannot be swapped one by one")
    column = table.column(action.action.name if action.action else "")
    if column is None:
        raise CannotRewrite("the column is not there before the migration")
    if ground.may_have_changed(table):
        raise CannotRewrite(
            f"statements ahead of it change {comment_text(table.quoted)} too; give them a file of their own"
        )
    _require_replaceable(table, column)
    require_backfill_possible(table, ground)
    asked = _read_type_change(altered, action)
    new, old = (
        _free_column_name(table, ground, column.name, "new"),
        _free_column_name(table, ground, column.name, "old"),
    )
    value, in_step = _new_value(altered, table, column, asked)
    builds = move_dependents(table, column, new, ground)
    trigger = quote_name(choose_name("zz", (table.name, column.name), "in_step", ground.used_names(table)))
    routine = f"{quote_name(table.schema)}.{trigger}"
    begin = RewriteStep(
        sql=(
            f"ALTER TABLE {table.quoted} ADD COLUMN {new} {asked.type};\n"
            + _trigger_function(routine, new, in_step, path=asked.using is not None)
            + f"CREATE TRIGGER {trigger} BEFORE INSERT OR UPDATE ON {table.quoted}\n"
            f"    FOR EACH ROW EXECUTE FUNCTION {routine}();\n" + "".join(builds.checks)
        ),
        comment=(
            f"The column of the new type, and a trigger that keeps it in step with {comment_text(column.quoted)}. "
            "Triggers run in the order of their names: its own comes last."
        ),
    )
    some = f"({value})" if asked.using else value
    filling = backfill_step(
        table, f"{new} = {value}", f"{new} IS NULL AND {some} IS NOT NULL", also=f"ANALYZE {table.quoted} ({new});\n"
    )
    swap = [f"DROP TRIGGER {trigger} ON {table.quoted};\n", f"DROP FUNCTION {routine}();\n", *builds.drop_old]
    free = [f"ALTER COLUMN {column.quoted} DROP {what}" for what in builds.drop_properties]
    swap += [f"ALTER TABLE {table.quoted} {', '.join(free)};\n"] if free else []
    swap += [
        f"ALTER TABLE {table.quoted} RENAME COLUMN {column.quoted} TO {old};\n",
        f"ALTER TABLE {table.quoted} RENAME COLUMN {new} TO {column.quoted};\n",
        *builds.rename_new,
    ]
    place = RewriteStep(
        sql="".join(swap),
        starts_file=True,
        label="swap",
        comment=(
            f"A moment's ACCESS EXCLUSIVE lock, under which no row is read. {comment_text(column.quoted)} as it was stays "
            f"for the way back. A later file: ALTER TABLE {comment_text(table.quoted)} DROP COLUMN {comment_text(old)};"
        ),
    )
    checked = [validate_constraints_step(table.quoted, *builds.to_validate)] if builds.to_validate else []
    return StatementRewrite(
        steps=(begin, filling, *builds.indexes, *builds.foreign_keys, *checked, place),
        leftovers=_leftovers(table, column, old),
    )


def _require_replaceable(table: TableInfo, column: ColumnInfo) -> None:
    """Raise Unsure for what a second column cannot take over."""
    if table.has_inheritance:
        raise CannotRewrite(
            f"{comment_text(table.quoted)} has partitions, parents or children, which share its columns"
        )
    if column.computed:
        raise CannotRewrite(f"{comment_text(column.quoted)} is a generated or identity column")
    if not column.plain:
        raise CannotRewrite(f"{comment_text(column.quoted)} has privileges or storage settings of its own")
    if others := [what for number, what in table.dependents if number == column.number]:
        raise CannotRewrite(f"{comment_text(others[0])} depends on {comment_text(column.quoted)}")


def _read_type_change(altered: AlterTable, action: AlterTableAction) -> _TypeChange:
    reader = altered.action_reader(action)
    reader.take_until("TYPE")
    reader.take("TYPE")
    begin = reader.index
    reader.take_until("USING")
    kind = altered.statement.text(begin, reader.index)
    if not reader.take("USING"):
        return _TypeChange(type=kind, using=None)
    return _TypeChange(type=kind, using=(reader.index, action.end))


def _new_value(altered: AlterTable, table: TableInfo, column: ColumnInfo, asked: _TypeChange) -> tuple[str, str]:
    """The value of the new column, as an UPDATE writes it, and as a trigger does."""
    if asked.using is None:  # the cast of an assignment, as ALTER TABLE makes it
        return column.quoted, f"NEW.{column.quoted}"
    begin, end = asked.using
    keys = {word.key for word in altered.statement.words[begin:end]}
    if "." in keys:
        raise CannotRewrite("USING has a qualified name in it, which a trigger would read otherwise")
    among = {one.name for one in table.columns}
    used = {place: f"NEW.{quote_name(word.text)}" for place, word in altered.statement.column_words(among, begin, end)}
    return altered.statement.text(begin, end), altered.statement.text(begin, end, used)


def _trigger_function(routine: str, new: str, value: str, *, path: bool) -> str:
    """The trigger's function; an expression of the file's own looks names up in the `path` of the migration."""
    tag = choose_dollar_quote(f"{new}{value}")
    setting = " SET search_path FROM CURRENT" if path else ""
    return (
        f"CREATE FUNCTION {routine}() RETURNS trigger LANGUAGE plpgsql{setting} AS {tag}\n"
        f"BEGIN\n    NEW.{new} := {value};\n    RETURN NEW;\nEND\n{tag};\n"
    )


def _free_column_name(table: TableInfo, ground: CatalogState, column: str, label: str) -> str:
    """A name for a column that the table does not have, quoted."""
    return quote_name(choose_name("", (column,), label, ground.column_names(table)))


def _leftovers(table: TableInfo, column: ColumnInfo, old: str) -> tuple[Leftover, ...]:
    return (
        Leftover(
            table=table.quoted,
            column=unquote_name(old),
            description=f"the old column stays as {comment_text(old)}, as it was at the swap, until a later file drops it",
        ),
        Leftover(
            table=table.quoted,
            description=f"{comment_text(column.quoted)} stands last in {comment_text(table.quoted)}: SELECT * and INSERT without a list "
            "of columns see another order",
        ),
    )
