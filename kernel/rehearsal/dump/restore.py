"""Restore an archive by pg_restore, as the role of role.loading, and say what did not come along.

pg_restore connects as a role that can do nothing to the machine, and is not told of owners, privileges, extensions,
event triggers, subscriptions and user mappings. A superuser's connection brings those of them that a copy has, from the
schema's SQL, where shape matched the whole of a statement: extensions ahead of everything, the rest behind it.
"""

from __future__ import annotations

import re
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from psycopg import sql

from kernel import database
from kernel.errors import Problem
from kernel.rehearsal.dump import archive, complaints, gauge, hired, order, reader, role, shape
from kernel.rehearsal.dump.dump import Format, Restored
from kernel.rehearsal.dump.hand import Hand
from kernel.rehearsal.dump.index import Statement
from kernel.rehearsal.dump.shape import Kind

if TYPE_CHECKING:
    from kernel.database import Connection
    from kernel.rehearsal.dump.archive import Archive
    from kernel.rehearsal.dump.complaints import Complaint
    from kernel.rehearsal.dump.dump import Dump, Report
    from kernel.rehearsal.dump.role import Loading
    from kernel.server.programs import Programs

_REMOTE = "left out, a copy does not reach other servers"
_SECRET = re.compile(r" (?:CONNECTION|OPTIONS)\b")
# pg_dump writes the rows of tables that an extension asked to have dumped; the tables belong to a superuser.
_OF_EXTENSIONS = """
SELECT n.nspname::text, c.relname::text FROM pg_extension e, unnest(e.extconfig) configured
JOIN pg_class c ON c.oid = configured JOIN pg_namespace n ON n.oid = c.relnamespace
"""
_WRAPPERS = "SELECT fdwname::text FROM pg_foreign_data_wrapper"


def restore(
    dump: Dump,
    url: str,
    programs: Programs,
    *,
    jobs: int = 2,
    schema_only: bool = False,
    progress: Report | None = None,
) -> Restored:
    """Restore the archive into the fresh database at `url`, with `jobs` at once where its format allows, and ANALYZE.

    What the server refuses is skipped and told. Raises DumpUnreadable, also when damage shows only now, Unprepared,
    DatabaseUnreachable, DatabaseRefused (see role), RestoreFailed when the server or its disk gives up.
    """
    begun = time.monotonic()
    with archive.opened(dump, programs) as opened, database.session(url) as session:
        with role.loading(session) as loading:
            work = _Restore(opened, loading, session.connection, progress)
            work.all(jobs=1 if dump.format is Format.TAR else max(1, jobs), schema_only=schema_only)
        # Not before the role is gone: handing over what it owned would fire them, as the superuser who does it.
        work.event_triggers()
    return Restored(
        bytes=dump.size_bytes,
        seconds=time.monotonic() - begun,
        harmless=tuple(dict.fromkeys(work.harmless)),
        lost=tuple(dict.fromkeys(work.lost)),
    )


class _Restore:
    """A restore under way; `assistant` is the superuser of `loading`, or the user who loads where there is none."""

    def __init__(self, opened: Archive, loading: Loading, assistant: Connection, progress: Report | None) -> None:
        self._archive = opened
        self._plan = order.of(opened.index.items, schema_only=True)
        self._loading = loading
        self._assistant = Hand(assistant, opened.index.settings, only=(b"search_path",))
        self._gauge = gauge.Gauge(assistant, opened.contents.data_bytes, progress)
        warning = reader.warning(opened.reader)
        self.harmless: list[str] = [warning] if warning else []
        self.lost: list[Problem] = []

    def all(self, *, jobs: int, schema_only: bool) -> None:
        with closing(database.connect(self._loading.url)) as own:
            index = self._archive.index
            main = Hand(own, index.settings)
            for statement in self._plan.first:
                self._bring(self._assistant if statement.kind is Kind.EXTENSION else main, statement)
            if self._loading.assisted:
                _grant(self._assistant.connection, self._loading.role)
            # The dump may bring operators that fit our questions better than PostgreSQL's own (CVE-2018-1058).
            self._assistant.connection.execute("SET search_path = pg_catalog, pg_temp")
            refused = hired.restore(self._archive, own, jobs=jobs, schema_only=schema_only, polled=self._gauge.read)
            self._gauge.tell("statistics")
            if failed := hired.analyze(self._archive, own, jobs=jobs):
                self.harmless.append(f"ANALYZE: {failed}")
            for complaint in _again(main, len(index.settings) - 1, refused):
                if not self._assisted(complaint.command.encode()):
                    self._note(complaint)
            for statement in self._plan.rights:
                self._bring(self._assistant, statement)
            for item in index.items:
                if isinstance(item, Statement) and item.kind is Kind.REMOTE:
                    # What follows may hold a password.
                    words = _SECRET.split(_words(index.sql(item)), maxsplit=1)[0]
                    self.harmless.append(f"{words}: {_REMOTE}")

    def event_triggers(self) -> None:
        """Bring the event triggers; nothing of ours may run DDL from here on."""
        for statement in self._plan.event_triggers:
            self._bring(self._assistant, statement)

    def _bring(self, one: Hand, statement: Statement) -> None:
        """Run a statement of the schema's SQL that pg_restore was not told of."""
        text = self._archive.index.sql(statement)
        one.settle(statement.settings)
        refused = None
        if statement.authorization:
            one.alone(b"SET SESSION AUTHORIZATION " + statement.authorization)
            refused = one.alone(text)
            one.alone(b"RESET SESSION AUTHORIZATION")
        if refused or not statement.authorization:  # who could grant it there may own nothing here
            refused = one.alone(text)
        if not refused:
            return
        if statement.kind is Kind.EXTENSION or statement.kind is Kind.EVENT_TRIGGER:
            self.lost.append(self._problem(f"{_words(text)}: {refused}"))
        elif statement.kind is not Kind.SCHEMA:  # of which pg_restore will complain itself
            self.harmless.append(f"{_words(text)}: {refused}")

    def _assisted(self, command: bytes) -> bool:
        """Whether a superuser could run what the role was refused; only what shape has vetted."""
        return self._loading.assisted and shape.vetted(command) and self._assistant.alone(command) is None

    def _note(self, complaint: Complaint) -> None:
        if complaint.harmless:
            if not complaint.there:
                self.harmless.append(str(complaint))
        elif complaint.table:
            table = self._archive.listing.table(complaint.table)
            self.lost.append(self._problem(str(replace(complaint, table=table))))
        else:
            self.lost.append(self._problem(str(complaint)))

    def _problem(self, sentence: str) -> Problem:
        return Problem(message=sentence, file=self._archive.dump.path.name)


def _grant(superuser: Connection, name: str) -> None:
    """Let the role fill what extensions made; its end takes this away again."""
    target = sql.Identifier(name)
    for (wrapper,) in superuser.execute(_WRAPPERS).fetchall():
        superuser.execute(
            sql.SQL("GRANT USAGE ON FOREIGN DATA WRAPPER {} TO {}").format(sql.Identifier(wrapper), target)
        )
    for schema, table in superuser.execute(_OF_EXTENSIONS).fetchall():
        superuser.execute(sql.SQL("GRANT ALL ON {} TO {}").format(sql.Identifier(schema, table), target))


def _again(main: Hand, state: int, refused: list[Complaint]) -> list[Complaint]:
    """What is still refused when nothing stands in the way: pg_restore's own connections can deadlock.

    Attaching an index and a primary key of the same partitioned table side by side is enough. A command that failed
    for want of such a one is tried again as well. `state` is that of the settings at the end of the schema.
    """
    if not any(complaint.deadlocked for complaint in refused):
        return refused
    main.settle(state)
    return [complaint for complaint in refused if not complaint.command or main.run(complaint.command.encode())]


def _words(statement: bytes) -> str:
    return complaints.words(statement.decode(errors="replace"))
