"""A column whose default is another for every row: added empty, filled in batches.

Source: PostgreSQL documentation, "ALTER TABLE", Notes: a volatile default rewrites the table and its indexes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.rehearsal.static import columns
from kernel.rehearsal.suggest import backfill, names, required
from kernel.rehearsal.suggest.piece import Piece, Unsure, Way

if TYPE_CHECKING:
    from kernel.rehearsal.suggest.altered import Action, Altered
    from kernel.rehearsal.suggest.ground import Ground

_BEARABLE = frozenset({"default", "not null"})
_CLAUSES = ("NOT", "NULL", "DEFAULT", "COLLATE", "STORAGE", "COMPRESSION", "CONSTRAINT")


def add(altered: Altered, action: Action, ground: Ground) -> Way:
    """ADD COLUMN with a volatile default: the column, its default, the backfill, NOT NULL if it was asked for."""
    table = ground.plain_table(altered.name, why="its rows cannot be filled in batches")
    act = action.act
    if act is None or columns.column(act.words).clauses - _BEARABLE:
        raise Unsure("the new column has constraints besides NOT NULL; add those in files of their own first")
    backfill.refuse(table, ground)
    if table.column(act.name):
        raise Unsure("the column is there before the migration")
    definition, default, is_required = _taken_apart(altered, action)
    quoted = names.quoted(act.name)
    steps = [
        Piece(
            sql=altered.alter(definition) + altered.alter(f"ALTER COLUMN {quoted} SET DEFAULT {default}"),
            says="Without its default the column is added at once; the default holds for new rows.",
        ),
        backfill.piece(table, f"{quoted} = DEFAULT", f"{quoted} IS NULL"),
    ]
    if is_required:
        steps += required.steps(altered, table, act.name, ground)
    return Way(pieces=tuple(steps), fresh=((table.quoted, act.name),))


def _taken_apart(altered: Altered, action: Action) -> tuple[str, str, bool]:
    """ADD COLUMN without default and NOT NULL, the default, and whether NULL is ruled out."""
    reader = altered.reader(action)
    kept, default, is_required, begin = [], "", False, reader.at
    reader.until(*_CLAUSES)
    kept.append(altered.cut.text(begin, reader.at))
    while reader.at < action.end:
        begin = reader.at
        if reader.take("DEFAULT"):
            reader.until(*_CLAUSES)
            default = altered.cut.text(begin + 1, reader.at)
        elif reader.take("NOT", "NULL"):
            is_required = True
        elif reader.take("CONSTRAINT"):
            raise Unsure("the new column has a constraint with a name")
        else:
            reader.at += 1
            reader.until(*_CLAUSES)
            kept.append(altered.cut.text(begin, reader.at))
    return " ".join(kept), default, is_required
