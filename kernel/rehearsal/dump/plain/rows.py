"""Load the rows of a plain dump into their tables: several tables at once, each in one transaction.

A table that is empty and has no triggers is truncated in the transaction that fills it: then the server writes no WAL
for the rows (wal_level = minimal), and FREEZE spares the first VACUUM and the hint bits. PostgreSQL documentation,
"Populating a Database" and "COPY" (FREEZE).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from kernel.rehearsal.dump.plain.workers import LoadJob, WorkStopped
from kernel.sql.lexer import LexerError, PartKind, split_script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kernel.rehearsal.dump.plain.contents import RowBlock
    from kernel.rehearsal.dump.plain.load_state import LoadState
    from kernel.rehearsal.dump.plain.text import DumpText
    from kernel.rehearsal.dump.plain.workers import LoadConnection, Refusal


_PIECE_BYTES = 1 << 16  # fits into the processor's cache together with libpq's copy
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
    """A table to load: `is_empty` when it may be truncated and frozen, `fires_triggers` when loading runs triggers.

    `is_extension`: an extension owned by another role created it, and loading it runs no trigger.
    """

    is_empty: bool = False
    fires_triggers: bool = False
    is_extension: bool = False


def load_tables(state: LoadState, blocks: Iterable[RowBlock]) -> None:
    """Load tables side by side; those that fire triggers, or whose COPY has an unknown shape, one after the other."""
    by_table: dict[bytes, list[RowBlock]] = {}
    for block in blocks:
        by_table.setdefault(block.table, []).append(block)
    state.apply_settings(state.main, next(iter(by_table.values()))[0].settings_state)
    targets = _read_target_tables(state.main, [table for table in by_table if table])
    in_order = {table: None for table in by_table if not table or targets.get(table, TargetTable()).fires_triggers}

    def load(connection: LoadConnection, table: bytes) -> None:
        load_table(state, connection, by_table[table], targets.get(table, TargetTable()))

    state.workers.run_jobs(
        [
            LoadJob(cost=sum(block.length for block in blocks), run=partial(load, table=table))
            for table, blocks in by_table.items()
            if table not in in_order
        ]
    )
    for table in in_order:
        load(state.main, table)


def load_table(state: LoadState, connection: LoadConnection, blocks: list[RowBlock], target: TargetTable) -> None:
    """Load the rows of one table, and record what the server refused."""
    if target.is_extension and state.loading.has_superuser:
        with state.assistant_lock:
            _load_blocks(state, state.assistant, blocks, target)
    else:
        _load_blocks(state, connection, blocks, target)


def _read_target_tables(connection: LoadConnection, tables: Iterable[bytes]) -> dict[bytes, TargetTable]:
    """Each table that exists, by its name as SQL writes it."""
    names = [table.decode(errors="replace") for table in tables]
    rows = connection.connection.execute(_TARGET_TABLES, (names,)).fetchall()
    return {
        name.encode(): TargetTable(is_empty=empty and not extension, fires_triggers=triggers, is_extension=extension)
        for name, empty, triggers, extension in rows
    }


def _load_blocks(state: LoadState, connection: LoadConnection, blocks: list[RowBlock], target: TargetTable) -> None:
    state.apply_settings(connection, blocks[0].settings_state)
    name = blocks[0].table.decode(errors="replace")

    def report(length: int) -> None:
        if state.workers.stopped:
            raise WorkStopped
        state.report_progress(name, length)

    if copies := [block for block in blocks if block.statement_length]:
        for offset, refusal in _copy_blocks(connection, state.index.text, copies, target, report):
            state.losses.add_rows(copies[0], offset, refusal)
    for block in blocks:
        if not block.statement_length:
            for offset, refusal in _insert_block(connection, state.index.text, block):
                state.losses.add_rows(block, offset, refusal)
            report(block.length)


def _copy_blocks(
    connection: LoadConnection,
    text: DumpText,
    blocks: list[RowBlock],
    target: TargetTable,
    report: Callable[[int], None],
) -> Iterator[tuple[int, Refusal]]:
    """Copy in one transaction; yields a refusal of the server with its offset in the dump.

    `report` receives the number of bytes of the dump that were loaded since its last call.
    """
    starts_transaction = connection.idle  # else the dump has begun one itself
    freeze = starts_transaction and target.is_empty
    if starts_transaction:
        connection.run(b"BEGIN")
    refusal = connection.run(b"TRUNCATE ONLY " + blocks[0].table) if freeze else None
    for block in blocks:
        statement = text.read(block.statement_offset, block.statement_length)
        if freeze:
            statement = statement.replace(_FROM_STDIN, _FREEZE)
        pieces = _count_pieces(text.pieces(block.offset, block.length, _PIECE_BYTES), report)
        refusal = refusal or connection.copy(statement, pieces)
        if refusal:
            yield _refused_row_offset(text, block, refusal), refusal
            break
    if starts_transaction and (failed := connection.run(b"ROLLBACK" if refusal else b"COMMIT")):
        yield blocks[0].statement_offset, failed


def _count_pieces(pieces: Iterable[bytes], report: Callable[[int], None]) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        report(len(piece))


def _refused_row_offset(text: DumpText, block: RowBlock, refusal: Refusal) -> int:
    """The offset of the row that was refused, or of the COPY where the server does not name a row."""
    if refusal.row is None:
        return block.statement_offset
    lines_before = refusal.row - 1
    offset = block.offset
    for piece in text.pieces(block.offset, block.length, _PIECE_BYTES):
        lines = piece.count(b"\n")
        if lines >= lines_before:
            return offset + sum(len(line) for line in piece.splitlines(keepends=True)[:lines_before])
        lines_before -= lines
        offset += len(piece)
    return offset


def _insert_block(connection: LoadConnection, text: DumpText, block: RowBlock) -> Iterator[tuple[int, Refusal]]:
    """Run the statements as one message, which is one transaction; one by one when it fails."""
    message = text.read(block.offset, block.length)
    refusal_of_all = connection.run(message)
    if refusal_of_all is None:
        return
    offset = block.offset
    try:
        for part in split_script(io.BytesIO(message).read):
            if part.kind is PartKind.STATEMENT and (refusal := connection.run(part.sql)):
                yield offset + part.start, refusal
            offset += len(part.text)
    except LexerError:
        yield offset, refusal_of_all
