"""What a rehearsal wants to have copied, and where."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from psycopg import sql
from psycopg.conninfo import make_conninfo

from kernel.db.connection import open_session

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from kernel.db.connection import Session
    from kernel.errors import KernelError
    from kernel.postgres.programs import Programs
    from kernel.rehearsal.result import Restore


MAX_NAME_BYTES = 63  # NAMEDATALEN - 1


def sibling_name(name: str, suffix: str) -> str:
    """The name of a database that belongs to another, within the length of a name; too long ones are cut."""
    room = MAX_NAME_BYTES - len(f"_{suffix}".encode())
    return f"{name.encode()[:room].decode(errors='ignore')}_{suffix}"


Restorer = Callable[[str], tuple[str, ...]]
"""Fills the empty database at a URL, as a superuser where the server is ours, and closes every connection to it.

What comes back are sentences to remember with the copy: what it lacks, and what people should know of it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseLocale:
    """Encoding and locale of the copied database; "" is the server's default. `provider` is libc, icu or builtin.

    `name` is the locale of that provider, `collate` and `ctype` are libc's, which the others have beside it.
    """

    encoding: str = ""
    collate: str = ""
    ctype: str = ""
    provider: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectedDatabase:
    """A database that must never be overwritten, by the variable that names it."""

    variable: str
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRequest:
    """What to copy and where to. `digest` tells dumps apart, `name` is the dump's for people.

    Without `test_db` the copy lives on a throwaway server of `programs`, in memory when `room_bytes` are free there:
    all that it and its clones will take. `keep` stores it for the next time; a stored one is used in any case.
    `settings` become settings of the database, as ALTER DATABASE … SET makes them; `server_settings` those of the
    server while it rehearses, and `environ` is added to its environment. `yes` allows TEST_DB to hold what is not
    ours. `say` is told what people should know. `store` is for tests: where to keep, else the user's cache.
    """

    digest: str
    name: str
    programs: Programs | None = None
    schema_only: bool = False
    room_bytes: int = 1 << 30
    keep: bool = False
    locale: DatabaseLocale = field(default_factory=DatabaseLocale)
    settings: Mapping[str, str] = field(default_factory=dict)
    server_settings: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    test_db: str | None = field(default=None, repr=False)
    allow_overwrite: bool = False
    protected: tuple[ProtectedDatabase, ...] = ()
    print_line: Callable[[str], None] = lambda _line: None
    store_folder: Path | None = None


# Where a golden copy and its clones live: the server, the names there, and how its databases are reached.


# The clone that people may want to look at afterwards: in TEST_DB it is TEST_DB itself.
MAIN_CLONE_NAME = "rehearsal"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyServer:
    """A server with a golden copy, the database `golden`, which nobody changes.

    `url` is of a database of the server from which others are made, `variable` what messages call it. `test_db` is the
    name of TEST_DB, or None on a server of our own, where `roles` are those of the golden copy. `key` is of the dump.
    """

    url: str = field(repr=False)
    variable: str
    template: str
    key: str
    restored: Restore
    test_db: str | None = None
    roles: tuple[str, ...] = ()

    def clone_database_name(self, name: str) -> str:
        """The database of the clone `name`."""
        if self.test_db is None:
            return name
        return self.test_db if name == MAIN_CLONE_NAME else sibling_name(self.test_db, name)

    def database_url(self, name: str) -> str:
        """The connection string of a database on this server; it may hold a password."""
        return make_conninfo(self.url, dbname=name)

    @contextmanager
    def open_admin_session(self) -> Iterator[Session]:
        """A session that makes and drops databases. Raises DatabaseUnreachable, DatabaseRefused."""
        with open_admin_session(self.url, variable=self.variable) as session:
            yield session


@contextmanager
def open_admin_session(url: str, *, variable: str) -> Iterator[Session]:
    """A session without time limits, whatever the role's settings are: copying files takes its time."""
    with open_session(url, variable=variable) as session:
        session.connection.execute("SET statement_timeout = 0; SET lock_timeout = 0")
        yield session


def not_dropped_warning(name: str, error: KernelError) -> str:
    """The warning about a database on the user's server that could not be dropped, with the way to drop it."""
    drop = sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)).as_string()
    return (
        f"warning: {name} is a copy of production and is left on the server of TEST_DB: {error}; "
        f"the next rehearsal in this TEST_DB drops it, or: {drop}"
    )
