"""Rows of a dump on their way into their tables.

A table that is empty and has no triggers is truncated in the transaction that fills it: then the server writes no log
of the rows (wal_level = minimal), and FREEZE spares the first VACUUM and the hint bits. PostgreSQL documentation,
"Populating a Database" and "COPY" (FREEZE).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.sql import lexer
from kernel.sql.part import Kind
from kernel.sql.source import Unlexable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kernel.rehearsal.dump.hand import Hand, Refusal
    from kernel.rehearsal.dump.index import Rows
    from kernel.rehearsal.dump.text import Text

_PIECE_BYTES = 1 << 16  # what fits into the processor's cache beside what libpq makes of it
_FROM_STDIN = b"FROM stdin;"
_FREEZE = b"FROM stdin WITH (FREEZE);"
_TARGETS = """
SELECT name, c.relkind = 'r' AND NOT c.relhastriggers AND NOT c.relhasrules AND pg_relation_size(c.oid) = 0,
  c.relhastriggers,
  NOT c.relhastriggers AND c.relowner <> current_user::regrole AND EXISTS (
    SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid
      AND refclassid = 'pg_extension'::regclass AND deptype = 'e')
FROM unnest(%s::text[]) name JOIN pg_class c ON c.oid = to_regclass(name)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A table that rows go into: `fresh` when it may be truncated and frozen, `triggered` when loading runs triggers.

    `extension` tells that an extension of somebody else's made it, and that loading it runs nothing.
    """

    fresh: bool = False
    triggered: bool = False
    extension: bool = False


def targets(hand: Hand, tables: Iterable[bytes]) -> dict[bytes, Target]:
    """What is known of each table that exists, by its name as SQL writes it."""
    names = [table.decode(errors="replace") for table in tables]
    found = hand.connection.execute(_TARGETS, (names,)).fetchall()
    return {
        name.encode(): Target(fresh=fresh and not extension, triggered=triggered, extension=extension)
        for name, fresh, triggered, extension in found
    }


def fill(
    hand: Hand, text: Text, blocks: Iterable[Rows], target: Target, told: Callable[[int], None]
) -> Iterator[tuple[int, Refusal]]:
    """Load the blocks of one table; yields what the server refused, and at which offset of the dump.

    `told` is called with the number of bytes of the dump that are done since it was called last.
    """
    copies = [block for block in blocks if block.statement_length]
    inserts = [block for block in blocks if not block.statement_length]
    if copies:
        yield from _copy(hand, text, copies, target, told)
    for block in inserts:
        yield from _insert(hand, text, block)
        told(block.length)


def _copy(
    hand: Hand, text: Text, blocks: list[Rows], target: Target, told: Callable[[int], None]
) -> Iterator[tuple[int, Refusal]]:
    own = hand.idle  # else the dump has a transaction of its own
    if own:
        hand.run(b"BEGIN")
    refused = None
    if own and target.fresh:
        refused = hand.run(b"TRUNCATE ONLY " + blocks[0].table)
    for block in blocks:
        statement = text.read(block.statement_offset, block.statement_length)
        if own and target.fresh:
            statement = statement.replace(_FROM_STDIN, _FREEZE)
        refused = refused or hand.copy(statement, _told(text.pieces(block.offset, block.length, _PIECE_BYTES), told))
        if refused:
            yield _place(text, block, refused), refused
            break
    if own:
        refused = hand.run(b"ROLLBACK" if refused else b"COMMIT")
        if refused:
            yield blocks[0].statement_offset, refused


def _told(pieces: Iterable[bytes], told: Callable[[int], None]) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        told(len(piece))


def _place(text: Text, block: Rows, refused: Refusal) -> int:
    """The offset of the row that was refused, of the COPY where the server does not say."""
    if refused.row is None:
        return block.statement_offset
    before = refused.row - 1  # lines
    offset = block.offset
    for piece in text.pieces(block.offset, block.length, _PIECE_BYTES):
        lines = piece.count(b"\n")
        if lines >= before:
            return offset + sum(len(line) for line in piece.splitlines(keepends=True)[:before])
        before -= lines
        offset += len(piece)
    return offset


def _insert(hand: Hand, text: Text, block: Rows) -> Iterator[tuple[int, Refusal]]:
    """Run the statements as one message, which is one transaction; one by one when it fails."""
    message = text.read(block.offset, block.length)
    whole = hand.run(message)
    if whole is None:
        return
    at = block.offset
    try:
        for part in lexer.parts(io.BytesIO(message).read):
            if part.kind is Kind.STATEMENT and (refused := hand.run(part.sql)):
                yield at + part.start, refused
            at += len(part.text)
    except Unlexable:
        yield at, whole
