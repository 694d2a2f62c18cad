"""What pg_restore says on stderr, made into values: what could not be restored, and why.

Its complaints have no SQLSTATE, and are followed by the command or the row that the server refused. Rows are people's
data: nothing of DETAIL and CONTEXT is taken, but for the number of the row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.rehearsal.dump import shape
from kernel.rehearsal.dump.shape import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

_ERROR = re.compile(
    r"pg_restore: (?:\[[^\]]*\] )?error: (?:could not execute query: |COPY failed for table \"(?P<table>.*)\": )?"
    r"(?:(?:ERROR|FATAL): +)?(?P<message>.*)"
)
_PREFIX = "pg_restore: "
_ROW = re.compile(r"CONTEXT: .*\bline (\d+)")
_COMMAND = "Command was: "
# Behind one of these stands a value out of somebody's row.
_VALUE = re.compile(r": \"|: '| \(")
_IGNORED = re.compile(r"^pg_restore: warning: errors ignored on restore: \d+$", re.MULTILINE)
# What a copy does without, and settings of newer servers, such as transaction_timeout.
_HARMLESS = frozenset({Kind.COMMENT, Kind.RIGHTS, Kind.PUBLICATION, Kind.SETTING})
_COMMENT = "COMMENT "
_EXISTS = re.compile(r"(?:schema|language) \".*\" already exists")
_DEADLOCK = "deadlock detected"
_SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """Something that was not restored: a command, or rows of `table` (without its schema); `row` counts from 1."""

    message: str
    command: str = ""
    table: str = ""
    row: int | None = None

    @property
    def harmless(self) -> bool:
        """Whether the copy holds everything all the same."""
        kind, _ = shape.of(self.command.encode())
        return bool(self.command) and (kind in _HARMLESS or self.command.startswith(_COMMENT) or self.there)

    @property
    def there(self) -> bool:
        """Whether it was not restored because it is there: we made it, or every new database has it."""
        return _EXISTS.fullmatch(self.message) is not None

    @property
    def deadlocked(self) -> bool:
        """Whether two connections of pg_restore stood in each other's way: it does not try again by itself."""
        return self.message == _DEADLOCK

    def __str__(self) -> str:
        if self.command:
            return f"{words(self.command)}: {self.message}"
        row = f" (row {self.row})" if self.row else ""
        return f"{self.table}: its rows could not be loaded: {self.message}{row}" if self.table else self.message


def survived(said: str) -> bool:
    """Whether pg_restore went on to its end, and only counted its errors."""
    return _IGNORED.search(said) is not None


def read(said: str) -> Iterator[Complaint]:
    """The complaints in what pg_restore said, in its order."""
    lines = said.splitlines()
    for number, line in enumerate(lines):
        if error := _ERROR.match(line):
            context, command = _behind(lines, number + 1)
            row = _ROW.search(context) if error["table"] else None
            yield Complaint(
                message=_VALUE.split(error["message"], maxsplit=1)[0],
                command=command,
                table=error["table"] or "",
                row=int(row[1]) if row else None,
            )


def words(command: str) -> str:
    """The beginning of a command, on one line."""
    text = " ".join(command[: 4 * _SHOWN].split()).rstrip(" ;")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _behind(lines: list[str], begin: int) -> tuple[str, str]:
    """What belongs to the error whose first line is before `begin`: the server's other lines, and the command."""
    end = begin
    while end < len(lines) and not lines[end].startswith(_PREFIX):
        end += 1
    belonging = lines[begin:end]
    for place, line in enumerate(belonging):
        if line.startswith(_COMMAND):
            command = "\n".join((line.removeprefix(_COMMAND), *belonging[place + 1 :]))
            return "\n".join(belonging[:place]), command.strip()
    return "\n".join(belonging), ""
