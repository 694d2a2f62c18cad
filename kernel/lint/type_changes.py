"""Which changes of a column's type rewrite its table, and which are free.

Source: ATColumnChangeRequiresRewrite in PostgreSQL's source, and the length coercions that it sees through (varchar,
numeric, timestamp, varbit): a change is free when every stored value stays as it is.
"""

from __future__ import annotations

import re
from enum import Enum

_SPELLINGS = {
    "int": "integer",
    "int4": "integer",
    "int8": "bigint",
    "int2": "smallint",
    "float8": "double precision",
    "bool": "boolean",
    "decimal": "numeric",
    "character varying": "varchar",
    "character": "char",
    "bpchar": "char",
    "bit varying": "varbit",
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
    "serial": "integer",
    "bigserial": "bigint",
    "serial8": "bigint",
}
_TYPE_PATTERN = re.compile(r"(?P<name>[^(]*?)\s*(?:\((?P<length>[0-9]+)(?:,(?P<scale>-?[0-9]+))?\))?(?P<rest>\D*)")
_TEXT_TYPES = frozenset({"text", "varchar"})
_PADDED_TYPES = frozenset({"char", "bit"})
_TYPES_WITH_LENGTH = frozenset({"varchar", "varbit", "timestamp", "timestamptz", "time", "timetz", "interval"})


class TypeChangeCost(Enum):
    """What a change of type does to the table, as far as the text shows."""

    FREE = "free"
    REWRITE = "rewrite"
    UNSURE = "unsure"


def parse_type(text: str) -> tuple[str, int | None, int]:
    """The usual name of a type, its length or precision, its scale; `varchar(50)` is ("varchar", 50, 0)."""
    match = _TYPE_PATTERN.fullmatch(text.strip().removeprefix("pg_catalog . "))
    if not match:
        return text, None, 0
    name = f"{match['name']}{match['rest']}".strip()
    length = int(match["length"]) if match["length"] else None
    return _SPELLINGS.get(name, name), length, int(match["scale"] or 0)


def type_change_cost(old: str | None, new: str, *, using: bool) -> TypeChangeCost:
    """The cost of changing `old`, None if it is not known, to `new`; `using` another value than its own."""
    name, length, scale = parse_type(new)
    if using or (old is None and name not in _TEXT_TYPES):
        return TypeChangeCost.REWRITE
    if old is None:
        # Mostly from varchar, where it is free; a length may be shorter than before.
        return TypeChangeCost.FREE if length is None else TypeChangeCost.UNSURE
    old_name, old_length, old_scale = parse_type(old)
    wider = length is None or (old_length is not None and length >= old_length)
    if name == old_name == "numeric":
        return TypeChangeCost.FREE if length is None or (wider and scale == old_scale) else TypeChangeCost.REWRITE
    if name == old_name:
        rewrites = name in _PADDED_TYPES or (name in _TYPES_WITH_LENGTH and not wider)
        return TypeChangeCost.REWRITE if rewrites and length != old_length else TypeChangeCost.FREE
    if {name, old_name} <= _TEXT_TYPES | {"citext"}:
        return TypeChangeCost.FREE if length is None else TypeChangeCost.REWRITE
    return TypeChangeCost.FREE if (old_name, name) == ("cidr", "inet") else TypeChangeCost.REWRITE
