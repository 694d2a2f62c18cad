"""Figures for people: three significant digits and a unit, durations in ms, s, min and h, sizes in powers of 1000.

A blank stands between number and unit and between thousands; the page makes it a narrow one that does not break.
"""

from __future__ import annotations

_MINUTE, _HOUR = 60, 3_600  # seconds
_THOUSAND = 1_000
_TWO_DIGITS, _THREE_DIGITS = 10, 100  # from here on, one decimal less makes three digits
_SIZES = ("B", "kB", "MB", "GB", "TB", "PB")


def seconds(value: float) -> str:
    """A duration: 0 ms, 0.4 ms, 38 ms, 1.24 s, 41.2 s, 2 min 05 s, 1 h 02 min.

    Thresholds are compared with what would be shown, so that nothing reads 1000 ms or 60.0 s.
    """
    if round(value, 1) < _MINUTE:
        return _short(value)
    whole = round(value)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s"
    minutes = round(value / _MINUTE)
    return f"{minutes // _MINUTE} h {minutes % _MINUTE:02} min"


def _short(value: float) -> str:
    milliseconds = value * _THOUSAND
    if round(milliseconds, 1) == 0:
        return "<0.1 ms" if value > 0 else "0 ms"
    if round(milliseconds, 1) < _TWO_DIGITS:
        return f"{milliseconds:.1f} ms"
    if round(milliseconds) < _THOUSAND:
        return f"{milliseconds:.0f} ms"
    return f"{value:.2f} s" if round(value, 2) < _TWO_DIGITS else f"{value:.1f} s"


def size(value: int) -> str:
    """A number of bytes: 0 B, 512 B, 1.24 kB, 12.4 MB, 918 MB, 1.10 GB; a negative one with its sign."""
    if value < 0:
        return f"-{size(-value)}"
    number, power = float(value), 0
    # 999.6 would be shown as 1000.
    while round(number) >= _THOUSAND and power < len(_SIZES) - 1:
        number, power = number / _THOUSAND, power + 1
    if not power:
        return f"{value} B"
    decimals = 2 if round(number, 2) < _TWO_DIGITS else 1 if round(number, 1) < _THREE_DIGITS else 0
    return f"{number:.{decimals}f} {_SIZES[power]}"


def count(value: int) -> str:
    """A whole number with its thousands apart: 4 000 000."""
    return f"{value:,}".replace(",", " ")


def several(number: int, word: str, plural: str = "") -> str:
    """A number with its noun: 1 row, 2 rows, 3 indexes."""
    return f"{count(number)} {noun(number, word, plural)}"


def noun(number: int, word: str, plural: str = "") -> str:
    """The noun alone, as the number asks for it."""
    return word if number == 1 else plural or f"{word}s"
