"""A database with rows in it, migrated under traffic."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from kernel.apply.executor import WaitLimits
from kernel.migrations.migration import require_migrations
from kernel.operations.migrate import MigrateOptions
from kernel.rehearsal.result import Relation
from kernel.rehearsal.traffic.measure import measure_traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kernel.apply.events import Event
    from kernel.rehearsal.result import Standstill
    from kernel.rehearsal.traffic.measure import TrafficResult

PRODUCTION = """
CREATE TABLE schema_migrations (
  version varchar(255) PRIMARY KEY, filename varchar(255) NOT NULL, applied_at timestamp NOT NULL DEFAULT now(),
  checksum varchar(64) NOT NULL);
CREATE TABLE orders (id int PRIMARY KEY, note text);
INSERT INTO orders SELECT g, 'order ' || g FROM generate_series(1, 1000) g;
CREATE TABLE quiet (id int PRIMARY KEY);
"""


def about(seconds: float) -> Any:
    """A wait of so many seconds: a probe begins a little late, and its answer may be read late on a busy machine."""
    return pytest.approx(seconds, abs=0.2)


@dataclass(kw_only=True)
class Clone:
    """A database, the migrations to run on it, and another connection to it."""

    folder: Path
    url: str
    connection: psycopg.Connection[tuple[Any, ...]]
    waits: WaitLimits = field(default_factory=lambda: WaitLimits(lock_retries=0))
    observer: Callable[[Event], None] = lambda _event: None

    def put(self, filename: str, text: str) -> None:
        (self.folder / filename).write_text(text)

    def relation(self, name: str) -> Relation:
        """A relation as the first run reports it."""
        ((oid, full),) = self.connection.execute(
            "SELECT c.oid::int8, quote_ident(nspname) || '.' || quote_ident(relname) FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = %s::regclass",
            (name,),
        ).fetchall()
        return Relation(oid=oid, name=full)

    def measure(self, *tables: str, **options: Any) -> TrafficResult:
        relations = [self.relation(name) for name in tables]
        return measure_traffic(
            self.url,
            require_migrations(self.folder),
            MigrateOptions(waits=self.waits),
            relations,
            observer=self.observer,
            **options,
        )

    def standstill(self, text: str, *tables: str, **options: Any) -> Standstill:
        """The standstill of the first of the tables while one file runs."""
        self.put("001_it.sql", text)
        traffic = self.measure(*tables, **options)
        assert not traffic.notes
        name = self.relation(tables[0]).name
        return next(one for one in traffic.standstills if one.relation == name)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(query.encode()).fetchall()


@pytest.fixture
def clone(database: str, tmp_path: Path) -> Iterator[Clone]:
    folder = tmp_path / "migrations"
    folder.mkdir()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(PRODUCTION.encode())
        yield Clone(folder=folder, url=database, connection=connection)
