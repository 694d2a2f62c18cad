"""The pending migrations, run on a clone by the very code of db.migrate, while every witness looks on."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from psycopg.conninfo import make_conninfo

from kernel import database, migrate
from kernel.apply.events import Noticed
from kernel.errors import (
    DatabaseUnreachable,
    EnvironmentFailed,
    FilesInvalid,
    Interrupted,
    KernelError,
    MigrationFailed,
)
from kernel.rehearsal.result import Failed, Run
from kernel.rehearsal.witness import marks, sight
from kernel.rehearsal.witness.aside import Aside
from kernel.rehearsal.witness.attendant import Attendant
from kernel.rehearsal.witness.clock import Clock
from kernel.rehearsal.witness.lookout import Lookout
from kernel.rehearsal.witness.relations import Relations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.apply.events import Event, Observer
    from kernel.database import Connection
    from kernel.files.migration import Migration
    from kernel.migrate import Wish

_MAINTENANCE = "postgres"  # initdb makes it; CONCURRENTLY does not wait for what stands in another database


def rehearse(
    url: str,
    found: tuple[Migration, ...],
    wish: Wish,
    *,
    observer: Observer = lambda _event: None,
    say: Callable[[str], None] = lambda _line: None,
) -> tuple[Run, ...]:
    """Apply what is pending on the clone at `url`, whose user is a superuser; a Run for each migration begun.

    It ends as db.migrate does: with the first that fails, whose Run says why. Files that cannot be run at all are told
    in the same way, with nothing run. `observer` is told as db.migrate tells; `say` a line for each witness that is
    not there, or fell silent.

    Raises Drift, Unrecorded, LedgerShape, UsageError and LockBusy, with nothing run; EnvironmentFailed, Interrupted.
    """
    with _marked(url, say), database.session(url) as session, _beside(url) as watching, _beside(url) as asking:
        connection = session.connection
        relations = Relations(connection, sight.everything(connection).sights)
        pid, clone = _own(connection)
        clock = Clock()
        with Lookout(watching, pid=pid, database=clone) as lookout:
            aside = Aside(asking, database=clone)
            attendant = Attendant(connection, relations, clock=clock, lookout=lookout, aside=aside)
            failed: KernelError | None = None
            try:
                migrate.migrate(session, found, wish, _without_marks(observer), attendant)
            except (EnvironmentFailed, Interrupted):
                raise
            except KernelError as error:
                if not attendant.records and not isinstance(error, MigrationFailed | FilesInvalid):
                    raise
                failed = error
            attendant.finish()
        if aside.deaf:
            say(f"locks in the log of changes are not read: {aside.deaf}")
        if lookout.lost:
            say(f"locks were not watched to the end: {lookout.lost}")
        if connection.info.server_version < sight.FLUSHES_SINCE:
            say("rows read and written by statements outside of a transaction are not counted before PostgreSQL 15")
        end = clock.now()
    runs = [record.run(end) for record in attendant.records]
    return tuple(_with_failure(runs, found, failed) if failed else runs)


@contextmanager
def _marked(url: str, say: Callable[[str], None]) -> Iterator[None]:
    """With the event triggers in the clone; without them again afterwards, so that its schema can be compared."""
    connection = database.connect(url)
    try:
        if lacking := marks.make(connection):
            say(lacking)
        yield
    finally:
        # The migrations may have ended this connection; another can still clean up.
        connection.close()
        connection = database.connect(url)
        marks.remove(connection)
        connection.close()


@contextmanager
def _beside(url: str) -> Iterator[Connection]:
    """A connection to the same server that nobody in the clone waits for."""
    try:
        connection = database.connect(make_conninfo(url, dbname=_MAINTENANCE))
    except DatabaseUnreachable:
        connection = database.connect(url)
    try:
        yield connection
    finally:
        connection.close()


def _own(connection: Connection) -> tuple[int, int]:
    """(process id of the backend, OID of the database) of a connection."""
    (row,) = connection.execute(
        "SELECT pg_backend_pid(), oid::bigint FROM pg_database WHERE datname = current_database()"
    ).fetchall()
    return row[0], row[1]


def _without_marks(observer: Observer) -> Observer:
    def tell(event: Event) -> None:
        if not (isinstance(event, Noticed) and marks.read(event.message)):
            observer(event)

    return tell


def _with_failure(runs: list[Run], found: tuple[Migration, ...], error: KernelError) -> list[Run]:
    """The runs with the failure at the migration that it belongs to; one that was not begun has a Run without more."""
    if not runs and isinstance(error, FilesInvalid):
        files = {problem.file: "" for problem in error.problems}
        told = [(name, "\n".join(str(one) for one in error.problems if one.file == name)) for name in files]
        return [
            _unrun(one, Failed(code=error.code, message=message, aftermath="nothing was run"))
            for name, message in told
            for one in found
            if one.filename == name
        ]
    failed = Failed(code=error.code, message=str(error), aftermath="", hint=error.hint or "")
    filename = runs[-1].filename if runs else ""
    if isinstance(error, MigrationFailed):
        failed = replace(failed, aftermath=error.aftermath, failure=error.failure)
        filename = error.failure.file
    if runs and runs[-1].filename == filename:
        return [*runs[:-1], replace(runs[-1], failed=failed)]
    return [*runs, *(_unrun(one, failed) for one in found if one.filename == filename)]


def _unrun(migration: Migration, failed: Failed) -> Run:
    return Run(
        version=migration.version,
        filename=migration.filename,
        transactional=True,
        at_seconds=0.0,
        seconds=0.0,
        statements=(),
        failed=failed,
    )
