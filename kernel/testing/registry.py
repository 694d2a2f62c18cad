"""The registry: a database on the server of the tests, with a row for every other database that tests made there.

A row is committed before its database is created and deleted after the database is dropped, so that a process that is
killed in between leaves nothing that the next one does not recognize. A database without a row is never touched.

The session of the registry holds advisory locks: one for each process (its lease) and for each template that it uses.
The server releases them when the process ends, however it ends.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from kernel.db.connection import current_role, open_session
from kernel.errors import DatabaseRefused
from kernel.sql.reader import MAX_NAME_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.db.connection import Connection, Session


NAME_PREFIX = "kernel_test_"
OWNERSHIP_COMMENT = "made by kernel.testing, may be dropped"

# First keys of the advisory locks in the registry; the second is 0, a lease, or the digest of a template's key.
_CHANGES, _LEASE, _TEMPLATE = 1, 2, 3
_LOCK_KEY_BITS = 31

_CREATE_TABLE = """
CREATE TABLE databases (
    name text PRIMARY KEY,
    kind text NOT NULL,
    key text NOT NULL,
    project text NOT NULL,
    test text NOT NULL DEFAULT '',
    lease integer NOT NULL,
    used_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""
_LOCKED = """
SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.classid = {} AND l.objid = {}
"""
_ABANDONED = f"""
SELECT name FROM databases
WHERE kind IN ('building', 'clone') AND NOT EXISTS ({_LOCKED.format(_LEASE, "lease")})
    OR kind = 'kept' AND used_at < clock_timestamp() - interval '1 day'
ORDER BY name
"""  # noqa: S608 - constants of this module
# The digest of a key is its first seven hex digits, as template_lock_key() computes it.
_UNUSED_TEMPLATES = f"""
SELECT name FROM (
    SELECT *, row_number() OVER (ORDER BY used_at DESC, name) AS place FROM databases WHERE kind = 'template'
) AS t
WHERE (place > %s OR used_at < clock_timestamp() - %s * interval '1 day')
    AND NOT EXISTS ({_LOCKED.format(_TEMPLATE, "('x0' || substr(key, 1, 7))::bit(32)::integer")})
ORDER BY name
"""  # noqa: S608 - constants of this module
_SUPERFLUOUS_KEPT = """
SELECT name FROM (
    SELECT *, row_number() OVER (ORDER BY used_at DESC, name) AS place FROM databases
    WHERE kind = 'kept' AND project = %(project)s
) AS t WHERE place > %(limit)s ORDER BY name
"""


class Kind(StrEnum):
    """What a database is for. BUILDING and CLONE belong to a process, the others stay."""

    BUILDING = "building"
    TEMPLATE = "template"
    CLONE = "clone"
    KEPT = "kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """A session of the registry; `lease` identifies this process and `project` the folder of its tests."""

    session: Session
    lease: int
    project: str

    @property
    def connection(self) -> Connection:
        return self.session.connection

    @contextmanager
    def lock_changes(self) -> Iterator[None]:
        """Wait until no other process builds or removes templates, and keep it so in the block."""
        self.connection.execute("SELECT pg_advisory_lock(%s, 0)", (_CHANGES,))
        try:
            yield
        finally:
            self.connection.execute("SELECT pg_advisory_unlock(%s, 0)", (_CHANGES,))

    def add(self, name: str, kind: Kind, key: str) -> None:
        """Record a database that will now be created."""
        self.connection.execute(
            "INSERT INTO databases (name, kind, key, project, lease) VALUES (%s, %s, %s, %s, %s)",
            (name, kind, key, self.project, self.lease),
        )

    def change(self, name: str, kind: Kind, test: str = "") -> None:
        """Record what a database is for now."""
        self.connection.execute(
            "UPDATE databases SET kind = %s, test = %s, used_at = clock_timestamp() WHERE name = %s", (kind, test, name)
        )

    def forget(self, name: str) -> None:
        """Delete the row of a database that does not exist any more."""
        self.connection.execute("DELETE FROM databases WHERE name = %s", (name,))

    def use_template(self, key: str) -> str | None:
        """The name of the template with this key, protected from removal while this process lives; None without."""
        self.connection.execute("SELECT pg_advisory_lock_shared(%s, %s)", (_TEMPLATE, template_lock_key(key)))
        row = self.connection.execute(
            "UPDATE databases SET used_at = clock_timestamp() WHERE kind = 'template' AND key = %s RETURNING name",
            (key,),
        ).fetchone()
        return str(row[0]) if row else None

    def abandoned(self) -> list[str]:
        """The names of the databases whose processes have ended without dropping them, or that are kept for a day.

        A test that was removed or renamed never runs again, and its database would keep the server running.
        """
        return self._names(_ABANDONED)

    def unused_templates(self, *, keep: int, keep_days: int) -> list[str]:
        """The names of the templates that no process uses, but for the `keep` latest, if used in `keep_days`."""
        return self._names(_UNUSED_TEMPLATES, keep, keep_days)

    def kept(self, test: str) -> list[str]:
        """The names of the databases that are kept for earlier failures of a test."""
        query = "SELECT name FROM databases WHERE kind = 'kept' AND project = %s AND test = %s ORDER BY name"
        return self._names(query, self.project, test)

    def superfluous_kept(self, *, limit: int) -> list[str]:
        """The names of the databases kept for failed tests of this project, but for the `limit` latest."""
        rows = self.connection.execute(_SUPERFLUOUS_KEPT, {"project": self.project, "limit": limit})
        return [name for (name,) in rows.fetchall()]

    def keeps_any(self) -> bool:
        """Whether a database is kept for any failed test on this server."""
        return self.connection.execute("SELECT FROM databases WHERE kind = 'kept' LIMIT 1").rowcount > 0

    def _names(self, query: str, *parameters: object) -> list[str]:
        return [name for (name,) in self.connection.execute(query.encode(), parameters or None).fetchall()]


def template_lock_key(key: str) -> int:
    """The second key of the advisory lock of a template, from the hex digits of its key."""
    return int(key[:7], 16)


@contextmanager
def open_registry(url: str, *, variable: str, project: str) -> Iterator[Registry]:
    """Connect to the registry of the server at `url`, created when it is missing; `variable` is what messages call it.

    Each role has its own, since it cannot drop the databases of another role. Raises DatabaseUnreachable,
    DatabaseRefused.
    """
    with open_session(url, variable=variable) as session:
        if session.pooled:
            raise DatabaseRefused(
                f"{session.name}: a pooler shares its sessions, which keep no lock; set {variable} to the server itself"
            )
        ((role,),) = session.connection.execute("SELECT current_user::text").fetchall()
        name = f"{NAME_PREFIX}registry_{role}".encode()[:MAX_NAME_BYTES].decode(errors="ignore")
        # A lock on the database of the URL, which holds nothing of ours, for this moment only.
        session.connection.execute("SELECT pg_advisory_lock(hashtext(%s))", (name,))
        _create_registry(session, url, name)
    with open_session(make_conninfo(url, dbname=name), variable=variable) as session:
        connection = session.connection
        connection.execute("SET statement_timeout = 0; SET lock_timeout = 0")
        lease = secrets.randbits(_LOCK_KEY_BITS)
        connection.execute("SELECT pg_advisory_lock(%s, %s)", (_LEASE, lease))
        yield Registry(session=session, lease=lease, project=project)


def _create_registry(session: Session, url: str, name: str) -> None:
    comment = database_comment(session.connection, name)
    if comment is None:
        if not session.connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).rowcount:
            _create_database(session, name)
        with open_session(make_conninfo(url, dbname=name)) as registry:
            # Without a comment it is ours only if the process that created it was killed at once: it is empty.
            if registry.connection.execute("SELECT FROM pg_class WHERE oid >= 16384").rowcount:
                raise _name_taken(session, name)
            with registry.connection.transaction():
                registry.connection.execute(_CREATE_TABLE)
                write_comment(registry.connection, name, "the registry of the others")
    elif not comment.startswith(OWNERSHIP_COMMENT):
        raise _name_taken(session, name)


def _create_database(session: Session, name: str) -> None:
    try:
        session.connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.errors.InsufficientPrivilege as error:
        role = current_role(session)
        raise DatabaseRefused(
            f"{session.name}: {role} may not create databases; let an administrator run: ALTER ROLE {role} CREATEDB"
        ) from error


def _name_taken(session: Session, name: str) -> DatabaseRefused:
    return DatabaseRefused(f"{session.name}: the database {name} is not one that kernel.testing made; rename it")


def database_comment(connection: Connection, name: str) -> str | None:
    """The comment of a database; None when it has none or does not exist."""
    query = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
    row = connection.execute(query, (name,)).fetchone()
    return row[0] if row else None


def write_comment(connection: Connection, name: str, text: str) -> None:
    """Mark a database as made by tests; `text` says what it is."""
    statement = sql.SQL("COMMENT ON DATABASE {} IS {}")
    connection.execute(statement.format(sql.Identifier(name), sql.Literal(f"{OWNERSHIP_COMMENT}: {text}")))
