"""What is established before anything is migrated: which files are pending in the copy, and what the copy is."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel.db.connection import Session, open_session
from kernel.errors import DatabaseRefused, DatabaseUnreachable, FilesInvalid, Problem
from kernel.migrations.copy_program import copy_program_problems
from kernel.migrations.phases import Phase
from kernel.migrations.script import open_script, parse_script, unwritten_problems
from kernel.operations.migrate import MigrateOptions, prepare_migrate
from kernel.rehearsal.data.expectations import read_expectations, unknown_table_problem
from kernel.rehearsal.dump.preflight import lists_every_table
from kernel.rehearsal.dump.production import open_production
from kernel.sql.lexer import PartKind
from kernel.sql.reader import STRING_KEY, read_words

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from kernel.config.ledger_name import LedgerName
    from kernel.migrations.migration import Migration
    from kernel.migrations.script import Script
    from kernel.rehearsal.data.expectations import Expectation
    from kernel.rehearsal.dump.common.model import DumpContents
    from kernel.rehearsal.prod_copy import ProdCopy
    from kernel.rehearsal.request import RehearsalRequest, Reporter
    from kernel.rehearsal.result import DumpSource


# Like the planner, estimate a table that was never analyzed by its size.
_ESTIMATED_ROWS_QUERY = """
SELECT coalesce(sum(CASE WHEN reltuples < 0 THEN ceil(pg_relation_size(c.oid) / 8192.0) ELSE reltuples END), 0)::bigint
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ('r', 'm') AND nspname NOT IN ('pg_catalog', 'information_schema')
    AND nspname NOT LIKE 'pg\\_toast%' AND relname NOT LIKE 'schema\\_migrations%'
"""
_DYNAMIC_SQL = re.compile(r"\bEXECUTE\b(?!\s+(?:FUNCTION|PROCEDURE)\b)", re.IGNORECASE)
_ENVIRONMENT_QUERY = """
SELECT name, current_setting(name) FROM unnest(ARRAY['server_version', 'TimeZone', 'wal_level', 'shared_buffers',
  'work_mem', 'maintenance_work_mem', 'max_parallel_maintenance_workers', 'lock_timeout']) AS name
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preconditions:
    """All migration files, those that are pending in the copy and what they declare about data, and the copy's state.

    `repeatable` are the repeatable files that run after them.

    `environment` holds (name, value) pairs: the server's version and settings.
    """

    migrations: tuple[Migration, ...]
    pending: tuple[Migration, ...]
    repeatable: tuple[Migration, ...]
    expectations: tuple[Expectation, ...]
    database: str
    ledger_tables: frozenset[str]
    estimated_rows: int
    environment: tuple[tuple[str, str], ...]


def read_preconditions(
    migrations: tuple[Migration, ...],
    copy: ProdCopy,
    source: DumpSource,
    request: RehearsalRequest,
    reporter: Reporter,
) -> Preconditions:
    """Plan the migrations on the copy, and read the copy's size and settings. Changes nothing.

    Raises FilesInvalid for files that cannot be run, that would start a program, or whose declarations are malformed;
    Drift, Unrecorded, LedgerShape, and EnvironmentFailed.
    """
    with open_session(copy.url, role=request.role, migrations_table=request.migrations_table) as session:
        # Messages name the source: what is wrong with the copy has to be fixed there.
        prepared = prepare_migrate(
            replace(session, name=source.name), migrations, MigrateOptions(waits=request.waits, by_phase=True)
        )
        status, todo = prepared.status, prepared.files
        if status.plan.records_ahead:
            names = ", ".join(record.filename for record in status.plan.records_ahead)
            reporter.print_line(f"warning: {source.name} is ahead of these files: {names}")
        if blocked := _file_that_may_not_pass(migration for migration, _ in todo):
            reporter.print_line(
                f"note: the phases are not rehearsed one after the other: db.migrate --phase before would refuse "
                f"a file after {blocked.filename}, which waits; all run in version order"
            )
        expectations = _require_expectations(todo)
        ((estimated_rows,),) = session.connection.execute(_ESTIMATED_ROWS_QUERY).fetchall()
        return Preconditions(
            migrations=migrations,
            pending=tuple(migration for migration, _ in todo),
            repeatable=prepared.repeatable.pending,
            expectations=expectations,
            database=session.name,
            ledger_tables=frozenset({status.ledger.name, status.ledger.progress_name, status.ledger.repeatable_name}),
            estimated_rows=estimated_rows,
            environment=tuple(
                (str(name), str(value)) for name, value in session.connection.execute(_ENVIRONMENT_QUERY)
            ),
        )


def _file_that_may_not_pass(pending: Iterable[Migration]) -> Migration | None:
    """The first file of phase `after` before one of phase `before`; None where the phases follow each other."""
    waiting = None
    for migration in pending:
        if migration.phase is Phase.BEFORE and waiting:
            return waiting
        waiting = waiting or (migration if migration.phase is Phase.AFTER else None)
    return None


def _require_expectations(todo: Collection[tuple[Migration, Script]]) -> tuple[Expectation, ...]:
    """What the files declare. Raises FilesInvalid for malformed declarations, and for programs that a file starts."""
    expectations, malformed = read_expectations(migration for migration, _ in todo)
    if problems := [*copy_program_problems(todo), *malformed]:
        raise FilesInvalid(problems)
    return expectations


def check_production(migrations: tuple[Migration, ...], url: str, ledger: LedgerName) -> None:
    """Check the files that are pending in production as read_preconditions does, before a dump that may take long.

    Reads only. Does nothing where production cannot be read: the dump says why. Raises FilesInvalid, Drift, Unrecorded,
    LedgerShape.
    """
    with suppress(DatabaseUnreachable, DatabaseRefused), open_production(url) as (connection, production):
        session = Session(
            connection=connection,
            url=url,
            name=production.name,
            pooled=False,
            backend_pid=connection.info.backend_pid,
            migrations_table=ledger,
        )
        _require_expectations(prepare_migrate(session, migrations, MigrateOptions()).files)


def check_pending_files(
    migrations: Iterable[Migration], contents: DumpContents, ledger: LedgerName | None = None
) -> None:
    """Check the files that are pending by the dump's records, before a restore that may take long.

    They must not change `ledger`.

    Raises FilesInvalid with all files that cannot be run or would start a program, and all declarations that are
    malformed, or name a table that neither the dump nor a pending file names. Without readable records it does nothing:
    read_preconditions finds the same after the restore, and the comparison of the data the last.
    """
    if contents.applied_versions is None:
        return
    pending = [one for one in migrations if int(one.version) not in contents.applied_versions]
    todo: list[tuple[Migration, Script]] = []
    problems: list[Problem] = []
    for migration in pending:
        try:
            script = parse_script(migration.path, migration.filename, ledger=ledger)
        except FilesInvalid as error:
            problems += error.problems
        else:
            todo.append((migration, script))
            problems += unwritten_problems(script, migration.filename)
    problems += copy_program_problems(todo)
    expectations, malformed = read_expectations(pending)
    problems += malformed
    if lists_every_table(contents):
        unknown = [one for one in expectations if one.possible_tables.isdisjoint(contents.table_names)]
        names = frozenset(name for one in unknown for name in one.possible_tables)
        mentioned = _mentioned_names(names, todo) if names else names
        problems += [
            unknown_table_problem(one, contents.table_names)
            for one in unknown
            if one.possible_tables.isdisjoint(mentioned)
        ]
    if problems:
        raise FilesInvalid(problems)


def _mentioned_names(names: frozenset[str], todo: Iterable[tuple[Migration, Script]]) -> frozenset[str]:
    """Those of the names that the files mention, in strings too; all of them where a string runs SQL that it composes.

    A string may be the body of a function or a DO block.
    """
    found: set[str] = set()
    for migration, script in todo:
        with open_script(script, migration.path) as opened:
            for part in opened.parts:
                if part.kind is not PartKind.STATEMENT:
                    continue
                for word in read_words(part.sql):
                    if word.key == STRING_KEY:
                        if _DYNAMIC_SQL.search(word.text):
                            return names
                        text = word.text.lower()
                        found.update(name for name in names if name.lower() in text)
                    elif word.text in names:
                        found.add(word.text)
    return frozenset(found)
