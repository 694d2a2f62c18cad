"""The values of a comparison of the live catalog with the schema that files make."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from kernel.units import format_quantity

if TYPE_CHECKING:
    from kernel.errors import Problem
    from kernel.schema.diff import FactChange
    from kernel.schema.snapshot import SchemaObject


_LINE_CHARACTERS = 400


class DifferenceState(StrEnum):
    """What is wrong with an object of the live database, as in JSON."""

    MISSING = "missing"
    EXTRA = "extra"
    DIFFERENT = "different"
    RENAMED = "renamed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectDifference:
    """An object that differs: `made` is that of the files, `live` that of the database; one is None for the other.

    In `changes`, `before` is the fact of the files and `after` that of the database. `text` says what differs.
    """

    state: DifferenceState
    made: SchemaObject | None
    live: SchemaObject | None
    text: str
    changes: tuple[FactChange, ...] = ()

    @property
    def about(self) -> SchemaObject:
        """The object of the files, else that of the database."""
        about = self.made or self.live
        assert about is not None  # noqa: S101 - one of them is there
        return about


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaDifference:
    """A difference as it is reported: `kind` and `name` of the object, and what differs.

    `file` made the object and `changed_by` changed it last, "" for an object that no file makes; `line` is that of the
    statement in `file`. `statements` bring the database in line, `advice` says what to do or to decide.
    """

    state: DifferenceState
    kind: str
    name: str
    text: str
    file: str = ""
    line: int | None = None
    changed_by: str = ""
    statements: tuple[str, ...] = ()
    advice: str = ""

    @property
    def object(self) -> str:
        """The kind and the name of the object."""
        return f"{self.kind} {self.name}".rstrip()

    @property
    def remedy(self) -> str:
        """The statements and the advice on one line; longer ones are only printed as text and as JSON."""
        statements = "; ".join(self.statements)
        if "\n" in statements or len(statements) > _LINE_CHARACTERS:
            count = format_quantity(len(self.statements), "statement")
            statements = f"run the {count} that inv db.verify --schema prints"
        return "; ".join(filter(None, (statements, self.advice)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaCheck:
    """The live catalog of `database` compared with what `file_count` applied files make.

    `version` and `built_version` are those of the servers, such as 170010. `notes` are what is no difference and worth
    a line; `left_out` are the files that were not built, each with the reason.
    """

    database: str
    file_count: int
    version: int
    built_version: int
    differences: tuple[SchemaDifference, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: tuple[Problem, ...] = ()
