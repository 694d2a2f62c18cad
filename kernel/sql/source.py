"""The stream that a script is read from: a window of bytes, checked as it moves on."""

from __future__ import annotations

import codecs
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK_BYTES = 1 << 16  # what malloc has at hand; for more it asks the system, page by page


class Fault(Enum):
    """Why a script cannot be split into statements."""

    PSQL_COMMAND = "a command of psql"
    UNTERMINATED = "a quote, a comment or COPY data without its end"
    TEXT_AFTER_COPY = "text on the line of COPY FROM stdin"
    MERGE_CONFLICT = "the mark of a merge conflict"
    NOT_UTF8 = "bytes that are not UTF-8"
    NUL = "a NUL character"


class Unlexable(ValueError):
    """The script cannot be split into statements: `message`, and `line` and `column` (characters) counting from 1.

    `command` is the name of a PSQL_COMMAND, with its backslash.
    """

    def __init__(self, message: str, *, fault: Fault, line: int, column: int, command: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fault = fault
        self.line = line
        self.column = column
        self.command = command


_UNREADABLE = {
    Fault.NOT_UTF8: "not UTF-8: convert the file (iconv -f LATIN1 -t UTF-8)",
    Fault.NUL: "a NUL character: PostgreSQL cannot read past it; remove it",
}


class Source:
    """A window on the stream: UTF-8 without NUL, in whole characters; a byte order mark is passed over.

    `buffer` is the window, `position` where in it the next part begins, `line` the script's line of that place;
    `conflicts` tells that something in the window looks like the mark of a merge conflict.
    What PostgreSQL could not read ends the window, and is told by `more`: faults come in the order of the script,
    however the stream is cut. Raises Unlexable.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._undecided = b""  # read, but not in the window: half a character, or a fault and what follows
        self._fault: Fault | None = None
        self._columns = 0  # characters let go of the line that the window begins in
        self.buffer = b""
        self.position = 0
        self.line = 1
        self.ended = False
        self.conflicts = False
        while not self.buffer and not self.ended:
            self.more()
        self.buffer = self.buffer.removeprefix(codecs.BOM_UTF8)

    def more(self) -> None:
        """Read on, and let go of what lies before `position`.

        The window doubles while nothing in it ends, so that a long statement costs no more than its length.
        """
        if (cut := self.position - 1) > 0:  # one byte stays, for expressions that look behind them
            self._columns = self._column(cut) - 1
            self.buffer = self.buffer[cut:]
            self.position -= cut
        if self._fault:
            raise self.unlexable(_UNREADABLE[self._fault], len(self.buffer), fault=self._fault)
        pieces = [self._undecided]
        wanted = max(_CHUNK_BYTES, len(self.buffer))
        while wanted > 0 and not self.ended:
            piece = self._read(wanted)
            self.ended = not piece
            wanted -= len(piece)
            pieces.append(piece)
        self.buffer += self._readable(b"".join(pieces))
        window = self.buffer  # looked through for one byte first, which is ten times as fast, and mostly is enough
        self.conflicts = (b"<" in window and b"<<<<<<< " in window) or (b">" in window and b">>>>>>> " in window)

    @property
    def exhausted(self) -> bool:
        """Whether nothing follows `position`, here or in the stream."""
        return self.ended and self.position == len(self.buffer)

    def take(self, end: int) -> bytes:
        """The bytes up to `end`; the next part begins there."""
        text = self.buffer[self.position : end]
        self.position = end
        self.line += text.count(b"\n")
        return text

    def move(self, position: int, line: int) -> None:
        """As `take`, for who has taken the bytes already and knows the line behind them."""
        self.position = position
        self.line = line

    def unlexable(self, message: str, at: int, *, fault: Fault, command: str = "") -> Unlexable:
        """The error that points at byte `at` of the window, `position` or behind it."""
        line = self.line + self.buffer.count(b"\n", self.position, at)
        return Unlexable(message, fault=fault, line=line, column=self._column(at), command=command)

    def _readable(self, fresh: bytes) -> bytes:
        """The part of `fresh` that the window takes; the rest is kept, and named if nothing can make it readable."""
        readable = len(fresh)
        try:
            fresh.decode()
        except UnicodeDecodeError as error:
            readable = error.start
            if error.end < len(fresh) or self.ended:  # else the next bytes may complete the character
                self._fault = Fault.NOT_UTF8
        if (nul := fresh.find(0, 0, readable)) >= 0:
            readable = nul
            self._fault = Fault.NUL
        if self._fault:
            self.ended = False
        self._undecided = fresh[readable:]
        return fresh[:readable]

    def _column(self, at: int) -> int:
        begin = self.buffer.rfind(b"\n", 0, at) + 1
        return len(self.buffer[begin:at].decode()) + 1 + (0 if begin else self._columns)
