"""The lines of the keys of a TOML file, which tomllib does not report. The file has been read by tomllib before."""

from __future__ import annotations

import re

_HEADER = re.compile(r"[ \t]*(\[\[?)[ \t]*([^\]\n]+?)[ \t]*\]")
_KEY = re.compile(r"[ \t]*([A-Za-z0-9_-]+|\"[^\"\n]*\"|'[^'\n]*')[ \t]*[.=]")
# What may contain brackets and line ends: strings of all kinds, and comments.
_SKIPPED = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*",
    re.DOTALL,
)

Place = tuple[str, int, str]
"""The name of a table, its number among those of that name from 0, and a key; "" for the table itself."""


def key_lines(text: str) -> dict[Place, int]:
    """Return the line, from 1, of each table and of each of its keys; the table "" is the top of the file."""
    lines: dict[Place, int] = {}
    table, number = "", 0
    counts: dict[str, int] = {}
    for start in _logical_lines(text):
        line = text.count("\n", 0, start) + 1
        if header := _HEADER.match(text, start):
            table = header[2]
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
            parent = table.partition(".")[0]
            number = counts.get(table, counts.get(parent, 0))
            lines.setdefault((table, number, ""), line)
        elif key := _KEY.match(text, start):
            lines.setdefault((table, number, key[1].strip("\"'")), line)
    return lines


def _logical_lines(text: str) -> list[int]:
    """The offsets of the lines that are not inside of a string or an array."""
    starts, depth, at, fresh = [], 0, 0, True
    while at < len(text):
        if fresh and not depth:
            starts.append(at)
            if header := _HEADER.match(text, at):
                at, fresh = header.end(), False
                continue
        fresh = False
        if skipped := _SKIPPED.match(text, at):
            at = skipped.end()
            continue
        letter = text[at]
        depth = max(0, depth + (letter in "[{") - (letter in "]}"))  # the second ] of a header is left
        fresh = letter == "\n"
        at += 1
    return starts
