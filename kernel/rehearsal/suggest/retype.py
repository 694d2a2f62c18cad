"""Another type for a column without writing the table anew: a second column, kept in step, filled, put in its place.

Four kinds of files: the column and its trigger; the backfill and what has to be built, concurrently or NOT VALID; the
swap, a few renamings in one short transaction. The old column stays, so that the way back is open: a later file drops
it. What cannot be carried over mechanically is a reason to suggest nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.rehearsal.suggest import backfill, carried, names, required
from kernel.rehearsal.suggest.piece import Piece, Unsure, Way, comment
from kernel.rehearsal.suggest.suggested import Leftover

if TYPE_CHECKING:
    from kernel.rehearsal.suggest.altered import Action, Altered
    from kernel.rehearsal.suggest.facts import Column, Table
    from kernel.rehearsal.suggest.ground import Ground


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """The change as written: the type with its collation, and the words of the expression behind USING, if any."""

    type: str
    using: tuple[int, int] | None


def change(altered: Altered, action: Action, ground: Ground) -> Way:
    """ALTER COLUMN … TYPE."""
    table = ground.plain_table(altered.name, why="its columns cannot be swapped one by one")
    column = table.column(action.act.name if action.act else "")
    if column is None:
        raise Unsure("the column is not there before the migration")
    if ground.disturbed(table):
        raise Unsure(f"statements ahead of it change {comment(table.quoted)} too; give them a file of their own")
    _refuse(table, column)
    backfill.refuse(table, ground)
    asked = _asked(altered, action)
    new, old = _free(table, ground, column.name, "new"), _free(table, ground, column.name, "old")
    value, in_step = _value(altered, table, column, asked)
    builds = carried.over(table, column, new, ground)
    trigger = names.quoted(names.chosen("zz", (table.name, column.name), "in_step", ground.taken(table)))
    routine = f"{names.quoted(table.schema)}.{trigger}"
    begin = Piece(
        sql=(
            f"ALTER TABLE {table.quoted} ADD COLUMN {new} {asked.type};\n"
            + _function(routine, new, in_step, path=asked.using is not None)
            + f"CREATE TRIGGER {trigger} BEFORE INSERT OR UPDATE ON {table.quoted}\n"
            f"    FOR EACH ROW EXECUTE FUNCTION {routine}();\n" + "".join(builds.checks)
        ),
        says=(
            f"The column of the new type, and a trigger that keeps it in step with {comment(column.quoted)}. "
            "Triggers run in the order of their names: its own comes last."
        ),
    )
    some = f"({value})" if asked.using else value
    filling = backfill.piece(
        table, f"{new} = {value}", f"{new} IS NULL AND {some} IS NOT NULL", also=f"ANALYZE {table.quoted} ({new});\n"
    )
    swap = [f"DROP TRIGGER {trigger} ON {table.quoted};\n", f"DROP FUNCTION {routine}();\n", *builds.taken_down]
    free = [f"ALTER COLUMN {column.quoted} DROP {what}" for what in builds.freed]
    swap += [f"ALTER TABLE {table.quoted} {', '.join(free)};\n"] if free else []
    swap += [
        f"ALTER TABLE {table.quoted} RENAME COLUMN {column.quoted} TO {old};\n",
        f"ALTER TABLE {table.quoted} RENAME COLUMN {new} TO {column.quoted};\n",
        *builds.put_up,
    ]
    place = Piece(
        sql="".join(swap),
        begins=True,
        label="swap",
        says=(
            f"A moment's ACCESS EXCLUSIVE lock, under which no row is read. {comment(column.quoted)} as it was stays "
            f"for the way back. A later file: ALTER TABLE {comment(table.quoted)} DROP COLUMN {comment(old)};"
        ),
    )
    checked = [required.validated(table.quoted, *builds.validated)] if builds.validated else []
    return Way(
        pieces=(begin, filling, *builds.built, *builds.parents, *checked, place), leaves=_leaves(table, column, old)
    )


def _refuse(table: Table, column: Column) -> None:
    """Raise Unsure for what a second column cannot take over."""
    if table.family:
        raise Unsure(f"{comment(table.quoted)} has partitions, parents or children, which share its columns")
    if column.computed:
        raise Unsure(f"{comment(column.quoted)} is a generated or identity column")
    if not column.plain:
        raise Unsure(f"{comment(column.quoted)} has privileges or storage settings of its own")
    if others := [what for number, what in table.dependents if number == column.number]:
        raise Unsure(f"{comment(others[0])} depends on {comment(column.quoted)}")


def _asked(altered: Altered, action: Action) -> _Change:
    reader = altered.reader(action)
    reader.until("TYPE")
    reader.take("TYPE")
    begin = reader.at
    reader.until("USING")
    kind = altered.cut.text(begin, reader.at)
    if not reader.take("USING"):
        return _Change(type=kind, using=None)
    return _Change(type=kind, using=(reader.at, action.end))


def _value(altered: Altered, table: Table, column: Column, asked: _Change) -> tuple[str, str]:
    """The value of the new column, as an UPDATE writes it, and as a trigger does."""
    if asked.using is None:  # the cast of an assignment, as ALTER TABLE makes it
        return column.quoted, f"NEW.{column.quoted}"
    begin, end = asked.using
    keys = {word.key for word in altered.cut.words[begin:end]}
    if "." in keys:
        raise Unsure("USING has a qualified name in it, which a trigger would read otherwise")
    among = {one.name for one in table.columns}
    used = {place: f"NEW.{names.quoted(word.text)}" for place, word in altered.cut.columns(among, begin, end)}
    return altered.cut.text(begin, end), altered.cut.text(begin, end, used)


def _function(routine: str, new: str, value: str, *, path: bool) -> str:
    """The trigger's function; an expression of the file's own looks names up in the `path` of the migration."""
    tag = backfill.dollars(f"{new}{value}")
    setting = " SET search_path FROM CURRENT" if path else ""
    return (
        f"CREATE FUNCTION {routine}() RETURNS trigger LANGUAGE plpgsql{setting} AS {tag}\n"
        f"BEGIN\n    NEW.{new} := {value};\n    RETURN NEW;\nEND\n{tag};\n"
    )


def _free(table: Table, ground: Ground, column: str, label: str) -> str:
    """A name for a column that the table does not have, quoted."""
    return names.quoted(names.chosen("", (column,), label, ground.columns(table)))


def _leaves(table: Table, column: Column, old: str) -> tuple[Leftover, ...]:
    return (
        Leftover(
            table=table.quoted,
            column=names.bare(old),
            says=f"the old column stays as {comment(old)}, as it was at the swap, until a later file drops it",
        ),
        Leftover(
            table=table.quoted,
            says=f"{comment(column.quoted)} stands last in {comment(table.quoted)}: SELECT * and INSERT without a list "
            "of columns see another order",
        ),
    )
