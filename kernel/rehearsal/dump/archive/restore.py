"""How far a restore by pg_restore is, read from the server: pg_restore itself does not tell.

Rows arrive by COPY, and the server tells how many bytes each connection's COPY has taken in so far.
Source: PostgreSQL documentation, "COPY Progress Reporting" (since PostgreSQL 14).
"""

from __future__ import annotations

import re
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from psycopg import sql

from kernel.db.connection import open_connection, open_session
from kernel.errors import Problem
from kernel.rehearsal.dump.archive.contents import open_archive
from kernel.rehearsal.dump.archive.pg_restore import run_pg_restore, run_vacuumdb, summarise_command
from kernel.rehearsal.dump.client_programs import pg_restore_warning
from kernel.rehearsal.dump.identify import DumpFormat, DumpProgress, RestoreOutcome
from kernel.rehearsal.dump.plain.classify import StatementKind, is_safe_for_superuser
from kernel.rehearsal.dump.plain.contents import DumpStatement
from kernel.rehearsal.dump.plain.load_order import plan_load
from kernel.rehearsal.dump.plain.workers import LoadConnection
from kernel.rehearsal.dump.roles import acquire_loading_role

if TYPE_CHECKING:
    from kernel.db.connection import Connection
    from kernel.postgres.programs import Programs
    from kernel.rehearsal.dump.archive.contents import Archive
    from kernel.rehearsal.dump.archive.pg_restore import ReportedError
    from kernel.rehearsal.dump.identify import Dump, ProgressCallback
    from kernel.rehearsal.dump.roles import LoadingRole


_POLL_INTERVAL_SECONDS = 0.5
_COPY_PROGRESS_SINCE = 140000
_RUNNING_COPIES = """
SELECT pid, relid, relid::regclass::text, bytes_processed FROM pg_stat_progress_copy
WHERE datname = current_database() AND command = 'COPY FROM'
"""


class CopyProgressPoller:
    """Tells `report` what `connection` sees; `total_bytes` is what all rows take, as good as it is known."""

    def __init__(self, connection: Connection, total_bytes: int, report: ProgressCallback | None) -> None:
        self._connection = connection
        self._total_bytes = total_bytes
        self._report = report if connection.info.server_version >= _COPY_PROGRESS_SINCE else None
        self._copied: dict[tuple[int, int], int] = {}  # by connection and table, those that are done too
        self._read_at = 0.0

    def poll(self) -> None:
        """Ask the server and tell, at most twice a second. Raises psycopg.Error."""
        if self._report is None or time.monotonic() < self._read_at + _POLL_INTERVAL_SECONDS:
            return
        self._read_at = time.monotonic()
        what = "schema, indexes and keys"
        for pid, relation, name, count in self._connection.execute(_RUNNING_COPIES).fetchall():
            self._copied[pid, relation] = max(count, self._copied.get((pid, relation), 0))
            what = name
        self.report(what)

    def report(self, what: str) -> None:
        """Tell what comes now."""
        if self._report:
            done = min(sum(self._copied.values()), self._total_bytes)
            self._report(DumpProgress(done_bytes=done, total_bytes=self._total_bytes, activity=what))


# Restore an archive by pg_restore, as the role of role.loading, and say what did not come along.
#
# pg_restore connects as a role that can do nothing to the machine, and is not told of owners, privileges, extensions,
# event triggers, subscriptions and user mappings. A superuser's connection brings those of them that a copy has, from the
# schema's SQL, where shape matched the whole of a statement: extensions ahead of everything, the rest behind it.


_REMOTE_NOTICE = "left out, a copy does not reach other servers"
_SECRET_CLAUSES = re.compile(r" (?:CONNECTION|OPTIONS)\b")
# pg_dump writes the rows of tables that an extension asked to have dumped; the tables belong to a superuser.
_EXTENSION_TABLES = """
SELECT n.nspname::text, c.relname::text FROM pg_extension e, unnest(e.extconfig) configured
JOIN pg_class c ON c.oid = configured JOIN pg_namespace n ON n.oid = c.relnamespace
"""
_FOREIGN_DATA_WRAPPERS = "SELECT fdwname::text FROM pg_foreign_data_wrapper"


def restore_archive(
    dump: Dump,
    url: str,
    programs: Programs,
    *,
    jobs: int = 2,
    schema_only: bool = False,
    progress: ProgressCallback | None = None,
) -> RestoreOutcome:
    """Restore the archive into the fresh database at `url`, with `jobs` at once where its format allows, and ANALYZE.

    What the server refuses is skipped and told. Raises DumpUnreadable, also when damage shows only now, Unprepared,
    DatabaseUnreachable, DatabaseRefused (see role), RestoreFailed when the server or its disk gives up.
    """
    begun = time.monotonic()
    with open_archive(dump, programs) as opened, open_session(url) as session:
        with acquire_loading_role(session) as loading:
            work = _ArchiveRestore(opened, loading, session.connection, progress)
            work.run(jobs=1 if dump.format is DumpFormat.TAR else max(1, jobs), schema_only=schema_only)
        # Not before the role is gone: handing over what it owned would fire them, as the superuser who does it.
        work.create_event_triggers()
    return RestoreOutcome(
        read_bytes=dump.size_bytes,
        seconds=time.monotonic() - begun,
        harmless=tuple(dict.fromkeys(work.harmless)),
        lost=tuple(dict.fromkeys(work.lost)),
    )


class _ArchiveRestore:
    """A restore under way; `assistant` is the superuser of `loading`, or the user who loads where there is none."""

    def __init__(
        self, opened: Archive, loading: LoadingRole, assistant: Connection, progress: ProgressCallback | None
    ) -> None:
        self._archive = opened
        self._plan = plan_load(opened.index.items, schema_only=True)
        self._loading = loading
        self._assistant = LoadConnection(assistant, opened.index.settings, only=(b"search_path",))
        self._progress_poller = CopyProgressPoller(assistant, opened.contents.data_bytes, progress)
        warning = pg_restore_warning(opened.reader)
        self.harmless: list[str] = [warning] if warning else []
        self.lost: list[Problem] = []

    def run(self, *, jobs: int, schema_only: bool) -> None:
        with closing(open_connection(self._loading.url)) as own:
            index = self._archive.index
            main = LoadConnection(own, index.settings)
            for statement in self._plan.first:
                self._run_statement(self._assistant if statement.kind is StatementKind.EXTENSION else main, statement)
            if self._loading.has_superuser:
                _grant_extension_objects(self._assistant.connection, self._loading.name)
            # The dump may bring operators that fit our questions better than PostgreSQL's own (CVE-2018-1058).
            self._assistant.connection.execute("SET search_path = pg_catalog, pg_temp")
            refused = run_pg_restore(
                self._archive, own, jobs=jobs, schema_only=schema_only, polled=self._progress_poller.poll
            )
            self._progress_poller.report("statistics")
            if failed := run_vacuumdb(self._archive, own, jobs=jobs):
                self.harmless.append(f"ANALYZE: {failed}")
            for complaint in _retry_after_deadlock(main, len(index.settings) - 1, refused):
                if not self._run_as_superuser(complaint.command.encode()):
                    self._record_error(complaint)
            for statement in self._plan.privileges:
                self._run_statement(self._assistant, statement)
            for item in index.items:
                if isinstance(item, DumpStatement) and item.kind is StatementKind.REMOTE:
                    # What follows may hold a password.
                    words = _SECRET_CLAUSES.split(_summarise_statement(index.sql(item)), maxsplit=1)[0]
                    self.harmless.append(f"{words}: {_REMOTE_NOTICE}")

    def create_event_triggers(self) -> None:
        """Bring the event triggers; nothing of ours may run DDL from here on."""
        for statement in self._plan.event_triggers:
            self._run_statement(self._assistant, statement)

    def _run_statement(self, one: LoadConnection, statement: DumpStatement) -> None:
        """Run a statement of the schema's SQL that pg_restore was not told of."""
        text = self._archive.index.sql(statement)
        one.apply_settings(statement.settings_state)
        refused = None
        if statement.authorization:
            one.run_single(b"SET SESSION AUTHORIZATION " + statement.authorization)
            refused = one.run_single(text)
            one.run_single(b"RESET SESSION AUTHORIZATION")
        if refused or not statement.authorization:  # who could grant it there may own nothing here
            refused = one.run_single(text)
        if not refused:
            return
        if statement.kind is StatementKind.EXTENSION or statement.kind is StatementKind.EVENT_TRIGGER:
            self.lost.append(self._problem(f"{_summarise_statement(text)}: {refused}"))
        elif statement.kind is not StatementKind.SCHEMA:  # of which pg_restore will complain itself
            self.harmless.append(f"{_summarise_statement(text)}: {refused}")

    def _run_as_superuser(self, command: bytes) -> bool:
        """Whether a superuser could run what the role was refused; only what shape has vetted."""
        return (
            self._loading.has_superuser
            and is_safe_for_superuser(command)
            and self._assistant.run_single(command) is None
        )

    def _record_error(self, complaint: ReportedError) -> None:
        if complaint.harmless:
            if not complaint.already_exists:
                self.harmless.append(str(complaint))
        elif complaint.table:
            table = self._archive.listing.qualified_names(complaint.table)
            self.lost.append(self._problem(str(replace(complaint, table=table))))
        else:
            self.lost.append(self._problem(str(complaint)))

    def _problem(self, sentence: str) -> Problem:
        return Problem(message=sentence, file=self._archive.dump.path.name)


def _grant_extension_objects(superuser: Connection, name: str) -> None:
    """Let the role fill what extensions made; its end takes this away again."""
    target = sql.Identifier(name)
    for (wrapper,) in superuser.execute(_FOREIGN_DATA_WRAPPERS).fetchall():
        superuser.execute(
            sql.SQL("GRANT USAGE ON FOREIGN DATA WRAPPER {} TO {}").format(sql.Identifier(wrapper), target)
        )
    for schema, table in superuser.execute(_EXTENSION_TABLES).fetchall():
        superuser.execute(sql.SQL("GRANT ALL ON {} TO {}").format(sql.Identifier(schema, table), target))


def _retry_after_deadlock(main: LoadConnection, state: int, refused: list[ReportedError]) -> list[ReportedError]:
    """What is still refused when nothing stands in the way: pg_restore's own connections can deadlock.

    Attaching an index and a primary key of the same partitioned table side by side is enough. A command that failed
    for want of such a one is tried again as well. `state` is that of the settings at the end of the schema.
    """
    if not any(complaint.deadlocked for complaint in refused):
        return refused
    main.apply_settings(state)
    return [complaint for complaint in refused if not complaint.command or main.run(complaint.command.encode())]


def _summarise_statement(statement: bytes) -> str:
    return summarise_command(statement.decode(errors="replace"))
