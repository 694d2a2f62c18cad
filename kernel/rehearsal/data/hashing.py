"""Hash a column's value to 64 bits in SQL: the hashes of both sides are equal exactly when the values are.

PostgreSQL's own hash functions, seeded, where they distinguish all different values; the value's text otherwise. Not
used on purpose: jsonb's, which is blind to nesting ({"a": {"b": 1}, "c": 2} and {"a": {"b": 1, "c": 2}} hash alike);
an array's, which is blind to dimensions; interval's, for which 30 days are a month; citext's and those of
nondeterministic collations, for which case may not count. Not used as they are: bigint's, which folds 64 bits into 32,
so that 0 and 4294967297 hash alike, and the value goes into the seed as well; numeric's, which is blind to the sign.

Integers hash alike, as do float4 and float8, varchar and text, numerics of any scale: a change between those needs no
conversion to be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from kernel.rehearsal.data.connections import comma_list

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.rehearsal.data.tables import CatalogColumn, CatalogTable, ColumnPair, TablePair, TableSide


# {0} is the value, {1} the seed, a bigint. All give NULL for NULL.
_TEXT_HASH = 'hashtextextended({0}::text COLLATE "C", {1})'
_ARRAY_HASH = "CASE WHEN {0} IS NOT NULL THEN hash_array_extended(ARRAY[{0}], {1}) END"  # has no SQL function
# PostgreSQL hashes only the digits of a numeric: -1 has those of 1, and the hash of NaN and the infinities is the seed.
_NUMERIC_HASH = """(hash_numeric_extended({0}, {1})
  # CASE WHEN {0} < 0 THEN int8 '-1' WHEN {0} = 'NaN' THEN int8 '2' ELSE int8 '0' END)"""
_NATIVE_HASHES = {
    "bool": "hashint4extended({0}::int4, {1})",
    "int2": "hashint2extended({0}, {1})",
    "int4": "hashint4extended({0}, {1})",
    "int8": "hashint8extended({0}, {0} # {1})",
    "float4": "hashfloat4extended({0}, {1})",
    "float8": "hashfloat8extended({0}, {1})",
    "numeric": _NUMERIC_HASH,
    "text": 'hashtextextended({0} COLLATE "C", {1})',
    "varchar": 'hashtextextended({0} COLLATE "C", {1})',
    "bpchar": 'hashbpcharextended({0} COLLATE "C", {1})',
    "bytea": _ARRAY_HASH,
    "uuid": "uuid_hash_extended({0}, {1})",
    "date": _ARRAY_HASH,
    "time": "time_hash_extended({0}, {1})",
    "timetz": "timetz_hash_extended({0}, {1})",
    "timestamp": "timestamp_hash_extended({0}, {1})",
    "timestamptz": "timestamp_hash_extended({0} AT TIME ZONE 'UTC', {1})",
    "inet": "hashinetextended({0}, {1})",
    "cidr": "hashinetextended({0}, {1})",
    "macaddr": "hashmacaddrextended({0}, {1})",
    "oid": "hashoidextended({0}, {1})",
    "enum": "hashenumextended({0}, {1})",
    # Their text is the current name of the object.
    **dict.fromkeys(
        ("regclass", "regproc", "regprocedure", "regoper", "regoperator", "regtype", "regrole", "regnamespace"),
        "hashoidextended({0}::oid, {1})",
    ),
}
# A bpchar's own hash and its cast to text leave out the blanks that pad it; its output has them.
_PADDED_HASH = """CASE WHEN {0} IS NOT NULL THEN hashtextextended(concat({0}) COLLATE "C", {1}) END"""
_NO_SEED = sql.SQL("0")
_WIDEST_INTEGER = "int8"
_COMPATIBLE_KINDS = ({"int2", "int4", _WIDEST_INTEGER}, {"float4", "float8"}, {"text", "varchar", "bpchar"})


def seeded_hash(kind: str, value: sql.Composable, seed: sql.Composable) -> sql.Composed:
    """The hash of a value whose type is of `kind` (CatalogColumn)."""
    return sql.SQL(_NATIVE_HASHES.get(kind, _TEXT_HASH)).format(value, seed)


def needs_cast(column: ColumnPair) -> bool:
    """Whether the template's values have to be cast to the clone's type to be compared."""
    before, after = column.before.kind, column.after.kind
    hash_equally = before == after or any({before, after} <= family for family in _COMPATIBLE_KINDS)
    return not hash_equally and not _is_compared_as_text(column)


def _is_compared_as_text(column: ColumnPair) -> bool:
    """Whether only the text can be compared: the type was created again, or the other side does not have it."""
    return column.before.type_oid != column.after.type_oid and column.after.kind in ("", "enum")


def template_hash(
    column: ColumnPair, value: sql.Composable, seed: sql.Composable, *, text: bool = False, key: bool = False
) -> sql.Composed:
    """The hash that a value of the template should have in the clone; with `text` without a cast to the clone's type.

    A value that the cast changes, so that casting it back gives another one, gets a hash that no value of the clone
    has: of numeric to integer, the values with decimal places.
    """
    old, new = column.before, column.after
    value = cast_to_base_type(old, value)
    if _is_compared_as_text(column) or (text and needs_cast(column)):
        return sql.SQL(_TEXT_HASH).format(value, seed)
    if not needs_cast(column):
        return _common_hash(column, old.kind, value, seed, key=key)
    cast = sql.SQL("({}::{})").format(value, sql.SQL(new.base))  # as format_type spells it, quoted where it has to be
    back = sql.SQL("({}::{})").format(cast, sql.SQL(old.base))
    expected = seeded_hash(new.kind, cast, seed)
    return sql.SQL("CASE WHEN {} IS NOT DISTINCT FROM {} THEN {} ELSE coalesce(~{}, 0) END").format(
        seeded_hash(old.kind, back, _NO_SEED), seeded_hash(old.kind, value, _NO_SEED), expected, expected
    )


def clone_hash(
    column: ColumnPair, value: sql.Composable, seed: sql.Composable, *, text: bool = False, key: bool = False
) -> sql.Composed:
    """The hash of a value in the clone."""
    value = cast_to_base_type(column.after, value)
    if _is_compared_as_text(column) or (text and needs_cast(column)):
        return sql.SQL(_TEXT_HASH).format(value, seed)
    return _common_hash(column, column.after.kind, value, seed, key=key)


def _common_hash(
    column: ColumnPair, kind: str, value: sql.Composable, seed: sql.Composable, *, key: bool
) -> sql.Composed:
    """The hash of a value of `kind`; of any integer as that of a bigint where the other side has one.

    In a key, blanks that pad a value do not count: it identifies the same row.
    """
    if (
        _WIDEST_INTEGER in (column.before.kind, column.after.kind)
        and {column.before.kind, column.after.kind} <= _COMPATIBLE_KINDS[0]
    ):
        return seeded_hash(_WIDEST_INTEGER, sql.SQL("{}::int8").format(value), seed)
    if not key and column.after.kind == "bpchar" and column.before.base != column.after.base:
        return sql.SQL(_PADDED_HASH).format(value, seed)
    return seeded_hash(kind, value, seed)


def cast_probe_query(column: ColumnPair) -> sql.Composed:
    """A query that fails when there is no cast from the template's type to the clone's, or none back."""
    old, new = sql.SQL(column.before.base), sql.SQL(column.after.base)
    return sql.SQL("SELECT NULL::{}::{}::{}").format(old, new, old)


def cast_to_base_type(column: CatalogColumn, value: sql.Composable) -> sql.Composable:
    """A domain's value cast to its base type, for which the hash functions are declared."""
    return value if column.base == column.type else sql.SQL("({}::{})").format(value, sql.SQL(column.base))


_ROW_ALIAS = "r"  # the alias that all expressions below refer to
_INTEGER_KINDS = {"int2", "int4", "int8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSource:
    """One side of a table: a FROM item, and integer expressions over it.

    `key` identifies a row: the key itself, or two hashes of it. `value_hashes` are of the columns that are not in the
    key, in the order of TableComparison.columns. `leaves` are the parts of `from_item`: (OID, FROM item) each.
    """

    from_item: sql.Composed
    leaves: tuple[tuple[int, sql.Composed], ...]
    key_hash: sql.Composable
    key: tuple[sql.Composable, ...]
    value_hashes: tuple[sql.Composable, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableComparison:
    """Both sides of a table; `columns` are those of `value_hashes`, none where there is no key."""

    table: TablePair
    columns: tuple[ColumnPair, ...]
    template: RowSource
    clone: RowSource
    needs_ordinal: bool = False


def prepare_comparison(table: TablePair, before: TableSide, after: TableSide, *, text: bool) -> TableComparison:
    """Both sides of a table; with `text`, values whose type changed are compared as text."""
    columns = tuple(one for one in table.shared_columns if one not in table.key) if table.key else ()

    def source(
        side: TableSide, hashed: Callable[..., sql.Composed], own: Callable[[ColumnPair], CatalogColumn]
    ) -> RowSource:
        def of(column: ColumnPair, seed: sql.Composable) -> sql.Composable:
            value = sql.Identifier(_ROW_ALIAS, own(column).name)
            return hashed(column, value, seed, text=text, key=column in table.key)

        def identity(seed: int) -> sql.Composable:
            return _key_hash(table.key, of, seed) if table.key else _row_hash(table.shared_columns, of, seed)

        integer = _integer_key(table, own)
        seed = sql.SQL("{}::int8").format(integer) if integer else identity(0)
        leaves = [one for one in side.leaves if one not in side.unchanged_leaves]
        columns_here = [own(one) for one in table.shared_columns]
        return RowSource(
            from_item=from_item(leaves, columns_here),
            leaves=tuple((one.oid, from_item([one], columns_here)) for one in leaves),
            key_hash=identity(0),
            # A key that lost its constraint may hold NULL, which no join finds.
            key=(integer,) if integer and table.key_kept else (identity(0), identity(1)),
            value_hashes=tuple(of(one, seed) for one in columns),
        )

    return TableComparison(
        table=table,
        columns=columns,
        template=source(before, template_hash, lambda column: column.before),
        clone=source(after, clone_hash, lambda column: column.after),
        needs_ordinal=not table.key or not table.key_kept,
    )


def from_item(leaves: list[CatalogTable], columns: list[CatalogColumn]) -> sql.Composed:
    """The FROM item of the rows: a table, or its partitions together, without tables that inherit from them."""
    if len(leaves) == 1 and not _missing_columns(leaves[0], columns):
        return sql.SQL("ONLY {} AS {}").format(table_identifier(leaves[0]), sql.Identifier(_ROW_ALIAS))
    parts = [
        sql.SQL("SELECT {} FROM ONLY {}").format(
            comma_list(
                [
                    sql.SQL("ctid"),
                    *(
                        _null_column(one) if one in _missing_columns(leaf, columns) else sql.Identifier(one.name)
                        for one in columns
                    ),
                ]
            ),
            table_identifier(leaf),
        )
        for leaf in leaves
    ]
    nothing = sql.SQL("SELECT {} WHERE false").format(
        comma_list([sql.SQL("NULL::tid AS ctid"), *(_null_column(one) for one in columns)])
    )
    return sql.SQL("({}) AS {}").format(sql.SQL(" UNION ALL ").join(parts or [nothing]), sql.Identifier(_ROW_ALIAS))


def table_identifier(relation: CatalogTable) -> sql.Identifier:
    """A relation's name with its schema, quoted."""
    return sql.Identifier(relation.schema, relation.name)


def count_query(
    leaves: list[CatalogTable] | tuple[CatalogTable, ...], columns: tuple[CatalogColumn, ...] = ()
) -> sql.Composed:
    """A query of the number of rows, then of values in each column."""
    counts = [sql.SQL("count({})").format(sql.Identifier(_ROW_ALIAS, one.name)) for one in columns]
    return sql.SQL("SELECT {} FROM {}").format(
        comma_list([sql.SQL("count(*)"), *counts]), from_item(list(leaves), list(columns))
    )


def _missing_columns(leaf: CatalogTable, columns: list[CatalogColumn]) -> list[CatalogColumn]:
    names = {one.name for one in leaf.columns}
    return [one for one in columns if one.name not in names]


def _null_column(column: CatalogColumn) -> sql.Composed:
    return sql.SQL("NULL::{} AS {}").format(sql.SQL(column.type), sql.Identifier(column.name))


def _integer_key(table: TablePair, own: Callable[[ColumnPair], CatalogColumn]) -> sql.Composable | None:
    """The key itself where it is a single integer, which serves as a seed."""
    if len(table.key) != 1 or not {table.key[0].before.kind, table.key[0].after.kind} <= _INTEGER_KINDS:
        return None
    column = own(table.key[0])
    return cast_to_base_type(column, sql.Identifier(_ROW_ALIAS, column.name))


def _key_hash(
    key: tuple[ColumnPair, ...], of: Callable[[ColumnPair, sql.Composable], sql.Composable], seed: int
) -> sql.Composed:
    """The hash of a key, each column seeded by those before it. A key that lost its constraint may hold NULL."""
    whole: sql.Composable = sql.SQL(str(seed))
    for column in key:
        whole = of(column, whole)
    return sql.SQL("coalesce({}, 0)").format(whole)


def _row_hash(
    columns: tuple[ColumnPair, ...], of: Callable[[ColumnPair, sql.Composable], sql.Composable], seed: int
) -> sql.Composable:
    """The hash of a row: of its values, each seeded by its position, so that equal ones do not cancel each other."""
    parts = [
        sql.SQL("coalesce({}, {})").format(of(column, sql.SQL(str(2 * place + seed))), sql.SQL(str(place)))
        for place, column in enumerate(columns, start=1)
    ]
    return sql.SQL(" # ").join(parts) if parts else sql.SQL("0::int8")
