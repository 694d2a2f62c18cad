r"""Scan a plain dump in one pass: index its statements and rows, and refuse what must not run.

Refused are: every command of psql, except the pair of `\restrict` lines and the `\connect` of pg_dump -C, which are
never executed; COPY with a file or a program; statements that reach beyond the database and that pg_dump never writes;
NUL bytes; and a dump that is cut short. Code in functions, DO blocks and expressions of indexes is not examined:
common.roles says why it can do no harm.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.config.ledger_name import DEFAULT_LEDGER
from kernel.errors import DumpUnreadable
from kernel.rehearsal.dump.plain.classify import (
    SessionSettings,
    StatementKind,
    classify_statement,
    copied_table,
    inserted_table,
)
from kernel.rehearsal.dump.plain.contents import (
    ContentsCollector,
    DumpIndex,
    DumpStatement,
    RowBlock,
    recorded_versions,
)
from kernel.rehearsal.dump.plain.text import SqlStream, open_dump_text
from kernel.sql.lexer import Fault, LexerError, PartKind, split_script
from kernel.sql.tokens import copy_direction, first_tokens
from kernel.units import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.config.ledger_name import LedgerName
    from kernel.rehearsal.dump.common.model import Dump
    from kernel.rehearsal.dump.plain.text import DumpText
    from kernel.sql.lexer import Part


_RESTRICT_LINE = re.compile(rb"^\\(?P<un>un)?restrict (?P<key>[A-Za-z0-9]+)[ \t]*\r?$", re.MULTILINE)
_TAMPERED = "the dump was changed after pg_dump wrote it; dump the database again"
_INSERT_MESSAGE_BYTES = 1 << 18  # of INSERTs that are sent as one message
_MAX_CLASSIFIED_BYTES = 1 << 16
_HEAD_BYTES = 1 << 13
_HEADER = b"-- PostgreSQL database dump\n"
_TRAILER = b"-- PostgreSQL database dump complete"
_RESTRICT_COMMANDS = ("\\restrict", "\\unrestrict")
# Comments that are nested end early here; then the text passes.
_BEFORE_STATEMENT = re.compile(rb"\A(?:\xef\xbb\xbf)?(?:\s+|;|--[^\n]*|/\*.*?\*/)*+", re.DOTALL)
_COMMAND_WORD = re.compile(rb"[A-Za-z]+(?=[\s(;/'-]|\Z)")
_COMMANDS = frozenset(  # PostgreSQL documentation, "SQL Commands"
    b"ABORT ALTER ANALYZE BEGIN CALL CHECKPOINT CLOSE CLUSTER COMMENT COMMIT COPY CREATE DEALLOCATE DECLARE DELETE"
    b" DISCARD DO DROP END EXECUTE EXPLAIN FETCH GRANT IMPORT INSERT LISTEN LOAD LOCK MERGE MOVE NOTIFY PREPARE"
    b" REASSIGN REFRESH REINDEX RELEASE RESET REVOKE ROLLBACK SAVEPOINT SECURITY SELECT SET SHOW START TABLE TRUNCATE"
    b" UNLISTEN UPDATE VACUUM VALUES WITH".split()
)
_ENCODING = re.compile(rb"^SET client_encoding = '(\w+)';", re.MULTILINE)
# Client encodings with bytes below 0x80 inside of characters, which look like a backslash or a quote.
_UNSAFE_ENCODINGS = frozenset({b"SJIS", b"SHIFT_JIS_2004", b"BIG5", b"GBK", b"UHC", b"GB18030", b"JOHAB"})
_FORBIDDEN_STATEMENTS = {
    ("LOAD",): "loads a library into the server",
    ("ALTER", "SYSTEM"): "changes the whole server",
    ("IMPORT", "FOREIGN"): "reaches another server",
    ("PREPARE", "TRANSACTION"): "leaves a transaction behind",
    ("CREATE", "TABLESPACE"): "writes outside of the server's folder",
}
_NEVER_WRITTEN = "pg_dump never writes that, so this is no dump to trust; dump the database again"


@contextmanager
def open_plain_dump(dump: Dump, ledger: LedgerName = DEFAULT_LEDGER) -> Iterator[DumpIndex]:
    """The index of a plain dump, which stays open for loading. Raises DumpUnreadable, with line and byte."""
    with open_dump_text(dump) as text:
        yield scan_dump(text, ledger)


def scan_dump(dump: DumpText, ledger: LedgerName = DEFAULT_LEDGER) -> DumpIndex:
    """The index of a dump. Raises DumpUnreadable."""
    _refuse_other_text(dump)
    encoding = _ENCODING.search(dump.read(0, _HEAD_BYTES))
    if encoding and encoding[1].upper() in _UNSAFE_ENCODINGS:
        raise DumpUnreadable(
            f"{dump.describe_location(encoding.start())}: written in {encoding[1].decode()}, where a backslash may be "
            "half a character; dump it again with pg_dump --encoding=UTF8"
        )
    opaque = encoding is not None and encoding[1].upper() != b"UTF8"
    for skips_rows in (True, False):
        stream = SqlStream(dump, skips_rows=skips_rows, opaque=opaque)
        try:
            return _DumpScanner(dump, stream, ledger).run()
        except _SkippedWrongly:
            continue  # rows in a string: now the lexer reads every byte
        except LexerError as error:
            if skips_rows and stream.skipped:
                continue  # the guess may have been wrong
            raise _lexer_error(dump, stream, error) from error
    raise AssertionError("a stream without guesses cannot guess wrong")


def _refuse_other_text(dump: DumpText) -> None:
    """Refuse a text that has not pg_dump's first line, and does not begin with a statement or a command of psql."""
    head = dump.read(0, _HEAD_BYTES)
    if _HEADER in head.replace(b"\r\n", b"\n"):
        return
    rest = _BEFORE_STATEMENT.sub(b"", head, count=1)
    word = _COMMAND_WORD.match(rest)
    begins = word[0].upper() in _COMMANDS if word else rest.startswith((b"\\", b"(", b"*"))
    if not begins and (rest or dump.size_bytes == len(head)):
        raise DumpUnreadable(
            f"{dump.name}: not a pg_dump file: it has neither the first line of one nor SQL at its beginning; "
            "dump the database with pg_dump"
        )


class _SkippedWrongly(Exception):
    """The stream left out something that the lexer does not take for rows."""


class _DumpScanner:
    """The state of one pass."""

    def __init__(self, dump: DumpText, stream: SqlStream, ledger: LedgerName) -> None:
        self._dump = dump
        self._ledger = ledger
        self._stream = stream
        self._items: list[DumpStatement | RowBlock] = []
        self._settings = SessionSettings()
        self._authorization = b""
        self._contents = ContentsCollector()
        self._at = 0  # offset in the stream of the current part
        self._skipped_seen = 0
        self._restriction = _RestrictKey(dump)
        self._copy: tuple[bytes, int, int] | None = None  # table, offset and length of the current COPY
        self._rows = (0, 0)  # offset and length of its rows

    def run(self) -> DumpIndex:
        """Read to the end. Raises LexerError, _SkippedWrongly, DumpUnreadable."""
        last = b""
        for part in split_script(self._stream.read):
            self._check_skipped(part)
            if b"\\" in part.text[: part.start]:
                self._restriction.check_lines(part.text[: part.start], self._stream.dump_offset(self._at))
            if part.kind is PartKind.STATEMENT:
                self._statement(part)
            elif part.kind is PartKind.COPY_DATA:
                offset, length = self._rows
                self._rows = (offset if length else self._stream.dump_offset(self._at), length + len(part.text))
            elif part.kind is PartKind.COPY_END:
                self._end_of_rows()
            self._at += len(part.text)
            last = part.text[: part.start] if part.kind is PartKind.BLANK else b""
        if self._skipped_seen < len(self._stream.skipped):
            raise _SkippedWrongly
        self._restriction.check_closed()
        self._refuse_truncated(last)
        contents = self._contents.contents(self._dump.read(0, _HEAD_BYTES), self._settings)
        return DumpIndex(
            text=self._dump,
            items=tuple(self._items),
            settings=self._settings.states,
            contents=replace(contents, applied_versions=recorded_versions(self._dump, self._items, self._ledger)),
            ledger=self._ledger,
        )

    def _check_skipped(self, part: Part) -> None:
        end = self._at + len(part.text)
        while (
            self._skipped_seen < len(self._stream.skipped)
            and (skipped := self._stream.skipped[self._skipped_seen]).stream_offset < end
        ):
            if skipped.is_rows:
                correct = part.kind is PartKind.COPY_END and skipped.stream_offset == self._at
                self._rows = (skipped.dump_offset, skipped.length)
            else:
                correct = skipped.stream_offset <= self._at + part.start
            if not correct:
                raise _SkippedWrongly
            self._skipped_seen += 1

    def _statement(self, part: Part) -> None:
        sql = part.sql
        offset = self._stream.dump_offset(self._at + part.start)
        if self._stream.opaque and not sql.startswith(b"INSERT "):
            sql = self._dump.read(offset, len(sql))
        if table := inserted_table(sql):
            self._insert(table, offset, len(sql))
            return
        kind, match = classify_statement(sql) if len(sql) < _MAX_CLASSIFIED_BYTES else (StatementKind.PLAIN, None)
        if kind is StatementKind.PLAIN:  # every refused one has this kind
            words = first_tokens(sql, limit=4)
            for refused, what in _FORBIDDEN_STATEMENTS.items():
                if words[: len(refused)] == refused:
                    raise DumpUnreadable(
                        f"{self._dump.describe_location(offset)}: {' '.join(refused)} {what}; {_NEVER_WRITTEN}"
                    )
            if words[:1] == ("COPY",):
                self._begin_copy(sql, offset)
                return
        elif kind is StatementKind.AUTHORIZATION and match:
            role = match.groupdict().get("role") or b"DEFAULT"
            self._authorization = b"" if role == b"DEFAULT" else role
        elif kind is StatementKind.SETTING and match:
            self._settings.record(match["name"].lower(), sql)
        self._contents.add_statement(kind, sql, match)
        self._items.append(DumpStatement(kind, offset, len(sql), self._settings.current, self._authorization))

    def _insert(self, table: bytes, offset: int, length: int) -> None:
        self._contents.add_rows(length)
        last = self._items[-1] if self._items else None
        if (
            isinstance(last, RowBlock)
            and last.table == table
            and not last.statement_length
            and last.settings_state == self._settings.current
            and offset + length - last.offset <= _INSERT_MESSAGE_BYTES
        ):
            self._items[-1] = last._replace(length=offset + length - last.offset)
        else:
            self._items.append(RowBlock(table, 0, 0, offset, length, self._settings.current))

    def _begin_copy(self, sql: bytes, offset: int) -> None:
        if not sql.endswith(b";"):
            self._refuse_truncated(b"")
        words = first_tokens(sql)
        if copy_direction(words) != "FROM":
            what = "COPY with a program" if "PROGRAM" in words else "COPY that does not read the rows after it"
            raise DumpUnreadable(f"{self._dump.describe_location(offset)}: {what}; {_NEVER_WRITTEN}")
        self._copy = (copied_table(sql), offset, len(sql))
        self._rows = (0, 0)

    def _end_of_rows(self) -> None:
        if self._copy:
            table, offset, length = self._copy
            self._items.append(RowBlock(table, offset, length, *self._rows, self._settings.current))
            self._contents.add_rows(self._rows[1])
        self._copy = None

    def _refuse_truncated(self, last: bytes) -> None:
        head = self._dump.read(0, _HEAD_BYTES).replace(b"\r\n", b"\n")
        if _HEADER in head and _TRAILER not in last:
            raise _truncated_error(self._dump, f'the line "{_TRAILER.decode()}" is not at its end')


class _RestrictKey:
    r"""The key of the lines `\restrict KEY` and `\unrestrict KEY`, which pg_dump has written around dumps since 2025.

    They make psql refuse its commands in between. None would run here; but a pair that does not match has been tampered
    with. Source: PostgreSQL documentation, "psql" (\restrict), and CVE-2025-8714.
    """

    def __init__(self, dump: DumpText) -> None:
        self._dump = dump
        self._key: bytes | None = None

    def check_lines(self, blank: bytes, offset: int) -> None:
        """Check the blank text between two statements, which begins at `offset`. Raises DumpUnreadable."""
        for line in _RESTRICT_LINE.finditer(blank):
            key, at = line["key"], offset + line.start()
            if line["un"] and key != self._key:
                if self._key and self._key.startswith(key) and offset + line.end() == self._dump.size_bytes:
                    self.check_closed()  # the key itself is cut short
                raise DumpUnreadable(
                    f"{self._dump.describe_location(at)}: \\unrestrict without its \\restrict; {_TAMPERED}"
                )
            if not line["un"] and self._key is not None:
                raise DumpUnreadable(f"{self._dump.describe_location(at)}: \\restrict inside of another; {_TAMPERED}")
            self._key = None if line["un"] else key

    def check_closed(self) -> None:
        """Raise DumpUnreadable when a key is still open at the end of the dump."""
        if self._key is not None:
            raise _truncated_error(self._dump, "its \\unrestrict line is not whole")


def _lexer_error(dump: DumpText, stream: SqlStream, error: LexerError) -> DumpUnreadable:
    """The lexer's error as one of the dump, with its location."""
    offset = _dump_offset(dump, stream, error.line, error.column)
    message = error.message
    if error.fault is Fault.PSQL_COMMAND:
        command = error.command
        last_line = b"\n" not in dump.read(offset, _HEAD_BYTES)
        if last_line and any(known.startswith(command) for known in _RESTRICT_COMMANDS):
            return _truncated_error(dump, f"it ends in {command}")
        if command in ("\\connect", "\\c"):
            message = f"{command}: a dump of one database goes into one; dump it alone: pg_dump without --create"
        else:
            message = f"{command}: a command of psql, which could run programs here; {_NEVER_WRITTEN}"
    elif error.fault is Fault.UNTERMINATED:
        message = f"cut short: {message}; dump or copy it again"
    elif error.fault is Fault.NOT_UTF8:
        message = "not UTF-8; dump it again with pg_dump --encoding=UTF8"
    return DumpUnreadable(f"{dump.describe_location(offset)}: {message}")


def _truncated_error(dump: DumpText, why: str) -> DumpUnreadable:
    return DumpUnreadable(
        f"{dump.name}: cut short after {format_count(dump.size_bytes)} bytes: {why}; dump or copy it again"
    )


def _dump_offset(dump: DumpText, stream: SqlStream, line: int, column: int) -> int:
    """The offset in the dump of a line and a column (in characters) of the stream."""
    again = SqlStream(dump, skips_rows=any(skipped.is_rows for skipped in stream.skipped), opaque=stream.opaque)
    at, newlines = 0, line - 1
    while piece := again.read(0):
        here = piece.count(b"\n")
        if here >= newlines:
            start = 0
            for _ in range(newlines):
                start = piece.index(b"\n", start) + 1
            begin = again.dump_offset(at + start)
            characters = dump.read(begin, 4 * column).decode(errors="replace")[: column - 1]
            return begin + len(characters.encode())
        newlines -= here
        at += len(piece)
    return dump.size_bytes
