r"""One pass over a plain dump: where its statements and rows are, and what is refused before anything of it runs.

Refused are: a command of psql, wherever it stands, but for the pair of `\restrict` lines and the `\connect` of
pg_dump -C, neither of which is ever carried out; COPY with a file or a program; statements that reach beyond the
database and that pg_dump never writes; NUL bytes; and a dump that is cut short. What the words of a statement do not
show (a function, a DO block, an expression of an index) is not looked for here: see role for why it cannot do harm.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kernel import units
from kernel.errors import DumpUnreadable
from kernel.rehearsal.dump import restrict, shape, survey, text
from kernel.rehearsal.dump.index import Index, Rows, Statement
from kernel.rehearsal.dump.settings import Settings
from kernel.rehearsal.dump.skip import Stream
from kernel.sql import copy_data, lexer, tokens
from kernel.sql.part import Kind as PartKind
from kernel.sql.source import Fault, Unlexable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.rehearsal.dump.dump import Contents, Dump
    from kernel.rehearsal.dump.text import Text
    from kernel.sql.part import Part

_MESSAGE_BYTES = 1 << 18  # of INSERTs that are sent as one
_LONGEST_SHAPE_BYTES = 1 << 16
_HEAD_BYTES = 1 << 13
_HEADER = b"-- PostgreSQL database dump\n"
_TRAILER = b"-- PostgreSQL database dump complete"
_RESTRICT = ("\\restrict", "\\unrestrict")
_ENCODING = re.compile(rb"^SET client_encoding = '(\w+)';", re.MULTILINE)
# Of a client's encodings these have bytes below 0x80 inside of characters: a backslash or a quote may be none.
_UNSAFE = frozenset({b"SJIS", b"SHIFT_JIS_2004", b"BIG5", b"GBK", b"UHC", b"GB18030", b"JOHAB"})
_INSERT = re.compile(rb"INSERT INTO ")
_REACHING = {
    ("LOAD",): "loads a library into the server",
    ("ALTER", "SYSTEM"): "changes the whole server",
    ("IMPORT", "FOREIGN"): "reaches another server",
    ("PREPARE", "TRANSACTION"): "leaves a transaction behind",
    ("CREATE", "TABLESPACE"): "writes outside of the server's folder",
}
_NEVER = "pg_dump never writes that, so this is no dump to trust; dump the database again"


@contextmanager
def opened(dump: Dump) -> Iterator[Index]:
    """The index of a plain dump, and the dump held open for loading. Raises DumpUnreadable, with line and byte."""
    with text.opened(dump) as opened_text:
        yield read(opened_text)


def contents(dump: Dump) -> Contents:
    """What a plain dump needs and makes. Raises DumpUnreadable, as `opened` does."""
    with opened(dump) as index:
        return index.contents


def read(dump: Text) -> Index:
    """The index of a dump. Raises DumpUnreadable."""
    encoding = _ENCODING.search(dump.read(0, _HEAD_BYTES))
    if encoding and encoding[1].upper() in _UNSAFE:
        raise DumpUnreadable(
            f"{dump.place(encoding.start())}: written in {encoding[1].decode()}, where a backslash may be half a "
            "character; dump it again with pg_dump --encoding=UTF8"
        )
    opaque = encoding is not None and encoding[1].upper() != b"UTF8"
    for skipping in (True, False):
        stream = Stream(dump, skipping=skipping, opaque=opaque)
        try:
            return _Scan(dump, stream).index()
        except _GuessedWrong:
            continue  # rows inside of a string: now the lexer reads every byte
        except Unlexable as error:
            if skipping and stream.cuts:
                continue  # it may have been the guess
            raise _unlexable(dump, stream, error) from error
    raise AssertionError("a stream without guesses cannot guess wrong")


class _GuessedWrong(Exception):
    """Something was left out of the stream that the lexer does not take for rows."""


class _Scan:
    """The state of one pass."""

    def __init__(self, dump: Text, stream: Stream) -> None:
        self._dump = dump
        self._stream = stream
        self._items: list[Statement | Rows] = []
        self._settings = Settings()
        self._authorization = b""
        self._survey = survey.Survey()
        self._at = 0  # in the stream, of the part under way
        self._cuts_seen = 0
        self._restriction = restrict.Restriction(dump)
        self._copy: tuple[bytes, int, int] | None = None  # of the COPY whose rows follow
        self._rows = (0, 0)

    def index(self) -> Index:
        """Read to the end. Raises Unlexable, _GuessedWrong, DumpUnreadable."""
        last = b""
        for part in lexer.parts(self._stream.read):
            self._judge_cuts(part)
            if b"\\" in part.text[: part.start]:
                self._restriction.see(part.text[: part.start], self._stream.offset(self._at))
            if part.kind is PartKind.STATEMENT:
                self._statement(part)
            elif part.kind is PartKind.COPY_DATA:
                offset, length = self._rows
                self._rows = (offset if length else self._stream.offset(self._at), length + len(part.text))
            elif part.kind is PartKind.COPY_END:
                self._end_of_rows()
            self._at += len(part.text)
            last = part.text[: part.start] if part.kind is PartKind.BLANK else b""
        if self._cuts_seen < len(self._stream.cuts):
            raise _GuessedWrong
        self._restriction.end()
        self._refuse_cut_short(last)
        return Index(
            text=self._dump,
            items=tuple(self._items),
            settings=self._settings.all,
            contents=self._survey.contents(self._dump.read(0, _HEAD_BYTES), self._settings),
        )

    def _judge_cuts(self, part: Part) -> None:
        end = self._at + len(part.text)
        while self._cuts_seen < len(self._stream.cuts) and (cut := self._stream.cuts[self._cuts_seen]).at < end:
            if cut.rows:
                right = part.kind is PartKind.COPY_END and cut.at == self._at
            else:
                right = cut.at <= self._at + part.start
            if not right:
                raise _GuessedWrong
            if cut.rows:
                self._rows = (cut.offset, cut.length)
            self._cuts_seen += 1

    def _statement(self, part: Part) -> None:
        sql = part.sql
        offset = self._stream.offset(self._at + part.start)
        if self._stream.opaque and not _INSERT.match(sql):
            sql = self._dump.read(offset, len(sql))
        if table := shape.inserted(sql) if _INSERT.match(sql) else b"":
            self._insert(table, offset, len(sql))
            return
        kind, match = shape.of(sql) if len(sql) < _LONGEST_SHAPE_BYTES else (shape.Kind.PLAIN, None)
        if kind is shape.Kind.PLAIN:  # every refused one has this kind
            words = tokens.words(sql, limit=4)
            for refused, what in _REACHING.items():
                if words[: len(refused)] == refused:
                    raise DumpUnreadable(f"{self._dump.place(offset)}: {' '.join(refused)} {what}; {_NEVER}")
            if words[:1] == ("COPY",):
                self._begin_copy(sql, offset)
                return
        elif kind is shape.Kind.AUTHORIZATION and match:
            role = match.groupdict().get("role") or b"DEFAULT"
            self._authorization = b"" if role == b"DEFAULT" else role
        elif kind is shape.Kind.SETTING and match:
            self._settings.set(match["name"].lower(), sql)
        self._survey.see(kind, sql, match)
        self._items.append(Statement(kind, offset, len(sql), self._settings.current, self._authorization))

    def _insert(self, table: bytes, offset: int, length: int) -> None:
        self._survey.rows(length)
        last = self._items[-1] if self._items else None
        if (
            isinstance(last, Rows)
            and last.table == table
            and not last.statement_length
            and last.settings == self._settings.current
            and offset + length - last.offset <= _MESSAGE_BYTES
        ):
            self._items[-1] = last._replace(length=offset + length - last.offset)
        else:
            self._items.append(Rows(table, 0, 0, offset, length, self._settings.current))

    def _begin_copy(self, sql: bytes, offset: int) -> None:
        if not sql.endswith(b";"):
            self._refuse_cut_short(b"")
        words = tokens.words(sql)
        if copy_data.direction(words) != "FROM":
            what = "COPY with a program" if "PROGRAM" in words else "COPY that does not read the rows behind it"
            raise DumpUnreadable(f"{self._dump.place(offset)}: {what}; {_NEVER}")
        self._copy = (shape.copied(sql), offset, len(sql))
        self._rows = (0, 0)

    def _end_of_rows(self) -> None:
        if self._copy:
            table, offset, length = self._copy
            self._items.append(Rows(table, offset, length, *self._rows, self._settings.current))
            self._survey.rows(self._rows[1])
        self._copy = None

    def _refuse_cut_short(self, last: bytes) -> None:
        head = self._dump.read(0, _HEAD_BYTES).replace(b"\r\n", b"\n")
        if _HEADER in head and _TRAILER not in last:
            raise _cut_short(self._dump, f'the line "{_TRAILER.decode()}" is not at its end')


def _unlexable(dump: Text, stream: Stream, error: Unlexable) -> DumpUnreadable:
    """The error that says where in the dump the lexer stopped, and what that means in one."""
    offset = _offset(dump, stream, error.line, error.column)
    message = error.message
    if error.fault is Fault.PSQL_COMMAND:
        command = error.command
        last_line = b"\n" not in dump.read(offset, _HEAD_BYTES)
        if last_line and any(known.startswith(command) for known in _RESTRICT):
            return _cut_short(dump, f"it ends in {command}")
        if command in ("\\connect", "\\c"):
            message = f"{command}: a dump of one database goes into one; dump it alone: pg_dump without --create"
        else:
            message = f"{command}: a command of psql, which could run programs here; {_NEVER}"
    elif error.fault is Fault.UNTERMINATED:
        message = f"cut short: {message}; dump or copy it again"
    elif error.fault is Fault.NOT_UTF8:
        message = "not UTF-8; dump it again with pg_dump --encoding=UTF8"
    return DumpUnreadable(f"{dump.place(offset)}: {message}")


def _cut_short(dump: Text, why: str) -> DumpUnreadable:
    return DumpUnreadable(
        f"{dump.name}: cut short after {units.count(dump.size_bytes)} bytes: {why}; dump or copy it again"
    )


def _offset(dump: Text, stream: Stream, line: int, column: int) -> int:
    """The offset in the dump of a line and column (characters) of the stream."""
    again = Stream(dump, skipping=any(cut.rows for cut in stream.cuts), opaque=stream.opaque)
    at, newlines = 0, line - 1
    while piece := again.read(0):
        here = piece.count(b"\n")
        if here >= newlines:
            start = 0
            for _ in range(newlines):
                start = piece.index(b"\n", start) + 1
            begin = again.offset(at + start)
            characters = dump.read(begin, 4 * column).decode(errors="replace")[: column - 1]
            return begin + len(characters.encode())
        newlines -= here
        at += len(piece)
    return dump.size_bytes
