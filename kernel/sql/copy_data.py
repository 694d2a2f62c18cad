r"""The data of COPY … FROM stdin, which stand in the script from the next line to the line `\.`.

Source: PostgreSQL documentation, "COPY" (File Formats) and "psql" (\copy).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kernel.sql.part import Kind, Part
from kernel.sql.source import Fault, Source, Unlexable
from kernel.sql.tokens import run_end

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BLANKS = re.compile(rb"[ \t]*+")
_LINE_END = re.compile(rb"(?:--[^\r\n]*+)?\r?(?:\n|\Z)")
_END = (b"\\.\n", b"\\.\r\n")
_END_OF_FILE = (b"\\.", b"\\.\r")


def direction(words: Sequence[str]) -> str:
    """FROM when COPY reads from the client, TO when it writes to it, "" when it does neither.

    The first of the two words outside parentheses decides. STDIN and STDOUT mean the same: the grammar corrects the
    one that makes no sense.
    """
    depth = 0
    for at, word in enumerate(words):
        if word in ("FROM", "TO") and depth == 0:
            return word if words[at + 1 : at + 2] in (("STDIN",), ("STDOUT",)) else ""
        depth += (word == "(") - (word == ")")
    return ""


def parts(source: Source) -> Iterator[Part]:
    r"""The rest of COPY's line, its data, and the line `\.` that ends them. Raises Unlexable."""
    opened = source.line
    while not source.ended and source.buffer.find(b"\n", source.position) < 0:
        source.more()
    behind = run_end(_BLANKS, source.buffer, source.position)
    rest = _LINE_END.match(source.buffer, behind)
    if not rest:
        raise source.unlexable(
            "text behind COPY … FROM stdin; on its line, where the data begin on the next; "
            "move it behind the line that ends the data",
            behind,
            fault=Fault.TEXT_AFTER_COPY,
        )
    if text := source.take(rest.end()):
        yield Part(Kind.BLANK, text, source.line, len(text))
    while True:
        buffer, begin, line = source.buffer, source.position, source.line
        end = _end_of_data(buffer, begin, ended=source.ended)
        if end < 0 and source.ended:
            raise Unlexable(
                r"unterminated COPY data: the file ends before the line \. that closes it",
                fault=Fault.UNTERMINATED,
                line=opened,
                column=1,
            )
        stop = end if end >= 0 else buffer.rfind(b"\n", begin) + 1
        if stop > begin:
            yield Part(Kind.COPY_DATA, source.take(stop), line, 0)
        if end >= 0:
            line = source.line
            yield Part(Kind.COPY_END, source.take(buffer.find(b"\n", end) + 1 or len(buffer)), line, 0)
            return
        source.more()


def _end_of_data(buffer: bytes, begin: int, *, ended: bool) -> int:
    r"""Where the line `\.` begins, or -1 when the buffer does not hold it whole."""
    at = buffer.find(b"\\.", begin)
    while at >= 0:
        starts_line = at == begin or buffer[at - 1] == ord("\n")
        if starts_line and (buffer.startswith(_END, at) or (ended and buffer[at : at + 4] in _END_OF_FILE)):
            return at
        at = buffer.find(b"\\.", at + 2)
    return -1
