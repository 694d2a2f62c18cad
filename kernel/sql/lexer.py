"""What a script is made of."""

from __future__ import annotations

import codecs
import re
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from kernel.sql.tokens import (
    BLANK_REGEX,
    REPEATED_REGEX,
    BackslashOutsideQuotes,
    UnclosedToken,
    copy_direction,
    end_of_comment,
    end_of_complex_token,
    end_of_run,
    first_tokens,
    scan_tokens,
    simple_run_pattern,
    simple_run_regex,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class PartKind(Enum):
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

    kind: PartKind
    text: bytes
    line: int
    start: int

    @property
    def sql(self) -> bytes:
        """What is sent to the server: from the first significant byte on."""
        return self.text[self.start :]


# The stream that a script is read from: a window of bytes, checked as it moves on.


_CHUNK_BYTES = 1 << 16  # what malloc has at hand; for more it asks the system, page by page


class Fault(Enum):
    """Why a script cannot be split into statements."""

    PSQL_COMMAND = "a command of psql"
    UNTERMINATED = "a quote, a comment or COPY data without its end"
    TEXT_AFTER_COPY = "text on the line of COPY FROM stdin"
    MERGE_CONFLICT = "the mark of a merge conflict"
    NOT_UTF8 = "bytes that are not UTF-8"
    NUL = "a NUL character"


class LexerError(ValueError):
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


class ScriptStream:
    """A window on the stream: UTF-8 without NUL, in whole characters; a byte order mark is passed over.

    `buffer` is the window, `position` where in it the next part begins, `line` the script's line of that place;
    `conflicts` tells that something in the window looks like the mark of a merge conflict.
    What PostgreSQL could not read ends the window, and is told by `more`: faults come in the order of the script,
    however the stream is cut. Raises Unlexable.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._unchecked = b""  # read, but not in the window: half a character, or a fault and what follows
        self._fault: Fault | None = None
        self._columns_before = 0  # characters let go of the line that the window begins in
        self.buffer = b""
        self.position = 0
        self.line = 1
        self.ended = False
        self.may_have_conflicts = False
        while not self.buffer and not self.ended:
            self.read_more()
        self.buffer = self.buffer.removeprefix(codecs.BOM_UTF8)

    def read_more(self) -> None:
        """Read on, and let go of what lies before `position`.

        The window doubles while nothing in it ends, so that a long statement costs no more than its length.
        """
        if (cut := self.position - 1) > 0:  # one byte stays, for expressions that look behind them
            self._columns_before = self._column(cut) - 1
            self.buffer = self.buffer[cut:]
            self.position -= cut
        if self._fault:
            raise self.error_at(_UNREADABLE[self._fault], len(self.buffer), fault=self._fault)
        pieces = [self._unchecked]
        wanted = max(_CHUNK_BYTES, len(self.buffer))
        while wanted > 0 and not self.ended:
            piece = self._read(wanted)
            self.ended = not piece
            wanted -= len(piece)
            pieces.append(piece)
        self.buffer += self._readable(b"".join(pieces))
        window = self.buffer  # looked through for one byte first, which is ten times as fast, and mostly is enough
        self.may_have_conflicts = (b"<" in window and b"<<<<<<< " in window) or (
            b">" in window and b">>>>>>> " in window
        )

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

    def move_to(self, position: int, line: int) -> None:
        """As `take`, for who has taken the bytes already and knows the line behind them."""
        self.position = position
        self.line = line

    def error_at(self, message: str, at: int, *, fault: Fault, command: str = "") -> LexerError:
        """The error that points at byte `at` of the window, `position` or behind it."""
        line = self.line + self.buffer.count(b"\n", self.position, at)
        return LexerError(message, fault=fault, line=line, column=self._column(at), command=command)

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
        self._unchecked = fresh[readable:]
        return fresh[:readable]

    def _column(self, at: int) -> int:
        begin = self.buffer.rfind(b"\n", 0, at) + 1
        return len(self.buffer[begin:at].decode()) + 1 + (0 if begin else self._columns_before)


# The data of COPY … FROM stdin, which stand in the script from the next line to the line `\.`.
#
# Source: PostgreSQL documentation, "COPY" (File Formats) and "psql" (\copy).


_BLANKS_ON_LINE = re.compile(rb"[ \t]*+")
_LINE_END = re.compile(rb"(?:--[^\r\n]*+)?\r?(?:\n|\Z)")
_COPY_END_LINES = (b"\\.\n", b"\\.\r\n")
_COPY_ENDS_OF_FILE = (b"\\.", b"\\.\r")


def _copy_data_parts(source: ScriptStream) -> Iterator[Part]:
    r"""The rest of COPY's line, its data, and the line `\.` that ends them. Raises Unlexable."""
    opened = source.line
    while not source.ended and source.buffer.find(b"\n", source.position) < 0:
        source.read_more()
    behind = end_of_run(_BLANKS_ON_LINE, source.buffer, source.position)
    rest = _LINE_END.match(source.buffer, behind)
    if not rest:
        raise source.error_at(
            "text behind COPY … FROM stdin; on its line, where the data begin on the next; "
            "move it behind the line that ends the data",
            behind,
            fault=Fault.TEXT_AFTER_COPY,
        )
    if text := source.take(rest.end()):
        yield Part(PartKind.BLANK, text, source.line, len(text))
    while True:
        buffer, begin, line = source.buffer, source.position, source.line
        end = _end_of_copy_data(buffer, begin, ended=source.ended)
        if end < 0 and source.ended:
            raise LexerError(
                r"unterminated COPY data: the file ends before the line \. that closes it",
                fault=Fault.UNTERMINATED,
                line=opened,
                column=1,
            )
        stop = end if end >= 0 else buffer.rfind(b"\n", begin) + 1
        if stop > begin:
            yield Part(PartKind.COPY_DATA, source.take(stop), line, 0)
        if end >= 0:
            line = source.line
            yield Part(PartKind.COPY_END, source.take(buffer.find(b"\n", end) + 1 or len(buffer)), line, 0)
            return
        source.read_more()


def _end_of_copy_data(buffer: bytes, begin: int, *, ended: bool) -> int:
    r"""Where the line `\.` begins, or -1 when the buffer does not hold it whole."""
    at = buffer.find(b"\\.", begin)
    while at >= 0:
        starts_line = at == begin or buffer[at - 1] == ord("\n")
        if starts_line and (
            buffer.startswith(_COPY_END_LINES, at) or (ended and buffer[at : at + 4] in _COPY_ENDS_OF_FILE)
        ):
            return at
        at = buffer.find(b"\\.", at + 2)
    return -1


# A lexer for PostgreSQL scripts: where statements begin and end, in a stream of any size.
#
# The rules are those of PostgreSQL's scan.l and psql's psqlscan.l (PostgreSQL documentation, "Lexical Structure"):
# strings of every kind, dollar quotes, nested comments, BEGIN ATOMIC bodies, parentheses of CREATE RULE, COPY data.
# It works on bytes, as the server does: every byte from 0x80 is a letter. Lossless: the parts joined are the script.
#
# Speed comes from one regular expression that carries most statements from first byte to semicolon in a single match;
# only dollar quotes, nested comments and the few statements that may hold semicolons take a slower way.


_LEADING_REGEX = (
    rb"(?:"
    + BLANK_REGEX
    # What pg_dump writes since August 2025, alone on its line; any other backslash outside quotes is refused.
    + rb"|(?<![^\n])\\(?:un)?restrict [A-Za-z0-9]++[ \t]*+(?=\r?\n|\r?\Z))"
    + REPEATED_REGEX
)
_LEADING = re.compile(_LEADING_REGEX)
_CREATE = re.compile(rb"create\b", re.IGNORECASE)
_COPY_OR_SET = re.compile(rb"copy\b|(?:re)?set\b", re.IGNORECASE)
_GAP = rb"(?:" + BLANK_REGEX + rb")"
_OFF = frozenset({b"0", b"of", b"off", b"n", b"no", b"f", b"fa", b"fal", b"fals", b"false"})  # as the server reads it
_CONFLICT = re.compile(rb"^(?:<{7}|>{7}) ", re.MULTILINE)
_META_COMMAND = re.compile(rb"\\[^\s\\]*")


@cache
def _simple_statement_pattern(*, standard: bool) -> re.Pattern[bytes]:
    """A whole statement of the usual kind, group 1 at its first byte.

    That is one that can hold no semicolon outside quotes, and that the text behind it does not depend on. The atomic
    groups keep a failure from being tried in every other way.
    """
    return re.compile(
        rb"(?>"
        + _LEADING_REGEX
        + rb")()(?=[A-Za-z])(?!(?i:copy|set|reset)\b)"
        + rb"(?!(?i:create)\b(?!(?i:\s++(?:table|(?:unique\s++)?index|type|view|sequence|schema|extension)\b)))(?>"
        + simple_run_regex(standard=standard)
        + rb");",
        re.DOTALL,
    )


@cache
def _set_standard_strings_pattern() -> re.Pattern[bytes]:
    """What sets standard_conforming_strings: to `value`, or back."""
    return re.compile(
        rb"(?:set%b+(?:(?:session|local)%b+)?\"?standard_conforming_strings\"?%b*(?:=|to\b)%b*'?(?P<value>\w+)"
        rb"|reset%b+(?:all|\"?standard_conforming_strings)\b)" % (_GAP, _GAP, _GAP, _GAP, _GAP),
        re.IGNORECASE,
    )


def split_script(read: Callable[[int], bytes]) -> Iterator[Part]:
    """Yield the parts of the script that `read(size)` returns piece by piece, empty at its end.

    Memory is bounded by the longest statement, COPY data not counted. Raises Unlexable.
    """
    source = ScriptStream(read)
    standard = True  # standard_conforming_strings, as far as the script itself sets it
    while True:
        yield from _simple_statement_parts(source, standard=standard)
        if source.exhausted:
            return
        start, end = _read_statement_bounds(source, standard=standard)
        buffer, begin = source.buffer, source.position
        if begin == end:
            return
        if source.may_have_conflicts:
            _refuse_conflict(source, end)
        line = source.line + buffer.count(b"\n", begin, start)
        text = source.take(end)
        if start == end or buffer[start] == ord(";"):
            yield Part(PartKind.BLANK, text, line, start - begin)
            continue
        yield Part(PartKind.STATEMENT, text, line, start - begin)
        if _COPY_OR_SET.match(buffer, start):
            if setting := _set_standard_strings_pattern().match(buffer, start):
                standard = (setting["value"] or b"on").lower() not in _OFF
            elif copy_direction(first_tokens(text, start - begin, standard=standard)) == "FROM":
                yield from _copy_data_parts(source)


def _simple_statement_parts(source: ScriptStream, *, standard: bool) -> Iterator[Part]:
    """The statements of the usual kind that stand next in the window. Raises Unlexable."""
    # Once around for nearly every statement: a newline is counted once, and a Part made as Part() does it.
    match, new, statement = _simple_statement_pattern(standard=standard).match, tuple.__new__, PartKind.STATEMENT
    buffer, line = source.buffer, source.line
    begin = counted = source.position
    while found := match(buffer, begin):
        start, end = found.start(1), found.end()
        if source.may_have_conflicts:
            source.move_to(begin, line + buffer.count(b"\n", counted, begin))
            _refuse_conflict(source, end)
        line += buffer.count(b"\n", counted, start)
        yield new(Part, (statement, buffer[begin:end], line, start - begin))
        begin, counted = end, start
    source.move_to(begin, line + buffer.count(b"\n", counted, begin))


def _read_statement_bounds(source: ScriptStream, *, standard: bool) -> tuple[int, int]:
    """As _statement, reading on until the statement ends or the script does, and with it the statement."""
    while True:
        try:
            return _statement_bounds(source.buffer, source.position, standard=standard)
        except UnclosedToken as cut:
            if source.ended:
                if cut.token_kind:
                    raise source.error_at(
                        f"unterminated {cut.token_kind}: it begins here and the file ends before it is closed",
                        cut.at,
                        fault=Fault.UNTERMINATED,
                    ) from None
                return _end_of_leading(source.buffer, source.position), len(source.buffer)
        except BackslashOutsideQuotes as met:
            if source.ended or source.buffer.find(b"\n", met.at) >= 0:
                raise _meta_command_error(source, met.at) from None
        source.read_more()


def _statement_bounds(buffer: bytes, position: int, *, standard: bool) -> tuple[int, int]:
    """Where the next statement's first significant byte is, and where it ends.

    Raises Open when the buffer ends before the statement does, Backslash at a command of psql.
    """
    start = _end_of_leading(buffer, position)
    if start == len(buffer):
        raise UnclosedToken("", start)
    if _CREATE.match(buffer, start) and (kind := _created_object(buffer, start)) in ("FUNCTION", "PROCEDURE", "RULE"):
        return start, _end_of_create(buffer, start, routine=kind != "RULE", standard=standard)
    pattern = simple_run_pattern(standard=standard)
    position = start
    while True:
        end = end_of_run(pattern, buffer, position)
        if end == len(buffer):
            raise UnclosedToken("", end)
        if buffer[end] == ord(";"):
            return start, end + 1
        position = end_of_complex_token(buffer, end, position)


def _end_of_leading(buffer: bytes, position: int) -> int:
    """Where the blanks and comments from `position` on end. Raises Open."""
    while True:
        position = end_of_run(_LEADING, buffer, position)
        if not buffer.startswith(b"/*", position):
            return position
        position = end_of_comment(buffer, position)


def _created_object(buffer: bytes, start: int) -> str:
    """What CREATE [OR REPLACE] creates."""
    words = first_tokens(buffer, start, limit=4)
    named = words[3:] if words[1:3] == ("OR", "REPLACE") else words[1:2]
    return "".join(named)


def _end_of_create(buffer: bytes, start: int, *, routine: bool, standard: bool) -> int:
    """The end of CREATE RULE, or of CREATE FUNCTION or PROCEDURE (`routine`), which may hold semicolons.

    They do in parentheses (a rule's statements) and in the body of a routine, from BEGIN ATOMIC to an END that begins a
    statement: no other END there does, neither CASE's nor a column of that name.
    """
    parentheses = 0
    body = False
    previous = b""
    for _, begin, end in scan_tokens(buffer, start, standard=standard):
        word = buffer[begin:end].lower()
        if word == b";" and not body and not parentheses:
            return end
        if word == b"(":
            parentheses += 1
        elif word == b")":
            parentheses = max(0, parentheses - 1)
        elif word == b"atomic" and previous == b"begin" and routine and not parentheses:
            body = True
        elif word == b"end" and previous in (b";", b"atomic"):
            body = False
        previous = word
    raise UnclosedToken("", len(buffer))


def _meta_command_error(source: ScriptStream, at: int) -> LexerError:
    name = next(_META_COMMAND.finditer(source.buffer, at))[0].decode()
    message = f"{name}: psql's own commands do not run here; write it in SQL, or take the line out"
    return source.error_at(message, at, fault=Fault.PSQL_COMMAND, command=name)


def _refuse_conflict(source: ScriptStream, end: int) -> None:
    buffer, begin = source.buffer, source.position
    if conflict := _CONFLICT.search(buffer, begin, end):
        message = f"a merge conflict: {conflict[0].decode().strip()}; resolve it"
        raise source.error_at(message, conflict.start(), fault=Fault.MERGE_CONFLICT)
