"""The end of a file in its transaction: what is asked of the server there, and what must be so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.apply import commit, failure
from kernel.apply.failed import refused

if TYPE_CHECKING:
    from psycopg import pq

    from kernel.apply.work import Work
    from kernel.errors import MigrationFailed
    from kernel.ledger import Ledger

_PERHAPS_COMMITTED = (
    "what ran up to that point may be committed, the change of its record included; "
    "compare the database with the file, and put both right by hand"
)
_COLUMNS = 3
_DIVISION_BY_ZERO = "22012"


def statements(work: Work) -> tuple[bytes, ...]:
    """What follows a file's own statements. The last of them has a row, for `verify`.

    Deferred constraints are checked here, where their failure still belongs to the file; the ledger is read as
    ourselves. The last column is the server's clock, in seconds.
    """
    return _ending(work.claimed)


def guarded(work: Work) -> tuple[bytes, ...]:
    """As `statements`, for who cannot look before COMMIT: the server fails with `divided` where the claim is lost."""
    return _ending(b"1 OPERATOR(pg_catalog./) (%b)::pg_catalog.int4 OPERATOR(pg_catalog.=) 1" % work.claimed)


def unguarded() -> tuple[bytes, ...]:
    """As `statements`, for who looks at the records of several files at once."""
    return _ending(b"true")


def _ending(claimed: bytes) -> tuple[bytes, ...]:
    state = b"SELECT pg_catalog.pg_current_xact_id(), %b, extract(epoch FROM pg_catalog.clock_timestamp())" % claimed
    return (b"SET CONSTRAINTS ALL IMMEDIATE", *commit.AS_OURSELVES, state)


def divided(error: pq.abc.PGresult) -> bool:
    """Whether an error of the last statement of `guarded` is the one that it makes itself."""
    return failure.sqlstate(error) == _DIVISION_BY_ZERO


def verify(work: Work, ledger: Ledger, xid: str, end: pq.abc.PGresult | None) -> None:
    """What ran must have run in our transaction and left its claim alone, or record and effect would not be one.

    `end` is the row that `statements` ask for. Where another stands in its place, more or less ran than was sent.
    Raises MigrationFailed.
    """
    if end is None or end.nfields != _COLUMNS or end.get_value(0, 0) != xid.encode():
        raise refusal(work, ledger, committed=True)
    if end.get_value(0, 1) != b"t":
        raise refusal(work, ledger, committed=False)


def refusal(work: Work, ledger: Ledger, *, committed: bool) -> MigrationFailed:
    """The error for a file that lost its claim: by a COMMIT of its own, or by changing its record."""
    if committed:
        message = "the transaction that ran it is not the one begun for it: something in it commits or rolls back"
        return refused(work.migration, message, aftermath=_PERHAPS_COMMITTED)
    message = f"it changes its own record in {ledger.name}; leave that table to the runner"
    return refused(work.migration, message)


def clock(end: pq.abc.PGresult) -> float:
    """When the file had come to its end, in seconds of the server's clock."""
    return float(end.get_value(0, 2) or 0)
