"""A project to migrate: a folder of files, a fresh database, and somebody who looks on."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kernel.apply.executor import WaitLimits
from kernel.config.ledger_name import DEFAULT_LEDGER, parse_ledger_name
from kernel.db.connection import open_session
from kernel.errors import MigrationFailed
from kernel.migrations.migration import require_migrations
from kernel.operations.migrate import MigrateOptions, migrate
from kernel.plan import read_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kernel.apply.events import Event
    from kernel.config.ledger_name import LedgerName
    from kernel.migrations.migration import Migration
    from kernel.operations.migrate import MigrateResult
    from kernel.plan import VersionState

_UNTIL_SECONDS = 10


@dataclass(kw_only=True)
class Project:
    """Files in `folder`, run on the database at `url`; `look` is another session, in autocommit.

    `events` are what the runs told, and `react` hears each of them while its run waits for the answer.
    """

    folder: Path
    url: str
    look: psycopg.Connection[tuple[Any, ...]]
    waits: WaitLimits = field(default_factory=lambda: WaitLimits(lock_wait_seconds=10, lock_retries=0))
    ledger: LedgerName = DEFAULT_LEDGER
    events: list[Event] = field(default_factory=list)
    react: Callable[[Event], None] = lambda _event: None

    def put(self, filename: str, text: str | bytes) -> Path:
        """Write a migration file."""
        path = self.folder / filename
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def files(self) -> tuple[Migration, ...]:
        return require_migrations(self.folder)

    def observe(self, event: Event) -> None:
        """The observer of the runs."""
        self.events.append(event)
        self.react(event)

    def migrate(self, files: tuple[Migration, ...] | None = None, **options: Any) -> MigrateResult:
        """Run what is pending, in a session of its own."""
        asked = MigrateOptions(**{"waits": self.waits, **options})
        with open_session(self.url, migrations_table=self.ledger) as session:
            return migrate(session, files or self.files(), asked, self.observe)

    def failure(self, **options: Any) -> MigrationFailed:
        """The error of a run that has to fail."""
        with pytest.raises(MigrationFailed) as failed:
            self.migrate(**options)
        return failed.value

    def states(self) -> dict[str, VersionState]:
        """The state of every version, as db.status shows it."""
        with open_session(self.url, migrations_table=self.ledger) as session:
            return {entry.version: entry.state for entry in read_status(session, self.files()).plan.entries}

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a second session sees."""
        cursor = self.look.execute(query.encode())
        return cursor.fetchall() if cursor.description else []

    def recorded(self) -> list[str]:
        """The versions in the ledger, in their order."""
        return [version for (version,) in self.rows("SELECT version FROM schema_migrations ORDER BY version")]

    def has(self, relation: str) -> bool:
        """Whether there is a table or an index of this name."""
        return self.rows(f"SELECT to_regclass('{relation}') IS NOT NULL") == [(True,)]

    def until(self, query: str) -> None:
        """Wait for a query to yield a row."""
        self._until(lambda: self.look.execute(query.encode()).rowcount > 0, query)

    def wait_for_event(self, kind: type[Event]) -> None:
        """Wait for a run to tell of this."""
        self._until(lambda: any(isinstance(event, kind) for event in self.events), kind.__name__)

    def _until(self, reached: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _UNTIL_SECONDS
        while not reached():
            assert time.monotonic() < deadline, f"waited in vain: {what}"
            time.sleep(0.005)

    def reached(self, *, ledger: str = "", **parameters: str) -> Project:
        """The same project by another way to its database: other libpq parameters, or another ledger."""
        return Project(
            folder=self.folder,
            url=make_conninfo(self.url, **parameters),
            look=self.look,
            ledger=parse_ledger_name(ledger) if ledger else self.ledger,
        )


@pytest.fixture
def project(database: str, tmp_path: Path) -> Iterator[Project]:
    with psycopg.connect(database, autocommit=True) as look:
        folder = tmp_path / "migrations"
        folder.mkdir()
        yield Project(folder=folder, url=database, look=look)


@pytest.fixture
def other(project: Project) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A session in the way of the migrations; its statements begin a transaction, as an application's do."""
    with psycopg.connect(project.url, application_name="the application") as connection:
        yield connection
        connection.rollback()
