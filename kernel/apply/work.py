"""What a transaction carries out: a file, and the row of the ledger that stands for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel import ledger

if TYPE_CHECKING:
    from kernel.database import Session
    from kernel.files.migration import Migration
    from kernel.files.script import Script
    from kernel.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A file to run. `claim` changes its row first, and returns no row when another runner had changed it before.

    `claimed` is the SQL expression that tells afterwards whether that is so still. `records` tells whether the row is
    there afterwards: it is behind a migration, and is not behind its revert.
    """

    migration: Migration
    script: Script
    claim: bytes
    claimed: bytes
    records: bool


def migrating(session: Session, where: Ledger, migration: Migration, script: Script) -> Work:
    """A file to apply and record."""
    claim = ledger.claim(session.connection, where, migration)
    claimed = ledger.recorded(session.connection, where, migration)
    return Work(migration=migration, script=script, claim=claim, claimed=claimed, records=True)


def reverting(session: Session, where: Ledger, revert: Migration, script: Script) -> Work:
    """A revert file to run, whose migration loses its record."""
    claim = ledger.remove(session.connection, where, revert.version)
    return Work(migration=revert, script=script, claim=claim, claimed=b"true", records=False)
