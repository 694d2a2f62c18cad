"""The pending migrations, run on a clone by the very code of db.migrate, while every witness looks on."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from psycopg.conninfo import make_conninfo

from kernel.apply.events import NoticeReceived
from kernel.db.connection import open_connection, open_session
from kernel.errors import (
    DatabaseUnreachable,
    EnvironmentFailed,
    FilesInvalid,
    Interrupted,
    KernelError,
    MigrationFailed,
)
from kernel.operations.migrate import migrate
from kernel.rehearsal.result import Run, RunFailure
from kernel.rehearsal.tracing.catalog import FLUSH_SERVER_VERSION, KnownRelations, read_all_relations
from kernel.rehearsal.tracing.ddl_events import create_event_triggers, drop_event_triggers, parse_ddl_notice
from kernel.rehearsal.tracing.lock_poller import LockPoller
from kernel.rehearsal.tracing.tracer import TraceClock, Tracer
from kernel.rehearsal.tracing.wal import WalReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.apply.events import Event, Observer
    from kernel.db.connection import Connection
    from kernel.migrations.migration import Migration
    from kernel.operations.migrate import MigrateOptions


_MAINTENANCE_DATABASE = "postgres"  # initdb makes it; CONCURRENTLY does not wait for what stands in another database


def trace_migrations(
    url: str,
    found: tuple[Migration, ...],
    wish: MigrateOptions,
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
    with (
        _with_event_triggers(url, say),
        open_session(url) as session,
        _connection_outside_clone(url) as watching,
        _connection_outside_clone(url) as asking,
    ):
        connection = session.connection
        relations = KnownRelations(connection, read_all_relations(connection).relations)
        pid, clone = _backend_and_database(connection)
        clock = TraceClock()
        with LockPoller(watching, pid=pid, database=clone) as lookout:
            aside = WalReader(asking, database=clone)
            attendant = Tracer(connection, relations, clock=clock, lookout=lookout, aside=aside)
            failed: KernelError | None = None
            try:
                migrate(session, found, wish, _without_ddl_notices(observer), attendant)
            except (EnvironmentFailed, Interrupted):
                raise
            except KernelError as error:
                if not attendant.traces and not isinstance(error, MigrationFailed | FilesInvalid):
                    raise
                failed = error
            attendant.finish()
        if aside.unavailable_reason:
            say(f"locks in the log of changes are not read: {aside.unavailable_reason}")
        if lookout.lost_reason:
            say(f"locks were not watched to the end: {lookout.lost_reason}")
        if connection.info.server_version < FLUSH_SERVER_VERSION:
            say("rows read and written by statements outside of a transaction are not counted before PostgreSQL 15")
        end = clock.now()
    runs = [record.to_run(end) for record in attendant.traces]
    return tuple(_with_failure(runs, found, failed) if failed else runs)


@contextmanager
def _with_event_triggers(url: str, say: Callable[[str], None]) -> Iterator[None]:
    """With the event triggers in the clone; without them again afterwards, so that its schema can be compared."""
    connection = open_connection(url)
    try:
        if lacking := create_event_triggers(connection):
            say(lacking)
        yield
    finally:
        # The migrations may have ended this connection; another can still clean up.
        connection.close()
        connection = open_connection(url)
        drop_event_triggers(connection)
        connection.close()


@contextmanager
def _connection_outside_clone(url: str) -> Iterator[Connection]:
    """A connection to the same server that nobody in the clone waits for."""
    try:
        connection = open_connection(make_conninfo(url, dbname=_MAINTENANCE_DATABASE))
    except DatabaseUnreachable:
        connection = open_connection(url)
    try:
        yield connection
    finally:
        connection.close()


def _backend_and_database(connection: Connection) -> tuple[int, int]:
    """(process id of the backend, OID of the database) of a connection."""
    (row,) = connection.execute(
        "SELECT pg_backend_pid(), oid::bigint FROM pg_database WHERE datname = current_database()"
    ).fetchall()
    return row[0], row[1]


def _without_ddl_notices(observer: Observer) -> Observer:
    def tell(event: Event) -> None:
        if not (isinstance(event, NoticeReceived) and parse_ddl_notice(event.message)):
            observer(event)

    return tell


def _with_failure(runs: list[Run], found: tuple[Migration, ...], error: KernelError) -> list[Run]:
    """The runs with the failure at the migration that it belongs to; one that was not begun has a Run without more."""
    if not runs and isinstance(error, FilesInvalid):
        files = {problem.file: "" for problem in error.problems}
        told = [(name, "\n".join(str(one) for one in error.problems if one.file == name)) for name in files]
        return [
            _run_not_begun(one, RunFailure(code=error.code, message=message, aftermath="nothing was run"))
            for name, message in told
            for one in found
            if one.filename == name
        ]
    failed = RunFailure(code=error.code, message=str(error), aftermath="", hint=error.hint or "")
    filename = runs[-1].filename if runs else ""
    if isinstance(error, MigrationFailed):
        failed = replace(failed, aftermath=error.aftermath, failure=error.failure)
        filename = error.failure.file
    if runs and runs[-1].filename == filename:
        return [*runs[:-1], replace(runs[-1], failed=failed)]
    return [*runs, *(_run_not_begun(one, failed) for one in found if one.filename == filename)]


def _run_not_begun(migration: Migration, failed: RunFailure) -> Run:
    return Run(
        version=migration.version,
        filename=migration.filename,
        transactional=True,
        at_seconds=0.0,
        seconds=0.0,
        statements=(),
        failed=failed,
    )
