"""A table's rows on one side as the FROM of a query, and its keys and values as hashes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from psycopg import sql

from kernel.rehearsal.data import hashes

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.rehearsal.data.catalog import Column, Relation
    from kernel.rehearsal.data.touched import Shared, Side, Table

_ROW = "r"  # the alias that all expressions below refer to
_INTEGERS = {"int2", "int4", "int8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One side of a table. `rows` is for FROM, the others are expressions over it, integers all of them.

    `identity` is the hash of the key. `key` tells rows apart: the key itself, or two hashes of it. `values` are the
    hashes of the columns that are not of the key, in the order of `compared`. `leaves` are what `rows` consists of:
    (OID, the same for FROM) each.
    """

    rows: sql.Composed
    leaves: tuple[tuple[int, sql.Composed], ...]
    identity: sql.Composable
    key: tuple[sql.Composable, ...]
    values: tuple[sql.Composable, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Both sides of a table made comparable; `columns` are those of `values`, none where there is no key."""

    table: Table
    columns: tuple[Shared, ...]
    golden: Source
    clone: Source
    ordinal: bool = field(default=False)


def compared(table: Table, before: Side, after: Side, *, text: bool) -> Compared:
    """Both sides of a table; with `text`, values whose type changed are compared as text."""
    columns = tuple(one for one in table.shared if one not in table.key) if table.key else ()

    def source(side: Side, hashed: Callable[..., sql.Composed], own: Callable[[Shared], Column]) -> Source:
        def of(column: Shared, seed: sql.Composable) -> sql.Composable:
            return hashed(column, sql.Identifier(_ROW, own(column).name), seed, text=text)

        def identity(seed: int) -> sql.Composable:
            return _chained(table.key, of, seed) if table.key else _of_rows(table.shared, of, seed)

        integer = _integer(table, own)
        seed = sql.SQL("{}::int8").format(integer) if integer else identity(0)
        leaves = [one for one in side.leaves if one not in side.still]
        columns_here = [own(one) for one in table.shared]
        return Source(
            rows=selected(leaves, columns_here),
            leaves=tuple((one.oid, selected([one], columns_here)) for one in leaves),
            identity=identity(0),
            # A key that lost its constraint may hold NULL, which no join finds.
            key=(integer,) if integer and table.key_kept else (identity(0), identity(1)),
            values=tuple(of(one, seed) for one in columns),
        )

    return Compared(
        table=table,
        columns=columns,
        golden=source(before, hashes.before, lambda column: column.before),
        clone=source(after, hashes.after, lambda column: column.after),
        ordinal=not table.key or not table.key_kept,
    )


def selected(leaves: list[Relation], columns: list[Column]) -> sql.Composed:
    """What holds the rows: a table alone, or its partitions together, without what inherits from them."""
    if len(leaves) == 1 and not _absent(leaves[0], columns):
        return sql.SQL("ONLY {} AS {}").format(named(leaves[0]), sql.Identifier(_ROW))
    parts = [
        sql.SQL("SELECT {} FROM ONLY {}").format(
            sql.SQL(", ").join(
                [
                    sql.SQL("ctid"),
                    *(_null(one) if one in _absent(leaf, columns) else sql.Identifier(one.name) for one in columns),
                ]
            ),
            named(leaf),
        )
        for leaf in leaves
    ]
    nothing = sql.SQL("SELECT {} WHERE false").format(
        sql.SQL(", ").join([sql.SQL("NULL::tid AS ctid"), *(_null(one) for one in columns)])
    )
    return sql.SQL("({}) AS {}").format(sql.SQL(" UNION ALL ").join(parts or [nothing]), sql.Identifier(_ROW))


def named(relation: Relation) -> sql.Identifier:
    """A relation's name with its schema, quoted."""
    return sql.Identifier(relation.schema, relation.name)


def counted(leaves: list[Relation] | tuple[Relation, ...], columns: tuple[Column, ...] = ()) -> sql.Composed:
    """A query of the number of rows, then of values in each column."""
    wanted = list(columns)
    counts = [sql.SQL("count({})").format(sql.Identifier(_ROW, one.name)) for one in wanted]
    return sql.SQL("SELECT {} FROM {}").format(
        sql.SQL(", ").join([sql.SQL("count(*)"), *counts]), selected(list(leaves), wanted)
    )


def _absent(leaf: Relation, columns: list[Column]) -> list[Column]:
    names = {one.name for one in leaf.columns}
    return [one for one in columns if one.name not in names]


def _null(column: Column) -> sql.Composed:
    return sql.SQL("NULL::{} AS {}").format(sql.SQL(column.type), sql.Identifier(column.name))


def _integer(table: Table, own: Callable[[Shared], Column]) -> sql.Composable | None:
    """The key itself where it is a single integer: hash functions mix their seed well enough."""
    if len(table.key) != 1 or not {table.key[0].before.kind, table.key[0].after.kind} <= _INTEGERS:
        return None
    column = own(table.key[0])
    return hashes.of_base(column, sql.Identifier(_ROW, column.name))


def _chained(
    key: tuple[Shared, ...], of: Callable[[Shared, sql.Composable], sql.Composable], seed: int
) -> sql.Composed:
    """The hash of a key, each column seeded by those ahead of it. A key that lost its constraint may hold NULL."""
    whole: sql.Composable = sql.SQL(str(seed))
    for column in key:
        whole = of(column, whole)
    return sql.SQL("coalesce({}, 0)").format(whole)


def _of_rows(
    columns: tuple[Shared, ...], of: Callable[[Shared, sql.Composable], sql.Composable], seed: int
) -> sql.Composable:
    """The hash of a whole row: its values', each seeded by its place, so that equal ones do not cancel each other."""
    parts = [
        sql.SQL("coalesce({}, {})").format(of(column, sql.SQL(str(2 * place + seed))), sql.SQL(str(place)))
        for place, column in enumerate(columns, start=1)
    ]
    return sql.SQL(" # ").join(parts) if parts else sql.SQL("0::int8")
