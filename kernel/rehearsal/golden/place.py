"""Where a golden copy and its clones live: the server, the names there, and how its databases are reached."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from psycopg import sql
from psycopg.conninfo import make_conninfo

from kernel import database
from kernel.rehearsal.golden import clone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.database import Session
    from kernel.errors import KernelError
    from kernel.rehearsal.result import Restore

# The clone that people may want to look at afterwards: in TEST_DB it is TEST_DB itself.
MAIN = "rehearsal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A server with a golden copy, the database `golden`, which nobody changes.

    `url` is of a database of the server from which others are made, `variable` what messages call it. `test_db` is the
    name of TEST_DB, or None on a server of our own, where `roles` are those of the golden copy. `key` is of the dump.
    """

    url: str = field(repr=False)
    variable: str
    golden: str
    key: str
    restored: Restore
    test_db: str | None = None
    roles: tuple[str, ...] = ()

    def named(self, name: str) -> str:
        """The database of the clone `name`."""
        if self.test_db is None:
            return name
        return self.test_db if name == MAIN else clone.beside(self.test_db, name)

    def reach(self, name: str) -> str:
        """The connection string of a database on this server; it may hold a password."""
        return make_conninfo(self.url, dbname=name)

    @contextmanager
    def administration(self) -> Iterator[Session]:
        """A session that makes and drops databases. Raises DatabaseUnreachable, DatabaseRefused."""
        with administration(self.url, variable=self.variable) as session:
            yield session


@contextmanager
def administration(url: str, *, variable: str) -> Iterator[Session]:
    """A session without time limits, whatever the role's settings are: copying files takes its time."""
    with database.session(url, variable=variable) as session:
        session.connection.execute("SET statement_timeout = 0; SET lock_timeout = 0")
        yield session


def left_behind(name: str, error: KernelError) -> str:
    """The warning about a database on the user's server that could not be dropped, with the way to drop it."""
    drop = sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)).as_string()
    return (
        f"warning: {name} is a copy of production and is left on the server of TEST_DB: {error}; "
        f"the next rehearsal in this TEST_DB drops it, or: {drop}"
    )
