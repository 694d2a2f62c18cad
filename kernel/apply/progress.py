"""How far a no-transaction file has come: a small table of our own beside schema_migrations.

Only a file that is under way, or that failed in the middle, has a row; the table goes when the last row does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from kernel.database import Connection, Session
    from kernel.ledger import Ledger

TABLE = "schema_migrations_progress"
_CREATE = """
CREATE TABLE IF NOT EXISTS {} (
  version VARCHAR(255) PRIMARY KEY,
  finished INTEGER NOT NULL,
  digest VARCHAR(64) NOT NULL,
  begun INTEGER NOT NULL,
  updated_at TIMESTAMP NOT NULL
)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """`finished` statements are done, whose text has the SHA-256 `digest`; `begun` is the last that was sent.

    Statements count from 1. One that is begun and not finished ran outside of a transaction: it may be done, half done,
    or not done at all.
    """

    finished: int
    digest: str
    begun: int = 0


def of_all(session: Session, ledger: Ledger) -> dict[str, Progress]:
    """The progress of every version that is under way. Read-only; empty without the table or the privilege."""
    try:
        rows = session.connection.execute(
            sql.SQL("SELECT version, finished, digest, begun FROM {}").format(_identifier(ledger))
        ).fetchall()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
        return {}
    return {
        version: Progress(finished=finished, digest=digest, begun=begun) for version, finished, digest, begun in rows
    }


def xid(connection: Connection, ledger: Ledger, version: str) -> str:
    """The transaction that has kept a version's progress last; the version must have some."""
    query = sql.SQL("SELECT xmin::text FROM {} WHERE version = %s").format(_identifier(ledger))
    (found,) = connection.execute(query, (version,)).fetchall()
    return str(found[0])


def create(session: Session, ledger: Ledger) -> None:
    """Create the table, under the lock."""
    session.connection.execute(sql.SQL(_CREATE).format(_identifier(ledger)))


def upsert(connection: Connection, ledger: Ledger, version: str, progress: Progress) -> bytes:
    """The statement that keeps a version's progress."""
    return (
        sql.SQL(
            "INSERT INTO {table} AS kept (version, finished, digest, begun, updated_at) "
            "VALUES ({version}, {finished}, {digest}, {begun}, pg_catalog.clock_timestamp() AT TIME ZONE 'UTC') "
            "ON CONFLICT (version) DO UPDATE SET finished = excluded.finished, digest = excluded.digest, "
            "begun = excluded.begun, updated_at = excluded.updated_at"
        )
        .format(
            table=_identifier(ledger),
            version=version,
            finished=progress.finished,
            digest=progress.digest,
            begun=progress.begun,
        )
        .as_bytes(connection)
    )


def remove(connection: Connection, ledger: Ledger, version: str) -> bytes:
    """The statement that forgets a version's progress."""
    return sql.SQL("DELETE FROM {} WHERE version = {}").format(_identifier(ledger), version).as_bytes(connection)


def drop_when_empty(session: Session, ledger: Ledger) -> None:
    """Drop the table unless another file is still under way."""
    row = session.connection.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(_identifier(ledger))).fetchone()
    if row is None:
        session.connection.execute(sql.SQL("DROP TABLE {}").format(_identifier(ledger)))


def _identifier(ledger: Ledger) -> sql.Identifier:
    return sql.Identifier(ledger.schema, TABLE)
