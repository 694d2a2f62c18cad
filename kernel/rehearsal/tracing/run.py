"""Run the pending migrations on a clone, as `db.migrate` runs them, and trace every statement."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from psycopg.conninfo import make_conninfo

from kernel.apply.events import MigrationApplied, NoticeReceived
from kernel.config.ledger_name import DEFAULT_LEDGER
from kernel.db.connection import format_identifier, open_connection, open_session
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
    from kernel.config.ledger_name import LedgerName
    from kernel.db.connection import Connection
    from kernel.migrations.migration import Migration
    from kernel.operations.migrate import MigrateOptions


_INSUFFICIENT_PRIVILEGE = "42501"
_MAINTENANCE_DATABASE = "postgres"  # of every server; CONCURRENTLY does not wait for sessions in another database


def trace_migrations(
    url: str,
    migrations: tuple[Migration, ...],
    options: MigrateOptions,
    *,
    observer: Observer = lambda _event: None,
    print_line: Callable[[str], None] = lambda _line: None,
    begin_seconds: float = 0.0,
    migrations_table: LedgerName = DEFAULT_LEDGER,
    role: str = "",
) -> tuple[Run, ...]:
    """Apply the pending migrations on the clone at `url`, as `role` if it is given; a Run for each migration begun.

    It ends as `db.migrate` does: with the first that fails, whose Run says why. Invalid files have a Run without
    statements. `observer` gets the events of `db.migrate`, `print_line` a line for each kind of data that cannot be
    traced. Times are counted from `begin_seconds`.

    Raises Drift, Unrecorded, LedgerShape, UsageError and LockBusy, with nothing run; EnvironmentFailed, Interrupted.
    """
    with (
        _with_event_triggers(url, print_line),
        open_session(url, role=role, migrations_table=migrations_table) as session,
        _connection_outside_clone(url) as polling,
        _connection_outside_clone(url) as reading,
    ):
        connection = session.connection
        relations = KnownRelations(connection, read_all_relations(connection).relations)
        pid, clone = _backend_and_database(connection)
        clock = TraceClock(begin_seconds)
        with LockPoller(polling, pid=pid, database=clone) as poller:
            wal = WalReader(reading, database=clone)
            tracer = Tracer(connection, relations, clock=clock, poller=poller, wal=wal)
            failed: KernelError | None = None
            try:
                migrate(session, migrations, options, _observe_too(observer, tracer), tracer)
            except (EnvironmentFailed, Interrupted):
                raise
            except KernelError as error:
                if not tracer.traces and not isinstance(error, MigrationFailed | FilesInvalid):
                    raise
                failed = _with_role_hint(error, role)
            tracer.finish()
        if wal.unavailable_reason:
            print_line(f"locks in the WAL are not read: {wal.unavailable_reason}")
        if poller.lost_reason:
            print_line(f"locks were not polled to the end: {poller.lost_reason}")
        if connection.info.server_version < FLUSH_SERVER_VERSION:
            print_line(
                "rows read and written by statements outside of a transaction are not counted before PostgreSQL 15"
            )
        end = clock.now()
    runs = [trace.to_run(end) for trace in tracer.traces]
    return tuple(_with_failure(runs, migrations, failed) if failed else runs)


@contextmanager
def _with_event_triggers(url: str, print_line: Callable[[str], None]) -> Iterator[None]:
    """Create the event triggers in the clone, and drop them afterwards, so that its schema can be compared."""
    connection = open_connection(url)
    try:
        if reason := create_event_triggers(connection):
            print_line(reason)
        yield
    finally:
        # The migrations may have ended this connection; another can still clean up.
        connection.close()
        connection = open_connection(url)
        drop_event_triggers(connection)
        connection.close()


@contextmanager
def _connection_outside_clone(url: str) -> Iterator[Connection]:
    """A connection to the same server for which no session in the clone waits."""
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


def _observe_too(observer: Observer, tracer: Tracer) -> Observer:
    """Pass on the events but those of the event triggers; the tracer keeps how the batches of a backfill went."""

    def observe(event: Event) -> None:
        if isinstance(event, MigrationApplied) and event.note:
            tracer.add_note(event.note)
        if not (isinstance(event, NoticeReceived) and parse_ddl_notice(event.message)):
            observer(event)

    return observe


def _with_failure(runs: list[Run], migrations: tuple[Migration, ...], error: KernelError) -> list[Run]:
    """The runs with the failure of the migration that it belongs to, which has an empty Run if it did not begin."""
    if not runs and isinstance(error, FilesInvalid):
        messages: dict[str | None, list[str]] = {}
        for problem in error.problems:
            messages.setdefault(problem.file, []).append(str(problem))
        return [
            _run_not_begun(
                migration, RunFailure(code=error.code, message="\n".join(lines), aftermath="nothing was run")
            )
            for file, lines in messages.items()
            for migration in migrations
            if migration.filename == file
        ]
    failed = RunFailure(code=error.code, message=str(error), aftermath="", hint=error.hint or "")
    filename = runs[-1].filename if runs else ""
    if isinstance(error, MigrationFailed):
        failed = replace(failed, aftermath=error.aftermath, failure=error.failure)
        filename = error.failure.file
    if runs and runs[-1].filename == filename:
        return [*runs[:-1], replace(runs[-1], failed=failed)]
    return [*runs, *(_run_not_begun(one, failed) for one in migrations if one.filename == filename)]


def _with_role_hint(error: KernelError, role: str) -> KernelError:
    """The error of a privilege that the role may have in production, by what a dump does not hold."""
    if role and isinstance(error, MigrationFailed) and error.failure.sqlstate == _INSUFFICIENT_PRIVILEGE:
        error.hint = (
            f"the role {format_identifier(role)} of KERNEL_ROLE has here what the dump grants it: if it has the "
            "privilege in production as a member of another role or by an attribute, which are in no dump, "
            "rehearse with KERNEL_ROLE empty"
        )
    return error


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
