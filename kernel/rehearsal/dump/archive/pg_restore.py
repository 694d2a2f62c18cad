"""Run pg_restore and vacuumdb on an archive as the loading role, and parse the errors that pg_restore reports.

These errors have no SQLSTATE, and are followed by the command or the row that the server refused. Rows are private
data: nothing of DETAIL and CONTEXT is kept, except the number of the row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from kernel.errors import DumpUnreadable, RestoreFailed
from kernel.postgres.process import run_client_program
from kernel.rehearsal.dump.archive.access import open_archive_for_account, text_file_for_account
from kernel.rehearsal.dump.archive.contents import ROWS
from kernel.rehearsal.dump.common.client_programs import conninfo_without_secrets, libpq_environment
from kernel.rehearsal.dump.common.model import DUMP_AGAIN
from kernel.rehearsal.dump.plain.classify import HARMLESS_KINDS, classify_statement, summarise_statement
from kernel.rehearsal.dump.plain.workers import without_row_values

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
_COMMENT = "COMMENT "
_ALREADY_EXISTS = re.compile(r"(?:schema|language) \".*\" already exists")
_DEADLOCK = "deadlock detected"
# Run by a superuser from the schema's SQL (archive.restore), or left out because they would reach another server.
_NOT_RESTORED = (
    *("EXTENSION ", "EVENT TRIGGER ", "COMMENT - EVENT TRIGGER ", "ACL ", "DEFAULT ACL "),
    *("SUBSCRIPTION ", "USER MAPPING "),
)
# Words in the last error of pg_restore when the archive is damaged.
_ARCHIVE_ERROR_WORDS = ("read", "compress", "archive", "block", "tar ", "end of file", "input file", "data file")
_SETTINGS = {"statement_timeout": "0"}  # overrides the role's


def run_pg_restore(
    archive: Archive, connection: Connection, *, jobs: int, schema_only: bool, polled: Callable[[], None]
) -> list[ReportedError]:
    """Restore the archive into the database of `connection`, as its user; returns the errors that were skipped.

    `polled` is called repeatedly. Raises DumpUnreadable when pg_restore gave up because of the archive, else
    RestoreFailed.
    """
    with (
        open_archive_for_account(archive.dump, archive.account, jobs=jobs) as (place, source),
        text_file_for_account(
            archive.listing.select_entries((*_NOT_RESTORED, *(ROWS if schema_only else ()))), archive.account
        ) as list_file,
    ):
        done = run_client_program(
            archive.account,
            archive.reader.bin / "pg_restore",
            f"--dbname={conninfo_without_secrets(connection)}",
            f"--use-list={list_file}",
            *(("--jobs", str(jobs)) if jobs > 1 else ()),
            *("--no-owner", "--no-privileges", "--no-subscriptions", "--no-tablespaces", "--no-security-labels"),
            "--no-password",
            *place,
            environ=libpq_environment(connection, _SETTINGS, name="inv db.snapshot-test: restoring"),
            source=source,
            polled=polled,
        )
    if done.exit_status != 0 and not ran_to_completion(done.stderr):
        raise _pg_restore_failure(archive, done.last_error)
    return list(parse_reported_errors(done.stderr))


def print_archive(archive: Archive, output: IO[bytes], *, schema_only: bool) -> None:
    """Write the archive as a plain dump, without rows but the records of migrations with `schema_only`.

    Raises DumpUnreadable, RestoreFailed.
    """
    entries = archive.listing.select_entries(ROWS if schema_only else ())
    with (
        open_archive_for_account(archive.dump, archive.account) as (place, source),
        text_file_for_account(entries, archive.account) as list_file,
    ):
        done = run_client_program(
            archive.account,
            archive.reader.bin / "pg_restore",
            *("--file=-", f"--use-list={list_file}", *place),
            source=source,
            output=output,
        )
    if done.exit_status != 0:
        raise _pg_restore_failure(archive, done.last_error)


def run_vacuumdb(archive: Archive, connection: Connection, *, jobs: int) -> str:
    """ANALYZE the tables of the user of `connection`; returns the last error, or "".

    As that user: expressions of indexes are evaluated with the rights of the table's owner.
    """
    done = run_client_program(
        archive.account,
        archive.reader.bin / "vacuumdb",
        *("--analyze-only", f"--jobs={jobs}", "--no-password", f"--dbname={conninfo_without_secrets(connection)}"),
        environ=libpq_environment(connection, _SETTINGS, name="inv db.snapshot-test: statistics"),
    )
    return done.last_error if done.exit_status != 0 else ""


def _pg_restore_failure(archive: Archive, last_error: str) -> DumpUnreadable | RestoreFailed:
    path = archive.dump.path
    if any(word in last_error for word in _ARCHIVE_ERROR_WORDS) and "server" not in last_error:
        return DumpUnreadable(f"{path}: cut short or damaged: pg_restore says: {last_error}; {DUMP_AGAIN}")
    return RestoreFailed(f"{path}: pg_restore gave up: {last_error}", hint="see the server's log")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedError:
    """An error of a command, or of rows of `table` (without its schema); `row` counts from 1."""

    message: str
    command: str = ""
    table: str = ""
    row: int | None = None

    @property
    def harmless(self) -> bool:
        """Whether the copy can do without the command."""
        kind, _ = classify_statement(self.command.encode())
        return bool(self.command) and (
            kind in HARMLESS_KINDS or self.command.startswith(_COMMENT) or self.already_exists
        )

    @property
    def already_exists(self) -> bool:
        """Whether the object exists already: created before pg_restore ran, or in every new database."""
        return _ALREADY_EXISTS.fullmatch(self.message) is not None

    @property
    def deadlocked(self) -> bool:
        """Whether connections of pg_restore deadlocked; pg_restore does not retry."""
        return self.message == _DEADLOCK

    def __str__(self) -> str:
        if self.command:
            return f"{summarise_statement(self.command.encode())}: {self.message}"
        row = f" (row {self.row})" if self.row else ""
        return f"{self.table}: its rows could not be loaded: {self.message}{row}" if self.table else self.message


def ran_to_completion(stderr: str) -> bool:
    """Whether pg_restore ran to its end, and only counted errors."""
    return _ERRORS_IGNORED.search(stderr) is not None


def parse_reported_errors(stderr: str) -> Iterator[ReportedError]:
    """The errors that pg_restore reported, in order."""
    lines = stderr.splitlines()
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
    """The lines of an error from `begin` on: the server's, and the command."""
    end = begin
    while end < len(lines) and not lines[end].startswith(_PREFIX):
        end += 1
    belonging = lines[begin:end]
    for place, line in enumerate(belonging):
        if line.startswith(_COMMAND):
            command = "\n".join((line.removeprefix(_COMMAND), *belonging[place + 1 :]))
            return "\n".join(belonging[:place]), command.strip()
    return "\n".join(belonging), ""
