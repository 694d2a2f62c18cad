"""Text from outside is shown as it is, and never acts."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.report.visible import clipped, one_line, shortened, visible, width


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("größe 表 שלום", "größe 表 שלום"),
        ("\x1b[2J", "⟨U+001B⟩[2J"),
        ("a\N{RIGHT-TO-LEFT OVERRIDE}b", "a⟨U+202E⟩b"),
        ("a\N{ZERO WIDTH SPACE}b", "a⟨U+200B⟩b"),
        ("a\N{HANGUL FILLER}b", "a⟨U+3164⟩b"),
        ("a\N{LINE SEPARATOR}b", "a⟨U+2028⟩b"),
        ("half\ud800", "half⟨U+D800⟩"),
        ("tab\tline\n\x00", "tab⟨U+0009⟩line⟨U+000A⟩⟨U+0000⟩"),
    ],
)
def test_what_does_not_show_is_named(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(st.characters()))
def test_nothing_hidden_is_left_and_every_encoding_of_unicode_takes_it(text: str) -> None:
    shown = visible(text)
    assert not {"Cc", "Cf", "Zl", "Zp", "Cs"} & {unicodedata.category(character) for character in shown}
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert visible(shown) == shown


@given(st.text(st.characters(codec="utf-8")))
def test_one_line_is_one(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1


@given(st.text(st.characters(codec="utf-8")).map(visible), st.integers(3, 60))
def test_what_is_cut_fits(text: str, columns: int) -> None:
    assert width(shortened(text, columns)) <= columns
    assert width(clipped(text, columns)) <= columns
    if width(text) <= columns:
        assert shortened(text, columns) == clipped(text, columns) == text


def test_a_name_is_cut_in_its_middle_and_a_sentence_at_its_end() -> None:
    assert shortened("public.measurements_2026_11", 15) == "public.…2026_11"
    assert clipped("ALTER TABLE orders ADD", 12) == "ALTER TABLE…"


def test_ideographs_take_two_columns_and_accents_none() -> None:
    assert width("表格") == 4
    assert width("e\N{COMBINING ACUTE ACCENT}") == 1
