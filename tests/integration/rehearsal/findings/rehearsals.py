"""Rehearse files on template databases that a test writes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from psycopg.conninfo import make_conninfo

from kernel.db.connection import open_session
from kernel.lint.finding import Finding, Severity
from kernel.lint.rules import NEXT_FILE_LINE, REVERT_FILE_LINE
from kernel.migrations.migration import require_migrations
from kernel.operations.migrate import MigrateOptions, migrate
from kernel.rehearsal.prod_copy import ProdCopy
from kernel.rehearsal.prod_copy.server_globals import list_roles
from kernel.rehearsal.queries.corpus import read_queries
from kernel.rehearsal.rehearse import rehearse_on_copy
from kernel.rehearsal.request import RehearsalRequest, Reporter
from kernel.rehearsal.result import DumpSource, Rehearsal, Restore

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from kernel.postgres.cluster import Server

SOURCE = DumpSource(name="given.sql", kind="plain dump", size_bytes=0)


@dataclass(kw_only=True)
class Rehearsals:
    """Rehearses files on copies of what the migration 001 creates; one template database for each text of it."""

    server: Server
    folder: Path
    copies: dict[str, ProdCopy] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    @property
    def version(self) -> int:
        """The server's, as server_version_num."""
        with open_session(self.server.conninfo) as session:
            return session.connection.info.server_version

    def rehearse(self, given: str, script: str, request: RehearsalRequest | None = None) -> Rehearsal:
        """The files of `script`, pending after 001; parts of it are files, or what reverts them."""
        folder = self.folder / f"{next(_numbers)}"
        (folder / "revert").mkdir(parents=True)
        (folder / "001_given.sql").write_text(given, encoding="utf-8")
        for number, text in enumerate(script.split(NEXT_FILE_LINE), start=2):
            forward, marked, back = text.partition(REVERT_FILE_LINE)
            (folder / f"{number:03}_file.sql").write_text(forward, encoding="utf-8")
            if marked:
                (folder / f"revert/{number:03}_file.sql").write_text(back, encoding="utf-8")
        copy = self.copies.get(given) or self.copies.setdefault(given, self._copy(folder))
        reporter = Reporter(print_line=self.lines.append)
        request = request or RehearsalRequest()
        queries = read_queries(request.queries, request.prod_db) if request.queries else ()
        return rehearse_on_copy(require_migrations(folder), copy, SOURCE, request, reporter, queries=queries)

    def _copy(self, folder: Path) -> ProdCopy:
        name = f"template_{next(_numbers)}"
        with open_session(self.server.conninfo) as session:
            session.connection.execute(f"CREATE DATABASE {name}".encode())
            roles = list_roles(session.connection)
        with open_session(make_conninfo(self.server.conninfo, dbname=name)) as session:
            migrate(session, require_migrations(folder), MigrateOptions(to="001"), lambda _event: None)
            session.connection.execute("VACUUM ANALYZE")
        return ProdCopy(
            server_url=self.server.conninfo,
            variable="the server",
            template=name,
            key="",
            restored=Restore(seconds=0.0, size_bytes=0),
            roles=roles,
        )


_numbers = itertools.count(1)


def harmful_rules(findings: Iterable[Finding]) -> set[str]:
    """The rules of the findings that are not harmless."""
    return {one.rule for one in findings if one.severity is not Severity.HARMLESS}


def as_lines(findings: Iterable[Finding]) -> str:
    """Findings as lines, for the message of a test that fails."""
    return "\n".join(f"{one.severity} {one.rule} {one.filename}:{one.line} {one.message}" for one in findings)
