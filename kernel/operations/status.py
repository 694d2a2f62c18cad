"""Read files and records and compare them: what db.status shows and db.migrate acts on."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.db.ledger import find_ledger, read_progress, read_records
from kernel.errors import Drift, FilesInvalid, Problem
from kernel.migrations.migration import discover_migrations
from kernel.plan import PlanDrift, build_plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from kernel.db.connection import Session
    from kernel.db.ledger import Ledger
    from kernel.migrations.migration import Migration
    from kernel.operations.drift import MigrationsLocation
    from kernel.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What is applied and what is pending in a database; `database` is host:port/dbname."""

    database: str
    ledger: Ledger
    plan: Plan


def require_migrations(directory: Path) -> tuple[Migration, ...]:
    """The migrations of a directory. Raises FilesInvalid, also for a directory without any."""
    migrations = discover_migrations(directory)
    if not migrations:
        message = f"{directory}: no migration files; set KERNEL_MIGRATIONS_DIR, or begin with: inv db.new NAME"
        raise FilesInvalid([Problem(message=message)])
    return migrations


def read_status(session: Session, migrations: Iterable[Migration]) -> Status:
    """Compare files and records. Read-only: no lock, and no table is created. Raises LedgerShape, DatabaseRefused."""
    ledger = find_ledger(session)
    records = read_records(session, ledger)
    progress = read_progress(session, ledger) if ledger.exists else {}
    return Status(database=session.name, ledger=ledger, plan=build_plan(migrations, records, partial=progress.keys()))


@contextmanager
def add_git_evidence(location: MigrationsLocation) -> Iterator[None]:
    """Replace a PlanDrift that leaves the block by a Drift with what git knows, after the connection is closed."""
    try:
        yield
    except PlanDrift as error:
        from kernel.operations.drift import trace_drift  # noqa: PLC0415 - only after drift

        problems = trace_drift(error.plan, location).drift(allow_out_of_order=error.allow_out_of_order)
        raise Drift(problems) from error
