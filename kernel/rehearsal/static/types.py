"""Which changes of a column's type leave its table as it is.

Source: ATColumnChangeRequiresRewrite in PostgreSQL's source, and the length coercions that it sees through (varchar,
numeric, timestamp, varbit): a change is free when every stored value is its own new value.
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
_TYPE = re.compile(r"(?P<name>[^(]*?)\s*(?:\((?P<length>[0-9]+)(?:,(?P<scale>-?[0-9]+))?\))?(?P<rest>\D*)")
_TEXTS = frozenset({"text", "varchar"})
_LENGTHS = frozenset({"varchar", "varbit", "timestamp", "timestamptz", "time", "timetz", "interval"})


class Change(Enum):
    """What a change of type does to the table, as far as it can be told."""

    FREE = "free"
    REWRITE = "rewrite"
    UNSURE = "unsure"


def parsed(text: str) -> tuple[str, int | None, int]:
    """A type's usual name, its length or precision, its scale; `varchar(50)` is ("varchar", 50, 0)."""
    match = _TYPE.fullmatch(text.strip().removeprefix("pg_catalog . "))
    if not match:
        return text, None, 0
    name = f"{match['name']}{match['rest']}".strip()
    length = int(match["length"]) if match["length"] else None
    return _SPELLINGS.get(name, name), length, int(match["scale"] or 0)


def change(old: str | None, new: str, *, using: bool) -> Change:
    """What changing `old`, None when it is not known, to `new` does."""
    name, length, scale = parsed(new)
    if old is None:
        if name not in _TEXTS or using:
            return Change.REWRITE
        # Mostly from varchar, where it is free; a length may be shorter than before.
        return Change.FREE if length is None else Change.UNSURE
    old_name, old_length, old_scale = parsed(old)
    wider = length is None or (old_length is not None and length >= old_length)
    if name == old_name == "numeric":
        return Change.FREE if length is None or (wider and scale == old_scale) else Change.REWRITE
    if name == old_name:
        return Change.FREE if wider or name not in _LENGTHS | {"char"} or length == old_length else Change.REWRITE
    if {name, old_name} <= _TEXTS | {"citext"}:
        return Change.FREE if length is None else Change.REWRITE
    return Change.FREE if (old_name, name) == ("cidr", "inet") else Change.REWRITE
