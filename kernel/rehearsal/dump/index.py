"""What stands where in a plain dump: the values that scanning makes and loading reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from kernel.rehearsal.dump.dump import Contents
    from kernel.rehearsal.dump.shape import Kind
    from kernel.rehearsal.dump.text import Text


class Statement(NamedTuple):
    """A statement of the dump: its bytes are at `offset`. `settings` is the place in Index.settings of those in force.

    `authorization` is the role, as SQL writes it, that SET SESSION AUTHORIZATION named ahead of it, b"" for none.
    """

    kind: Kind
    offset: int
    length: int
    settings: int
    authorization: bytes = b""


class Rows(NamedTuple):
    r"""Rows of a table, `table` as SQL names it, b"" when the COPY has not pg_dump's shape.

    Of a COPY, its statement and its data, without the line `\.`; of INSERTs, the statements themselves, so many that
    they make one message, and `statement_length` is 0.
    """

    table: bytes
    statement_offset: int
    statement_length: int
    offset: int
    length: int
    settings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """A plain dump that was read from end to end and found fit to run: `items` in its order.

    Valid for as long as its `text` is open.
    """

    text: Text
    items: tuple[Statement | Rows, ...]
    settings: tuple[tuple[bytes, ...], ...]
    contents: Contents

    def sql(self, statement: Statement) -> bytes:
        """The statement's bytes, from its first significant one to its semicolon."""
        return self.text.read(statement.offset, statement.length)
