"""Figures for people: three significant digits and a unit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.units import format_bytes, format_count, format_quantity, format_seconds


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0 ms"),
        (0.00004, "<0.1 ms"),
        (0.0004, "0.4 ms"),
        (0.00994, "9.9 ms"),
        (0.00996, "10 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (1.2354, "1.24 s"),
        (9.996, "10.0 s"),
        (41.24, "41.2 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (125.4, "2 min 05 s"),
        (3599.7, "1 h 00 min"),
        (3725.0, "1 h 02 min"),
        (90_000.0, "25 h 00 min"),
    ],
)
def test_a_duration_never_shows_a_full_unit_of_the_next(seconds: float, shown: str) -> None:
    assert format_seconds(seconds) == shown


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.00 kB"),
        (9_994, "9.99 kB"),
        (9_996, "10.0 kB"),
        (99_960, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (1_402_118_144, "1.40 GB"),
        (-98_304, "-98.3 kB"),
        (10**19, "10000 PB"),
    ],
)
def test_a_size_is_in_powers_of_a_thousand(size: int, shown: str) -> None:
    assert format_bytes(size) == shown


@given(st.integers(1, 10**17))
def test_a_size_is_within_a_half_per_cent_of_what_it_shows(size: int) -> None:
    number, unit = format_bytes(size).split(" ")
    factor = 1_000 ** ("B", "kB", "MB", "GB", "TB", "PB").index(unit)
    assert float(number) * factor == pytest.approx(size, rel=0.005)


@given(st.floats(0.001, 10**6))
def test_a_duration_is_within_a_few_per_cent_of_what_it_shows(seconds: float) -> None:
    lengths = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3_600.0}
    words = format_seconds(seconds).split(" ")
    told = sum(float(number) * lengths[unit] for number, unit in zip(words[::2], words[1::2], strict=True))
    assert told == pytest.approx(seconds, rel=0.05)


def test_thousands_are_apart_and_nouns_agree_with_their_number() -> None:
    assert format_count(4_012_331) == "4 012 331"
    assert [format_quantity(number, "row") for number in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]
    assert format_quantity(1_200, "index", "indexes") == "1 200 indexes"
