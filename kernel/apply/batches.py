"""Batches: the statements of a file in messages of bounded size, which know where each statement is in the file.

One message for each statement costs a round trip each; one for a whole file costs the server several times the size of
the file in memory.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.sql.classify import StatementEffect, statement_effect
from kernel.sql.lexer import PartKind

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from kernel.sql.lexer import Part


_BATCH_BYTES = 256 * 1024
_BATCH_STATEMENTS = 500
_NOT_SENT = (
    StatementEffect.BEGIN,
    StatementEffect.COMMIT,
)  # the pair around the file; parse_script refuses any other


@dataclass(frozen=True, slots=True)
class Batch:
    """Statements of a file that go in one message.

    With `is_copy` a single COPY … FROM stdin, whose data follow; with `is_check` a single check, whose row decides
    whether the next message is sent.
    """

    statements: tuple[Part, ...]
    is_copy: bool = False
    is_check: bool = False

    @property
    def message(self) -> bytes:
        return b"\n".join([part.sql for part in self.statements])

    @property
    def open_ended(self) -> bool:
        """Whether statements may follow in its message: not after COPY, a check, or a statement without a semicolon."""
        return not self.is_copy and not self.is_check and self.statements[-1].text.endswith(b";")

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message to the server: a batch of a file between statements of the runner. COPY has a message to itself."""

    head: tuple[bytes, ...] = ()
    batch: Batch = Batch(())
    tail: tuple[bytes, ...] = ()

    @property
    def text(self) -> bytes:
        if not self.head and not self.tail:
            return self.batch.message
        return b"%b%b\n%b" % (self._head_text, self.batch.message, b";\n".join(self.tail))

    @property
    def script(self) -> bytes:
        """The text as a part of a script: it ends with a semicolon and a newline."""
        text = self.text.rstrip()
        return text + (b"\n" if text.endswith(b";") and not self.tail else b"\n;\n" if not self.tail else b";\n")

    @property
    def count(self) -> int:
        return len(self.head) + len(self.batch.statements) + len(self.tail)

    @property
    def _head_text(self) -> bytes:
        return b"".join([b"%b;\n" % statement for statement in self.head])

    def part_at(self, number: int) -> Part | None:
        """The file's statement with this number in the message, counted from 0; None for a statement of the runner."""
        index = number - len(self.head)
        return self.batch.statements[index] if 0 <= index < len(self.batch.statements) else None

    def tail_statement(self, number: int) -> bytes | None:
        """The runner's statement after the batch with this number in the message, counted from 0; None for another."""
        index = number - len(self.head) - len(self.batch.statements)
        return self.tail[index] if 0 <= index < len(self.tail) else None

    def locate(self, done: int, position: int | None) -> tuple[int, int | None] | None:
        """(index in the batch, byte offset in its SQL) of the statement that failed; None for one of the runner's.

        `done` statements had finished. `position`, in characters of the message counted from 1, is what the server
        reports. It reads the whole message before it runs the first statement: what it cannot read has a position,
        while nothing is done. Later, a position outside of the statement is in the text of another message: that of a
        prepared statement.
        """
        index = done - len(self.head) if self.part_at(done) else None
        if position is not None and (index is not None or not done):
            position -= len(self._head_text.decode())
            place = self.batch.locate(position) if position > 0 and self.batch.statements else None
            if not done or (place and place[0] == index):
                return place
        return None if index is None else (index, None)


class BatchQueue:
    """The batches of a file. It reads one batch in advance, to know the last one and to work while the server does."""

    def __init__(self, items: Iterator[Batch | Part]) -> None:
        self._items = items
        self._prepared: deque[Batch] = deque()

    @property
    def ended(self) -> bool:
        """Whether no batch follows the one that `next_batch` returned. After a COPY this is not known yet."""
        return not self._prepared

    def next_batch(self) -> Batch | None:
        """The next batch, None after the last."""
        if not self._prepared:
            self._prepare()
        item = self._prepared.popleft() if self._prepared else None
        if item and not item.is_copy and not self._prepared:
            self._prepare()
        return item

    def prepare_following(self) -> None:
        """Prepare the batch after the next one, unless the data of a COPY are before it."""
        if self._prepared and not self._prepared[-1].is_copy:
            self._prepare()

    def copy_data(self) -> Iterator[bytes]:
        """The data of the COPY that `next_batch` returned."""
        for item in self._items:
            if isinstance(item, Batch) or item.kind is PartKind.COPY_END:
                return
            if item.kind is PartKind.COPY_DATA:
                yield item.text

    def _prepare(self) -> None:
        self._prepared.extend(itertools.islice((item for item in self._items if isinstance(item, Batch)), 1))


def split_into_batches(
    parts: Iterable[Part], *, plain: bool = False, singly: bool = False, checks: Container[int] = ()
) -> Iterator[Batch | Part]:
    """Group the parts of a file into batches, in order; parts of COPY data stay between them.

    With `plain` no statement is special (Script.all_plain), and they are not classified. With `singly` a batch is one
    statement, or consecutive INSERTs. `checks` are the offsets of those that are checks.
    """
    gathered: list[Part] = []
    size = 0
    # The lookup of an Enum member takes as long as everything else that is done here for a plain statement.
    statement, ordinary, copy_in, lexical = (
        PartKind.STATEMENT,
        StatementEffect.PLAIN,
        StatementEffect.COPY_IN,
        StatementEffect.LEXICAL,
    )
    for part in parts:
        kind, text, _, start, _ = part
        if kind is not statement:
            if kind is PartKind.COPY_DATA or kind is PartKind.COPY_END:
                yield part
            continue
        what = ordinary if plain else statement_effect(text, start)
        if what in _NOT_SENT:
            continue
        if checks and part.offset in checks:  # at the top of a file: nothing is gathered yet
            yield Batch((part,), is_check=True)
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
        if what is lexical:  # the server parses a whole message before it runs the first statement
            yield Batch(tuple(gathered))
            gathered, size = [], 0
    if gathered:
        yield Batch(tuple(gathered))


def is_insert(part: Part) -> bool:
    """Whether a statement is an INSERT."""
    return part.sql[:6].upper() == b"INSERT"
