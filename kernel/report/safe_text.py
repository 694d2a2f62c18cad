"""Display of text that came with a dump or a migration: characters that hide, reorder or move text are made visible.

Names and messages can hold anything but NUL: line breaks, terminal escapes, marks that turn the reading direction
(https://www.unicode.org/reports/tr36/, "Bidirectional Text Spoofing"), characters without width.
"""

from __future__ import annotations

import re
import unicodedata

# Cc and Cf: controls, formats; Zl and Zp: line breaks; Cs: halves of pairs, which no encoding takes; Cn: nothing yet.
_HIDDEN_CATEGORIES = frozenset(("Cc", "Cf", "Zl", "Zp", "Cs", "Cn"))
_PRINTABLE = re.compile(r"[ -~]*+")
_WIDE_CLASSES = frozenset("WF")
_BLANK_LETTERS = frozenset("ᅟᅠㅤﾠ⠀")  # Hangul fillers and the empty Braille cell: letters to Unicode, blanks to the eye


def show_hidden_characters(text: str, *, keep: str = "") -> str:
    """`text` with ⟨U+202E⟩ or the like in place of every character that does not show; those of `keep` stay."""
    if _PRINTABLE.fullmatch(text):
        return text
    return "".join(character if character in keep else _show_character(character) for character in text)


def _show_character(character: str) -> str:
    if unicodedata.category(character) in _HIDDEN_CATEGORIES or character in _BLANK_LETTERS:
        return f"⟨U+{ord(character):04X}⟩"  # no control picture: many fonts have none
    return character


def to_one_line(text: str) -> str:
    """`text` on one line: each run of blanks and line breaks is one blank, and what does not show is made visible."""
    return show_hidden_characters(" ".join(text.split()))


def display_width(text: str) -> int:
    """The columns that visible `text` takes on a terminal: ideographs two, marks above others none."""
    return sum(_character_width(character) for character in text) if not text.isascii() else len(text)


def _character_width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in _WIDE_CLASSES else 1


def shorten_middle(text: str, columns: int) -> str:
    """`text` in at most `columns` columns; what is cut goes from its middle, for names differ at their ends."""
    if display_width(text) <= columns:
        return text
    head, tail = (
        _fitting_prefix(text, (columns - 1) // 2 + (columns - 1) % 2),
        _fitting_prefix(text[::-1], (columns - 1) // 2)[::-1],
    )
    return f"{head}…{tail}"


def shorten_end(text: str, columns: int) -> str:
    """`text` in at most `columns` columns; what is cut goes from its end, for a statement says first what it does."""
    return text if display_width(text) <= columns else f"{_fitting_prefix(text, columns - 1).rstrip()}…"


def _fitting_prefix(text: str, columns: int) -> str:
    taken = 0
    for at, character in enumerate(text):
        taken += _character_width(character)
        if taken > columns:
            return text[:at]
    return text
