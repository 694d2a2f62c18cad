"""NOT NULL without reading the table under a lock: a CHECK that is validated before proves it.

Source: PostgreSQL documentation, "ALTER TABLE", SET NOT NULL: no scan where a valid CHECK proves that no NULL exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.suggest import names
from kernel.rehearsal.suggest.piece import How, Piece, Way

if TYPE_CHECKING:
    from kernel.rehearsal.suggest.altered import Action, Altered
    from kernel.rehearsal.suggest.facts import Table
    from kernel.rehearsal.suggest.ground import Ground


def set_not_null(altered: Altered, action: Action, ground: Ground) -> Way:
    """ALTER COLUMN … SET NOT NULL in three files."""
    column = action.act.name if action.act else ""
    return Way(pieces=tuple(steps(altered, altered.table(ground), column, ground)))


def steps(altered: Altered, table: Table, column: str, ground: Ground) -> list[Piece]:
    """A CHECK that is not valid yet, its validation, NOT NULL, and an end to the CHECK."""
    check, quoted = names.quoted(ground.default_name(table, (column,), "present")), names.quoted(column)
    return [
        Piece(
            sql=altered.alter(f"ADD CONSTRAINT {check} CHECK ({quoted} IS NOT NULL) NOT VALID"),
            says="No new NULL from here on; the rows that are there are checked in the next file.",
        ),
        validated(altered.written, check),
        Piece(
            sql=altered.alter(f"ALTER COLUMN {quoted} SET NOT NULL") + altered.alter(f"DROP CONSTRAINT {check}"),
            label="not_null",
            says="The CHECK proves it: no row is read under this lock.",
        ),
    ]


def validated(table: str, *constraints: str) -> Piece:
    """VALIDATE CONSTRAINT, in a transaction of its own: what is locked ahead of it would stay locked meanwhile."""
    actions = ", ".join(f"VALIDATE CONSTRAINT {one}" for one in constraints)
    return Piece(
        sql=f"ALTER TABLE {table} {actions};\n",
        how=How.APART,
        label="validate",
        says="Every row is read, while others read and write (SHARE UPDATE EXCLUSIVE).",
    )
