"""Whether two connections reach one database, whatever their URLs say: aliases, tunnels and poolers all lie."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from kernel.db.connection import open_session
from kernel.errors import DatabaseRefused, DatabaseUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from kernel.db.connection import Connection, Session
    from kernel.rehearsal.prod_copy.model import ProtectedDatabase


_DATABASE_QUERY = """
SELECT oid::bigint, pg_postmaster_start_time() FROM pg_database WHERE datname = current_database()
"""
_SYSTEM_IDENTIFIER_QUERY = "SELECT system_identifier FROM pg_control_system()"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseIdentity:
    """Of a database: its number on its server, and what tells servers apart.

    `system` was drawn when the server's data was made, and is the same on its standbys and physical copies. Managed
    services may not show it (None); then it is `started`, in microseconds. The server's address is no help: one server
    has several, and a pooler's are its own.
    """

    database_oid: int
    system_identifier: int | None
    server_started_at: datetime

    def is_same_database(self, other: DatabaseIdentity) -> bool:
        """Whether both are one database, or one is a physical copy of the other."""
        if self.database_oid != other.database_oid:
            return False
        if self.system_identifier is None or other.system_identifier is None:
            return self.server_started_at == other.server_started_at
        return self.system_identifier == other.system_identifier


def read_identity(session: Session) -> DatabaseIdentity:
    """The identity of the database that a session has reached."""
    try:
        (system,) = session.connection.execute(_SYSTEM_IDENTIFIER_QUERY).fetchone() or (None,)
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFunction):
        system = None
    here = session.connection.execute(_DATABASE_QUERY).fetchone()
    if here is None:
        raise DatabaseRefused(f"{session.name}: does not tell which database it is")
    return DatabaseIdentity(database_oid=here[0], system_identifier=system, server_started_at=here[1])


def refuse_protected_database(
    target: Session, forbidden: tuple[ProtectedDatabase, ...], *, say: Callable[[str], None], holds: bool = False
) -> None:
    """Raise DatabaseRefused when the target, TEST_DB, is a database that must not be overwritten.

    One that cannot be reached is told of and passed over, unless TEST_DB `holds` what is not ours: then nobody could
    tell that it is not the same.
    """
    ours = read_identity(target)
    for one in forbidden:
        try:
            with open_session(one.url, variable=one.variable) as other:
                same, name = ours.is_same_database(read_identity(other)), other.name
        except DatabaseUnreachable as error:
            if holds:
                raise DatabaseRefused(
                    f"TEST_DB holds something, and whether it is {one.variable} nobody can tell: {error}; make "
                    f"{one.variable} reachable, or name an empty TEST_DB"
                ) from error
            say(f"warning: {one.variable} could not be compared with TEST_DB: {error}")
            continue
        if same:
            raise DatabaseRefused(
                f"TEST_DB is the database that {one.variable} names ({name}), or a physical copy of it, and would be "
                "overwritten; name another, or leave TEST_DB empty for a throwaway server"
            )


# How a rehearsal knows its own databases again on a server that is not its own: by their comments.


_COMMENT_PREFIX = "made by inv db.snapshot-test, may be dropped:"
_COMMENT_QUERY = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
_COMMENTS_BY_PREFIX_QUERY = """
SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database
WHERE starts_with(datname, %s) AND shobj_description(oid, 'pg_database') IS NOT NULL ORDER BY datname
"""


class DatabaseKind(StrEnum):
    """What a database of ours is; a copy in the making becomes golden when it is complete."""

    INCOMPLETE = "copy in the making"
    TEMPLATE = "golden copy"
    CLONE = "clone"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnershipComment:
    """Of which dump, by `key`, a database is made, and what is to be said of it."""

    kind: DatabaseKind
    key: str
    warnings: tuple[str, ...] = ()


def write_ownership_comment(connection: Connection, name: str, mark: OwnershipComment) -> None:
    """Mark a database, in place of its comment."""
    lines = (f"{_COMMENT_PREFIX} {mark.kind} of {mark.key}", *(" ".join(line.split()) for line in mark.warnings))
    comment = sql.SQL("COMMENT ON DATABASE {} IS {}")
    connection.execute(comment.format(sql.Identifier(name), sql.Literal("\n".join(lines))))


def read_ownership_comment(connection: Connection, name: str) -> OwnershipComment | None:
    """The mark of a database; None when it is not ours, or not there."""
    row = connection.execute(_COMMENT_QUERY, (name,)).fetchone()
    return _parse_ownership_comment(row[0]) if row else None


def list_owned_databases(connection: Connection, prefix: str) -> dict[str, OwnershipComment]:
    """The databases of ours whose names begin so."""
    found = (
        (name, _parse_ownership_comment(comment))
        for name, comment in connection.execute(_COMMENTS_BY_PREFIX_QUERY, (prefix,))
    )
    return {name: mark for name, mark in found if mark}


def _parse_ownership_comment(comment: str | None) -> OwnershipComment | None:
    first, *warnings = (comment or "").split("\n")
    for kind in DatabaseKind:
        begin = f"{_COMMENT_PREFIX} {kind} of "
        if first.startswith(begin):
            return OwnershipComment(kind=kind, key=first.removeprefix(begin), warnings=tuple(warnings))
    return None
