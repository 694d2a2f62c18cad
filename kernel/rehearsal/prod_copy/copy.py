"""The golden copy of a dump as one value: its URL to read from, and clones of it to migrate."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel.errors import DatabaseRefused, DatabaseUnreachable
from kernel.rehearsal.prod_copy.databases import (
    clone_database,
    copy_settings_and_privileges,
    database_exists,
    drop_database,
    request_checkpoint,
)
from kernel.rehearsal.prod_copy.identity import (
    DatabaseKind,
    OwnershipComment,
    read_ownership_comment,
    write_ownership_comment,
)
from kernel.rehearsal.prod_copy.local_server import drop_other_roles, open_local_template
from kernel.rehearsal.prod_copy.model import not_dropped_warning
from kernel.rehearsal.prod_copy.test_db import open_test_db_template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.db.connection import Session
    from kernel.rehearsal.prod_copy.model import CopyRequest, CopyServer, Restorer
    from kernel.rehearsal.result import Restore


@dataclass(frozen=True, slots=True, kw_only=True)
class Clone:
    """A copy of the golden copy, there to be changed. `warnings` are what could not be carried over to it."""

    name: str
    url: str = field(repr=False)
    seconds: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProdCopy:
    """A golden copy. Its sessions at `url` are read-only; close them before the next clone is made.

    `say` is told of a clone that stays on the user's server because it could not be dropped.
    """

    server: CopyServer
    print_line: Callable[[str], None] = field(default=lambda _line: None, repr=False)

    @property
    def url(self) -> str:
        return self.server.database_url(self.server.template)

    @property
    def restored(self) -> Restore:
        """How it came to be, without the seconds of a clone."""
        return self.server.restored

    @contextmanager
    def clone(self, name: str) -> Iterator[Clone]:
        """A clone, gone after the block; MAIN in TEST_DB is TEST_DB itself, and stays to be looked at.

        Its name is its database's on a server of our own. Roles that an earlier clone's migrations made there are
        gone, unless a clone that is still there needs them. Raises DatabaseRefused, which names who is connected to
        the golden copy or to TEST_DB.
        """
        place = self.server
        database = place.clone_database_name(name)
        with ExitStack() as stack:
            with place.open_admin_session() as session:
                if place.test_db is None:
                    drop_other_roles(session.connection, place.roles)
                if database_exists(session, database):
                    _drop_existing_database(session, place, database)
                seconds = clone_database(session, place.template, database)
                if database != place.test_db:
                    stack.callback(self._drop_clone, database)
                if place.test_db is not None:
                    write_ownership_comment(
                        session.connection, database, OwnershipComment(kind=DatabaseKind.CLONE, key=place.key)
                    )
                warnings = copy_settings_and_privileges(session.connection, place.template, database)
            yield Clone(name=database, url=place.database_url(database), seconds=seconds, warnings=warnings)

    def _drop_clone(self, database: str) -> None:
        """Drop a clone; on the user's server, `say` is told when that fails. A server of our own ends with its data."""
        ours = self.server.test_db is None
        try:
            with self.server.open_admin_session() as session:
                drop_database(session, database, force=ours)
        except (DatabaseUnreachable, DatabaseRefused) as error:
            if not ours:
                self.print_line(not_dropped_warning(database, error))

    def checkpoint(self) -> bool:
        """Write out what is to be written, before something is measured; False where the role may not."""
        with self.server.open_admin_session() as session:
            return request_checkpoint(session)


def _drop_existing_database(session: Session, place: CopyServer, database: str) -> None:
    """Drop TEST_DB, or a clone that is left over. Raises DatabaseRefused when a database of this name is not ours."""
    if database != place.test_db and read_ownership_comment(session.connection, database) is None:
        raise DatabaseRefused(
            f"{session.name}: there is a database {database}, where a clone would be, and it is not ours; rename it"
        )
    drop_database(session, database, force=False)


@contextmanager
def open_copy(wish: CopyRequest, *, restore: Restorer) -> Iterator[ProdCopy]:
    """The golden copy of a dump, kept or made now by `restore`, on our own server or beside TEST_DB.

    `restore(url)` fills an empty database and returns what is to be said of it. Raises EnvironmentFailed, UsageError
    where --yes is missing, LockBusy, and what `restore` raises.
    """
    where = (
        open_local_template(wish, restore)
        if wish.test_db is None
        else open_test_db_template(wish.test_db, wish, restore)
    )
    with where as place:
        yield ProdCopy(server=place, print_line=wish.print_line)
