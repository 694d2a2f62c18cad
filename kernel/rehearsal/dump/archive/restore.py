"""Restore an archive by pg_restore, and report what the server refused.

pg_restore connects as the loading role (see common.roles), which has no rights on the machine, and leaves out owners,
privileges, extensions, event triggers, subscriptions and user mappings. A superuser's connection runs those of them
that a copy has, from the schema's SQL, where plain.classify matched the whole statement: extensions before everything
else, the rest after it.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from kernel.config.ledger_name import DEFAULT_LEDGER
from kernel.db.connection import open_session
from kernel.errors import Problem
from kernel.rehearsal.dump.archive.contents import open_archive
from kernel.rehearsal.dump.archive.pg_restore import print_archive, run_pg_restore, run_vacuumdb
from kernel.rehearsal.dump.common.client_programs import pg_restore_warning
from kernel.rehearsal.dump.common.model import DumpFormat, DumpProgress, RestoreOutcome
from kernel.rehearsal.dump.common.roles import acquire_loading_role, grant_foreign_data_wrappers
from kernel.rehearsal.dump.plain.classify import StatementKind, is_safe_for_superuser, summarise_statement
from kernel.rehearsal.dump.plain.load import load_plain_dump
from kernel.rehearsal.dump.plain.load_order import plan_load
from kernel.rehearsal.dump.plain.scan import scan_dump
from kernel.rehearsal.dump.plain.text import DumpText
from kernel.rehearsal.dump.plain.workers import LoadConnection, open_load_connection
from kernel.schema.queries_tables import SERVER_OPTIONS

if TYPE_CHECKING:
    from kernel.config.ledger_name import LedgerName
    from kernel.db.connection import Connection
    from kernel.postgres.programs import Programs
    from kernel.rehearsal.dump.archive.contents import Archive
    from kernel.rehearsal.dump.archive.pg_restore import ReportedError
    from kernel.rehearsal.dump.common.model import Dump, ProgressCallback
    from kernel.rehearsal.dump.common.roles import LoadingRole
    from kernel.rehearsal.dump.plain.contents import DumpStatement


# pg_dump writes the rows of the tables that an extension marks for it; a superuser owns these tables.
_EXTENSION_TABLES = """
SELECT n.nspname::text, c.relname::text FROM pg_extension e, unnest(e.extconfig) configured
JOIN pg_class c ON c.oid = configured JOIN pg_namespace n ON n.oid = c.relnamespace
"""
_POLL_INTERVAL_SECONDS = 0.5
_COPY_PROGRESS_SINCE = 140000
# PostgreSQL documentation, "COPY Progress Reporting". pg_restore itself reports no progress.
_RUNNING_COPIES = """
SELECT pid, relid, relid::regclass::text, bytes_processed FROM pg_stat_progress_copy
WHERE datname = current_database() AND command = 'COPY FROM'
"""


def restore_archive(
    dump: Dump,
    url: str,
    programs: Programs,
    *,
    jobs: int = 2,
    schema_only: bool = False,
    progress: ProgressCallback | None = None,
    ledger: LedgerName = DEFAULT_LEDGER,
) -> RestoreOutcome:
    """Restore the archive into the new database at `url`, over `jobs` connections where its format allows, and ANALYZE.

    Raises DumpUnreadable, also when damage shows only now, Unprepared, DatabaseUnreachable, DatabaseRefused (see
    common.roles), RestoreFailed when the server or its disk gives up.
    """
    with open_archive(dump, programs, ledger) as archive, open_session(url) as session:
        if archive.index.server_option_count and _refuses_server_options(session.connection):
            return _restore_as_plain(archive, url, jobs=jobs, schema_only=schema_only, progress=progress)
        with acquire_loading_role(session) as loading:
            restore = _ArchiveRestore(archive, loading, session.connection, progress, schema_only=schema_only)
            restore.run(jobs=1 if dump.format is DumpFormat.TAR else max(1, jobs))
        # After the role is dropped: reassigning what it owned would fire them, as a superuser.
        restore.create_event_triggers()
    return RestoreOutcome(harmless=tuple(dict.fromkeys(restore.harmless)), lost=tuple(dict.fromkeys(restore.lost)))


def _refuses_server_options(connection: Connection) -> bool:
    """Whether the server is of a release that knows no options that only a server sets; pg_restore would send them."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SET TRANSACTION READ WRITE; CREATE TEMP TABLE tried (a int)")
            for option in SERVER_OPTIONS:
                connection.execute(sql.SQL("ALTER TABLE tried ALTER a SET ({} = 1)").format(sql.Identifier(option)))
    except psycopg.errors.InvalidParameterValue:
        return True
    return False


def _restore_as_plain(
    archive: Archive, url: str, *, jobs: int, schema_only: bool, progress: ProgressCallback | None
) -> RestoreOutcome:
    """Restore by the loader of plain dumps, which leaves out what this server refuses, from a temporary file."""
    warning = pg_restore_warning(archive.reader)
    with tempfile.TemporaryFile(buffering=0) as file:
        print_archive(archive, file, schema_only=schema_only)
        size_bytes = os.fstat(file.fileno()).st_size
        text = DumpText(descriptor=file.fileno(), name=archive.dump.path.name, size_bytes=size_bytes)
        index = scan_dump(text, archive.index.ledger)
        outcome = load_plain_dump(index, url, jobs=jobs, schema_only=schema_only, progress=progress)
    return replace(outcome, harmless=(*([warning] if warning else []), *outcome.harmless))


class _ArchiveRestore:
    """One restore; `assistant` is the superuser of `loading`, or the user who loads where there is none."""

    def __init__(
        self,
        archive: Archive,
        loading: LoadingRole,
        assistant: Connection,
        progress: ProgressCallback | None,
        *,
        schema_only: bool,
    ) -> None:
        self._archive = archive
        self._schema_only = schema_only
        self._plan = plan_load(archive.index.items, schema_only=schema_only, ledger=archive.index.ledger)
        self._loading = loading
        self._assistant = LoadConnection(assistant, archive.index.settings, only=(b"search_path",))
        self._progress_poller = CopyProgressPoller(assistant, archive.contents.data_bytes, progress)
        warning = pg_restore_warning(archive.reader)
        self.harmless: list[str] = [warning] if warning else []
        self.lost: list[Problem] = []

    def run(self, *, jobs: int) -> None:
        index = self._archive.index
        with open_load_connection(self._loading.url, index.settings) as main:
            for statement in self._plan.first:
                self._run_statement(self._assistant if statement.kind is StatementKind.EXTENSION else main, statement)
            if self._loading.has_superuser:
                _grant_extension_objects(self._assistant.connection, self._loading.name)
            # The dump may bring operators that match our queries better than PostgreSQL's (CVE-2018-1058).
            self._assistant.connection.execute("SET search_path = pg_catalog, pg_temp")
            errors = run_pg_restore(
                self._archive,
                main.connection,
                jobs=jobs,
                schema_only=self._schema_only,
                polled=self._progress_poller.poll,
            )
            self._progress_poller.report("statistics")
            if failed := run_vacuumdb(self._archive, main.connection, jobs=jobs):
                self.harmless.append(f"ANALYZE: {failed}")
            for error in _retry_after_deadlock(main, len(index.settings) - 1, errors):
                if not self._run_as_superuser(error.command.encode()):
                    self._record_error(error)
            for statement in self._plan.privileges:
                self._run_statement(self._assistant, statement)
            self.harmless += index.describe_left_out()

    def create_event_triggers(self) -> None:
        """Create the event triggers; from here on, our DDL would fire them."""
        for statement in self._plan.event_triggers:
            self._run_statement(self._assistant, statement)

    def _run_statement(self, connection: LoadConnection, statement: DumpStatement) -> None:
        """Run a statement of the schema's SQL that pg_restore leaves out."""
        text = self._archive.index.sql(statement)
        connection.apply_settings(statement.settings_state)
        refusal = connection.run_single(text, statement.authorization)
        if refusal is None:
            return
        sentence = f"{summarise_statement(text)}: {refusal}"
        if statement.kind in (StatementKind.EXTENSION, StatementKind.EVENT_TRIGGER):
            self.lost.append(self._problem(sentence))
        elif statement.kind is not StatementKind.SCHEMA:  # pg_restore will report this one
            self.harmless.append(sentence)

    def _run_as_superuser(self, command: bytes) -> bool:
        """Whether a superuser could run what the role was refused, if plain.classify allows it."""
        return (
            self._loading.has_superuser
            and is_safe_for_superuser(command)
            and self._assistant.run_single(command) is None
        )

    def _record_error(self, error: ReportedError) -> None:
        if error.harmless:
            if not error.already_exists:
                self.harmless.append(str(error))
        elif error.table:
            table = self._archive.listing.qualified_names(error.table)
            self.lost.append(self._problem(str(replace(error, table=table))))
        else:
            self.lost.append(self._problem(str(error)))

    def _problem(self, sentence: str) -> Problem:
        return Problem(message=sentence, file=self._archive.dump.path.name)


def _grant_extension_objects(superuser: Connection, role: str) -> None:
    """Let the role fill and use what extensions created; dropping the role revokes this."""
    grant_foreign_data_wrappers(superuser, role)
    for schema, table in superuser.execute(_EXTENSION_TABLES).fetchall():
        superuser.execute(sql.SQL("GRANT ALL ON {} TO {}").format(sql.Identifier(schema, table), sql.Identifier(role)))


def _retry_after_deadlock(main: LoadConnection, state: int, errors: list[ReportedError]) -> list[ReportedError]:
    """The errors that remain when the commands run again, one at a time: pg_restore's own connections can deadlock.

    Attaching an index and a primary key of the same partitioned table side by side is enough. Commands that failed
    because of such a deadlock are run again as well. `state` is that of the settings at the end of the schema.
    """
    if not any(error.deadlocked for error in errors):
        return errors
    main.apply_settings(state)
    return [error for error in errors if not error.command or main.run(error.command.encode())]


class CopyProgressPoller:
    """Reads from the server how many bytes each COPY has loaded, and reports the sum; `total_bytes` is an estimate."""

    def __init__(self, connection: Connection, total_bytes: int, report: ProgressCallback | None) -> None:
        self._connection = connection
        self._total_bytes = total_bytes
        self._report = report if connection.info.server_version >= _COPY_PROGRESS_SINCE else None
        self._copied: dict[tuple[int, int], int] = {}  # bytes by connection and table, finished ones too
        self._read_at = 0.0

    def poll(self) -> None:
        """Read and report, at most twice a second. Raises psycopg.Error."""
        if self._report is None or time.monotonic() < self._read_at + _POLL_INTERVAL_SECONDS:
            return
        self._read_at = time.monotonic()
        activity = "schema, indexes and keys"
        for pid, relation, name, count in self._connection.execute(_RUNNING_COPIES).fetchall():
            self._copied[pid, relation] = max(count, self._copied.get((pid, relation), 0))
            activity = name
        self.report(activity)

    def report(self, activity: str) -> None:
        """Report the current activity."""
        if self._report:
            done = min(sum(self._copied.values()), self._total_bytes)
            self._report(DumpProgress(done_bytes=done, total_bytes=self._total_bytes, activity=activity))
