"""Errors that are reported to the user, each with its exit code and code string.

KernelError
├── UsageError            2    usage                an invalid flag, name or version
├── SettingsError         2    settings_invalid     every problem of the environment and the .env files at once
├── FilesInvalid          2    file_invalid         migration files that cannot be run
├── Drift                 4    drift                records and files disagree
│   ├── LedgerShape       4    ledger_shape         schema_migrations is not the table of the specification
│   ├── LedgerElsewhere   4    ledger_elsewhere     the search path does not find the schema_migrations with the records
│   ├── Unrecorded        4    unrecorded           a database with tables and no records
│   └── ToolLedgerUnfit   4    tool_ledger_unfit    another tool's ledger has failed runs, or records without their file
├── LockBusy              5    lock_busy            another runner holds the lock
├── MigrationFailed       6    migration_failed     a migration was not applied
├── EnvironmentFailed     7    environment_failed   what a run needs; raised only as a subclass
│   ├── DatabaseUnreachable 7  database_unreachable no connection, or it was lost
│   ├── DatabaseRefused   7    database_refused     connected, but a standby, read-only, or without the privilege
│   ├── ProgramsMissing   7    programs_missing     no PostgreSQL programs for a local server
│   ├── ServerFailed      7    server_failed        a local server did not start or stop
│   ├── DumpUnreadable    7    dump_unreadable      not a dump, truncated, or it would run programs
│   ├── Unprepared        7    unprepared           what a restore would lack, found before it begins
│   ├── RestoreFailed     7    restore_failed       the copy of production could not be made
│   └── ClusterFailed     7    cluster_failed       no scheduler, no workers, or workers of another version
└── Interrupted           130  interrupted          SIGINT
    └── Terminated        143  terminated           SIGTERM

Exit codes and code strings are stable. Messages are lower case, the thing first, the remedy last, without passwords.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A problem and its place: `file` is a name to show, `line` and `column` count from 1."""

    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        return f"{place}: {self.message}" if place else self.message


class KernelError(Exception):
    """The base class; `str(error)` is one line, `hint` the next step where the line names none.

    `problems` are those that an error reports at once, each a line of `str(error)`; () for a single problem.
    """

    code: ClassVar[str] = "kernel_error"
    exit: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.hint = hint
        self.problems = tuple(problems)


class _Several(KernelError):
    """An error that reports every problem at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems), problems=problems)


class UsageError(KernelError):
    """An invalid flag, name or version."""

    code = "usage"
    exit = 2


class SettingsError(_Several):
    """Every problem of the environment and the .env files; never a value, which may be the secret."""

    code = "settings_invalid"
    exit = 2


class FilesInvalid(_Several):
    """Migration files that cannot be run; the database was not touched."""

    code = "file_invalid"
    exit = 2


class Drift(_Several):
    """Records and files disagree; nothing was applied."""

    code = "drift"
    exit = 4


class LedgerShape(Drift):
    """schema_migrations is not the table of the specification; the message holds the ALTER TABLE that fixes it."""

    code = "ledger_shape"


class LedgerElsewhere(Drift):
    """The search path does not find the table schema_migrations that has the records; no second one is begun."""

    code = "ledger_elsewhere"


class Unrecorded(Drift):
    """A database that has tables and no records."""

    code = "unrecorded"


class ToolLedgerUnfit(Drift):
    """The ledger of another tool has failed runs, or applied what no file is."""

    code = "tool_ledger_unfit"


class LockBusy(KernelError):
    """Another runner holds the lock; the message names it."""

    code = "lock_busy"
    exit = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The server's error for a statement and the place; `excerpt` is the file's lines with a caret.

    `offset` is a byte of the statement in the file.
    """

    file: str
    line: int | None = None
    column: int | None = None
    offset: int | None = None
    statement: str | None = None
    excerpt: str = ""
    sqlstate: str | None = None
    detail: str | None = None
    server_hint: str | None = None
    context: str | None = None


_ROLLED_BACK = "rolled back: the database is as it was before this file"


class MigrationFailed(KernelError):
    """A migration was not applied. `aftermath` describes what is rolled back and what remains.

    Without an `aftermath` the file is `rolled_back` as a whole.
    `applied` and `pending` are filenames in version order: what this run applied before, and what is still pending.
    `rolled_back_before`, None unless a rollback failed, are those whose records it removed before, and `remaining`
    those that it was to remove and that are still applied; both newest first.
    """

    code = "migration_failed"
    exit = 6

    def __init__(
        self, message: str, *, failure: Failure, aftermath: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.failure = failure
        self.rolled_back = aftermath is None
        self.aftermath = _ROLLED_BACK if aftermath is None else aftermath
        self.applied: tuple[str, ...] = ()
        self.pending: tuple[str, ...] = ()
        self.rolled_back_before: tuple[str, ...] | None = None
        self.remaining: tuple[str, ...] = ()


class EnvironmentFailed(KernelError):
    """What a run needs is missing or failed: the database, programs, a server, a dump.

    Its subclasses are siblings, so that a handler for one catches no other.
    """

    code = "environment_failed"
    exit = 7


class DatabaseUnreachable(EnvironmentFailed):
    """No connection to the database, or the connection was lost."""

    code = "database_unreachable"


class DatabaseRefused(EnvironmentFailed):
    """Connected, but to a standby, a read-only server, or as a role without the privilege."""

    code = "database_refused"


class ProgramsMissing(EnvironmentFailed):
    """No PostgreSQL programs for a local server."""

    code = "programs_missing"


class ServerFailed(EnvironmentFailed):
    """A local server did not start or stop; the message quotes its log."""

    code = "server_failed"


class DumpUnreadable(EnvironmentFailed):
    """Not a dump, truncated, or it would run programs; the message names the place in it."""

    code = "dump_unreadable"


class Unprepared(_Several, EnvironmentFailed):
    """Everything that a restore would lack, each with its remedy; nothing was restored."""

    code = "unprepared"


class RestoreFailed(EnvironmentFailed):
    """The copy of production could not be made; the message names the object or row."""

    code = "restore_failed"


class ClusterFailed(EnvironmentFailed):
    """A Dask cluster without a scheduler or workers, or with workers of another version."""

    code = "cluster_failed"


class Interrupted(KernelError):
    """Stopped by SIGINT; the exit code is 128 plus the signal's number, as in a shell."""

    code = "interrupted"
    exit = 130


class Terminated(Interrupted):
    """Stopped by SIGTERM."""

    code = "terminated"
    exit = 143
