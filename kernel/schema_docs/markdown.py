"""Text of a database in Markdown as GitHub renders it: names and comments hold anything, and must stay text.

Source: GitHub Flavored Markdown, https://github.github.com/gfm/, and the math and emoji that GitHub adds.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kernel.report.safe_text import show_hidden_characters

if TYPE_CHECKING:
    from collections.abc import Sequence

# Between backticks nothing has a meaning but these; a table cell takes a pipe and the backslash before it for its own.
_PLAIN_CODE = re.compile(r"(?:[^`|\\<$]|<(?![A-Za-z/!?]))+")
# An underscore inside of a word begins no emphasis.
_SPECIAL = re.compile(r"[\\`*\[\]<>|~&$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=[\w+-]+:)|@(?=\w)", re.ASCII)
_BLOCK_START = re.compile(r"^(\s*)(#|[-+=](?=[\s=-]|$)|\d+(?=[.)]))")
_IN_CODE = re.compile(r"[&<>|`*_\[\]\\$~:@]")


def prose(text: str) -> str:
    """`text` as text in a paragraph or a cell of a table; line breaks are kept."""
    lines = show_hidden_characters(text, keep="\n\t").strip().splitlines()
    return "<br>".join(
        _BLOCK_START.sub(_entity_of_match, _SPECIAL.sub(_entity_of_match, line.strip())) for line in lines
    )


def code(text: str) -> str:
    """`text` as code in a line or a cell of a table."""
    shown = show_hidden_characters(" ".join(text.split()))
    if not shown:
        return ""
    if _PLAIN_CODE.fullmatch(shown):
        return f"`{shown}`"
    return f"<code>{_IN_CODE.sub(_entity_of_match, shown)}</code>"


def code_block(text: str, language: str) -> list[str]:
    """The lines of a block of code, in a fence that is longer than any in it."""
    shown = show_hidden_characters(text, keep="\n\t").strip("\n")
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", *(line.rstrip() for line in shown.splitlines()), fence]


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The lines of a table, without the columns that are empty in every row; cells are Markdown already."""
    used = [at for at in range(len(head)) if at == 0 or any(row[at] for row in rows)]
    return [
        "| " + " | ".join(head[at] for at in used) + " |",
        "|" + " --- |" * len(used),
        *("| " + " | ".join(row[at] for at in used) + " |" for row in rows),
    ]


def link(text: str, target: str) -> str:
    """A link; `text` is Markdown already, `target` is a relative path or an anchor with nothing to escape."""
    return f"[{text}]({target})"


def _entity_of_match(match: re.Match[str]) -> str:
    if match.re is _BLOCK_START:
        return match[1] + "".join(f"&#{ord(character)};" for character in match[2])
    return f"&#{ord(match[0])};"
