"""The end of a file in its transaction: what is asked of the server there, and what must be so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.apply import commit
from kernel.apply.failed import refused

if TYPE_CHECKING:
    from psycopg import pq

    from kernel.apply.work import Work
    from kernel.ledger import Ledger

_PERHAPS_COMMITTED = (
    "what ran up to that point may be committed, the change of its record included; "
    "compare the database with the file, and put both right by hand"
)
_COLUMNS = 3


def statements(work: Work) -> tuple[bytes, ...]:
    """What follows a file's own statements. The last of them has a row, for `verify`.

    Deferred constraints are checked here, where their failure still belongs to the file; the ledger is read as
    ourselves. The last column is the server's clock, in seconds.
    """
    state = (
        b"SELECT pg_catalog.pg_current_xact_id(), %b, extract(epoch FROM pg_catalog.clock_timestamp())" % work.claimed
    )
    return (b"SET CONSTRAINTS ALL IMMEDIATE", *commit.AS_OURSELVES, state)


def verify(work: Work, ledger: Ledger, xid: str, end: pq.abc.PGresult | None) -> None:
    """What ran must have run in our transaction and left its claim alone, or record and effect would not be one.

    `end` is the row that `statements` ask for. Where another stands in its place, more or less ran than was sent.
    Raises MigrationFailed.
    """
    if end is None or end.nfields != _COLUMNS or end.get_value(0, 0) != xid.encode():
        message = "the transaction that ran it is not the one begun for it: something in it commits or rolls back"
        raise refused(work.migration, message, aftermath=_PERHAPS_COMMITTED)
    if end.get_value(0, 1) != b"t":
        message = f"it changes its own record in {ledger.name}; leave that table to the runner"
        raise refused(work.migration, message)


def clock(end: pq.abc.PGresult) -> float:
    """When the file had come to its end, in seconds of the server's clock."""
    return float(end.get_value(0, 2) or 0)
