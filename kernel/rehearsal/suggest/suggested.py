"""What is suggested, and what came of trying it, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernel.rehearsal.result import Run, Shut


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file to have: its name by the naming rule, and its text."""

    filename: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """What the suggestion leaves otherwise than the original does, on purpose; `says` is a sentence about it.

    It is a column of `table` ("schema.table", quoted as SQL needs it) that only the suggestion leaves; or, without a
    column, that the columns of the table stand in another order.
    """

    table: str
    says: str
    column: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A finding that nothing is suggested for, and why, in a sentence. `line` is the statement's."""

    rule: str
    line: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggested:
    """The files to have instead of one migration, () where nothing is suggested.

    `fresh` are (table, column) whose values are others in every run.
    """

    version: str
    filename: str
    files: tuple[File, ...] = ()
    leaves: tuple[Leftover, ...] = ()
    fresh: tuple[tuple[str, str], ...] = ()
    refused: tuple[Refused, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A suggestion and both timelines: the original's Run, and those of the suggested files, in their order."""

    suggested: Suggested
    before: Run
    after: tuple[Run, ...]
    shut_before: tuple[Shut, ...] = ()
    shut_after: tuple[Shut, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """All that is suggested. `trials` are in the order of the originals' versions; `refused` go with a file name.

    `differences` are lines about schema and rows where the end is not the one that the originals reach, beyond what is
    left on purpose; `fresh` are lines about values that are others in every run, in those of the originals too, and
    which prove nothing; `failed` says which file behind a suggestion failed and why, and then nothing was compared.
    """

    trials: tuple[Trial, ...] = ()
    refused: tuple[tuple[str, Refused], ...] = ()
    differences: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    failed: str = ""
    seconds: float = 0.0

    @property
    def proven(self) -> bool:
        """Whether every suggestion ran and all of them reach the same end."""
        return bool(self.trials) and not self.failed and not self.differences
