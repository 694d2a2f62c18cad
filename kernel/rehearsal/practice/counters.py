"""Which rows a run wrote, by the server's own counters: cheap, and blind to what the rows held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel import units
from kernel.apply import progress
from kernel.ledger import TABLE

if TYPE_CHECKING:
    from kernel.database import Session
    from kernel.ledger import Ledger

_FLUSHES = 150_000  # the first version whose sessions tell their counters at once when asked to
# By OID: a table may be renamed between two readings. Rows of a rolled-back transaction count as well.
_QUERY = """
SELECT relid, format('%%I.%%I', schemaname, relname), n_tup_ins, n_tup_upd, n_tup_del,
  coalesce(pg_relation_filenode(relid), 0)
FROM pg_stat_user_tables WHERE NOT (schemaname = %s AND relname = ANY (%s))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Rows of a table written so far, and the number of its file, which is another after a rewrite or TRUNCATE."""

    table: str
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    file: int = 0

    @property
    def rows(self) -> int:
        return self.inserted + self.updated + self.deleted

    def __str__(self) -> str:
        done = [
            f"{what} {units.several(number, 'row')}"
            for what, number in (("inserts", self.inserted), ("updates", self.updated), ("deletes", self.deleted))
            if number
        ]
        return f"{' and '.join(done) or 'rewrites the rows'} of {self.table}"


def read(session: Session, where: Ledger) -> dict[int, Count] | None:
    """The counters of all tables but ours by OID, this session's own included; None where the server tells late."""
    connection = session.connection
    if connection.info.server_version < _FLUSHES:
        return None
    connection.execute("SELECT pg_stat_force_next_flush()")
    return {
        oid: Count(table=table, inserted=inserted, updated=updated, deleted=deleted, file=file)
        for oid, table, inserted, updated, deleted, file in connection.execute(
            _QUERY, (where.schema, [TABLE, progress.TABLE])
        )
    }


def between(before: dict[int, Count], after: dict[int, Count]) -> tuple[Count, ...]:
    """What was written to tables that are there before and after; `file` is 0 where the table kept its file."""
    found = (
        Count(
            table=now.table,
            inserted=now.inserted - old.inserted,
            updated=now.updated - old.updated,
            deleted=now.deleted - old.deleted,
            file=now.file if now.file != old.file else 0,
        )
        for oid, now in after.items()
        if (old := before.get(oid))
    )
    return tuple(sorted((count for count in found if count.rows or count.file), key=lambda count: count.table))
