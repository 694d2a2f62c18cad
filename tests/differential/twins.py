"""Two databases that begin alike: in one psql runs a script, in the other we do."""

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
from kernel.operations.migrate import MigrateOptions, migrate
from kernel.operations.status import require_migrations

if TYPE_CHECKING:
    from pathlib import Path

    from kernel.apply.events import Event

# psql -v VERBOSITY=verbose: "psql:/folder/file.sql:12: ERROR:  42P01: message"
_TOLD = re.compile(r"^psql:.*?:(\d+): (DEBUG|INFO|NOTICE|WARNING|ERROR):  (?:([0-9A-Z]{5}): )?(.*)$", re.MULTILINE)
# pg_dump writes a new key each time.
_KEY = re.compile(r"^\\(?:un)?restrict .*\n", re.MULTILINE)
_LEDGER = "public.schema_migrations*"
_STRANGERS = "SELECT count(*) FROM pg_class WHERE oid >= 16384"  # the first OID that is not PostgreSQL's own


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the server said while a script ran; `line` is the last of the statement for psql, the first for us."""

    severity: str
    message: str
    line: int
    sqlstate: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Theirs:
    """What came of a script in psql: the error that stopped it, and the notices before."""

    error: Said | None
    notices: tuple[Said, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """What came of a script with us, in the same words."""

    error: MigrationFailed | None
    notices: tuple[Said, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Twins:
    """The conninfo of both databases, a folder to work in, and the programs that belong to the server."""

    theirs: str
    ours: str
    folder: Path
    programs: Path

    def put(self, script: bytes) -> Path:
        """Write the script where both read it."""
        path = self.folder / "001_script.sql"
        path.write_bytes(script)
        return path

    def run_psql(self, script: Path, *, one_transaction: bool = False, conninfo: str = "") -> Theirs:
        """Run it as one would without a runner, its rows thrown away; in another database with `conninfo`."""
        command: list[str | Path] = [self.programs / "psql", "--no-psqlrc", "--quiet", "--output", os.devnull]
        command += ["--set", "ON_ERROR_STOP=1", "--set", "VERBOSITY=verbose"]
        command += ["--single-transaction"] if one_transaction else []
        command += ["--file", script, conninfo or self.theirs]
        done = subprocess.run(
            command,
            env=os.environ | {"LC_ALL": "C", "PGCLIENTENCODING": "UTF8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        text = done.stderr.decode(errors="replace")
        said = [
            Said(severity=severity, message=message, line=int(line), sqlstate=sqlstate)
            for line, severity, sqlstate, message in _TOLD.findall(text)
        ]
        errors = [one for one in said if one.severity == "ERROR"]
        assert done.returncode == (3 if errors else 0), text
        return Theirs(error=errors[0] if errors else None, notices=tuple(one for one in said if one not in errors))

    def migrate(self) -> Ours:
        """Run it as db.migrate does. Raises what db.migrate raises, MigrationFailed apart."""
        events: list[Event] = []
        error: MigrationFailed | None = None
        wish = MigrateOptions(waits=WaitLimits(lock_wait_seconds=10, lock_retries=0))
        with open_session(self.ours) as session:
            try:
                migrate(session, require_migrations(self.folder), wish, events.append)
            except MigrationFailed as failed:
                error = failed
        notices = tuple(
            Said(severity=event.severity, message=event.message.partition("\n")[0], line=event.line or 0)
            for event in events
            if isinstance(event, NoticeReceived)
        )
        return Ours(error=error, notices=notices)

    def left(self, conninfo: str, *options: str) -> str:
        """Everything in a database but our own tables: schema, data, owners, privileges, settings."""
        dumped = self.dump(conninfo, "--create", f"--exclude-table={_LEDGER}", *options).decode()
        name = str(conninfo_to_dict(conninfo)["dbname"])
        return _KEY.sub("", dumped).replace(name, "its_name")

    def dump(self, conninfo: str, *options: str) -> bytes:
        """What pg_dump writes of a database."""
        command: list[str | Path] = [self.programs / "pg_dump", *options, "--dbname", conninfo]
        return subprocess.run(command, capture_output=True, check=True).stdout

    def ask(self, query: str) -> Any:
        """The only value of a query's only row, in our database."""
        with psycopg.connect(self.ours) as connection:
            row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]

    def untouched(self) -> bool:
        """Whether not even the ledger was made in our database."""
        return bool(self.ask(_STRANGERS) == 0)
