"""Where in which file the server's error stands: line, column, and the lines around it with a caret.

Syntax and name errors carry a position, in characters of the message. Runtime errors carry none; their statement is
known by counting results. An error inside a DO block, or in the data of COPY, is placed by the line that its CONTEXT
names. What is quoted of a statement, here and by the server, has its passwords masked.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from psycopg import pq

from kernel.errors import Failure
from kernel.sql import secret

if TYPE_CHECKING:
    from kernel.apply.segment import Segment
    from kernel.sql.part import Part

_FIELD = pq.DiagnosticField
_LINES_AHEAD = 4
_LINES_SHOWN = 8
_LINE_CHARACTERS = 160
_IN_DO_BLOCK = re.compile(r"function inline_code_block line ([0-9]+)")
_IN_COPY = re.compile(r"^COPY .+?, line ([0-9]+)", re.MULTILINE)
_BODY = re.compile(rb"\$[^$\s]*\$|[eE]?'")


def position(result: pq.abc.PGresult) -> int | None:
    """Where in the message the server sees the error, in characters counted from 1; None when it does not tell."""
    value = field(result, _FIELD.STATEMENT_POSITION)
    return int(value) if value else None


def located(segment: Segment, done: int, result: pq.abc.PGresult) -> tuple[str, Failure]:
    """(the server's message, the place) of an error in a segment; `done` statements of its message had finished."""
    batch = segment.batch
    offset: int | None = None
    index = max(0, min(done - segment.statements_ahead, len(batch.statements) - 1))
    if at := position(result):
        index, offset = batch.at(at - segment.characters_ahead)
    part = batch.statements[index]
    context = field(result, _FIELD.CONTEXT)
    line, column = part.line, None
    if offset is not None:
        before = part.sql[:offset]
        line += before.count(b"\n")
        column = len(before[before.rfind(b"\n") + 1 :].decode(errors="replace")) + 1
        if line == part.line:
            column += _indentation(part)
    elif context and (inner := _IN_DO_BLOCK.search(context)) and (body := _BODY.search(part.sql)):
        line += part.sql.count(b"\n", 0, body.end()) + int(inner[1]) - 1
    elif batch.copies and context and (inner := _IN_COPY.search(context)):
        line += part.sql.count(b"\n") + int(inner[1])  # the data begin on the line behind the statement
    secrets = secret.told(part.sql.decode(errors="replace"))

    def quoted(code: pq.DiagnosticField) -> str | None:
        value = field(result, code)
        return value and secret.masked(value, also=secrets)

    failure = Failure(
        file=segment.migration.filename,
        line=line,
        column=column,
        statement=_shortened(part.sql),
        excerpt=excerpt(part, part.line if batch.copies else line, column),
        sqlstate=sqlstate(result),
        detail=quoted(_FIELD.MESSAGE_DETAIL),
        server_hint=quoted(_FIELD.MESSAGE_HINT),
        context=quoted(_FIELD.CONTEXT),
    )
    return quoted(_FIELD.MESSAGE_PRIMARY) or "the server gave no message", failure


def sqlstate(result: pq.abc.PGresult) -> str | None:
    """The code of the server's error."""
    return field(result, _FIELD.SQLSTATE)


def field(result: pq.abc.PGresult, code: pq.DiagnosticField) -> str | None:
    """A field of the server's error, None when it is absent."""
    value = result.error_field(code)
    return value.decode(errors="replace") if value is not None else None


def excerpt(part: Part, line: int, column: int | None) -> str:
    """The statement's lines about `line`, numbered as in the file, with a caret under `column`."""
    head = (b" " * _indentation(part) + part.sql).decode(errors="replace")
    if column:
        column = _masked_column(head, line - part.line, column)
    numbered = list(enumerate(secret.masked(head).splitlines(), start=part.line))
    first = max(0, line - part.line - _LINES_AHEAD)
    shown = numbered[first : first + _LINES_SHOWN]
    width = len(str(shown[-1][0])) if shown else 1
    rows = []
    for number, text in shown:
        start = max(0, column - _LINE_CHARACTERS // 2) if column and number == line else 0
        rows.append(f"{number:>{width}} | {text[start : start + _LINE_CHARACTERS]}".rstrip())
        if column and number == line:
            pad = "".join(" " if letter != "\t" else letter for letter in text[start : column - 1])
            rows.append(f"{'':>{width}} | {pad}^")
    if first + _LINES_SHOWN < len(numbered):
        rows.append(f"{'':>{width}} | …")
    return "\n".join(rows)


def _masked_column(head: str, index: int, column: int) -> int:
    """Where a column of the line `index`, counted from 0, is once the passwords ahead of it are masked."""
    lines = head.split("\n")[: index + 1]
    ahead = "\n".join([*lines[:-1], lines[-1][: column - 1]])
    return len(secret.masked(ahead).rpartition("\n")[2]) + 1


def _indentation(part: Part) -> int:
    """How many characters of its line stand ahead of the statement."""
    ahead = part.text[: part.start]
    return len(ahead[ahead.rfind(b"\n") + 1 :].decode(errors="replace")) if b"\n" in ahead else 0


def _shortened(sql: bytes) -> str:
    text = secret.masked(sql.decode(errors="replace"))
    limit = _LINES_SHOWN * _LINE_CHARACTERS
    return text if len(text) <= limit else text[:limit] + "…"
