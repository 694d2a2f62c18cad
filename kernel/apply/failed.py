"""The errors of a migration that no statement of its own made: the connection's, the server's at our own, and ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.apply import remedies
from kernel.errors import Failure, MigrationFailed

if TYPE_CHECKING:
    import psycopg

    from kernel.files.migration import Migration

ALL_ROLLED_BACK = "rolled back with all the others: the database is as it was before this run"


def refused(migration: Migration, message: str, *, aftermath: str | None = None) -> MigrationFailed:
    """The error for a file that we, not the server, do not let become applied."""
    return MigrationFailed(message, failure=Failure(file=migration.filename), aftermath=aftermath)


def lost(migration: Migration, error: psycopg.Error, *, aftermath: str | None = None) -> MigrationFailed:
    """The connection broke while a migration ran."""
    reason = " ".join(str(error).split())
    return MigrationFailed(
        f"the connection was lost: {reason}",
        failure=Failure(file=migration.filename),
        aftermath=aftermath,
        hint="find out why in the server's log, then run inv db.migrate again",
    )


def server_error(migration: Migration, error: psycopg.Error, *, aftermath: str | None = None) -> MigrationFailed:
    """A server's error outside of the file's own statements: at the claim, at a deferred constraint."""
    diagnostic = error.diag
    return MigrationFailed(
        diagnostic.message_primary or str(error),
        failure=Failure(
            file=migration.filename,
            sqlstate=diagnostic.sqlstate,
            detail=diagnostic.message_detail,
            server_hint=diagnostic.message_hint,
            context=diagnostic.context,
        ),
        aftermath=aftermath,
        hint=remedies.remedy(diagnostic.sqlstate),
    )
