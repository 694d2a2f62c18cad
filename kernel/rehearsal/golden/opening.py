"""The golden copy of a dump as one value: its URL to read from, and clones of it to migrate."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel.errors import DatabaseRefused, DatabaseUnreachable
from kernel.rehearsal.golden import clone, given, mark, own, shared
from kernel.rehearsal.golden.mark import Kind, Mark

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.database import Session
    from kernel.rehearsal.golden.place import Place
    from kernel.rehearsal.golden.wish import Restorer, Wish
    from kernel.rehearsal.result import Restore


@dataclass(frozen=True, slots=True, kw_only=True)
class Clone:
    """A copy of the golden copy, there to be changed. `warnings` are what could not be carried over to it."""

    name: str
    url: str = field(repr=False)
    seconds: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A golden copy. Its sessions at `url` are read-only; close them before the next clone is made."""

    place: Place

    @property
    def url(self) -> str:
        return self.place.reach(self.place.golden)

    @property
    def restored(self) -> Restore:
        """How it came to be, without the seconds of a clone."""
        return self.place.restored

    @contextmanager
    def clone(self, name: str) -> Iterator[Clone]:
        """A clone, gone after the block; MAIN in TEST_DB is TEST_DB itself, and stays to be looked at.

        Its name is its database's on a server of our own. Roles that an earlier clone's migrations made there are
        gone, unless a clone that is still there needs them. Raises DatabaseRefused, which names who is connected to
        the golden copy or to TEST_DB.
        """
        place = self.place
        database = place.named(name)
        with place.administration() as session:
            if place.test_db is None:
                shared.drop_other_roles(session.connection, place.roles)
            if clone.exists(session, database):
                _make_room(session, place, database)
            seconds, warnings = clone.create(session, place.golden, database)
            if place.test_db is not None:
                mark.put(session.connection, database, Mark(kind=Kind.CLONE, key=place.key))
        try:
            yield Clone(name=database, url=place.reach(database), seconds=seconds, warnings=warnings)
        finally:
            if database != place.test_db:
                # What cannot be dropped now, goes with our server, or at the next rehearsal's start.
                with suppress(DatabaseUnreachable), place.administration() as session:
                    clone.drop(session, database, force=place.test_db is None)

    def checkpoint(self) -> bool:
        """Write out what is to be written, before something is measured; False where the role may not."""
        with self.place.administration() as session:
            return clone.checkpoint(session)


def _make_room(session: Session, place: Place, database: str) -> None:
    """Drop TEST_DB, or a clone that is left over. Raises DatabaseRefused when a database of this name is not ours."""
    if database != place.test_db and mark.read(session.connection, database) is None:
        raise DatabaseRefused(
            f"{session.name}: there is a database {database}, where a clone would be, and it is not ours; rename it"
        )
    clone.drop(session, database, force=False)


@contextmanager
def opened(wish: Wish, *, restore: Restorer) -> Iterator[Copy]:
    """The golden copy of a dump, kept or made now by `restore`, on our own server or beside TEST_DB.

    `restore(url)` fills an empty database and returns what is to be said of it. Raises DatabaseUnreachable and its
    kin, UsageError where --yes is missing, LockBusy, and what `restore` raises.
    """
    where = own.opened(wish, restore) if wish.test_db is None else given.opened(wish.test_db, wish, restore)
    with where as place:
        yield Copy(place=place)
