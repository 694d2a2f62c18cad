"""Sessions that are kept for the next schema of the same database: a new one costs a server as much as a small file.

The search path that a session began with cannot be changed, so that RESET search_path would return to that of another
schema. A kept session begins with an empty one, and the runner sets that of the target again after each file. Between
two targets DISCARD ALL removes what the files left. A session is closed after an error, and when what a new one begins
with (ALTER ROLE or ALTER DATABASE … SET) has changed.

DISCARD ALL keeps what PL/pgSQL knows of the types that a function names, the seed of random(), loaded libraries, an
empty temporary schema, and names of settings such as app.tenant, which are "" then and not NULL. So a target has a
session of its own where the database has functions of users, or a file has a word that leads to any of these.

Source: PostgreSQL documentation, "DISCARD", "RESET", "Customized Options", "Plan Caching" of PL/pgSQL.
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from kernel.apply.executor import SessionDefaults
from kernel.db.connection import end_session, start_session, translate_errors
from kernel.fleet.servers import address_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.config.ledger_name import LedgerName
    from kernel.db.connection import Session
    from kernel.fleet.addresses import Addresses
    from kernel.fleet.target import Target

NEEDS_SESSION_APART = re.compile(
    rb"\b(?:search_path|reset|discard|set_config|setseed|seed|load|temp|temporary|function|procedure|routine|dblink\w*)\b"
    rb"|\bdo\s*(?:\$|'|language\b|--|/\*)|\bset\s*(?:--|/\*)|\bset\s+(?:(?:session|local)\s+)?[\w\"$]+\s*\.",
    re.IGNORECASE,
)
_MOST_TARGETS = 100  # the server keeps in a session what it has read of the catalog
_FIRST_OID_OF_USERS = 16384
_HAS_FUNCTIONS = f"""
SELECT EXISTS (SELECT FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
  WHERE p.oid >= {_FIRST_OID_OF_USERS} AND (l.lanname NOT IN ('c', 'internal') OR NOT EXISTS (
    SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e')))
"""  # noqa: S608 - built from constants


class SessionApartNeeded(Exception):
    """A file of a target needs a session of its own."""


@dataclass(slots=True, kw_only=True)
class _TargetSession:
    """The session of a target; a `shared` one is for all targets with its key, one after the other.

    `defaults` is what a session began with when this one did, `targets` counts those that have had it.
    """

    session: Session
    key: object
    shared: bool
    defaults: str | None = None
    targets: int = 0

    def is_current(self) -> bool:
        """Whether the session is as a new one would be."""
        try:
            return self.defaults == _read_defaults(self.session)
        except psycopg.Error:  # the server has ended it
            return False

    def clean(self) -> bool:
        """Remove what the files of a target left; returns whether another target may have the session."""
        self.targets += 1
        # Files that changed what a session begins with led to a new one, and this one is closed.
        if not self.shared or self.targets == _MOST_TARGETS or self.session.connection.closed:
            return False
        try:
            self.session.connection.execute("DISCARD ALL")
            if self.session.role:
                self.session.connection.execute(b"; ".join(self.session.reset_role))
        except psycopg.Error:  # the target is migrated, whatever becomes of the session
            return False
        return True


class KeptSessions:
    """The sessions that are kept between two targets of a wave. Safe for threads.

    They add no session to a server's: before another one is opened there, one that is kept is closed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, list[_TargetSession]] = {}
        self._apart: set[object] = set()

    @contextmanager
    def open(self, target: Target, addresses: Addresses, *, role: str, ledger: LedgerName) -> Iterator[Session]:
        """A session for a target. Raises what `open_session` raises.

        The block raises SessionApartNeeded when a file may not run in `shared` sessions; the next session is another.
        """
        key = address_key(target), target.database
        opened = self._take(target.server, key) or self._start(target, key, addresses, role)
        keeps = False
        try:
            with translate_errors(opened.session.connection, opened.session.name):
                session = replace(opened.session, migrations_table=ledger)
                yield _with_search_path(session, target, addresses) if opened.shared else session
                keeps = opened.clean()
        except SessionApartNeeded:
            self._apart.add(key)
            raise
        finally:
            if keeps:
                with self._lock:
                    self._kept.setdefault(target.server, []).append(opened)
            else:
                end_session(opened.session.connection)

    def close(self) -> None:
        """Close the sessions that no target has."""
        with self._lock:
            kept = [one for sessions in self._kept.values() for one in sessions]
            self._kept.clear()
        for one in kept:
            end_session(one.session.connection)

    def _take(self, server: str, key: object) -> _TargetSession | None:
        """A session that is kept for the key; without one, another of the server is closed to make room."""
        with self._lock:
            sessions = self._kept.get(server) or []
            found = next((one for one in sessions if one.key == key), sessions[0] if sessions else None)
            if found is None:
                return None
            sessions.remove(found)
            usable = found.key == key and key not in self._apart
        if usable and found.is_current():
            return found
        end_session(found.session.connection)
        return None

    def _start(self, target: Target, key: object, addresses: Addresses, role: str) -> _TargetSession:
        if target.schema and key not in self._apart:
            shared = start_session(addresses.shared_url(target), variable=str(target.address), role=role)
            try:
                with translate_errors(shared.connection, shared.name):
                    if not shared.pooled and not _has_functions(shared):
                        return _TargetSession(session=shared, key=key, shared=True, defaults=_read_defaults(shared))
            except BaseException:
                end_session(shared.connection)
                raise
            end_session(shared.connection)
            self._apart.add(key)
        session = start_session(addresses.url(target), variable=str(target.address), role=role)
        return _TargetSession(session=session, key=key, shared=False)


def _with_search_path(session: Session, target: Target, addresses: Addresses) -> Session:
    """The session with the search path of a target, as one that had begun with it."""
    statement = sql.SQL("SET search_path = {}").format(sql.SQL(", ").join(map(sql.Identifier, target.path)))
    setting = statement.as_bytes(session.connection)
    session.connection.execute(setting)
    return replace(session, url=addresses.url(target), runner_settings=(setting,))


def _read_defaults(session: Session) -> str | None:
    ((defaults,),) = session.connection.execute(SessionDefaults.query).fetchall()
    return None if defaults is None else str(defaults)


def _has_functions(session: Session) -> bool:
    return session.connection.execute(_HAS_FUNCTIONS).fetchone() == (True,)
