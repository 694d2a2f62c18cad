"""A template database with a copy of production, and the clones made from it."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from kernel.errors import DatabaseRefused, DatabaseUnreachable
from kernel.rehearsal.prod_copy.databases import (
    clone_database,
    copy_settings_and_privileges,
    database_exists,
    drop_database,
    open_admin_session,
)
from kernel.rehearsal.prod_copy.identity import (
    DatabaseKind,
    OwnershipComment,
    read_ownership_comment,
    write_ownership_comment,
)
from kernel.rehearsal.prod_copy.server_globals import drop_other_roles
from kernel.sql.reader import MAX_NAME_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from kernel.db.connection import Session
    from kernel.errors import KernelError
    from kernel.rehearsal.result import Restore


# The clone that the user may look at after the rehearsal: in TEST_DB it is TEST_DB itself.
MAIN_CLONE_NAME = "rehearsal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clone:
    """A disposable clone of the template database. `warnings` name settings that could not be copied to it."""

    name: str
    url: str = field(repr=False)
    seconds: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProdCopy:
    """A copy of production: the database `template` on the server at `server_url`, which messages call `variable`.

    Sessions of the template are read-only by default; close them before the next clone is made. `key` identifies the
    dump. On the user's server `test_db` is the name of TEST_DB's database. On a local server it is None, `roles` are
    those of the dump, and `programs_origin` says which programs it is of, and why. `print_line` prints a warning about
    a clone that stays on the user's server.
    """

    server_url: str = field(repr=False)
    variable: str
    template: str
    key: str
    restored: Restore
    programs_origin: str = ""
    test_db: str | None = None
    roles: tuple[str, ...] = ()
    print_line: Callable[[str], None] = field(default=lambda _line: None, repr=False)

    @property
    def url(self) -> str:
        """The connection string of the template database; it may hold a password."""
        return self._database_url(self.template)

    @contextmanager
    def clone(self, name: str) -> Iterator[Clone]:
        """Clone the template; the clone is dropped after the block, except MAIN_CLONE_NAME in TEST_DB.

        On a local server the database has the clone's name, and roles that the migrations of earlier clones created
        are dropped first, unless an existing clone depends on them. Raises DatabaseRefused, which names the sessions
        that are connected to the template or to TEST_DB.
        """
        database = self._clone_database_name(name)
        with ExitStack() as stack:
            with self._open_admin_session() as session:
                if self.test_db is None:
                    drop_other_roles(session.connection, self.roles)
                if database_exists(session, database):
                    self._drop_existing_database(session, database)
                seconds = clone_database(session, self.template, database)
                if database != self.test_db:
                    stack.callback(self._drop_clone, database)
                if self.test_db is not None:
                    comment = OwnershipComment(kind=DatabaseKind.CLONE, key=self.key)
                    write_ownership_comment(session.connection, database, comment)
                warnings = copy_settings_and_privileges(session.connection, self.template, database)
            yield Clone(name=database, url=self._database_url(database), seconds=seconds, warnings=warnings)

    def checkpoint(self) -> None:
        """Write all dirty pages to disk, before something is measured, where the role may."""
        with self._open_admin_session() as session, suppress(psycopg.errors.InsufficientPrivilege):
            session.connection.execute("CHECKPOINT")

    def _open_admin_session(self) -> AbstractContextManager[Session]:
        return open_admin_session(self.server_url, variable=self.variable)

    def _database_url(self, name: str) -> str:
        return make_conninfo(self.server_url, dbname=name)

    def _clone_database_name(self, name: str) -> str:
        if self.test_db is None:
            return name
        return self.test_db if name == MAIN_CLONE_NAME else sibling_name(self.test_db, name)

    def _drop_existing_database(self, session: Session, database: str) -> None:
        """Drop TEST_DB, or a leftover clone. Raises DatabaseRefused for a database that no rehearsal created."""
        if database != self.test_db and read_ownership_comment(session.connection, database) is None:
            raise DatabaseRefused(
                f"{session.name}: the name of the clone {database} is taken by a database that no rehearsal created; "
                "rename it"
            )
        drop_database(session, database, force=False)

    def _drop_clone(self, database: str) -> None:
        """Drop a clone; print a warning when that fails on the user's server. A local server ends with its data."""
        local = self.test_db is None
        try:
            with self._open_admin_session() as session:
                drop_database(session, database, force=local)
        except (DatabaseUnreachable, DatabaseRefused) as error:
            if not local:
                self.print_line(not_dropped_warning(database, error))


def sibling_name(name: str, suffix: str) -> str:
    """The name of a database next to `name`, cut so that it is no longer than PostgreSQL allows."""
    limit_bytes = MAX_NAME_BYTES - len(f"_{suffix}".encode())
    return f"{name.encode()[:limit_bytes].decode(errors='ignore')}_{suffix}"


def not_dropped_warning(name: str, error: KernelError) -> str:
    """The warning about a database on the user's server that could not be dropped, with the statement to drop it."""
    drop = sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)).as_string()
    return (
        f"warning: {name} is a copy of production and is left on the server of TEST_DB: {error}; "
        f"the next rehearsal in this TEST_DB drops it, or: {drop}"
    )
