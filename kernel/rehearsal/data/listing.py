"""The query that lists rows which differ: their keys, never what else they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from kernel.rehearsal.data.sides import rows
from kernel.rehearsal.data.spread import KEYS_SHOWN

if TYPE_CHECKING:
    from kernel.rehearsal.data.catalog import Column
    from kernel.rehearsal.data.sides import Row, Sides
    from kernel.rehearsal.data.sources import Compared


def query(sides: Sides, both: Compared, examples: list[Row], *, golden: bool) -> str:
    """A query that lists the rows of these keys: as production has them, or as the migration added them."""
    key = both.table.key
    side = both.table.before if golden else both.table.after
    if not key or not examples or side is None:
        return ""
    connection, source = (sides.golden, both.golden) if golden else (sides.clone, both.clone)
    columns = [column.before if golden else column.after for column in key]
    literals = [_literal(column) for column in columns]
    keys = rows(
        connection,
        sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT {}").format(
            sql.SQL(", ").join(literals),
            source.rows,
            sql.SQL(" AND ").join(
                sql.SQL("{} = ANY({}::bigint[])").format(one, list(these))
                for one, these in zip(source.key, zip(*examples, strict=True), strict=True)
            ),
            sql.SQL(", ").join(sql.Identifier("r", column.name) for column in columns),
            KEYS_SHOWN,
        ),
    )
    values = [", ".join(one if one is not None else "NULL" for one in row) for row in keys]
    listed = ", ".join(f"({one})" if len(columns) > 1 else one for one in values)
    names = ", ".join(column.quoted for column in columns)
    # Names and literals are as the server quoted them.
    where = f"({names})" if len(columns) > 1 else names
    return f"SELECT * FROM {side.head.quoted} WHERE {where} IN ({listed})"  # noqa: S608 - text for people to run


def _literal(column: Column) -> sql.Composed:
    """The expression that spells a key's value for SQL."""
    value = sql.Identifier("r", column.name)
    if column.kind in ("int2", "int4", "int8"):
        return sql.SQL("{}::text").format(value)
    # A bare literal is taken for an OID beside one of these, and beside a composite for a type without a name.
    cast = f"::{column.base}" if column.kind.startswith("reg") or not column.kind else ""
    return sql.SQL("quote_literal({}::text) || {}").format(value, sql.Literal(cast))
