"""What pg_restore says on stderr, made into values: what could not be restored, and why.

Its complaints have no SQLSTATE, and are followed by the command or the row that the server refused. Rows are people's
data: nothing of DETAIL and CONTEXT is taken, but for the number of the row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.errors import DumpUnreadable, RestoreFailed
from kernel.postgres.process import run_client_program
from kernel.rehearsal.dump.archive.access import open_archive_for_account, text_file_for_account
from kernel.rehearsal.dump.common.client_programs import conninfo_without_secrets, libpq_environment
from kernel.rehearsal.dump.common.messages import summarise_statement, without_row_values
from kernel.rehearsal.dump.common.model import DUMP_AGAIN
from kernel.rehearsal.dump.plain.classify import StatementKind, classify_statement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.db.connection import Connection
    from kernel.rehearsal.dump.archive.contents import Archive


_ERROR = re.compile(
    r"pg_restore: (?:\[[^\]]*\] )?error: (?:could not execute query: |COPY failed for table \"(?P<table>.*)\": )?"
    r"(?:(?:ERROR|FATAL): +)?(?P<message>.*)"
)
_PREFIX = "pg_restore: "
_ROW_NUMBER = re.compile(r"CONTEXT: .*\bline (\d+)")
_COMMAND = "Command was: "
_ERRORS_IGNORED = re.compile(r"^pg_restore: warning: errors ignored on restore: \d+$", re.MULTILINE)
# What a copy does without, and settings of newer servers, such as transaction_timeout.
_HARMLESS_KINDS = frozenset(
    {StatementKind.COMMENT, StatementKind.PRIVILEGES, StatementKind.PUBLICATION, StatementKind.SETTING}
)
_COMMENT = "COMMENT "
_ALREADY_EXISTS = re.compile(r"(?:schema|language) \".*\" already exists")
_DEADLOCK = "deadlock detected"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedError:
    """Something that was not restored: a command, or rows of `table` (without its schema); `row` counts from 1."""

    message: str
    command: str = ""
    table: str = ""
    row: int | None = None

    @property
    def harmless(self) -> bool:
        """Whether the copy holds everything all the same."""
        kind, _ = classify_statement(self.command.encode())
        return bool(self.command) and (
            kind in _HARMLESS_KINDS or self.command.startswith(_COMMENT) or self.already_exists
        )

    @property
    def already_exists(self) -> bool:
        """Whether it was not restored because it is there: we made it, or every new database has it."""
        return _ALREADY_EXISTS.fullmatch(self.message) is not None

    @property
    def deadlocked(self) -> bool:
        """Whether two connections of pg_restore stood in each other's way: it does not try again by itself."""
        return self.message == _DEADLOCK

    def __str__(self) -> str:
        if self.command:
            return f"{summarise_statement(self.command.encode())}: {self.message}"
        row = f" (row {self.row})" if self.row else ""
        return f"{self.table}: its rows could not be loaded: {self.message}{row}" if self.table else self.message


def ran_to_completion(said: str) -> bool:
    """Whether pg_restore went on to its end, and only counted its errors."""
    return _ERRORS_IGNORED.search(said) is not None


def parse_reported_errors(said: str) -> Iterator[ReportedError]:
    """The complaints in what pg_restore said, in its order."""
    lines = said.splitlines()
    for number, line in enumerate(lines):
        if error := _ERROR.match(line):
            context, command = _split_details(lines, number + 1)
            row = _ROW_NUMBER.search(context) if error["table"] else None
            yield ReportedError(
                message=without_row_values(error["message"]),
                command=command,
                table=error["table"] or "",
                row=int(row[1]) if row else None,
            )


def _split_details(lines: list[str], begin: int) -> tuple[str, str]:
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


# pg_restore and vacuumdb at work on an archive, connected as the role that loads it, and in no account of a person.


# Brought by a superuser from the schema's SQL, or left out because they would reach another server.
_NOT_RESTORED = (
    *("EXTENSION ", "EVENT TRIGGER ", "COMMENT - EVENT TRIGGER ", "ACL ", "DEFAULT ACL "),
    *("SUBSCRIPTION ", "USER MAPPING "),
)
# What pg_restore says when it is the archive that keeps it from going on.
_ARCHIVE_ERROR_WORDS = ("read", "compress", "archive", "block", "tar ", "end of file", "input file", "data file")
_SETTINGS = {"statement_timeout": "0"}  # whatever the role's own is


def run_pg_restore(
    archive: Archive, own: Connection, *, jobs: int, schema_only: bool, polled: Callable[[], None]
) -> list[ReportedError]:
    """Restore the archive to where `own` is connected, as who it is; what pg_restore complained of.

    `polled` is called now and then. Raises DumpUnreadable when the archive, RestoreFailed when anything else made it
    give up.
    """
    with (
        open_archive_for_account(archive.dump, archive.account, jobs=jobs) as (place, source),
        text_file_for_account(
            archive.listing.filter_entries(*_NOT_RESTORED, rows=not schema_only), archive.account
        ) as list_file,
    ):
        done = run_client_program(
            archive.account,
            archive.reader.bin / "pg_restore",
            f"--dbname={conninfo_without_secrets(own)}",
            f"--use-list={list_file}",
            *(("--jobs", str(jobs)) if jobs > 1 else ()),
            *("--no-owner", "--no-privileges", "--no-subscriptions", "--no-tablespaces", "--no-security-labels"),
            "--no-password",
            *place,
            environ=libpq_environment(own, _SETTINGS, name="inv db.snapshot-test: restoring"),
            source=source,
            polled=polled,
        )
    if done.exit_status != 0 and not ran_to_completion(done.stderr):
        raise _pg_restore_failure(archive, done.last_error)
    return list(parse_reported_errors(done.stderr))


def run_vacuumdb(archive: Archive, own: Connection, *, jobs: int) -> str:
    """ANALYZE every table of the role that `own` is; what went wrong, or "".

    By that role and no other: an index's expressions are evaluated with the rights of the table's owner.
    """
    done = run_client_program(
        archive.account,
        archive.reader.bin / "vacuumdb",
        *("--analyze-only", f"--jobs={jobs}", "--no-password", f"--dbname={conninfo_without_secrets(own)}"),
        environ=libpq_environment(own, _SETTINGS, name="inv db.snapshot-test: statistics"),
    )
    return done.last_error if done.exit_status != 0 else ""


def _pg_restore_failure(archive: Archive, last_words: str) -> DumpUnreadable | RestoreFailed:
    path = archive.dump.path
    if any(word in last_words for word in _ARCHIVE_ERROR_WORDS) and "server" not in last_words:
        return DumpUnreadable(f"{path}: cut short or damaged: pg_restore says: {last_words}; {DUMP_AGAIN}")
    return RestoreFailed(f"{path}: pg_restore gave up: {last_words}", hint="see the server's log")
