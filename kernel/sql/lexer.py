r"""A lexer for PostgreSQL scripts: split a stream of any size into statements, comments and COPY data.

The rules are those of PostgreSQL's scan.l and psql's psqlscan.l (PostgreSQL documentation, "Lexical Structure"):
strings of every kind, dollar quotes, nested comments, BEGIN ATOMIC bodies, parentheses of CREATE RULE. The data of
COPY … FROM stdin extend from the next line to the line `\.` ("COPY", File Formats, and "psql", \copy). Like the
server, the lexer works on bytes: every byte from 0x80 is a letter. It is lossless: the joined parts are the script.

One regular expression matches most statements from the first byte to the semicolon, for speed; only dollar quotes,
nested comments and the few statements that may contain semicolons take a slower path.
"""

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


_CHUNK_BYTES = 1 << 16  # malloc gets larger blocks from the system, which takes longer

_BLANKS_ON_LINE = re.compile(rb"[ \t]*+")
_LINE_END = re.compile(rb"(?:--[^\r\n]*+)?\r?(?:\n|\Z)")
_COPY_END_LINES = (b"\\.\n", b"\\.\r\n")
_COPY_ENDS_OF_FILE = (b"\\.", b"\\.\r")

# Arguments that cannot hold another command, nor one of the shell in backquotes.
_ARGUMENTS_REGEX = (
    rb"(?:[ \t]++(?:[^\\`'\"\s]++|'(?:[^'\\\r\n]++|\\[^\r\n])" + REPEATED_REGEX + rb"'|\"[^\"\\`\r\n]*+\")"
    + REPEATED_REGEX + rb")" + REPEATED_REGEX
)  # fmt: skip
# Commands of psql that change nothing here: pg_dump writes \restrict since August 2025, on lines of their own; the
# others only print, or ask for the stop at an error that every run makes. Other backslashes outside quotes are refused.
_TRUE_REGEX = rb"(?i:t(?:r(?:ue?)?)?|y(?:es?)?|on|1)"
_SKIPPED_COMMAND_REGEX = (
    rb"\\(?:(?<![^\n]\\)(?:un)?restrict [A-Za-z0-9]++"
    rb"|set[ \t]++ON_ERROR_STOP(?:[ \t]++(?:" + _TRUE_REGEX + rb"|'" + _TRUE_REGEX + rb"'))?"
    rb"|unset[ \t]++ON_ERROR_STOP|(?:echo|pset|timing)" + _ARGUMENTS_REGEX + rb")[ \t]*+(?=\r?\n|\r?\Z)"
)
_LEADING = re.compile(rb"(?:" + BLANK_REGEX + rb"|" + _SKIPPED_COMMAND_REGEX + rb")" + REPEATED_REGEX)
_CREATE = re.compile(rb"create\b", re.IGNORECASE)
_COPY_OR_SET = re.compile(rb"copy\b|(?:re)?set\b", re.IGNORECASE)
_GAP = rb"(?:" + BLANK_REGEX + rb")"
_OFF = frozenset({b"0", b"of", b"off", b"n", b"no", b"f", b"fa", b"fal", b"fals", b"false"})  # as the server reads it
_CONFLICT = re.compile(rb"^(?:<{7}|>{7}) ", re.MULTILINE)
_META_COMMAND = re.compile(rb"\\[^\s\\]*")
_SENDING_COMMAND = re.compile(rb"\\(?:g(?:x|set|exec|desc)?|crosstabview|watch)\b")


class PartKind(Enum):
    """The kind of a part of a script."""

    STATEMENT = "statement"
    COPY_DATA = "copy data"
    COPY_END = "copy end"
    BLANK = "blank"


class Part(NamedTuple):
    """A part of a script; its first significant byte is `text[start]`, on `line` and at `offset` of the script.

    The text of a statement extends from the end of the previous part to its semicolon, including comments before it.
    COPY_DATA is split into pieces of whole lines, followed by COPY_END with the line that ends the data.
    BLANK contains nothing to send: comments at the end of the script, or only a semicolon.
    """

    kind: PartKind
    text: bytes
    line: int
    start: int
    offset: int = 0

    @property
    def sql(self) -> bytes:
        """The text to send to the server: from the first significant byte on."""
        return self.text[self.start :]

    def place_of(self, at: int) -> tuple[int, int | None]:
        """Return the line of byte `at` of `sql`, and its column; None after another statement on the same line."""
        before = self.text[: self.start + at]
        is_whole_line = b"\n" in before or self.offset == self.start
        return self.line + before.count(b"\n", self.start), advance_column(1, before) if is_whole_line else None


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


def advance_column(column: int, text: bytes) -> int:
    """The column after a text that begins at `column`, in characters from 1."""
    begin = text.rfind(b"\n") + 1
    return len(text[begin:].decode(errors="replace")) + (1 if begin else column)


class ScriptStream:
    """A window on the bytes of a script: whole UTF-8 characters without NUL and without the byte order mark.

    `buffer` is the window, after `discarded_bytes`; the next part begins at `position` in it, on `line`.
    `may_have_conflicts` means that the window contains text that looks like the mark of a merge conflict.
    The window ends before bytes that PostgreSQL cannot read; read_more then raises LexerError, so that faults are
    reported in the order of the script, independent of the chunks of the stream.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._unchecked = b""  # read, but not in the window: half a character, or a fault and what follows
        self._fault: Fault | None = None
        self._has_letters_beyond_ascii = False
        self._columns_before = 0  # discarded characters of the line in which the window begins
        self.buffer = b""
        self.discarded_bytes = 0
        self.position = 0
        self.line = 1
        self.ended = False
        self.may_have_conflicts = False
        while not self.buffer and not self.ended:
            self.read_more()
        if self.buffer.startswith(codecs.BOM_UTF8):
            self.buffer = self.buffer.removeprefix(codecs.BOM_UTF8)
            self.discarded_bytes = len(codecs.BOM_UTF8)

    def read_more(self) -> None:
        """Read more bytes, and discard those before `position`.

        The window doubles while no part in it ends, so that the time for a long statement is linear in its length.
        """
        if (cut := self.position - 1) > 0:  # one byte stays, for lookbehind assertions
            self._columns_before = self._column(cut) - 1
            self.buffer = self.buffer[cut:]
            self.discarded_bytes += cut
            self.position -= cut
        if self._fault:
            raise self._unreadable_error(self._fault)
        pieces = [self._unchecked]
        wanted = max(_CHUNK_BYTES, len(self.buffer))
        while wanted > 0 and not self.ended:
            piece = self._read(wanted)
            self.ended = not piece
            wanted -= len(piece)
            pieces.append(piece)
        self.buffer += self._readable(b"".join(pieces))
        window = self.buffer  # searching for one byte first is ten times as fast, and usually enough
        self.may_have_conflicts = (b"<" in window and b"<<<<<<< " in window) or (
            b">" in window and b">>>>>>> " in window
        )

    @property
    def offset(self) -> int:
        """The offset of `position` in the script."""
        return self.discarded_bytes + self.position

    @property
    def exhausted(self) -> bool:
        """Whether no bytes follow `position`, in the window or in the stream."""
        return self.ended and self.position == len(self.buffer)

    def take(self, end: int) -> bytes:
        """Return the bytes up to `end`, and move `position` there."""
        text = self.buffer[self.position : end]
        self.position = end
        self.line += text.count(b"\n")
        return text

    def move_to(self, position: int, line: int) -> None:
        """Move `position` past bytes that the caller has read itself; `line` is the line there."""
        self.position = position
        self.line = line

    def blank_line(self, at: int) -> None:
        """Replace the command of psql at byte `at` of the window by blanks, by a semicolon if it sends a statement."""
        end = self.buffer.find(b"\n", at)
        end = end if end >= 0 else len(self.buffer)
        if self.buffer.startswith(b"\\;", at):  # a semicolon of the SQL
            end = at + 1
        sends = _SENDING_COMMAND.match(self.buffer, at, end) is not None
        blanks = (b";" if sends else b" ").ljust(end - at)
        self.buffer = self.buffer[:at] + blanks + self.buffer[end:]

    def error_at(self, message: str, at: int, *, fault: Fault, command: str = "") -> LexerError:
        """Return an error at byte `at` of the window, not before `position`."""
        line = self.line + self.buffer.count(b"\n", self.position, at)
        return LexerError(message, fault=fault, line=line, column=self._column(at), command=command)

    def _readable(self, fresh: bytes) -> bytes:
        """Return the valid beginning of `fresh`; keep the rest, and set the fault if later bytes cannot complete it."""
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
        fresh = fresh[:readable]
        self._has_letters_beyond_ascii |= not fresh.isascii()
        return fresh

    def _unreadable_error(self, fault: Fault) -> LexerError:
        from kernel.sql.encodings import SAMPLE_BYTES, explain_not_utf8, is_utf16  # noqa: PLC0415 - after a fault only

        rest = self._unchecked
        while len(rest) < SAMPLE_BYTES and (piece := self._read(SAMPLE_BYTES)):
            rest += piece
        message = "a NUL character: PostgreSQL cannot read past it; remove it"
        if fault is Fault.NOT_UTF8 or is_utf16(self.buffer[-1:] + rest):
            fault = Fault.NOT_UTF8
            message = "not UTF-8: " + explain_not_utf8(self.buffer, rest, mixed=self._has_letters_beyond_ascii)
        return self.error_at(message, len(self.buffer), fault=fault)

    def _column(self, at: int) -> int:
        begin = self.buffer.rfind(b"\n", 0, at) + 1
        return len(self.buffer[begin:at].decode()) + 1 + (0 if begin else self._columns_before)


def split_script(
    read: Callable[[int], bytes], on_psql_command: Callable[[LexerError], None] | None = None
) -> Iterator[Part]:
    """Yield the parts of a script; `read(size)` returns its next bytes, empty at the end.

    Memory is bounded by the longest statement, excluding COPY data. Raises LexerError. A command of psql is given to
    `on_psql_command` instead, and blanks replace it in the parts.
    """
    source = ScriptStream(read)
    standard = True  # standard_conforming_strings, on unless the script sets it
    while True:
        yield from _simple_statement_parts(source, standard=standard)
        if source.exhausted:
            return
        start, end = _read_statement_bounds(source, on_psql_command, standard=standard)
        buffer, begin = source.buffer, source.position
        if begin == end:
            return
        if source.may_have_conflicts:
            _refuse_conflict(source, end)
        line = source.line + buffer.count(b"\n", begin, start)
        text, offset = source.take(end), source.discarded_bytes + start
        if start == end or buffer[start] == ord(";"):
            yield Part(PartKind.BLANK, text, line, start - begin, offset)
            continue
        yield Part(PartKind.STATEMENT, text, line, start - begin, offset)
        if _COPY_OR_SET.match(buffer, start):
            if setting := _set_standard_strings_pattern().match(buffer, start):
                standard = (setting["value"] or b"on").lower() not in _OFF
            elif copy_direction(first_tokens(text, start - begin, standard=standard)) == "FROM":
                yield from _copy_data_parts(source)


def _simple_statement_parts(source: ScriptStream, *, standard: bool) -> Iterator[Part]:
    """Yield the next simple statements in the window. Raises LexerError."""
    # The loop runs for nearly every statement: count each newline once, and create a Part without calling Part().
    match, new, statement = _simple_statement_pattern(standard=standard).match, tuple.__new__, PartKind.STATEMENT
    buffer, line, discarded = source.buffer, source.line, source.discarded_bytes
    begin = counted = source.position
    while simple := match(buffer, begin):
        start, end = simple.start(1), simple.end()
        if source.may_have_conflicts:
            source.move_to(begin, line + buffer.count(b"\n", counted, begin))
            _refuse_conflict(source, end)
        line += buffer.count(b"\n", counted, start)
        yield new(Part, (statement, buffer[begin:end], line, start - begin, discarded + start))
        begin, counted = end, start
    source.move_to(begin, line + buffer.count(b"\n", counted, begin))


@cache
def _simple_statement_pattern(*, standard: bool) -> re.Pattern[bytes]:
    """Compile a pattern of a whole simple statement; group 1 is at its first byte.

    A simple statement cannot contain a semicolon outside quotes, and does not affect how the text after it is read.
    The atomic groups prevent backtracking after a failure.
    """
    return re.compile(
        rb"(?>(?:"
        + BLANK_REGEX
        + rb")"
        + REPEATED_REGEX
        + rb")()(?=[A-Za-z])(?!(?i:copy|set|reset)\b)"
        + rb"(?!(?i:create)\b(?!(?i:\s++(?:table|(?:unique\s++)?index|type|view|sequence|schema|extension)\b)))(?>"
        + simple_run_regex(standard=standard)
        + rb");",
        re.DOTALL,
    )


@cache
def _set_standard_strings_pattern() -> re.Pattern[bytes]:
    """Compile a pattern of statements that set standard_conforming_strings to `value`, or reset it."""
    return re.compile(
        rb"(?:set%b+(?:(?:session|local)%b+)?\"?standard_conforming_strings\"?%b*(?:=|to\b)%b*'?(?P<value>\w+)"
        rb"|reset%b+(?:all|\"?standard_conforming_strings)\b)" % (_GAP, _GAP, _GAP, _GAP, _GAP),
        re.IGNORECASE,
    )


def _read_statement_bounds(
    source: ScriptStream, on_psql_command: Callable[[LexerError], None] | None, *, standard: bool
) -> tuple[int, int]:
    """Return _statement_bounds, after reading until the statement or the script ends. Raises LexerError."""
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
                error = _meta_command_error(source, met.at)
                if on_psql_command is None:
                    raise error from None
                on_psql_command(error)
                source.blank_line(met.at)
                continue
        source.read_more()


def _statement_bounds(buffer: bytes, position: int, *, standard: bool) -> tuple[int, int]:
    """Return the first significant byte of the next statement, and the end of the statement.

    Raises UnclosedToken when the buffer ends before the statement, BackslashOutsideQuotes at a command of psql.
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
    """Return the end of the blanks and comments from `position` on. Raises UnclosedToken."""
    while True:
        position = end_of_run(_LEADING, buffer, position)
        if not buffer.startswith(b"/*", position):
            return position
        position = end_of_comment(buffer, position)


def _created_object(buffer: bytes, start: int) -> str:
    """Return the kind of object that CREATE [OR REPLACE] creates."""
    words = first_tokens(buffer, start, limit=4)
    named = words[3:] if words[1:3] == ("OR", "REPLACE") else words[1:2]
    return "".join(named)


def _end_of_create(buffer: bytes, start: int, *, routine: bool, standard: bool) -> int:
    """Return the end of CREATE RULE, or of CREATE FUNCTION or PROCEDURE (`routine`), which may contain semicolons.

    They may be in parentheses (the statements of a rule) and in the body of a routine, from BEGIN ATOMIC to an END at
    the beginning of a statement, unlike the END of a CASE or a column of that name.
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


def _copy_data_parts(source: ScriptStream) -> Iterator[Part]:
    r"""Yield the rest of COPY's line, its data, and the line `\.` that ends them. Raises LexerError."""
    opened = source.line
    while not source.ended and source.buffer.find(b"\n", source.position) < 0:
        source.read_more()
    end_of_blanks = end_of_run(_BLANKS_ON_LINE, source.buffer, source.position)
    rest = _LINE_END.match(source.buffer, end_of_blanks)
    if not rest:
        raise source.error_at(
            "text after COPY … FROM stdin; on its line, where the data begin on the next; "
            "move it after the line that ends the data",
            end_of_blanks,
            fault=Fault.TEXT_AFTER_COPY,
        )
    if text := source.take(rest.end()):
        yield Part(PartKind.BLANK, text, source.line, len(text), source.offset)
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
            offset = source.offset
            yield Part(PartKind.COPY_DATA, source.take(stop), line, 0, offset)
        if end >= 0:
            line, offset = source.line, source.offset
            yield Part(PartKind.COPY_END, source.take(buffer.find(b"\n", end) + 1 or len(buffer)), line, 0, offset)
            return
        source.read_more()


def _end_of_copy_data(buffer: bytes, begin: int, *, ended: bool) -> int:
    r"""Return where the line `\.` begins, or -1 when the buffer does not contain the whole line."""
    at = buffer.find(b"\\.", begin)
    while at >= 0:
        starts_line = at == begin or buffer[at - 1] == ord("\n")
        if starts_line and (
            buffer.startswith(_COPY_END_LINES, at) or (ended and buffer[at : at + 4] in _COPY_ENDS_OF_FILE)
        ):
            return at
        at = buffer.find(b"\\.", at + 2)
    return -1


def _meta_command_error(source: ScriptStream, at: int) -> LexerError:
    name = next(_META_COMMAND.finditer(source.buffer, at))[0].decode()
    message = f"{name}: psql's own commands do not run here; write it in SQL, or take the line out"
    return source.error_at(message, at, fault=Fault.PSQL_COMMAND, command=name)


def _refuse_conflict(source: ScriptStream, end: int) -> None:
    buffer, begin = source.buffer, source.position
    if conflict := _CONFLICT.search(buffer, begin, end):
        message = f"a merge conflict: {conflict[0].decode().strip()}; resolve it"
        raise source.error_at(message, conflict.start(), fault=Fault.MERGE_CONFLICT)
