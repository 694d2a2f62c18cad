"""Rows of bigints from one database into a temporary table of another, thousands of them in one row of arrays.

A row costs a client more than a server: one message each. The golden side therefore reads its table block by block, a
batch at a time, and makes an array of each column; the other takes them apart. Neither side, nor we, hold more than a
batch in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from kernel.rehearsal.data.sides import rows

if TYPE_CHECKING:
    from kernel.database import Connection

# Some ten thousand rows: an array stays below a megabyte, and reading a batch takes far longer than asking for it.
_BLOCKS = 128
# Older servers have no scan of a range of blocks, and only of heaps is it known that they are made of blocks at all.
_SCANS_RANGES = 140000
_BLOCKWISE = "SELECT amname = 'heap' FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE c.oid = {}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """A temporary table of the connection that made it, of arrays under the names of `columns`."""

    table: sql.Identifier
    columns: tuple[sql.Identifier, ...]

    def make(self, connection: Connection) -> None:
        """Make the table, empty. Hashes cannot be compressed, so nobody shall try."""
        one = sql.SQL(", ")
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(self.table))
        connection.execute(
            sql.SQL("CREATE TEMP TABLE {} ({})").format(
                self.table, one.join(sql.SQL("{} bigint[]").format(column) for column in self.columns)
            )
        )
        connection.execute(
            sql.SQL("ALTER TABLE {} {}").format(
                self.table,
                one.join(sql.SQL("ALTER {} SET STORAGE EXTERNAL").format(column) for column in self.columns),
            )
        )

    @property
    def single(self) -> sql.Composed:
        """The rows as they were before they became arrays, as a query."""
        columns = sql.SQL(", ").join(sql.SQL("unnest({0}) AS {0}").format(column) for column in self.columns)
        return sql.SQL("SELECT {} FROM {}").format(columns, self.table)


def copy(origin: Connection, target: Connection, batches: Batches, query: sql.Composed) -> None:
    """Copy the rows of a query of bigint arrays into the table."""
    read = sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(query)
    write = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(batches.table)
    with origin.cursor().copy(read) as source, target.cursor().copy(write) as sink:
        for block in source:
            sink.write(block)


def arrays(
    connection: Connection,
    leaf: tuple[int, sql.Composed],
    columns: list[sql.Composable],
    *,
    only: sql.Composed,
) -> sql.Composed:
    """A query of the rows of a leaf (sources.Source) that `only` holds for, in arrays of one length for each column."""
    oid, leaf_rows = leaf
    integers = [sql.SQL("({})::bigint").format(one) for one in columns]
    if connection.info.server_version < _SCANS_RANGES or rows(connection, sql.SQL(_BLOCKWISE).format(oid)) != [(True,)]:
        each = sql.SQL(", ").join(sql.SQL("ARRAY[{}]").format(one) for one in integers)
        return sql.SQL("SELECT {} FROM {} WHERE {}").format(each, leaf_rows, only)
    return sql.SQL(
        "SELECT batch.* FROM generate_series(0, pg_relation_size({oid}) / current_setting('block_size')::bigint,"
        " {blocks}) AS block (first), LATERAL (SELECT {arrays} FROM {rows} WHERE {only}"
        " AND r.ctid >= format('(%s,0)', block.first)::tid"
        " AND r.ctid < format('(%s,0)', block.first + {blocks})::tid) AS batch"
    ).format(
        oid=oid,
        blocks=_BLOCKS,
        arrays=sql.SQL(", ").join(
            sql.SQL("array_agg({}) AS {}").format(one, sql.Identifier(f"a{at}")) for at, one in enumerate(integers)
        ),
        rows=leaf_rows,
        only=only,
    )
