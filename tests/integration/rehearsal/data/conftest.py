"""A template database, a clone of it that was migrated, and the receipts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from kernel.migrations.migration import discover_migrations
from kernel.rehearsal.data.check import check_data
from kernel.rehearsal.data.expectations import read_expectations

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernel.rehearsal.data.expectations import Expectation
    from kernel.rehearsal.result import Receipt


@dataclass(kw_only=True)
class Copies:
    """Databases at `template` and `clone`; `folder` has the file of declarations."""

    template: str
    clone: str
    folder: Path
    administrator: psycopg.Connection
    cloned: bool = field(default=False)

    def holds(self, *statements: str) -> None:
        """Fill the template database."""
        _run(self.template, statements)

    def migrated(self, *statements: str) -> None:
        """Run statements on the clone, which the first call makes, each in a transaction of its own."""
        if not self.cloned:
            names = [sql.Identifier(str(conninfo_to_dict(url)["dbname"])) for url in (self.clone, self.template)]
            self.administrator.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
            self.cloned = True
        _run(self.clone, statements)

    def expectations(self, *lines: str) -> tuple[Expectation, ...]:
        """What a migration with these declarations expects."""
        (self.folder / "001_data.sql").write_text("".join(f"-- rehearse: {line}\n" for line in lines))
        found, problems = read_expectations(discover_migrations(self.folder))
        assert not problems
        return found

    def receipts(self, *lines: str, jobs: int = 2) -> dict[str, Receipt]:
        """The receipts by the names of their tables, of a migration that declares `lines`."""
        found = check_data(self.template, self.clone, (), self.expectations(*lines), jobs=jobs)
        return {one.table: one for one in found}

    def receipt(self, *lines: str) -> Receipt:
        """The receipt of the only table."""
        (only,) = self.receipts(*lines).values()
        return only

    def listed(self, receipt: Receipt, *, of: str) -> list[tuple[object, ...]]:
        """What the receipt's query lists in the database at `of`."""
        with psycopg.connect(of) as connection:
            return connection.execute(receipt.query.encode()).fetchall()

    def count(self, receipt: Receipt, *, of: str) -> int:
        """How many rows the receipt's query lists."""
        with psycopg.connect(of) as connection:
            row = connection.execute(f"SELECT count(*) FROM ({receipt.query}) AS listed".encode()).fetchone()
        assert row
        return int(row[0])


def _run(url: str, statements: tuple[str, ...]) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


@pytest.fixture
def copies(database: str, administrator: psycopg.Connection, tmp_path: Path) -> Iterator[Copies]:
    """An empty template database, not cloned yet; both are dropped after the test."""
    name = f"{conninfo_to_dict(database)['dbname']}_clone"
    yield Copies(
        template=database, clone=make_conninfo(database, dbname=name), folder=tmp_path, administrator=administrator
    )
    administrator.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
