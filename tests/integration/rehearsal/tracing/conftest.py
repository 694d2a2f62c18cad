"""A clone with rows on which files are traced, and the traces as lines that a test can compare."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from kernel.apply.executor import WaitLimits
from kernel.lint.lock_modes import LOCK_MODE_STRENGTH
from kernel.migrations.migration import require_migrations
from kernel.operations.migrate import MigrateOptions
from kernel.rehearsal.tracing.run import trace_migrations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kernel.apply.events import Event
    from kernel.postgres.cluster import Server
    from kernel.rehearsal.result import Run

ORDERS = 20_000
PRODUCTION = f"""
CREATE TABLE schema_migrations (
  version varchar(255) PRIMARY KEY, filename varchar(255) NOT NULL, applied_at timestamp NOT NULL DEFAULT now(),
  checksum varchar(64) NOT NULL);
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
INSERT INTO customers SELECT g, 'customer ' || g FROM generate_series(1, 1000) g;
CREATE TABLE orders (id int PRIMARY KEY, customer int, note varchar(40), total int, paid bool);
INSERT INTO orders SELECT g, 1 + g % 1000, 'order ' || g, g, true FROM generate_series(1, {ORDERS}) g;
CREATE INDEX orders_note ON orders (note);
CREATE TABLE lines (id int PRIMARY KEY, of_order int REFERENCES orders ON DELETE CASCADE);
INSERT INTO lines SELECT g, g FROM generate_series(1, 2000) g;
CREATE INDEX lines_order ON lines (of_order);
CREATE TABLE log (what text);
CREATE TABLE paid (amount int, CHECK (amount IS NOT NULL));
INSERT INTO paid SELECT g FROM generate_series(1, 300) g;
ALTER TABLE paid ADD CONSTRAINT later CHECK (amount > 0) NOT VALID;
CREATE FUNCTION logging() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO log VALUES (TG_OP); RETURN NULL; END $$;
CREATE TRIGGER logging AFTER DELETE ON lines FOR EACH ROW EXECUTE FUNCTION logging();
CREATE TABLE readings (at date NOT NULL, value int) PARTITION BY RANGE (at);
CREATE TABLE readings_old PARTITION OF readings DEFAULT;
INSERT INTO readings SELECT date '2020-01-01' + g, g FROM generate_series(1, 500) g;
CREATE TABLE readings_new (at date NOT NULL, value int);
INSERT INTO readings_new SELECT date '2030-01-01', g FROM generate_series(1, 700) g;
CREATE MATERIALIZED VIEW names AS SELECT id, name FROM customers;
CREATE SEQUENCE numbers;
"""

_templates = (f"production_{number}" for number in itertools.count(1))
_clones = (f"clone_{number}" for number in itertools.count(1))


@dataclass(kw_only=True)
class Clone:
    """A clone of the production above, and the files to trace on it. `lines` are about what cannot be traced."""

    folder: Path
    url: str
    patience: WaitLimits = field(default_factory=lambda: WaitLimits(lock_retries=0, batch_pauses=False))
    events: list[Event] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    react: Callable[[Event], None] = lambda _event: None

    def put(self, filename: str, text: str) -> None:
        (self.folder / filename).write_text(text)

    def rehearse(self, **options: Any) -> tuple[Run, ...]:
        migrate_options = MigrateOptions(**{"waits": self.patience, **options})
        return trace_migrations(
            self.url,
            require_migrations(self.folder),
            migrate_options,
            observer=self.observe,
            print_line=self.lines.append,
        )

    def observe(self, event: Event) -> None:
        """The observer; `react` hears each event while the run waits for the answer."""
        self.events.append(event)
        self.react(event)

    def run(self, text: str) -> Run:
        """The Run of one file."""
        self.put("001_it.sql", text)
        (run,) = self.rehearse()
        return run

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()


def facts(run: Run) -> list[str]:
    """What was traced of existing relations, as sorted lines without timings.

    Left out are locks that shut no reads or writes out, those of TOAST tables, and of what runs outside of a
    transaction SHARE UPDATE EXCLUSIVE, which is not always held for long enough to be seen.
    """
    weakest = LOCK_MODE_STRENGTH["SHARE UPDATE EXCLUSIVE" if run.transactional else "SHARE"]
    found = set()
    for one in run.statements:
        for lock in one.locks:
            if lock.relation.created or lock.relation.kind == "toast table":
                continue
            if LOCK_MODE_STRENGTH[lock.mode] >= weakest:
                found.add(f"{lock.mode} {_short(lock.relation.name)}")
        found |= {f"rewrite {_short(relation.name)}" for relation in one.rewrites if not relation.created}
        found |= {f"rebuild {_short(relation.name)}" for relation in one.index_rebuilds}
        for scan in one.scans:
            if not scan.relation.created:
                under = (
                    f" under {scan.held_lock_mode}" if LOCK_MODE_STRENGTH.get(scan.held_lock_mode, 0) >= weakest else ""
                )
                found.add(f"scan {_short(scan.relation.name)} {scan.rows}{under}")
        for rows in one.written:
            if not rows.relation.created:
                found.add(f"write {_short(rows.relation.name)} +{rows.inserted} ~{rows.updated} -{rows.deleted}")
    return sorted(found)


def _short(name: str) -> str:
    return name.removeprefix("public.")


@pytest.fixture(scope="session")
def production(server: Server, administrator: psycopg.Connection) -> str:
    """The name of the template database; no session is connected to it."""
    name = next(_templates)
    administrator.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    with psycopg.connect(make_conninfo(server.conninfo, dbname=name), autocommit=True) as connection:
        connection.execute(PRODUCTION.encode())
        connection.execute("VACUUM ANALYZE")
    return name


@pytest.fixture
def clone(server: Server, administrator: psycopg.Connection, production: str, tmp_path: Path) -> Iterator[Clone]:
    name = next(_clones)
    copied = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(production))
    administrator.execute(copied)
    folder = tmp_path / "migrations"
    folder.mkdir()
    yield Clone(folder=folder, url=make_conninfo(server.conninfo, dbname=name))
    administrator.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
