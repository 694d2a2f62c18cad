"""A database with rows in it, migrated under traffic."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from kernel.apply.executor import WaitLimits
from kernel.operations.migrate import MigrateOptions
from kernel.operations.status import require_migrations
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
    """A wait of so many seconds: a probe begins it a little late, and hears of its end when the machine lets it."""
    return pytest.approx(seconds, abs=0.2)


@dataclass(kw_only=True)
class Clone:
    """The database, the files to run on it, and somebody who looks on."""

    folder: Path
    url: str
    look: psycopg.Connection[tuple[Any, ...]]
    patience: WaitLimits = field(default_factory=lambda: WaitLimits(lock_retries=0))
    react: Callable[[Event], None] = lambda _event: None

    def put(self, filename: str, text: str) -> None:
        (self.folder / filename).write_text(text)

    def relation(self, name: str) -> Relation:
        """What a first run would have said of a relation."""
        ((oid, full),) = self.look.execute(
            "SELECT c.oid::int8, quote_ident(nspname) || '.' || quote_ident(relname) FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = %s::regclass",
            (name,),
        ).fetchall()
        return Relation(oid=oid, name=full)

    def measure(self, *tables: str, **asked: Any) -> TrafficResult:
        relations = [self.relation(name) for name in tables]
        wish = MigrateOptions(waits=self.patience)
        return measure_traffic(self.url, require_migrations(self.folder), wish, relations, observer=self.told, **asked)

    def told(self, event: Event) -> None:
        self.react(event)

    def felt(self, text: str, *tables: str, **asked: Any) -> Standstill:
        """The standstill of the first of the tables while one file runs."""
        self.put("001_it.sql", text)
        traffic = self.measure(*tables, **asked)
        assert not traffic.notes
        name = self.relation(tables[0]).name
        return next(one for one in traffic.standstills if one.relation == name)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.look.execute(query.encode()).fetchall()


@pytest.fixture
def clone(database: str, tmp_path: Path) -> Iterator[Clone]:
    folder = tmp_path / "migrations"
    folder.mkdir()
    with psycopg.connect(database, autocommit=True) as look:
        look.execute(PRODUCTION.encode())
        yield Clone(folder=folder, url=database, look=look)
