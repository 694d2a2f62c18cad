r"""A lexer for PostgreSQL scripts: where statements begin and end, in a stream of any size.

The rules are those of PostgreSQL's scan.l and psql's psqlscan.l (PostgreSQL documentation, "Lexical Structure"):
strings of every kind, dollar quotes, nested comments, BEGIN ATOMIC bodies, parentheses of CREATE RULE, COPY data.
It works on bytes, as the server does: every byte from 0x80 is a letter. Lossless: the parts joined are the script.

Speed comes from one regular expression that carries most statements from first byte to semicolon in a single match;
only dollar quotes, nested comments and the few statements that may hold semicolons take a slower way.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from kernel.sql import copy_data, tokens
from kernel.sql.part import Kind, Part
from kernel.sql.source import Fault, Source, Unlexable
from kernel.sql.tokens import Backslash, Open, run_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_AHEAD = (
    rb"(?:"
    + tokens.BLANK
    # What pg_dump writes since August 2025, alone on its line; any other backslash outside quotes is refused.
    + rb"|(?<![^\n])\\(?:un)?restrict [A-Za-z0-9]++[ \t]*+(?=\r?\n|\r?\Z))"
    + tokens.RUN
)
_LEAD = re.compile(_AHEAD)
_CREATE = re.compile(rb"create\b", re.IGNORECASE)
_COPY_OR_SET = re.compile(rb"copy\b|(?:re)?set\b", re.IGNORECASE)
_GAP = rb"(?:" + tokens.BLANK + rb")"
_OFF = frozenset({b"0", b"of", b"off", b"n", b"no", b"f", b"fa", b"fal", b"fals", b"false"})  # as the server reads it
_CONFLICT = re.compile(rb"^(?:<{7}|>{7}) ", re.MULTILINE)
_META_COMMAND = re.compile(rb"\\[^\s\\]*")


@cache
def _usual(*, standard: bool) -> re.Pattern[bytes]:
    """A whole statement of the usual kind, group 1 at its first byte.

    That is one that can hold no semicolon outside quotes, and that the text behind it does not depend on. The atomic
    groups keep a failure from being tried in every other way.
    """
    return re.compile(
        rb"(?>"
        + _AHEAD
        + rb")()(?=[A-Za-z])(?!(?i:copy|set|reset)\b)"
        + rb"(?!(?i:create)\b(?!(?i:\s++(?:table|(?:unique\s++)?index|type|view|sequence|schema|extension)\b)))(?>"
        + tokens.simple_run(standard=standard)
        + rb");",
        re.DOTALL,
    )


@cache
def _set_strings() -> re.Pattern[bytes]:
    """What sets standard_conforming_strings: to `value`, or back."""
    return re.compile(
        rb"(?:set%b+(?:(?:session|local)%b+)?\"?standard_conforming_strings\"?%b*(?:=|to\b)%b*'?(?P<value>\w+)"
        rb"|reset%b+(?:all|\"?standard_conforming_strings)\b)" % (_GAP, _GAP, _GAP, _GAP, _GAP),
        re.IGNORECASE,
    )


def parts(read: Callable[[int], bytes]) -> Iterator[Part]:
    """Yield the parts of the script that `read(size)` returns piece by piece, empty at its end.

    Memory is bounded by the longest statement, COPY data not counted. Raises Unlexable.
    """
    source = Source(read)
    standard = True  # standard_conforming_strings, as far as the script itself sets it
    while True:
        yield from _usual_parts(source, standard=standard)
        if source.exhausted:
            return
        start, end = _bounds(source, standard=standard)
        buffer, begin = source.buffer, source.position
        if begin == end:
            return
        if source.conflicts:
            _refuse_conflict(source, end)
        line = source.line + buffer.count(b"\n", begin, start)
        text = source.take(end)
        if start == end or buffer[start] == ord(";"):
            yield Part(Kind.BLANK, text, line, start - begin)
            continue
        yield Part(Kind.STATEMENT, text, line, start - begin)
        if _COPY_OR_SET.match(buffer, start):
            if setting := _set_strings().match(buffer, start):
                standard = (setting["value"] or b"on").lower() not in _OFF
            elif copy_data.direction(tokens.words(text, start - begin, standard=standard)) == "FROM":
                yield from copy_data.parts(source)


def _usual_parts(source: Source, *, standard: bool) -> Iterator[Part]:
    """The statements of the usual kind that stand next in the window. Raises Unlexable."""
    # Once around for nearly every statement: a newline is counted once, and a Part made as Part() does it.
    match, new, statement = _usual(standard=standard).match, tuple.__new__, Kind.STATEMENT
    buffer, line = source.buffer, source.line
    begin = counted = source.position
    while found := match(buffer, begin):
        start, end = found.start(1), found.end()
        if source.conflicts:
            source.move(begin, line + buffer.count(b"\n", counted, begin))
            _refuse_conflict(source, end)
        line += buffer.count(b"\n", counted, start)
        yield new(Part, (statement, buffer[begin:end], line, start - begin))
        begin, counted = end, start
    source.move(begin, line + buffer.count(b"\n", counted, begin))


def _bounds(source: Source, *, standard: bool) -> tuple[int, int]:
    """As _statement, reading on until the statement ends or the script does, and with it the statement."""
    while True:
        try:
            return _statement(source.buffer, source.position, standard=standard)
        except Open as cut:
            if source.ended:
                if cut.what:
                    raise source.unlexable(
                        f"unterminated {cut.what}: it begins here and the file ends before it is closed",
                        cut.at,
                        fault=Fault.UNTERMINATED,
                    ) from None
                return _after_lead(source.buffer, source.position), len(source.buffer)
        except Backslash as met:
            if source.ended or source.buffer.find(b"\n", met.at) >= 0:
                raise _meta_command(source, met.at) from None
        source.more()


def _statement(buffer: bytes, position: int, *, standard: bool) -> tuple[int, int]:
    """Where the next statement's first significant byte is, and where it ends.

    Raises Open when the buffer ends before the statement does, Backslash at a command of psql.
    """
    start = _after_lead(buffer, position)
    if start == len(buffer):
        raise Open("", start)
    if _CREATE.match(buffer, start) and (kind := _created(buffer, start)) in ("FUNCTION", "PROCEDURE", "RULE"):
        return start, _end_of_create(buffer, start, routine=kind != "RULE", standard=standard)
    pattern = tokens.simple(standard=standard)
    position = start
    while True:
        end = run_end(pattern, buffer, position)
        if end == len(buffer):
            raise Open("", end)
        if buffer[end] == ord(";"):
            return start, end + 1
        position = tokens.after_hard(buffer, end, position)


def _after_lead(buffer: bytes, position: int) -> int:
    """Where the blanks and comments from `position` on end. Raises Open."""
    while True:
        position = run_end(_LEAD, buffer, position)
        if not buffer.startswith(b"/*", position):
            return position
        position = tokens.after_comment(buffer, position)


def _created(buffer: bytes, start: int) -> str:
    """What CREATE [OR REPLACE] creates."""
    words = tokens.words(buffer, start, limit=4)
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
    for _, begin, end in tokens.scan(buffer, start, standard=standard):
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
    raise Open("", len(buffer))


def _meta_command(source: Source, at: int) -> Unlexable:
    name = next(_META_COMMAND.finditer(source.buffer, at))[0].decode()
    message = f"{name}: psql's own commands do not run here; write it in SQL, or take the line out"
    return source.unlexable(message, at, fault=Fault.PSQL_COMMAND, command=name)


def _refuse_conflict(source: Source, end: int) -> None:
    buffer, begin = source.buffer, source.position
    if conflict := _CONFLICT.search(buffer, begin, end):
        message = f"a merge conflict: {conflict[0].decode().strip()}; resolve it"
        raise source.unlexable(message, conflict.start(), fault=Fault.MERGE_CONFLICT)
