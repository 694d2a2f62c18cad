"""A column's value as a 64-bit hash in SQL, equal on both sides exactly when the value is.

PostgreSQL's own hash functions, seeded, where they tell all values apart that differ; the value's text otherwise. Not
used on purpose: jsonb's, which is blind to nesting ({"a": {"b": 1}, "c": 2} and {"a": {"b": 1, "c": 2}} hash alike);
an array's, which is blind to dimensions; interval's, for which 30 days are a month; citext's and those of
nondeterministic collations, for which case may not count. Not used as they are: bigint's, which folds 64 bits into 32,
so that 0 and 4294967297 hash alike, and the value goes into the seed as well; numeric's, which is blind to the sign.

Integers hash alike, as do float4 and float8, varchar and text, numerics of any scale: a change between those needs no
conversion to be compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

if TYPE_CHECKING:
    from kernel.rehearsal.data.catalog import Column
    from kernel.rehearsal.data.touched import Shared

# {0} is the value, {1} the seed, a bigint. All give NULL for NULL.
_TEXT = 'hashtextextended({0}::text COLLATE "C", {1})'
_BY_ARRAY = "CASE WHEN {0} IS NOT NULL THEN hash_array_extended(ARRAY[{0}], {1}) END"  # no function of its own in SQL
# Of a numeric only the digits are hashed: -1 has those of 1, and of NaN and the infinities the seed itself is the hash.
_NUMERIC = """(hash_numeric_extended({0}, {1})
  # CASE WHEN {0} < 0 THEN int8 '-1' WHEN {0} = 'NaN' THEN int8 '2' ELSE int8 '0' END)"""
_NATIVE = {
    "bool": "hashint4extended({0}::int4, {1})",
    "int2": "hashint2extended({0}, {1})",
    "int4": "hashint4extended({0}, {1})",
    "int8": "hashint8extended({0}, {0} # {1})",
    "float4": "hashfloat4extended({0}, {1})",
    "float8": "hashfloat8extended({0}, {1})",
    "numeric": _NUMERIC,
    "text": 'hashtextextended({0} COLLATE "C", {1})',
    "varchar": 'hashtextextended({0} COLLATE "C", {1})',
    "bpchar": 'hashbpcharextended({0} COLLATE "C", {1})',
    "bytea": _BY_ARRAY,
    "uuid": "uuid_hash_extended({0}, {1})",
    "date": _BY_ARRAY,
    "time": "time_hash_extended({0}, {1})",
    "timetz": "timetz_hash_extended({0}, {1})",
    "timestamp": "timestamp_hash_extended({0}, {1})",
    "timestamptz": "timestamp_hash_extended({0} AT TIME ZONE 'UTC', {1})",
    "inet": "hashinetextended({0}, {1})",
    "cidr": "hashinetextended({0}, {1})",
    "macaddr": "hashmacaddrextended({0}, {1})",
    "oid": "hashoidextended({0}, {1})",
    "enum": "hashenumextended({0}, {1})",
    # As text they would be what the object is called now.
    **dict.fromkeys(
        ("regclass", "regproc", "regprocedure", "regoper", "regoperator", "regtype", "regrole", "regnamespace"),
        "hashoidextended({0}::oid, {1})",
    ),
}
_NO_SEED = sql.SQL("0")
_WIDEST = "int8"
_ALIKE = ({"int2", "int4", _WIDEST}, {"float4", "float8"}, {"text", "varchar", "bpchar"})


def seeded(kind: str, value: sql.Composable, seed: sql.Composable) -> sql.Composed:
    """The hash of a value whose type is of `kind` (catalog.Column)."""
    return sql.SQL(_NATIVE.get(kind, _TEXT)).format(value, seed)


def converted(column: Shared) -> bool:
    """Whether the golden copy's values have to be cast to the clone's type to be compared."""
    before, after = column.before.kind, column.after.kind
    alike = before == after or any({before, after} <= family for family in _ALIKE)
    return not alike and not _only_text(column)


def _only_text(column: Shared) -> bool:
    """Whether nothing but the text can be compared: a type that was made anew, or is no type of the other side."""
    return column.before.type_oid != column.after.type_oid and column.after.kind in ("", "enum")


def before(column: Shared, value: sql.Composable, seed: sql.Composable, *, text: bool = False) -> sql.Composed:
    """The hash that a golden value should have in the clone; with `text` without any cast to the clone's type.

    A value that the cast does not carry over whole, so that casting it back gives another one, gets a hash that it has
    nowhere in the clone: of numeric to integer, those are the values with digits behind the point.
    """
    old, new = column.before, column.after
    value = of_base(old, value)
    if _only_text(column) or (text and converted(column)):
        return sql.SQL(_TEXT).format(value, seed)
    if not converted(column):
        return _alike(column, old.kind, value, seed)
    cast = sql.SQL("({}::{})").format(value, sql.SQL(new.base))  # as format_type spells it, quoted where it has to be
    back = sql.SQL("({}::{})").format(cast, sql.SQL(old.base))
    right = seeded(new.kind, cast, seed)
    return sql.SQL("CASE WHEN {} IS NOT DISTINCT FROM {} THEN {} ELSE coalesce(~{}, 0) END").format(
        seeded(old.kind, back, _NO_SEED), seeded(old.kind, value, _NO_SEED), right, right
    )


def after(column: Shared, value: sql.Composable, seed: sql.Composable, *, text: bool = False) -> sql.Composed:
    """The hash of a value in the clone."""
    value = of_base(column.after, value)
    if _only_text(column) or (text and converted(column)):
        return sql.SQL(_TEXT).format(value, seed)
    return _alike(column, column.after.kind, value, seed)


def _alike(column: Shared, kind: str, value: sql.Composable, seed: sql.Composable) -> sql.Composed:
    """The hash of a value of `kind`; of any integer as that of a bigint where the other side has one."""
    if _WIDEST in (column.before.kind, column.after.kind) and {column.before.kind, column.after.kind} <= _ALIKE[0]:
        return seeded(_WIDEST, sql.SQL("{}::int8").format(value), seed)
    return seeded(kind, value, seed)


def castable(column: Shared) -> sql.Composed:
    """A query that fails when there is no cast from the golden type to the clone's, or none back."""
    old, new = sql.SQL(column.before.base), sql.SQL(column.after.base)
    return sql.SQL("SELECT NULL::{}::{}::{}").format(old, new, old)


def of_base(column: Column, value: sql.Composable) -> sql.Composable:
    """A domain's value as one of its base type, which the hash functions are declared for."""
    return value if column.base == column.type else sql.SQL("({}::{})").format(value, sql.SQL(column.base))
