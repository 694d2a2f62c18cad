"""Whether two connections reach one database, whatever their URLs say: aliases, tunnels and poolers all lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from kernel import database
from kernel.errors import DatabaseRefused, DatabaseUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from kernel.database import Session
    from kernel.rehearsal.golden.wish import Forbidden

_HERE = """
SELECT oid::bigint, pg_postmaster_start_time() FROM pg_database WHERE datname = current_database()
"""
_SYSTEM = "SELECT system_identifier FROM pg_control_system()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Of a database: its number on its server, and what tells servers apart.

    `system` was drawn when the server's data was made, and is the same on its standbys and physical copies. Managed
    services may not show it (None); then it is `started`, in microseconds. The server's address is no help: one server
    has several, and a pooler's are its own.
    """

    number: int
    system: int | None
    started: datetime

    def same(self, other: Identity) -> bool:
        """Whether both are one database, or one is a physical copy of the other."""
        if self.number != other.number:
            return False
        if self.system is None or other.system is None:
            return self.started == other.started
        return self.system == other.system


def of(session: Session) -> Identity:
    """The identity of the database that a session has reached."""
    try:
        (system,) = session.connection.execute(_SYSTEM).fetchone() or (None,)
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFunction):
        system = None
    here = session.connection.execute(_HERE).fetchone()
    if here is None:
        raise DatabaseRefused(f"{session.name}: does not tell which database it is")
    return Identity(number=here[0], system=system, started=here[1])


def refuse_same(
    target: Session, forbidden: tuple[Forbidden, ...], *, say: Callable[[str], None], holds: bool = False
) -> None:
    """Raise DatabaseRefused when the target, TEST_DB, is a database that must not be overwritten.

    One that cannot be reached is told of and passed over, unless TEST_DB `holds` what is not ours: then nobody could
    tell that it is not the same.
    """
    ours = of(target)
    for one in forbidden:
        try:
            with database.session(one.url, variable=one.variable) as other:
                same, name = ours.same(of(other)), other.name
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
