"""The next step for the errors that migrations meet most, by SQLSTATE.

Source of the codes: PostgreSQL documentation, "PostgreSQL Error Codes".
"""

from __future__ import annotations

_AGAIN = "then run inv db.migrate again"
_REMEDIES = {
    "25001": "this cannot run here in a transaction; begin the file with -- migrate: no-transaction, or, "
    "if it is SET TRANSACTION, move it to the top",
    "2D000": "a procedure that commits cannot run in a transaction; begin the file with -- migrate: no-transaction",
    "55P03": "another session held the lock for too long; try when it is quiet, or raise KERNEL_LOCK_TIMEOUT",
    "55P04": "a new enum value can be used only after its transaction; use it in the next file",
    "42P07": f"it exists already; write IF NOT EXISTS if it is the same, or drop it, {_AGAIN}",
    "42701": f"the column exists already; write ADD COLUMN IF NOT EXISTS if it is the same, {_AGAIN}",
    "42710": f"it exists already; drop it first, or create it only when it is absent, {_AGAIN}",
    "42P01": "no such table; check its spelling and schema, and whether an earlier migration should have made it",
    "42703": "no such column; check its spelling, and whether an earlier migration should have made it",
    "42883": "no such function; check its name and argument types, and whether its extension is installed",
    "42704": "no such object; check its spelling, or write IF EXISTS",
    "42501": "this role lacks the privilege; run migrations as the owner, or let the owner GRANT it",
    "42601": f"correct the syntax, {_AGAIN}",
    "57014": "cancelled, or slower than statement_timeout; raise KERNEL_STATEMENT_TIMEOUT if it needs the time",
    "40P01": f"a deadlock with another session; {_AGAIN[5:]} when it is quiet",
    "40001": f"other transactions changed the same rows; {_AGAIN[5:]}",
    "23502": f"rows hold NULL where the column forbids it; fill them in an earlier migration, {_AGAIN}",
    "23503": f"rows refer to what does not exist; mend them in an earlier migration, {_AGAIN}",
    "23505": f"rows have the same key; remove the duplicates in an earlier migration, {_AGAIN}",
    "23514": f"rows violate the check; mend them in an earlier migration, {_AGAIN}",
    "25006": "the server takes no writes here; give the URL of the primary",
    "53100": f"the server's disk is full; make room, {_AGAIN}",
    "0A000": "PostgreSQL does not do this here; see the message and the version of the server",
}


def remedy(sqlstate: str | None) -> str:
    """What to do next; a general step for codes that have none of their own."""
    return _REMEDIES.get(sqlstate or "", f"correct the file, {_AGAIN}")
