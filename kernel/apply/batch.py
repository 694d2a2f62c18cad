"""Batches: the statements of a file in messages of bounded size, each remembering where its statements stand.

One message for each statement costs a round trip each; one for the whole file costs the server several times the file's
size in memory. Between the two lies the speed of the one at the memory of the other.
"""

from __future__ import annotations

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
        return b"\n".join(part.sql for part in self.statements)

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


def batches(parts: Iterable[Part]) -> Iterator[Batch | Part]:
    """Group a file's parts: batches to send, and between them the parts of COPY data, in the order of the file."""
    gathered: list[Part] = []
    size = 0
    for part in parts:
        if part.kind is not Kind.STATEMENT:
            if part.kind is Kind.COPY_DATA or part.kind is Kind.COPY_END:
                yield part
            continue
        what = effect.of(part.sql)
        if what in _DROPPED:
            continue
        if gathered and (
            what is Effect.COPY_IN or size + len(part.text) > _BATCH_BYTES or len(gathered) == _BATCH_STATEMENTS
        ):
            yield Batch(tuple(gathered))
            gathered, size = [], 0
        if what is Effect.COPY_IN:
            yield Batch((part,), copies=True)
            continue
        gathered.append(part)
        size += len(part.text)
        if what is Effect.LEXICAL:  # the server reads a message whole before it runs the first of it
            yield Batch(tuple(gathered))
            gathered, size = [], 0
    if gathered:
        yield Batch(tuple(gathered))
