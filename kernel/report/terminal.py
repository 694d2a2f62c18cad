"""The layout of a terminal text: labels at the margin, and sentences of at most so many lines next to them.

Names and messages that came with a dump or a migration are made visible, so that none can move the cursor.
"""

from __future__ import annotations

from textwrap import wrap

from kernel.report.safe_text import shorten_end, shorten_middle, to_one_line

TERMINAL_COLUMNS = 100
LABEL_COLUMNS = 11  # the width of "practices", the longest label, and a gap
_NAME_COLUMNS = 34  # of a file or a relation; what is cut goes from its middle


def short_name(name: str) -> str:
    """A name on one line, its middle cut where it is too long for a table."""
    return shorten_middle(to_one_line(name), _NAME_COLUMNS)


def labelled_lines(label: str, sentence: str, *, max_lines: int) -> list[str]:
    """The lines of a label and a sentence; leading blanks indent every line. [] for an empty sentence."""
    indent = " " * (len(sentence) - len(sentence.lstrip()))
    room = TERMINAL_COLUMNS - LABEL_COLUMNS
    lines = wrap(sentence.strip(), room - len(indent), break_on_hyphens=False)
    if len(lines) > max_lines:
        lines = [*lines[: max_lines - 1], " ".join(lines[max_lines - 1 :])]
    return [
        f"{label if not at else '':{LABEL_COLUMNS}}{indent}{shorten_end(line, room)}" for at, line in enumerate(lines)
    ]


def label_line(label: str, text: str) -> str:
    """A label and a text that is never cut, such as a path to copy."""
    return f"{label:{LABEL_COLUMNS}}{text}"
