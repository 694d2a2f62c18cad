"""Rows of a dump on their way into their tables.

A table that is empty and has no triggers is truncated in the transaction that fills it: then the server writes no log
of the rows (wal_level = minimal), and FREEZE spares the first VACUUM and the hint bits. PostgreSQL documentation,
"Populating a Database" and "COPY" (FREEZE).
"""

from __future__ import annotations

import io
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.rehearsal.dump.plain.load_state import catalog_transaction
from kernel.rehearsal.dump.plain.workers import LoadJob, WorkStopped
from kernel.sql.lexer import LexerError, PartKind, split_script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from kernel.db.connection import Connection
    from kernel.rehearsal.dump.plain.contents import RowBlock
    from kernel.rehearsal.dump.plain.load_state import LoadState
    from kernel.rehearsal.dump.plain.text import DumpText
    from kernel.rehearsal.dump.plain.workers import LoadConnection, Refusal


_PIECE_BYTES = 1 << 16  # what fits into the processor's cache beside what libpq makes of it
_FROM_STDIN = b"FROM stdin;"
_FREEZE = b"FROM stdin WITH (FREEZE);"
_TARGET_TABLES = """
SELECT name, c.relkind = 'r' AND NOT c.relhastriggers AND NOT c.relhasrules AND pg_relation_size(c.oid) = 0,
  c.relhastriggers,
  NOT c.relhastriggers AND c.relowner <> current_user::regrole AND EXISTS (
    SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid
      AND refclassid = 'pg_extension'::regclass AND deptype = 'e')
FROM unnest(%s::text[]) name JOIN pg_class c ON c.oid = to_regclass(name)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetTable:
    """A table that rows go into: `fresh` when it may be truncated and frozen, `triggered` when loading runs triggers.

    `extension` tells that an extension of somebody else's made it, and that loading it runs nothing.
    """

    is_empty: bool = False
    fires_triggers: bool = False
    is_extension: bool = False


def read_target_tables(hand: LoadConnection, tables: Iterable[bytes]) -> dict[bytes, TargetTable]:
    """What is known of each table that exists, by its name as SQL writes it."""
    names = [table.decode(errors="replace") for table in tables]
    found = hand.connection.execute(_TARGET_TABLES, (names,)).fetchall()
    return {
        name.encode(): TargetTable(is_empty=fresh and not extension, fires_triggers=triggered, is_extension=extension)
        for name, fresh, triggered, extension in found
    }


def load_blocks(
    hand: LoadConnection, text: DumpText, blocks: Iterable[RowBlock], target: TargetTable, told: Callable[[int], None]
) -> Iterator[tuple[int, Refusal]]:
    """Load the blocks of one table; yields what the server refused, and at which offset of the dump.

    `told` is called with the number of bytes of the dump that are done since it was called last.
    """
    copies = [block for block in blocks if block.statement_length]
    inserts = [block for block in blocks if not block.statement_length]
    if copies:
        yield from _copy_blocks(hand, text, copies, target, told)
    for block in inserts:
        yield from _insert_block(hand, text, block)
        told(block.length)


def _copy_blocks(
    hand: LoadConnection, text: DumpText, blocks: list[RowBlock], target: TargetTable, told: Callable[[int], None]
) -> Iterator[tuple[int, Refusal]]:
    own = hand.idle  # else the dump has a transaction of its own
    if own:
        hand.run(b"BEGIN")
    refused = None
    if own and target.is_empty:
        refused = hand.run(b"TRUNCATE ONLY " + blocks[0].table)
    for block in blocks:
        statement = text.read(block.statement_offset, block.statement_length)
        if own and target.is_empty:
            statement = statement.replace(_FROM_STDIN, _FREEZE)
        refused = refused or hand.copy(
            statement, _count_pieces(text.pieces(block.offset, block.length, _PIECE_BYTES), told)
        )
        if refused:
            yield _refused_row_offset(text, block, refused), refused
            break
    if own:
        refused = hand.run(b"ROLLBACK" if refused else b"COMMIT")
        if refused:
            yield blocks[0].statement_offset, refused


def _count_pieces(pieces: Iterable[bytes], told: Callable[[int], None]) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        told(len(piece))


def _refused_row_offset(text: DumpText, block: RowBlock, refused: Refusal) -> int:
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


def _insert_block(hand: LoadConnection, text: DumpText, block: RowBlock) -> Iterator[tuple[int, Refusal]]:
    """Run the statements as one message, which is one transaction; one by one when it fails."""
    message = text.read(block.offset, block.length)
    whole = hand.run(message)
    if whole is None:
        return
    at = block.offset
    try:
        for part in split_script(io.BytesIO(message).read):
            if part.kind is PartKind.STATEMENT and (refused := hand.run(part.sql)):
                yield at + part.start, refused
            at += len(part.text)
    except LexerError:
        yield at, whole


# One table's rows for several connections: where a single table is most of the dump, one could not keep the rest busy.
#
# Such a table forgoes TRUNCATE and FREEZE, which only one transaction can have; reading the text of its rows, which is
# most of the work, is worth more once there are processors for it.


SPLIT_MIN_BYTES = 64 << 20  # below that, a COPY is over in less than half a second
_SEARCH_BYTES = 1 << 16
# A table with more than its share of the rows, by this much, is what everybody else would wait for.
_DOMINANT_SHARE = 1.2


def is_dominant_table(blocks: Sequence[RowBlock], total_bytes: int, hands: int) -> bool:
    """Whether these blocks, of one table, are so much of `total_bytes` that `hands` should share them."""
    own = sum(block.length for block in blocks)
    return (
        hands > 1
        and len(blocks) == 1
        and blocks[0].statement_length > 0
        and own >= SPLIT_MIN_BYTES
        and own * hands > total_bytes * _DOMINANT_SHARE
    )


def split_block(text: DumpText, block: RowBlock, hands: int) -> tuple[RowBlock, ...]:
    """The block in `hands` parts of about one size, cut where rows end."""
    cuts = [block.offset]
    end = block.offset + block.length
    for number in range(1, hands):
        cut = _next_row(text, block.offset + block.length * number // hands, end)
        if cuts[-1] < cut < end:
            cuts.append(cut)
    ends = [*cuts[1:], end]
    return tuple(block._replace(offset=cut, length=stop - cut) for cut, stop in zip(cuts, ends, strict=True))


def _next_row(text: DumpText, offset: int, end: int) -> int:
    """Where the first row that begins behind `offset` begins; `end` when none does."""
    while offset < end:
        look = text.read(offset, min(_SEARCH_BYTES, end - offset))
        at = look.find(b"\n", 1)
        while at >= 0:
            # A line end behind a backslash belongs to the row (PostgreSQL documentation, "COPY", Text Format). Several
            # backslashes are looked at no closer: the next row will do.
            if look[at - 1] != ord("\\"):
                return offset + at + 1
            at = look.find(b"\n", at + 1)
        offset += max(1, len(look) - 1)
    return end


# Tables that several connections fill at once, without the log that nobody will read.
#
# With wal_level = minimal, rows are not logged when the transaction that loads them made or truncated the table, which
# only one connection can do. Rows of an unlogged table are never logged; but to make a table unlogged and logged again by
# ALTER TABLE writes it anew. On a server of our own the catalog is told instead: the files are the same, and only what
# becomes of them in a crash is not. There, a crash ends the load (restart_after_crash = off), and a clean stop, which
# comes before anybody uses the copy, writes the pages of all tables to their files.
# PostgreSQL documentation, "Populating a Database" and "CREATE TABLE" (UNLOGGED).


# Of the role that loads, and without an index, which would have to be told apart from what it indexes. The table for
# long values goes with its own, and the index that it has.
_LOGGED_RELATIONS = """
SELECT unnest(ARRAY[c.oid, long.oid, i.indexrelid]) AS relation
FROM unnest(%s::text[]) name JOIN pg_class c ON c.oid = to_regclass(name)
LEFT JOIN pg_class long ON long.oid = c.reltoastrelid LEFT JOIN pg_index i ON i.indrelid = long.oid
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND NOT c.relhasindex AND c.relowner = %s::regrole
"""
_SET_PERSISTENCE = "UPDATE pg_class SET relpersistence = %s WHERE oid = ANY(%s::oid[])"


@contextmanager
def without_wal(superuser: Connection, tables: Iterable[bytes], role: str) -> Iterator[None]:
    """Inside, tables of `role` that are logged are unlogged; those of other shapes stay as they are.

    `tables` as SQL names them, with their schema; nobody else may use them meanwhile. When the block fails they stay
    unlogged, in a copy that is of no use to anybody. Raises psycopg.Error.
    """
    names = [table.decode(errors="replace") for table in tables]
    with catalog_transaction(superuser):
        found = superuser.execute(_LOGGED_RELATIONS, (names, role)).fetchall()
        relations = [relation for (relation,) in found if relation is not None]
        superuser.execute(_SET_PERSISTENCE, ("u", relations))
    yield
    with catalog_transaction(superuser):
        superuser.execute(_SET_PERSISTENCE, ("p", relations))


# The rows of many tables, dealt out to the connections; of one table that outweighs the others, in parts.


def load_tables(site: LoadState, items: Iterable[RowBlock]) -> None:
    """Load rows side by side; those that fire triggers, or of a COPY of an unknown shape, one after the other."""
    of_table: dict[bytes, list[RowBlock]] = {}
    for item in items:
        of_table.setdefault(item.table, []).append(item)
    site.apply_settings(site.main, next(iter(of_table.values()))[0].settings_state)
    known = read_target_tables(site.main, [table for table in of_table if table])
    together: list[tuple[list[RowBlock], TargetTable]] = []
    in_order: list[tuple[list[RowBlock], TargetTable]] = []
    for table, blocks in of_table.items():
        target = known.get(table, TargetTable())
        (in_order if target.fires_triggers or not table else together).append((blocks, target))
    total = sum(block.length for blocks, _target in together for block in blocks)
    shared: list[tuple[list[RowBlock], TargetTable]] = []
    divided: list[bytes] = []
    for blocks, target in together:
        parts = _split_if_dominant(site, blocks, target, total)
        if len(parts) > 1:
            divided.append(blocks[0].table)
        shared += [(part, target if len(parts) == 1 else TargetTable()) for part in parts]
    jobs = [_table_job(site, blocks, target) for blocks, target in shared]
    superuser, role = site.assistant.connection, site.loading.name
    with without_wal(superuser, divided, role) if divided and site.may_write_catalog else nullcontext():
        site.workers.run_jobs(jobs)
    for blocks, target in in_order:
        load_table(site, site.main, blocks, target)


def load_table(site: LoadState, one: LoadConnection, blocks: list[RowBlock], target: TargetTable) -> None:
    """Load the rows of one table."""
    if target.is_extension and site.loading.has_superuser:
        with site.assistant_lock:
            _load_and_report(site, site.assistant, blocks, target)
    else:
        _load_and_report(site, one, blocks, target)


def _split_if_dominant(
    site: LoadState, blocks: list[RowBlock], target: TargetTable, total_bytes: int
) -> list[list[RowBlock]]:
    """The blocks of one table, in parts for all hands where it is most of what there is."""
    hands = site.workers.size
    if target.is_empty and is_dominant_table(blocks, total_bytes, hands):
        return [[piece] for piece in split_block(site.index.text, blocks[0], hands)]
    return [blocks]


def _table_job(site: LoadState, blocks: list[RowBlock], target: TargetTable) -> LoadJob:
    cost = sum(block.length for block in blocks)
    return LoadJob(cost=cost, run=lambda one: load_table(site, one, blocks, target))


def _load_and_report(site: LoadState, one: LoadConnection, blocks: list[RowBlock], target: TargetTable) -> None:
    site.apply_settings(one, blocks[0].settings_state)
    name = blocks[0].table.decode(errors="replace")

    def told(length: int) -> None:
        if site.workers.stopped:
            raise WorkStopped
        site.report_progress(name, length)

    for offset, refused in load_blocks(one, site.index.text, blocks, target, told):
        site.losses.add_rows(blocks[0], offset, refused)
