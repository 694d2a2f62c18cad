"""One reading of files and records, which status shows and migrate acts on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel import ledger, plan
from kernel.apply import progress
from kernel.errors import FilesInvalid, Problem
from kernel.files import migration

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from kernel.database import Session
    from kernel.files.migration import Migration
    from kernel.ledger import Ledger
    from kernel.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What is applied and what is pending in a database; `database` is host:port/dbname."""

    database: str
    ledger: Ledger
    plan: Plan


def files(directory: Path) -> tuple[Migration, ...]:
    """The migrations of a directory. Raises FilesInvalid, also when it holds none: so does a wrong directory."""
    found = migration.discover(directory)
    if not found:
        message = f"{directory}: no migration files; set KERNEL_MIGRATIONS_DIR, or begin with: inv db.new NAME"
        raise FilesInvalid([Problem(message=message)])
    return found


def read(session: Session, found: Iterable[Migration]) -> Status:
    """Compare files and records. Read-only: no lock, and no table is created. Raises LedgerShape, DatabaseRefused."""
    where = ledger.find(session)
    records = ledger.records(session, where)
    under_way = progress.of_all(session, where) if where.exists else {}
    return Status(database=session.name, ledger=where, plan=plan.compare(found, records, partial=under_way.keys()))
