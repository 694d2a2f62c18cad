"""Text from dumps and migrations is displayed without control characters."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.report.safe_text import display_width, shorten_end, shorten_middle, show_hidden_characters, to_one_line


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
def test_hidden_characters_are_shown_by_code_point(text: str, shown: str) -> None:
    assert show_hidden_characters(text) == shown


@given(st.text(st.characters()))
def test_shown_text_has_no_hidden_characters_and_can_be_encoded(text: str) -> None:
    shown = show_hidden_characters(text)
    assert not {"Cc", "Cf", "Zl", "Zp", "Cs"} & {unicodedata.category(character) for character in shown}
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert show_hidden_characters(shown) == shown


@given(st.text(st.characters(codec="utf-8")))
def test_one_line_has_no_line_breaks(text: str) -> None:
    assert len(to_one_line(text).splitlines()) <= 1


@given(st.text(st.characters(codec="utf-8")).map(show_hidden_characters), st.integers(3, 60))
def test_shortened_text_fits_its_columns(text: str, columns: int) -> None:
    assert display_width(shorten_middle(text, columns)) <= columns
    assert display_width(shorten_end(text, columns)) <= columns
    if display_width(text) <= columns:
        assert shorten_middle(text, columns) == shorten_end(text, columns) == text


def test_names_are_cut_in_the_middle_and_sentences_at_the_end() -> None:
    assert shorten_middle("public.measurements_2026_11", 15) == "public.…2026_11"
    assert shorten_end("ALTER TABLE orders ADD", 12) == "ALTER TABLE…"


def test_ideographs_take_two_columns_and_accents_none() -> None:
    assert display_width("表格") == 4
    assert display_width("e\N{COMBINING ACUTE ACCENT}") == 1
