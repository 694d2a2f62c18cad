"""Format durations, sizes and counts with three significant digits; parse durations as PostgreSQL does.

Sizes are in powers of 1000. A space separates number and unit, and thousands.
"""

from __future__ import annotations

import re

_MINUTE, _HOUR = 60, 3_600  # seconds
_THOUSAND = 1_000
_TWO_DIGITS, _THREE_DIGITS = 10, 100  # from here on, one decimal less gives three digits
_SIZE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def format_seconds(value: float) -> str:
    """Format a duration: 0 ms, 0.4 ms, 38 ms, 1.24 s, 41.2 s, 2 min 05 s, 1 h 02 min.

    Thresholds are compared with the rounded value, so that nothing reads 1000 ms or 60.0 s.
    """
    if round(value, 1) < _MINUTE:
        return _format_short_seconds(value)
    whole = round(value)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s"
    minutes = round(value / _MINUTE)
    return f"{minutes // _MINUTE} h {minutes % _MINUTE:02} min"


def _format_short_seconds(value: float) -> str:
    milliseconds = value * _THOUSAND
    if round(milliseconds, 1) == 0:
        return "<0.1 ms" if value > 0 else "0 ms"
    if round(milliseconds, 1) < _TWO_DIGITS:
        return f"{milliseconds:.1f} ms"
    if round(milliseconds) < _THOUSAND:
        return f"{milliseconds:.0f} ms"
    return f"{value:.2f} s" if round(value, 2) < _TWO_DIGITS else f"{value:.1f} s"


def format_bytes(value: int) -> str:
    """Format a number of bytes: 0 B, 512 B, 1.24 kB, 12.4 MB, 918 MB, 1.10 GB."""
    if value < 0:
        return f"-{format_bytes(-value)}"
    number, power = float(value), 0
    # 999.6 would be shown as 1000.
    while round(number) >= _THOUSAND and power < len(_SIZE_UNITS) - 1:
        number, power = number / _THOUSAND, power + 1
    if not power:
        return f"{value} B"
    decimals = 2 if round(number, 2) < _TWO_DIGITS else 1 if round(number, 1) < _THREE_DIGITS else 0
    return f"{number:.{decimals}f} {_SIZE_UNITS[power]}"


def format_count(value: int) -> str:
    """Format a whole number with separated thousands: 4 000 000."""
    return f"{value:,}".replace(",", " ")


def clip_text(text: str, length: int) -> str:
    """The text, or its first `length` characters and an ellipsis."""
    return text if len(text) <= length else f"{text[:length]}…"


def format_quantity(number: int, word: str, plural: str = "") -> str:
    """Format a number with its noun: 1 row, 2 rows, 3 indexes."""
    return f"{format_count(number)} {plural_form(number, word, plural)}"


def plural_form(number: int, word: str, plural: str = "") -> str:
    """Return the noun in singular or plural."""
    return word if number == 1 else plural or f"{word}s"


LONGEST_MS = 2**31 - 1  # the server keeps the value in a signed 32-bit integer

# The unit's length in milliseconds, and that of the next smaller unit, to which the server rounds a fraction.
_DURATION_UNITS: dict[str, tuple[float, float]] = {
    "us": (0.001, 0.001),
    "ms": (1, 0.001),
    "s": (1_000, 1),
    "min": (60_000, 1_000),
    "h": (3_600_000, 60_000),
    "d": (86_400_000, 3_600_000),
}
# The server reads 010 as octal and 0x10 as hexadecimal. Neither is accepted here.
_DURATION = re.compile(
    r"\s*\+?((?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?)\s*(us|ms|s|min|h|d|)\s*",
    re.ASCII,
)
_EXPECTED_DURATION = (
    "expected a duration such as 5s, 200ms, 1.5min or 0 "
    f"(units us, ms, s, min, h, d in lower case; without one, milliseconds; at most {LONGEST_MS} ms)"
)


def parse_milliseconds(text: str) -> int:
    """Parse a duration such as 5s as whole milliseconds, 0 to LONGEST_MS; without a unit, it is in milliseconds.

    The rules are those of server parameters in milliseconds, such as lock_timeout:
    https://www.postgresql.org/docs/current/config-setting.html#CONFIG-SETTING-NAMES-VALUES
    A fraction is rounded twice, as the server does: to the next smaller unit (0.01min is 1s), then to a millisecond,
    halves to even. Raises ValueError, whose message lists the accepted forms and never quotes `text`.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(_EXPECTED_DURATION)
    number, unit = match.groups()
    length, smaller = _DURATION_UNITS[unit or "ms"]
    value = float(number) * length
    if value > LONGEST_MS + 1:  # an overflow to infinity included, which round() refuses
        raise ValueError(_EXPECTED_DURATION)
    if unit:
        value = round(value / smaller) * smaller
    result = round(value)
    if result > LONGEST_MS:
        raise ValueError(_EXPECTED_DURATION)
    return result
