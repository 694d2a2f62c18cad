"""Batches: the statements of a file in messages of bounded size, each remembering where its statements stand.

One message for each statement costs a round trip each; one for the whole file costs the server several times the file's
size in memory. Between the two lies the speed of the one at the memory of the other.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.sql.classify import StatementEffect, statement_effect
from kernel.sql.lexer import PartKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kernel.migrations.migration import Migration
    from kernel.sql.lexer import Part


_BATCH_BYTES = 256 * 1024
_BATCH_STATEMENTS = 500
_NOT_SENT = (
    StatementEffect.BEGIN,
    StatementEffect.COMMIT,
)  # the pair around the file; kernel.script has refused any other


@dataclass(frozen=True, slots=True)
class Batch:
    """Statements that go in one message. With `copies`, its one statement's data follow as the parts after it."""

    statements: tuple[Part, ...]
    is_copy: bool = False

    @property
    def message(self) -> bytes:
        return b"\n".join([part.sql for part in self.statements])

    @property
    def open_ended(self) -> bool:
        """Whether others may follow in its message: COPY takes its data next, a missing semicolon would join them."""
        return not self.is_copy and self.statements[-1].text.endswith(b";")

    def locate(self, position: int) -> tuple[int, int]:
        """(index of the statement, byte offset in its sql) of a character of the message, counted from 1."""
        message = self.message
        offset = position - 1
        if not message.isascii():
            offset = len(message.decode()[:offset].encode())
        for index, part in enumerate(self.statements):
            if offset <= len(part.sql):
                return index, offset
            offset -= len(part.sql) + 1
        return len(self.statements) - 1, len(self.statements[-1].sql)


class BatchQueue:
    """The batches of a file, the next ones prepared ahead: to know which is the last, and while the server works."""

    def __init__(self, items: Iterator[Batch | Part]) -> None:
        self._items = items
        self._prepared: deque[Batch] = deque()

    @property
    def ended(self) -> bool:
        """Whether no batch follows the one that `next` returned; what follows the data of COPY is not known yet."""
        return not self._prepared

    def next_batch(self) -> Batch | None:
        """The next batch, None behind the last."""
        if not self._prepared:
            self._prepare()
        item = self._prepared.popleft() if self._prepared else None
        if item and not item.is_copy and not self._prepared:
            self._prepare()
        return item

    def prepare_following(self) -> None:
        """Prepare the batch behind the next one, unless the data of COPY stand before it."""
        if self._prepared and not self._prepared[-1].is_copy:
            self._prepare()

    def copy_data(self) -> Iterator[bytes]:
        """The data of the COPY that `next` returned."""
        for item in self._items:
            if isinstance(item, Batch) or item.kind is PartKind.COPY_END:
                return
            yield item.text

    def _prepare(self) -> None:
        self._prepared.extend(itertools.islice((item for item in self._items if isinstance(item, Batch)), 1))


def split_into_batches(parts: Iterable[Part], *, plain: bool = False, singly: bool = False) -> Iterator[Batch | Part]:
    """Group a file's parts: batches to send, and between them the parts of COPY data, in the order of the file.

    `plain` tells that none of the statements is special (Script.plain), which saves looking. With `singly` a batch is
    one statement, or INSERTs in a row.
    """
    gathered: list[Part] = []
    size = 0
    # Looking up the member of an Enum takes as long as all else that is done here for a plain statement.
    statement, ordinary, copy_in, lexical = (
        PartKind.STATEMENT,
        StatementEffect.PLAIN,
        StatementEffect.COPY_IN,
        StatementEffect.LEXICAL,
    )
    for part in parts:
        kind, text, _, start = part
        if kind is not statement:
            if kind is PartKind.COPY_DATA or kind is PartKind.COPY_END:
                yield part
            continue
        what = ordinary if plain else statement_effect(text, start)
        if what in _NOT_SENT:
            continue
        if gathered and (
            what is copy_in
            or size + len(text) > _BATCH_BYTES
            or len(gathered) == _BATCH_STATEMENTS
            or (singly and not (is_insert(part) and is_insert(gathered[0])))
        ):
            yield Batch(tuple(gathered))
            gathered, size = [], 0
        if what is copy_in:
            yield Batch((part,), is_copy=True)
            continue
        gathered.append(part)
        size += len(text)
        if what is lexical:  # the server reads a message whole before it runs the first of it
            yield Batch(tuple(gathered))
            gathered, size = [], 0
    if gathered:
        yield Batch(tuple(gathered))


def is_insert(part: Part) -> bool:
    """Whether a statement is an INSERT."""
    return part.sql[:6].upper() == b"INSERT"


# Where in a message the statements of each file stand, so that what the server says of it finds its file.


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

    def part_at(self, number: int) -> Part | None:
        """The statement with this number in the message; None when it is not of this segment."""
        return (
            self.batch.statements[number - self.statements_ahead]
            if self.statements_ahead <= number < self.end
            else None
        )


def segment_under_way(segments: Sequence[Segment], number: int) -> Segment:
    """The segment that the message's statement of this number belongs to, or the last one ahead of it."""
    begun = [one for one in segments if one.statements_ahead <= number]
    return begun[-1] if begun else segments[0]


def failed_segment(segments: Sequence[Segment], done: int, position: int | None) -> Segment | None:
    """The segment with the statement that failed; None when that was one of ours between or behind them.

    `done` statements had finished, and `position`, in characters of the message counted from 1, is what the server
    tells of the place. It reads the message whole before it runs the first statement: what it cannot read has a
    position, and nothing done.
    """
    if not done and position is not None:
        return [segments[0], *(one for one in segments if one.characters_ahead < position)][-1]
    found = segment_under_way(segments, done)
    return found if done < found.end else None
