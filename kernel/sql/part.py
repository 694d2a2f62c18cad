"""What a script is made of."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """What a part of a script is."""

    STATEMENT = "statement"
    COPY_DATA = "copy data"
    COPY_END = "copy end"
    BLANK = "blank"


class Part(NamedTuple):
    """A piece of the script: `line` is the script's line of its first significant byte, which is `text[start]`.

    A statement's text runs from the end of the part before to its semicolon, comments ahead of it included.
    COPY_DATA comes in pieces of whole lines, then COPY_END with the line that ends it.
    BLANK is what holds nothing to send: comments at the end, a semicolon alone.
    """

    kind: Kind
    text: bytes
    line: int
    start: int

    @property
    def sql(self) -> bytes:
        """What is sent to the server: from the first significant byte on."""
        return self.text[self.start :]
