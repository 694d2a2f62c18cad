"""Changes of a type that keep every old value and every old statement valid.

Source: PostgreSQL documentation, "Character Types" and "Numeric Types".
"""

from __future__ import annotations

import re

_SIZED = re.compile(r"(?P<name>character varying|bit varying|varbit|numeric)(?:\((?P<size>\d+)(?:,(?P<scale>\d+))?\))?")


def widened(old: str, new: str) -> bool:
    """Whether a column of the new type takes and gives whatever one of the old type did."""
    if old == new:
        return True
    was, now = _SIZED.fullmatch(old), _SIZED.fullmatch(new)
    if {old, new} == {"text", "character varying"} or (was and new == "text"):
        return was is None or was["name"] == "character varying"
    if not (was and now and was["name"] == now["name"]):
        return False
    if now["size"] is None:
        return True
    if was["size"] is None:
        return False
    size, scale = (int(now[part] or 0) - int(was[part] or 0) for part in ("size", "scale"))
    return scale >= 0 and size >= scale
