"""Durations as PostgreSQL writes them in its settings: 5s, 200ms, 1.5min.

The rules are those of a server parameter whose unit is the millisecond, such as lock_timeout:
https://www.postgresql.org/docs/current/config-setting.html#CONFIG-SETTING-NAMES-VALUES
"""

from __future__ import annotations

import re

LONGEST = 2**31 - 1  # milliseconds; the server keeps the value in a signed 32-bit integer

# The unit's length in milliseconds, and that of the next smaller unit, to which the server rounds a fraction.
_UNITS: dict[str, tuple[float, float]] = {
    "us": (0.001, 0.001),
    "ms": (1, 0.001),
    "s": (1_000, 1),
    "min": (60_000, 1_000),
    "h": (3_600_000, 60_000),
    "d": (86_400_000, 3_600_000),
}
# The server reads 010 as octal and 0x10 as hexadecimal. Nobody means that of a duration, so neither is accepted.
_DURATION = re.compile(
    r"\s*\+?((?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?)\s*(us|ms|s|min|h|d|)\s*",
    re.ASCII,
)
_EXPECTED = (
    "expected a duration such as 5s, 200ms, 1.5min or 0 "
    f"(units us, ms, s, min, h, d in lower case; without one, milliseconds; at most {LONGEST} ms)"
)


def milliseconds(text: str) -> int:
    """Whole milliseconds, 0 to LONGEST, as the server would understand `text`; a number without a unit is milliseconds.

    A fraction is rounded twice, as the server does: to the next smaller unit (0.01min is 1s), then to a millisecond,
    halves to the even neighbour. Raises ValueError, whose sentence names the accepted forms and never quotes `text`.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(_EXPECTED)
    number, unit = match.groups()
    length, smaller = _UNITS[unit or "ms"]
    value = float(number) * length
    if value > LONGEST + 1:  # an overflow to infinity included, which round() refuses
        raise ValueError(_EXPECTED)
    if unit:
        value = round(value / smaller) * smaller
    result = round(value)
    if result > LONGEST:
        raise ValueError(_EXPECTED)
    return result
