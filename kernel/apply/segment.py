"""Where in a message the statements of each file stand, so that what the server says of it finds its file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.apply.batch import Batch
    from kernel.files.migration import Migration
    from kernel.sql.part import Part


@dataclass(frozen=True, slots=True)
class Segment:
    """A batch of a file's statements, and how many statements and characters of its message stand ahead of it."""

    migration: Migration
    batch: Batch
    statements_ahead: int = 0
    characters_ahead: int = 0

    @property
    def end(self) -> int:
        """The number, counted from 0, of the message's first statement behind the segment."""
        return self.statements_ahead + len(self.batch.statements)

    def part(self, number: int) -> Part | None:
        """The statement with this number in the message; None when it is not of this segment."""
        return (
            self.batch.statements[number - self.statements_ahead]
            if self.statements_ahead <= number < self.end
            else None
        )


def under_way(segments: Sequence[Segment], number: int) -> Segment:
    """The segment that the message's statement of this number belongs to, or the last one ahead of it."""
    begun = [one for one in segments if one.statements_ahead <= number]
    return begun[-1] if begun else segments[0]


def stopped(segments: Sequence[Segment], done: int, position: int | None) -> Segment | None:
    """The segment with the statement that failed; None when that was one of ours between or behind them.

    `done` statements had finished, and `position`, in characters of the message counted from 1, is what the server
    tells of the place. It reads the message whole before it runs the first statement: what it cannot read has a
    position, and nothing done.
    """
    if not done and position is not None:
        return [segments[0], *(one for one in segments if one.characters_ahead < position)][-1]
    found = under_way(segments, done)
    return found if done < found.end else None
