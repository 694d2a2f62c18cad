"""Queries prepared in a database before something is done to it, and looked at afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from kernel.rehearsal.queries.corpus import ApplicationQuery
from kernel.rehearsal.queries.watch import watch_queries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.lint.finding import Finding

PRODUCTION = """
CREATE TABLE schema_migrations (
  version varchar(255) PRIMARY KEY, filename varchar(255) NOT NULL, applied_at timestamp NOT NULL DEFAULT now(),
  checksum varchar(64) NOT NULL);
CREATE TYPE mood AS ENUM ('calm', 'busy');
CREATE TABLE orders (id bigint PRIMARY KEY, customer int, total numeric(12,4) NOT NULL, note text, mood mood);
INSERT INTO orders SELECT g, g % 1000, g, 'secret ' || g, 'calm' FROM generate_series(1, 20000) g;
CREATE INDEX orders_customer ON orders (customer);
CREATE TABLE log (what text);
VACUUM ANALYZE orders;
"""


@dataclass(kw_only=True)
class Clone:
    """A database, and a connection that changes it."""

    url: str
    connection: psycopg.Connection[tuple[Any, ...]]

    def changes(self, migration: str, *queries: str) -> tuple[Finding, ...]:
        """What became of queries that all ran before."""
        with watch_queries(
            self.url, [ApplicationQuery(name=f"queries.sql:{at}", text=text) for at, text in enumerate(queries, 1)]
        ) as one:
            assert one.refused == []
            self.connection.execute(migration.encode())
            return one.find_changes()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(query.encode()).fetchall()


@pytest.fixture
def clone(database: str) -> Iterator[Clone]:
    with psycopg.connect(database, autocommit=True) as connection:
        for statement in PRODUCTION.split(";\n"):
            connection.execute(statement.encode())
        yield Clone(url=database, connection=connection)
