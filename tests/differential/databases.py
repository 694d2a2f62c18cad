"""A pair of equal databases: psql runs a script in one, the project in the other."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from kernel.apply.events import NoticeReceived
from kernel.apply.executor import WaitLimits
from kernel.db.connection import open_session
from kernel.errors import MigrationFailed
from kernel.migrations.migration import require_migrations
from kernel.operations.migrate import MigrateOptions, migrate

if TYPE_CHECKING:
    from pathlib import Path

    from kernel.apply.events import Event

# psql -v VERBOSITY=verbose: "psql:/folder/file.sql:12: ERROR:  42P01: message"
_PSQL_MESSAGE = re.compile(
    r"^psql:.*?:(\d+): (DEBUG|INFO|NOTICE|WARNING|ERROR):  (?:([0-9A-Z]{5}): )?(.*)$", re.MULTILINE
)
# pg_dump writes a random key each time.
_RESTRICT_LINES = re.compile(r"^\\(?:un)?restrict .*\n", re.MULTILINE)
_LEDGER = "public.schema_migrations*"
_USER_RELATIONS = "SELECT count(*) FROM pg_class WHERE oid >= 16384"  # the first OID that is not PostgreSQL's own


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerMessage:
    """A message of the server; `line` is the last of its statement for psql, the first for the project."""

    severity: str
    message: str
    line: int
    sqlstate: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PsqlOutcome:
    """The result of a script in psql: the error that stopped it, and the notices before."""

    error: ServerMessage | None
    notices: tuple[ServerMessage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateOutcome:
    """The result of a script as a migration: its failure, and the notices before."""

    error: MigrationFailed | None
    notices: tuple[ServerMessage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabasePair:
    """The conninfo of both databases, a folder for the script, and the folder of the server's programs."""

    psql_conninfo: str
    kernel_conninfo: str
    folder: Path
    programs: Path

    def write_script(self, script: bytes) -> Path:
        """Write the script for both."""
        path = self.folder / "001_script.sql"
        path.write_bytes(script)
        return path

    def run_psql(self, script: Path, *, one_transaction: bool = False, conninfo: str = "") -> PsqlOutcome:
        """Run a script as a user without a runner would, without its rows; `conninfo` is another database to use."""
        command: list[str | Path] = [self.programs / "psql", "--no-psqlrc", "--quiet", "--output", os.devnull]
        command += ["--set", "ON_ERROR_STOP=1", "--set", "VERBOSITY=verbose"]
        command += ["--single-transaction"] if one_transaction else []
        command += ["--file", script, conninfo or self.psql_conninfo]
        completed = subprocess.run(
            command,
            env=os.environ | {"LC_ALL": "C", "PGCLIENTENCODING": "UTF8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        text = completed.stderr.decode(errors="replace")
        messages = [
            ServerMessage(severity=severity, message=message, line=int(line), sqlstate=sqlstate)
            for line, severity, sqlstate, message in _PSQL_MESSAGE.findall(text)
        ]
        errors = [message for message in messages if message.severity == "ERROR"]
        assert completed.returncode == (3 if errors else 0), text
        notices = tuple(message for message in messages if message not in errors)
        return PsqlOutcome(error=errors[0] if errors else None, notices=notices)

    def migrate(self) -> MigrateOutcome:
        """Apply the script as db.migrate does. Raises what db.migrate raises, except MigrationFailed."""
        events: list[Event] = []
        error: MigrationFailed | None = None
        options = MigrateOptions(waits=WaitLimits(lock_wait_seconds=10, lock_retries=0))
        with open_session(self.kernel_conninfo) as session:
            try:
                migrate(session, require_migrations(self.folder), options, events.append)
            except MigrationFailed as failure:
                error = failure
        notices = tuple(
            ServerMessage(severity=event.severity, message=event.message.partition("\n")[0], line=event.line or 0)
            for event in events
            if isinstance(event, NoticeReceived)
        )
        return MigrateOutcome(error=error, notices=notices)

    def dump_contents(self, conninfo: str, *options: str) -> str:
        """Everything in a database except the tables of the runner: schema, data, owners, privileges, settings."""
        text = self.dump(conninfo, "--create", f"--exclude-table={_LEDGER}", *options).decode()
        name = str(conninfo_to_dict(conninfo)["dbname"])
        return _RESTRICT_LINES.sub("", text).replace(name, "the_name")

    def dump(self, conninfo: str, *options: str) -> bytes:
        """The output of pg_dump."""
        command: list[str | Path] = [self.programs / "pg_dump", *options, "--dbname", conninfo]
        return subprocess.run(command, capture_output=True, check=True).stdout

    def query_value(self, query: str) -> Any:
        """The value of a query with one row and one column, in the project's database."""
        with psycopg.connect(self.kernel_conninfo) as connection:
            row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]

    def is_empty(self) -> bool:
        """Whether nothing was created in the project's database, not even the ledger."""
        return bool(self.query_value(_USER_RELATIONS) == 0)
