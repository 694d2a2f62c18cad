"""Display of text that came with a dump or a migration: characters that hide, reorder or move text are made visible.

Names and messages can hold anything but NUL: line breaks, terminal escapes, marks that turn the reading direction
(https://www.unicode.org/reports/tr36/, "Bidirectional Text Spoofing"), characters without width. On a terminal, labels
stand at the margin, and sentences of at most so many lines next to them.
"""

from __future__ import annotations

import re
import unicodedata
from textwrap import wrap

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


TERMINAL_COLUMNS = 100
LABEL_COLUMNS = 11  # the width of "practices", the longest label, and a gap
_NAME_COLUMNS = 34  # of a file or a relation; what is cut goes from its middle


def short_name(name: str) -> str:
    """A name on one line, its middle cut where it is too long for a table."""
    return shorten_middle(to_one_line(name), _NAME_COLUMNS)


def labelled_lines(label: str, sentence: str, *, max_lines: int | None) -> list[str]:
    """The lines of a label and a sentence, uncut without `max_lines`; leading blanks indent every line.

    [] for an empty sentence.
    """
    indent = " " * (len(sentence) - len(sentence.lstrip()))
    room = TERMINAL_COLUMNS - LABEL_COLUMNS
    lines = wrap(sentence.strip(), room - len(indent), break_on_hyphens=False, break_long_words=max_lines is not None)
    if max_lines is None:
        return [f"{label if not at else '':{LABEL_COLUMNS}}{indent}{line}" for at, line in enumerate(lines)]
    if len(lines) > max_lines:
        lines = [*lines[: max_lines - 1], " ".join(lines[max_lines - 1 :])]
    return [
        f"{label if not at else '':{LABEL_COLUMNS}}{indent}{shorten_end(line, room)}" for at, line in enumerate(lines)
    ]


def label_line(label: str, text: str) -> str:
    """A label and a text that is never cut, such as a path to copy."""
    return f"{label:{LABEL_COLUMNS}}{text}"
