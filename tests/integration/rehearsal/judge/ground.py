"""Golden copies of what a test writes, and files rehearsed on them to the verdict."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from psycopg.conninfo import make_conninfo

from kernel import database as kernel_database
from kernel import migrate, status
from kernel.rehearsal import among, course
from kernel.rehearsal.golden import Copy, shared
from kernel.rehearsal.golden.place import Place
from kernel.rehearsal.result import Finding, Rehearsal, Restore, Severity, Source
from kernel.rehearsal.rules.rule import NEXT_FILE, REVERT_FILE
from kernel.rehearsal.wish import Telling, Wish

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from kernel.server.cluster import Server

SOURCE = Source(name="given.sql", kind="plain dump", size_bytes=0)


@dataclass(kw_only=True)
class Ground:
    """Rehearses files on copies of what the migration 001 makes; one golden copy for each text of it."""

    server: Server
    folder: Path
    copies: dict[str, Copy] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    @property
    def version(self) -> int:
        """The server's, as server_version_num."""
        with kernel_database.session(self.server.conninfo) as session:
            return session.connection.info.server_version

    def rehearse(self, given: str, script: str, wish: Wish | None = None) -> Rehearsal:
        """The files of `script`, pending after 001; parts of it are files, or what reverts them."""
        folder = self.folder / f"{next(_numbers)}"
        (folder / "revert").mkdir(parents=True)
        (folder / "001_given.sql").write_text(given, encoding="utf-8")
        for number, text in enumerate(script.split(NEXT_FILE), start=2):
            forward, marked, back = text.partition(REVERT_FILE)
            (folder / f"{number:03}_file.sql").write_text(forward, encoding="utf-8")
            if marked:
                (folder / f"revert/{number:03}_file.sql").write_text(back, encoding="utf-8")
        copy = self.copies.get(given) or self.copies.setdefault(given, self._copy(folder))
        telling = Telling(say=self.said.append)
        wish = wish or Wish()
        asked = among.queries(wish)
        return course.rehearsed(status.files(folder), copy, SOURCE, wish, telling, asked=asked)

    def _copy(self, folder: Path) -> Copy:
        name = f"golden_{next(_numbers)}"
        with kernel_database.session(self.server.conninfo) as session:
            session.connection.execute(f"CREATE DATABASE {name}".encode())
            roles = shared.roles(session.connection)
        with kernel_database.session(make_conninfo(self.server.conninfo, dbname=name)) as session:
            migrate.migrate(session, status.files(folder), migrate.Wish(to="001"), lambda _event: None)
            session.connection.execute("VACUUM ANALYZE")
        return Copy(
            place=Place(
                url=self.server.conninfo,
                variable="the server",
                golden=name,
                key="",
                restored=Restore(seconds=0.0, bytes=0),
                roles=roles,
            )
        )


_numbers = itertools.count(1)


def met(findings: Iterable[Finding]) -> set[str]:
    """The rules that were met by something that hurts."""
    return {one.rule for one in findings if one.severity is not Severity.HARMLESS}


def told(findings: Iterable[Finding]) -> str:
    """Findings as lines, for the message of a test that fails."""
    return "\n".join(f"{one.severity} {one.rule} {one.filename}:{one.line} {one.message}" for one in findings)
