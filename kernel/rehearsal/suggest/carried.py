"""What hangs on a column and goes over to the one that takes its place: NOT NULL, default, indexes, keys, checks.

What has to be built is built ahead of the swap, concurrently or NOT VALID and then validated. The swap itself takes
the old ones down and gives the new ones their names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel.rehearsal.suggest import names
from kernel.rehearsal.suggest.cut import Cut
from kernel.rehearsal.suggest.indexes import outside
from kernel.rehearsal.suggest.piece import Piece, Unsure, comment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.rehearsal.suggest.facts import Column, Constraint, Index, Table
    from kernel.rehearsal.suggest.ground import Ground

_KEYS = {"p": "PRIMARY KEY", "u": "UNIQUE"}


@dataclass(slots=True, kw_only=True)
class Carried:
    """What a swap takes, as statements but for `freed`, `parents` and `built`.

    `checks` go with the new column: a row that is written meanwhile has its value by then. `parents` are foreign keys,
    which lock another table too, each to be added by itself; `built` are indexes. `validated` names the constraints to
    validate ahead of the swap. In it, `taken_down` are about the old column, while it has its name; `freed` is what it
    must not have any more; `put_up` are about the new one, under the old name.
    """

    checks: list[str] = field(default_factory=list)
    parents: list[Piece] = field(default_factory=list)
    built: list[Piece] = field(default_factory=list)
    validated: list[str] = field(default_factory=list)
    taken_down: list[str] = field(default_factory=list)
    freed: list[str] = field(default_factory=list)
    put_up: list[str] = field(default_factory=list)


def over(table: Table, column: Column, new: str, ground: Ground) -> Carried:
    """What it takes to carry everything over to the column `new`. Raises Unsure for what cannot be."""
    going = _Going(table, column, new, ground)
    for constraint in table.constraints:
        if column.number in constraint.columns and constraint.kind in ("c", "f"):
            going.constraint(constraint)
        elif column.number in constraint.columns and constraint.kind == "x":
            raise Unsure(f"{comment(constraint.quoted)} is an exclusion constraint, which cannot be built concurrently")
    for index in table.indexes:
        if column.number in index.columns or column.number in index.keys:
            going.index(index)
    going.itself()
    return going.carried


class _Going:
    def __init__(self, table: Table, column: Column, new: str, ground: Ground) -> None:
        self._table = table
        self._column = column
        self._new = new
        self._ground = ground
        self._alter = f"ALTER TABLE {table.quoted}"
        self.carried = Carried()

    def constraint(self, one: Constraint) -> None:
        """A CHECK or a foreign key: added NOT VALID under another name, validated, renamed in the swap."""
        name = self._beside(one.name)
        definition = self._about_the_new(one.definition).removesuffix(" NOT VALID")
        add = f"{self._alter} ADD CONSTRAINT {name} {definition} NOT VALID;\n"
        if one.kind == "c":
            self.carried.checks.append(add)
        else:
            says = f"Takes over for {comment(one.quoted)}."
            self.carried.parents.append(Piece(sql=add, begins=True, label="foreign_key", says=says))
        if one.valid:
            self.carried.validated.append(name)
        self.carried.taken_down.append(f"{self._alter} DROP CONSTRAINT {one.quoted};\n")
        self.carried.put_up.append(f"{self._alter} RENAME CONSTRAINT {name} TO {one.quoted};\n")
        self._commented("CONSTRAINT", f"{one.quoted} ON {self._table.quoted}", one.comment)

    def index(self, one: Index) -> None:
        """An index, built concurrently under another name; one of a key becomes the key's in the swap."""
        if not one.valid:
            raise Unsure(f"{comment(one.quoted)} is INVALID; rebuild or drop it first")
        if not one.plain:
            raise Unsure(f"{comment(one.quoted)} has a tablespace, or is what the table is clustered or replicated by")
        name = self._beside(one.name)
        cut = Cut(self._about_the_new(one.definition).encode())
        reader = cut.reader()
        reader.until("USING")
        unique = "UNIQUE " if any(word.key == "UNIQUE" for word in cut.words[:2]) else ""
        built = (
            f"CREATE {unique}INDEX CONCURRENTLY IF NOT EXISTS {name} ON {self._table.quoted} {cut.text(reader.at)};\n"
        )
        self.carried.built.append(
            outside(built, label="index", says=f"Takes over for {comment(one.quoted)}, while others read and write.")
        )
        schema = names.quoted(self._table.schema)
        if one.constraint is None:
            self.carried.taken_down.append(f"DROP INDEX {schema}.{one.quoted};\n")
            self.carried.put_up.append(f"ALTER INDEX {schema}.{name} RENAME TO {one.quoted};\n")
        else:
            self._key(one.constraint, name)
        self._commented("INDEX", f"{schema}.{one.quoted}", one.comment)

    def _key(self, its_name: str, index: str) -> None:
        key = next(one for one in self._table.constraints if one.name == its_name)
        self.carried.taken_down.append(f"{self._alter} DROP CONSTRAINT {key.quoted};\n")
        waits = f"{' DEFERRABLE' if key.deferrable else ''}{' INITIALLY DEFERRED' if key.deferred else ''}"
        self.carried.put_up.append(
            f"{self._alter} ADD CONSTRAINT {key.quoted} {_KEYS[key.kind]} USING INDEX {index}{waits};\n"
        )
        self._commented("CONSTRAINT", f"{key.quoted} ON {self._table.quoted}", key.comment)

    def itself(self) -> None:
        """NOT NULL, default, sequence and comment of the column itself. NOT NULL is ahead of a key that needs it."""
        table, column = self._table, self._column
        if column.required:
            name = names.quoted(self._ground.default_name(table, (column.name,), "present"))
            self.carried.checks.append(
                f"{self._alter} ADD CONSTRAINT {name} CHECK ({self._new} IS NOT NULL) NOT VALID;\n"
            )
            self.carried.validated.append(name)
            self.carried.freed.append("NOT NULL")
            self.carried.put_up[:0] = [
                f"{self._alter} ALTER COLUMN {column.quoted} SET NOT NULL;\n",
                f"{self._alter} DROP CONSTRAINT {name};\n",
            ]
        if column.default is not None:
            self.carried.freed.append("DEFAULT")
            self.carried.put_up.append(f"{self._alter} ALTER COLUMN {column.quoted} SET DEFAULT {column.default};\n")
        for number, sequence in table.sequences:
            if number == column.number:
                owned = f"ALTER SEQUENCE {sequence} OWNED BY {table.quoted}.{column.quoted};\n"
                self.carried.put_up.append(owned)
        self._commented("COLUMN", f"{table.quoted}.{column.quoted}", column.comment)

    def _beside(self, name: str) -> str:
        """A name for what is to take the place of another, quoted."""
        return names.quoted(self._ground.name_beside(self._table, name, "new"))

    def _commented(self, kind: str, what: str, text: str | None) -> None:
        if text is not None:
            self.carried.put_up.append(f"COMMENT ON {kind} {what} IS {text};\n")

    def _about_the_new(self, definition: str) -> str:
        """A definition with the new column in place of the old one."""
        cut = Cut(definition.encode())
        return cut.text(replaced=dict(self._mentions(cut)))

    def _mentions(self, cut: Cut) -> Iterator[tuple[int, str]]:
        parent = next((place for place, word in enumerate(cut.words) if word.key == "REFERENCES"), cut.end)
        for place, _ in cut.columns((self._column.name,), end=parent):
            yield place, self._new
