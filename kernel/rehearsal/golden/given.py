"""A golden copy on a server of the user's, beside TEST_DB, which becomes the clone that people look at afterwards.

Databases there are known as ours by their comments. Nobody is thrown out, nothing is overwritten that is not ours but
by --yes, and production never. A rehearsal that is killed leaves its databases behind: the next one drops them.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from kernel import database
from kernel.errors import DatabaseRefused, DatabaseUnreachable, LockBusy, UsageError
from kernel.rehearsal.golden import clone, content, filling, identity, mark, store
from kernel.rehearsal.golden.mark import Kind, Mark
from kernel.rehearsal.golden.place import Place, administration, left_behind
from kernel.rehearsal.result import Restore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.database import Connection, Session
    from kernel.rehearsal.golden.wish import Restorer, Wish

VARIABLE = "TEST_DB"

# Every server has it, unless somebody dropped it; a database cannot be made from within itself.
MAINTENANCE = "postgres"

# The server needs a moment to notice that a rehearsal was killed, and to let go of its lock.
_ENDING_SECONDS = 1.0
_POLL_SECONDS = 0.02

_ELSEWHERE = "or leave TEST_DB empty for a throwaway server"
_MAY = """
SELECT rolsuper OR rolcreatedb,
    rolsuper OR NOT EXISTS (
        SELECT FROM pg_database WHERE datname = %s AND NOT pg_has_role(current_user, datdba, 'MEMBER')
    ), quote_ident(current_user)
FROM pg_roles WHERE rolname = current_user
"""


@contextmanager
def opened(test_db: str, wish: Wish, restore: Restorer) -> Iterator[Place]:
    """The golden copy beside TEST_DB, which is at the connection string `test_db` and may not exist yet.

    Everything that speaks against it is found before anything is changed. Raises DatabaseUnreachable, DatabaseRefused,
    UsageError where --yes is missing, LockBusy while another rehearsal uses it, and what `restore` raises.
    """
    url, name = _maintenance(test_db)
    golden = clone.beside(name, "golden")
    key = f"{wish.digest[:32]}-{'schema' if wish.schema_only else 'full'}-{store.FORMAT}"
    with ExitStack() as stack:
        stack.enter_context(_alone(url, name))
        with administration(url, variable=VARIABLE) as session:
            _refuse(session, test_db, name, wish)
            _drop_leftovers(session, name, golden, key)
            found = mark.read(session.connection, golden)
            size = clone.size_bytes(session, golden) if found else 0
        if found:
            restored = Restore(seconds=0.0, bytes=size, reused=True, warnings=found.warnings)
        stack.callback(_leave, url, golden, keep=wish.keep, say=wish.say)
        if not found:
            restored = _filled(url, golden, key, wish, restore)
        yield Place(url=url, variable=VARIABLE, golden=golden, key=key, restored=restored, test_db=name)


def refuse(test_db: str, wish: Wish) -> None:
    """Raise what `opened` would raise of TEST_DB, before production is dumped for nothing. Nothing is changed."""
    url, name = _maintenance(test_db)
    with _alone(url, name), administration(url, variable=VARIABLE) as session:
        _refuse(session, test_db, name, wish)


def _refuse(session: Session, test_db: str, name: str, wish: Wish) -> None:
    _refuse_powerless(session, name)
    _refuse_foreign(session, test_db, name, clone.beside(name, "golden"), wish)
    clone.alone(session, name)


def _maintenance(test_db: str) -> tuple[str, str]:
    """The database from which others are made on TEST_DB's server, and TEST_DB's own name. Raises DatabaseRefused."""
    parameters = conninfo_to_dict(test_db)
    name = str(parameters.get("dbname") or parameters.get("user") or "")
    if not name:
        raise DatabaseRefused(f"TEST_DB names no database; add its name to the URL, {_ELSEWHERE}")
    if name in (MAINTENANCE, "template0", "template1"):
        raise DatabaseRefused(f"TEST_DB is {name}, which the server itself needs; name another, {_ELSEWHERE}")
    return make_conninfo(test_db, dbname=MAINTENANCE), name


@contextmanager
def _alone(url: str, name: str) -> Iterator[None]:
    """Keep other rehearsals away from TEST_DB. Raises LockBusy, DatabaseRefused through a pooler."""
    try:
        connection = database.connect(url, variable=VARIABLE)
    except DatabaseUnreachable as error:
        hint = (
            f"TEST_DB is dropped and made from the database {MAINTENANCE} of its server; let this role in, {_ELSEWHERE}"
        )
        raise DatabaseUnreachable(str(error), hint=hint) from error
    with connection:
        key = int.from_bytes(hashlib.sha256(f"db.snapshot-test\0{name}".encode()).digest()[:8], signed=True)
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        if row is None or row[0] != connection.info.backend_pid:
            what = f"{name}: behind a pooler, through which no database can be made; give TEST_DB a direct URL"
            raise DatabaseRefused(f"{what}, {_ELSEWHERE}")
        deadline = time.monotonic() + _ENDING_SECONDS
        while not _locked(connection, key):
            if time.monotonic() > deadline:
                raise LockBusy(f"another rehearsal uses TEST_DB ({name}); wait for its end, {_ELSEWHERE}")
            time.sleep(_POLL_SECONDS)
        yield


def _locked(connection: Connection, key: int) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (key,)).fetchone()
    return bool(row and row[0])


def _refuse_powerless(session: Session, name: str) -> None:
    """Raise DatabaseRefused when this role cannot make databases, or not drop the one that is there."""
    row = session.connection.execute(_MAY, (name,)).fetchone()
    creates, drops, role = row or (False, False, "this role")
    if not creates:
        raise DatabaseRefused(
            f"{session.name}: {role} may not create databases, and TEST_DB becomes a clone of another; "
            f"ALTER ROLE {role} CREATEDB, {_ELSEWHERE}"
        )
    if not drops:
        raise DatabaseRefused(
            f"{session.name}: {role} does not own TEST_DB ({name}), which is dropped and made again; "
            f"ALTER DATABASE … OWNER TO {role}, {_ELSEWHERE}"
        )


def _refuse_foreign(session: Session, test_db: str, name: str, golden: str, wish: Wish) -> None:
    """Raise when TEST_DB is production, or when it or the golden copy's name holds what is not ours."""
    if clone.exists(session, golden) and mark.read(session.connection, golden) is None:
        raise DatabaseRefused(
            f"{session.name}: there is a database {golden}, where the golden copy of TEST_DB would be, and it is not "
            f"ours; rename it, {_ELSEWHERE}"
        )
    if not clone.exists(session, name):
        return
    # By its name: without one in the URL, libpq would go where PGDATABASE or a service says.
    with database.session(make_conninfo(test_db, dbname=name), variable=VARIABLE) as target:
        held = "" if mark.read(session.connection, name) else content.held(target)
        identity.refuse_same(target, wish.forbidden, say=wish.say, holds=bool(held))
    if held and not wish.yes:
        raise UsageError(
            f"TEST_DB ({name}) would be overwritten and holds {held}; say so with --yes, name another database, "
            f"{_ELSEWHERE}"
        )


def _drop_leftovers(session: Session, name: str, golden: str, key: str) -> None:
    """Drop what a killed rehearsal left beside TEST_DB, and a golden copy of another dump or one half made."""
    for other, its in mark.beside(session.connection, f"{name}_").items():
        if other == golden and its == Mark(kind=Kind.GOLDEN, key=key, warnings=its.warnings):
            continue
        if other == golden or its.kind is Kind.CLONE:
            clone.drop(session, other, force=False)


def _filled(url: str, golden: str, key: str, wish: Wish, restore: Restorer) -> Restore:
    making = Mark(kind=Kind.MAKING, key=key)
    restored = filling.fill(
        url,
        golden,
        wish,
        restore,
        variable=VARIABLE,
        begun=lambda session: mark.put(session.connection, golden, making),
    )
    with administration(url, variable=VARIABLE) as session:
        mark.put(session.connection, golden, Mark(kind=Kind.GOLDEN, key=key, warnings=restored.warnings))
    return restored


def _leave(url: str, golden: str, *, keep: bool, say: Callable[[str], None]) -> None:
    """Drop the golden copy, unless it is complete and to be kept; `say` is told when that fails.

    It does not raise: the rehearsal has its result, and an error under way says more.
    """
    try:
        with administration(url, variable=VARIABLE) as session:
            found = mark.read(session.connection, golden)
            if found and not (keep and found.kind is Kind.GOLDEN):
                clone.drop(session, golden, force=False)
    except (DatabaseUnreachable, DatabaseRefused) as error:
        say(left_behind(golden, error))
