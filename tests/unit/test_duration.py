from __future__ import annotations

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.units import LONGEST_MS, parse_milliseconds

repeatable = hypothesis.settings(derandomize=True, deadline=None)  # the same on a busy machine

# What PostgreSQL 15 makes of the text as lock_timeout.
AS_THE_SERVER = {
    "0": 0,
    "250": 250,
    "200ms": 200,
    "5s": 5_000,
    "2min": 120_000,
    "1h": 3_600_000,
    "1d": 86_400_000,
    " 1 s ": 1_000,
    "+5s": 5_000,
    "1.5s": 1_500,
    ".5s": 500,
    "5.s": 5_000,
    "1e3": 1_000,
    "1.e2s": 100_000,
    "1e-3s": 1,
    "0.1min": 6_000,
    "0.5": 0,
    "1.5": 2,
    "2.5": 2,
    "500us": 0,
    "501us": 1,
    "1500us": 2,
    "2500us": 2,
    "0.0015s": 2,
    "1.0005s": 1_000,
    "0.00055h": 0,
    "0.00001d": 0,
    "596.52h": 2_147_460_000,
    "2147483647.4": 2_147_483_647,
}
REFUSED_BY_THE_SERVER = [
    *("", " ", "s", "-1", "1S", "1 MIN", "1m", "1_000", "1min30s", "1e", "1.5 e3", "08", "infinity", "nan"),
    *("25d", "2147483648", "2147483647.5", "1e999", "1 000", "5s\0", "٣s"),
]


@pytest.mark.parametrize(("text", "expected"), AS_THE_SERVER.items())
def test_a_duration_means_what_the_server_takes_it_for(text: str, expected: int) -> None:
    assert parse_milliseconds(text) == expected


@pytest.mark.parametrize("text", REFUSED_BY_THE_SERVER)
def test_what_the_server_refuses_is_refused_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration such as 5s, 200ms"):
        parse_milliseconds(text)


@pytest.mark.parametrize("text", ["010", "010s", "0x10"])
def test_octal_and_hexadecimal_are_refused_since_nobody_means_them(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_milliseconds(text)


@repeatable
@given(st.integers(0, LONGEST_MS))
def test_every_whole_number_of_milliseconds_is_itself(number: int) -> None:
    assert parse_milliseconds(str(number)) == parse_milliseconds(f"{number}ms") == number


@repeatable
@given(st.text(max_size=12))
def test_any_text_is_a_duration_within_range_or_a_value_error(text: str) -> None:
    try:
        assert 0 <= parse_milliseconds(text) <= LONGEST_MS
    except ValueError as error:
        assert str(error).startswith("expected a duration")  # noqa: PT017 - either outcome is right
