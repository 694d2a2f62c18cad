"""One reading of files and records, which status shows and migrate acts on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.db.ledger import find_ledger, read_progress, read_records
from kernel.errors import FilesInvalid, Problem
from kernel.migrations.migration import discover_migrations
from kernel.plan import build_plan

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from kernel.db.connection import Session
    from kernel.db.ledger import Ledger
    from kernel.migrations.migration import Migration
    from kernel.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What is applied and what is pending in a database; `database` is host:port/dbname."""

    database: str
    ledger: Ledger
    plan: Plan


def require_migrations(directory: Path) -> tuple[Migration, ...]:
    """The migrations of a directory. Raises FilesInvalid, also when it holds none: so does a wrong directory."""
    found = discover_migrations(directory)
    if not found:
        message = f"{directory}: no migration files; set KERNEL_MIGRATIONS_DIR, or begin with: inv db.new NAME"
        raise FilesInvalid([Problem(message=message)])
    return found


def read_status(session: Session, found: Iterable[Migration]) -> Status:
    """Compare files and records. Read-only: no lock, and no table is created. Raises LedgerShape, DatabaseRefused."""
    where = find_ledger(session)
    records = read_records(session, where)
    under_way = read_progress(session, where) if where.exists else {}
    return Status(database=session.name, ledger=where, plan=build_plan(found, records, partial=under_way.keys()))
