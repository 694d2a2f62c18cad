"""What is known before anything is rehearsed: which files are pending in the copy, and what the copy is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from kernel.db.connection import open_session
from kernel.db.ledger import LEDGER_TABLE, PROGRESS_TABLE
from kernel.errors import FilesInvalid, Problem
from kernel.migrations.script import open_script
from kernel.operations.migrate import MigrateOptions, prepare_migrate
from kernel.sql.lexer import PartKind
from kernel.sql.reader import Word, read_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Script
    from kernel.rehearsal.prod_copy.copy import ProdCopy
    from kernel.rehearsal.request import RehearsalRequest, Reporter
    from kernel.rehearsal.result import DumpSource
    from kernel.sql.lexer import Part


# What a rehearsal does not run: a statement that starts a program would start it on this machine, as the server.


def refuse_copy_program(todo: Iterable[tuple[Migration, Script]]) -> None:
    """Raise FilesInvalid with every COPY … PROGRAM, wherever in a statement its words stand."""
    problems = []
    for one, script in todo:
        with open_script(script, one.path) as reading:
            problems += [
                Problem(
                    message="COPY … PROGRAM runs a program, which a rehearsal would do here; load the rows without one",
                    file=one.filename,
                    line=line,
                )
                for part in reading.parts
                for line in _copy_program_lines(part)
            ]
    if problems:
        raise FilesInvalid(problems)


def _copy_program_lines(part: Part) -> Iterator[int]:
    # A DO block and the body of a function are strings, whose text counts as well.
    if part.kind is PartKind.STATEMENT and b"program" in part.text.lower():
        for first, _ in _find_copy_program(read_words(part.sql)):
            yield part.line + part.sql.count(b"\n", 0, first)


def _find_copy_program(found: tuple[Word, ...]) -> Iterator[tuple[int, Word]]:
    for one, after in pairwise(found):
        if one.key in ("FROM", "TO") and after.key == "PROGRAM":
            yield one.begin, after
    for one in found:
        if one.key == "'" and "program" in one.text.lower():
            for _, after in _find_copy_program(read_words(one.text.encode())):
                yield one.begin, after


_ENVIRONMENT_QUERY = """
SELECT name, current_setting(name) FROM unnest(ARRAY['server_version', 'TimeZone', 'wal_level', 'shared_buffers',
  'work_mem', 'maintenance_work_mem', 'max_parallel_maintenance_workers', 'lock_timeout']) AS name
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preconditions:
    """What is known before anything runs: the files, those that are pending, what the copy is."""

    migrations: tuple[Migration, ...]
    pending: tuple[Migration, ...]
    database: str
    ledger_tables: frozenset[str]
    estimated_rows: int
    environment: tuple[tuple[str, str], ...]


def read_preconditions(
    found: tuple[Migration, ...], copy: ProdCopy, source: DumpSource, wish: RehearsalRequest, telling: Reporter
) -> Preconditions:
    """Look at the golden copy, which was made of `source`, and at the files that are pending there.

    Raises FilesInvalid for files that cannot be run, or that would start a program; Drift, Unrecorded, LedgerShape,
    and EnvironmentFailed.
    """
    with open_session(copy.url) as session:
        # What is wrong with the copy is wrong with what it was made of, and it is there that people can mend it.
        known = replace(session, name=source.name)
        now, todo = prepare_migrate(known, found, MigrateOptions(waits=wish.waits))
        if now.plan.records_ahead:
            names = ", ".join(record.filename for record in now.plan.records_ahead)
            telling.print_line(f"warning: {source.name} is ahead of these files: {names}")
        refuse_copy_program(todo)
        pending = tuple(one for one, _ in todo)
        connection = session.connection
        (row,) = connection.execute(
            # As the planner does it, a table that nobody has analyzed is known by its size.
            "SELECT coalesce(sum(CASE WHEN reltuples < 0 THEN ceil(pg_relation_size(c.oid) / 8192.0)"
            " ELSE reltuples END), 0)::bigint FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'm')"
            " AND nspname NOT IN ('pg_catalog', 'information_schema') AND nspname NOT LIKE 'pg\\_toast%'"
            " AND relname NOT LIKE 'schema\\_migrations%'"
        ).fetchall()
        environment = tuple(
            (str(name), str(value)) for name, value in connection.execute(_ENVIRONMENT_QUERY).fetchall()
        )
        return Preconditions(
            migrations=found,
            pending=pending,
            database=session.name,
            ledger_tables=frozenset({now.ledger.name, now.ledger.name.removesuffix(LEDGER_TABLE) + PROGRESS_TABLE}),
            estimated_rows=row[0],
            environment=environment,
        )
