"""The golden copy of a dump as one value: its URL to read from, and clones of it to migrate."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel.errors import DatabaseRefused, DatabaseUnreachable
from kernel.rehearsal.golden import carry, clone, given, mark, own, shared
from kernel.rehearsal.golden.mark import Kind, Mark
from kernel.rehearsal.golden.place import left_behind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    """A golden copy. Its sessions at `url` are read-only; close them before the next clone is made.

    `say` is told of a clone that stays on the user's server because it could not be dropped.
    """

    place: Place
    say: Callable[[str], None] = field(default=lambda _line: None, repr=False)

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
        with ExitStack() as stack:
            with place.administration() as session:
                if place.test_db is None:
                    shared.drop_other_roles(session.connection, place.roles)
                if clone.exists(session, database):
                    _make_room(session, place, database)
                seconds = clone.create(session, place.golden, database)
                if database != place.test_db:
                    stack.callback(self._drop, database)
                if place.test_db is not None:
                    mark.put(session.connection, database, Mark(kind=Kind.CLONE, key=place.key))
                warnings = carry.over(session.connection, place.golden, database)
            yield Clone(name=database, url=place.reach(database), seconds=seconds, warnings=warnings)

    def _drop(self, database: str) -> None:
        """Drop a clone; on the user's server, `say` is told when that fails. A server of our own ends with its data."""
        ours = self.place.test_db is None
        try:
            with self.place.administration() as session:
                clone.drop(session, database, force=ours)
        except (DatabaseUnreachable, DatabaseRefused) as error:
            if not ours:
                self.say(left_behind(database, error))

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

    `restore(url)` fills an empty database and returns what is to be said of it. Raises EnvironmentFailed, UsageError
    where --yes is missing, LockBusy, and what `restore` raises.
    """
    where = own.opened(wish, restore) if wish.test_db is None else given.opened(wish.test_db, wish, restore)
    with where as place:
        yield Copy(place=place, say=wish.say)
