"""Batches: the statements of a file in messages of bounded size, each remembering where its statements stand.

One message for each statement costs a round trip each; one for the whole file costs the server several times the file's
size in memory. Between the two lies the speed of the one at the memory of the other.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.sql import effect
from kernel.sql.effect import Effect
from kernel.sql.part import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.sql.part import Part

_BATCH_BYTES = 256 * 1024
_BATCH_STATEMENTS = 500
_DROPPED = (Effect.BEGIN, Effect.COMMIT)  # the pair around the file; kernel.script has refused any other


@dataclass(frozen=True, slots=True)
class Batch:
    """Statements that go in one message. With `copies`, its one statement's data follow as the parts after it."""

    statements: tuple[Part, ...]
    copies: bool = False

    @property
    def message(self) -> bytes:
        return b"\n".join([part.sql for part in self.statements])

    @property
    def open_ended(self) -> bool:
        """Whether others may follow in its message: COPY takes its data next, a missing semicolon would join them."""
        return not self.copies and self.statements[-1].text.endswith(b";")

    def at(self, position: int) -> tuple[int, int]:
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


class Queue:
    """The batches of a file, the next ones prepared ahead: to know which is the last, and while the server works."""

    def __init__(self, items: Iterator[Batch | Part]) -> None:
        self._items = items
        self._ahead: deque[Batch] = deque()

    @property
    def ended(self) -> bool:
        """Whether no batch follows the one that `next` returned; what follows the data of COPY is not known yet."""
        return not self._ahead

    def next(self) -> Batch | None:
        """The next batch, None behind the last."""
        if not self._ahead:
            self._prepare()
        item = self._ahead.popleft() if self._ahead else None
        if item and not item.copies and not self._ahead:
            self._prepare()
        return item

    def look_ahead(self) -> None:
        """Prepare the batch behind the next one, unless the data of COPY stand before it."""
        if self._ahead and not self._ahead[-1].copies:
            self._prepare()

    def copy_data(self) -> Iterator[bytes]:
        """The data of the COPY that `next` returned."""
        for item in self._items:
            if isinstance(item, Batch) or item.kind is Kind.COPY_END:
                return
            yield item.text

    def _prepare(self) -> None:
        self._ahead.extend(itertools.islice((item for item in self._items if isinstance(item, Batch)), 1))


def batches(parts: Iterable[Part], *, plain: bool = False, singly: bool = False) -> Iterator[Batch | Part]:
    """Group a file's parts: batches to send, and between them the parts of COPY data, in the order of the file.

    `plain` tells that none of the statements is special (Script.plain), which saves looking. With `singly` a batch is
    one statement, or INSERTs in a row.
    """
    gathered: list[Part] = []
    size = 0
    # Looking up the member of an Enum takes as long as all else that is done here for a plain statement.
    statement, ordinary, copy_in, lexical = Kind.STATEMENT, Effect.PLAIN, Effect.COPY_IN, Effect.LEXICAL
    for part in parts:
        kind, text, _, start = part
        if kind is not statement:
            if kind is Kind.COPY_DATA or kind is Kind.COPY_END:
                yield part
            continue
        what = ordinary if plain else effect.of(text, start)
        if what in _DROPPED:
            continue
        if gathered and (
            what is copy_in
            or size + len(text) > _BATCH_BYTES
            or len(gathered) == _BATCH_STATEMENTS
            or (singly and not (inserts(part) and inserts(gathered[0])))
        ):
            yield Batch(tuple(gathered))
            gathered, size = [], 0
        if what is copy_in:
            yield Batch((part,), copies=True)
            continue
        gathered.append(part)
        size += len(text)
        if what is lexical:  # the server reads a message whole before it runs the first of it
            yield Batch(tuple(gathered))
            gathered, size = [], 0
    if gathered:
        yield Batch(tuple(gathered))


def inserts(part: Part) -> bool:
    """Whether a statement is an INSERT."""
    return part.sql[:6].upper() == b"INSERT"
