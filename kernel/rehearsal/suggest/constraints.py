"""Constraints on a table in use: added without looking at the rows, which are looked at afterwards under a weak lock.

Source: PostgreSQL documentation, "ALTER TABLE", NOT VALID, VALIDATE CONSTRAINT, ADD table_constraint_using_index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.static import columns as columns_
from kernel.rehearsal.suggest import indexes, names, required
from kernel.rehearsal.suggest.piece import Piece, Unsure, Way

if TYPE_CHECKING:
    from kernel.rehearsal.static.words import Reader
    from kernel.rehearsal.suggest.altered import Action, Altered
    from kernel.rehearsal.suggest.facts import Table
    from kernel.rehearsal.suggest.ground import Ground

_LATER = "From here on no new row can violate it; those that are there are checked in the next file."
_SINCE_18 = 180000


def check(altered: Altered, action: Action, ground: Ground) -> Way:
    """ADD CHECK: NOT VALID, then VALIDATE CONSTRAINT."""
    table = altered.table(ground)
    reader = altered.reader(action)
    reader.take("ADD")
    name = _given(altered, reader)
    if not name:
        used = {word.text for _, word in altered.cut.columns(ground.columns(table), reader.at, action.end)}
        # The column, if there is only one: that is how PostgreSQL calls the constraint.
        name = names.quoted(ground.default_name(table, used if len(used) == 1 else (), "check"))
    return _not_valid(altered, name, altered.cut.text(reader.at, action.end))


def foreign_key(altered: Altered, action: Action, ground: Ground) -> Way:
    """ADD FOREIGN KEY: NOT VALID, then VALIDATE CONSTRAINT, which locks the parent for nobody but other DDL."""
    table = altered.table(ground)
    if table.kind == "p" and ground.server_version < _SINCE_18:
        raise Unsure("a foreign key of a partitioned table cannot be added NOT VALID before PostgreSQL 18")
    reader = altered.reader(action)
    reader.take("ADD")
    name = _given(altered, reader)
    if not name:
        columns = action.act.columns if action.act else ()
        name = names.quoted(ground.default_name(table, columns, "fkey"))
    return _not_valid(altered, name, altered.cut.text(reader.at, action.end))


def _not_valid(altered: Altered, name: str, definition: str) -> Way:
    """The two steps of a constraint that PostgreSQL can add NOT VALID."""
    return Way(
        pieces=(
            Piece(sql=altered.alter(f"ADD CONSTRAINT {name} {definition} NOT VALID"), says=_LATER),
            required.validated(altered.written, name),
        )
    )


def unique(altered: Altered, action: Action, ground: Ground) -> Way:
    """ADD UNIQUE or PRIMARY KEY: the index first, concurrently, then the constraint that takes it over."""
    table = altered.table(ground)
    reader = altered.reader(action)
    reader.take("ADD")
    name = _given(altered, reader)
    primary = bool(reader.take("PRIMARY", "KEY"))
    if not primary:
        reader.take("UNIQUE")
    apart = " NULLS NOT DISTINCT" if reader.take("NULLS", "NOT", "DISTINCT") else ""
    reader.take("NULLS", "DISTINCT")
    begin = reader.at
    reader.group()
    keys, options, rest = altered.cut.text(begin, reader.at), "", ""
    columns = action.act.columns if action.act else ()
    if not all(columns) or not columns:
        raise Unsure("the key is written in a way that is not known here")
    named, include = columns, ""  # PostgreSQL names the index by all that it stores
    while reader.at < action.end:
        begin = reader.at
        if reader.take("INCLUDE"):
            named += columns_.names(reader.group())
            include = f" {altered.cut.text(begin, reader.at)}"
        elif reader.take("WITH"):
            reader.group()
            options += f" {altered.cut.text(begin, reader.at)}"
        elif reader.take("USING", "INDEX", "TABLESPACE"):
            reader.name()
            options += f" TABLESPACE {altered.cut.text(reader.at - 1, reader.at)}"
        else:
            reader.at = action.end
            rest = f" {altered.cut.text(begin, action.end)}"
    if not name:
        name = names.quoted(ground.default_name(table, () if primary else named, "pkey" if primary else "key"))
    steps: list[Piece] = []
    if primary:
        steps += _required(altered, table, columns, ground)
    steps.append(indexes.unique(name, table, altered.written, f"{keys}{include}{apart}{options}"))
    kind = "PRIMARY KEY" if primary else "UNIQUE"
    takes = altered.alter(f"ADD CONSTRAINT {name} {kind} USING INDEX {name}{rest}")
    steps.append(Piece(sql=takes, label="constraint", says="The index is there: nothing is read under this lock."))
    return Way(pieces=tuple(steps))


def _required(altered: Altered, table: Table, columns: tuple[str, ...], ground: Ground) -> list[Piece]:
    """The columns of a primary key that are not NOT NULL yet: USING INDEX would read every row to find out."""
    found: list[Piece] = []
    for one in columns:
        known = table.column(one)
        if known is None or not known.required:
            found += required.steps(altered, table, one, ground)
    return found


def _given(altered: Altered, reader: Reader) -> str:
    """The name of the constraint as it is written, "" if it has none; the reader goes past it."""
    if not reader.take("CONSTRAINT"):
        return ""
    begin = reader.at
    reader.at += 1
    return altered.cut.text(begin, reader.at)
