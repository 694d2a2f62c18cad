"""Which database a connection reaches, and which databases on the user's server a rehearsal created.

URLs are no proof: aliases, tunnels and poolers lead to the same database under other names.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from kernel.db.connection import open_session
from kernel.errors import DatabaseRefused, DatabaseUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from kernel.db.connection import Connection, Session


_DATABASE_QUERY = """
SELECT oid::bigint, pg_postmaster_start_time() FROM pg_database WHERE datname = current_database()
"""
_SYSTEM_IDENTIFIER_QUERY = "SELECT system_identifier FROM pg_control_system()"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseIdentity:
    """The OID of a database, and what distinguishes its server.

    initdb draws the system identifier; standbys and physical copies have the same one. Managed services may not show
    it (None); then the start time of the server counts. Addresses do not: a server may have several, and a pooler has
    its own.
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
    """The identity of the database that a session is connected to."""
    try:
        ((system,),) = session.connection.execute(_SYSTEM_IDENTIFIER_QUERY).fetchall()
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFunction):
        system = None
    ((oid, started_at),) = session.connection.execute(_DATABASE_QUERY).fetchall()
    return DatabaseIdentity(database_oid=oid, system_identifier=system, server_started_at=started_at)


def refuse_protected_database(
    target: Session, protected: Mapping[str, str], *, print_line: Callable[[str], None], holds_data: bool
) -> None:
    """Raise DatabaseRefused when the target, TEST_DB, is one of the `protected` databases (variable -> URL).

    One that cannot be reached is skipped with a warning, unless TEST_DB `holds_data` that no rehearsal put there: it
    could be the same database.
    """
    identity = read_identity(target)
    for variable, url in protected.items():
        try:
            with open_session(url, variable=variable) as session:
                same, name = identity.is_same_database(read_identity(session)), session.name
        except DatabaseUnreachable as error:
            if holds_data:
                raise DatabaseRefused(
                    f"TEST_DB holds data, and whether it is the database of {variable} is unknown: {error}; make "
                    f"{variable} reachable, or name an empty TEST_DB"
                ) from error
            print_line(f"warning: {variable} could not be compared with TEST_DB: {error}")
            continue
        if same:
            raise DatabaseRefused(
                f"TEST_DB is the database that {variable} names ({name}), or a physical copy of it, and would be "
                "overwritten; name another, or leave TEST_DB empty for a throwaway server"
            )


_COMMENT_PREFIX = "made by inv db.snapshot-test, may be dropped:"
_COMMENT_QUERY = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
_COMMENTS_BY_PREFIX_QUERY = """
SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database
WHERE starts_with(datname, %s) AND shobj_description(oid, 'pg_database') IS NOT NULL ORDER BY datname
"""


class DatabaseKind(StrEnum):
    """What a rehearsal created a database for. The values are stored in comments, where later versions read them."""

    INCOMPLETE = "copy in the making"
    TEMPLATE = "golden copy"
    CLONE = "clone"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnershipComment:
    """The comment on a database that a rehearsal created from the dump `key`, with the copy's warnings."""

    kind: DatabaseKind
    key: str
    warnings: tuple[str, ...] = ()


def write_ownership_comment(connection: Connection, name: str, comment: OwnershipComment) -> None:
    """Set the comment of the database `name`."""
    lines = (f"{_COMMENT_PREFIX} {comment.kind} of {comment.key}", *(" ".join(one.split()) for one in comment.warnings))
    statement = sql.SQL("COMMENT ON DATABASE {} IS {}")
    connection.execute(statement.format(sql.Identifier(name), sql.Literal("\n".join(lines))))


def read_ownership_comment(connection: Connection, name: str) -> OwnershipComment | None:
    """The comment of a database; None when no rehearsal created it, or it does not exist."""
    row = connection.execute(_COMMENT_QUERY, (name,)).fetchone()
    return _parse_ownership_comment(row[0]) if row else None


def list_owned_databases(connection: Connection, prefix: str) -> dict[str, OwnershipComment]:
    """The databases that rehearsals created and whose names start with `prefix`: name -> comment."""
    rows = connection.execute(_COMMENTS_BY_PREFIX_QUERY, (prefix,))
    return {name: comment for name, text in rows if (comment := _parse_ownership_comment(text))}


def _parse_ownership_comment(text: str | None) -> OwnershipComment | None:
    first, *warnings = (text or "").split("\n")
    for kind in DatabaseKind:
        prefix = f"{_COMMENT_PREFIX} {kind} of "
        if first.startswith(prefix):
            return OwnershipComment(kind=kind, key=first.removeprefix(prefix), warnings=tuple(warnings))
    return None
