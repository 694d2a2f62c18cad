"""Safe to re-run: each pending file runs a second time, by the very code of db.migrate, and must change nothing.

Source: the specification, "Idempotent Migrations", and "Migration Already Applied": the record is removed by hand, and
the migrations run again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel.apply.events import ignore_event
from kernel.db.connection import open_session
from kernel.db.ledger import (
    LEDGER_TABLE,
    PROGRESS_TABLE,
    Ledger,
    claim_statement,
    delete_progress_statement,
    delete_record_statement,
    drop_empty_progress_table,
    find_ledger,
    is_recorded,
    read_progress,
)
from kernel.errors import MigrationFailed
from kernel.migrations.script import open_script, parse_script
from kernel.operations.migrate import MigrateOptions, migrate
from kernel.rehearsal.practices.result import (
    PracticeFault,
    PracticeResult,
    format_migration_error,
    make_practice_result,
)
from kernel.rehearsal.schema.diff import lines
from kernel.rehearsal.schema.snapshot import read_schema
from kernel.sql.lexer import PartKind
from kernel.sql.tokens import first_tokens
from kernel.units import format_quantity

if TYPE_CHECKING:
    from collections.abc import Collection

    from kernel.apply.executor import WaitLimits
    from kernel.db.connection import Session
    from kernel.migrations.migration import Migration
    from kernel.rehearsal.practices.result import CompareData
    from kernel.rehearsal.schema.diff import Line


# Which rows a run wrote, by the server's own counters: cheap, and blind to what the rows held.


_FORCE_FLUSH_VERSION = 150_000  # the first version whose sessions tell their counters at once when asked to
# By OID: a table may be renamed between two readings. Rows of a rolled-back transaction count as well.
_ROW_COUNTS = """
SELECT relid, format('%%I.%%I', schemaname, relname), n_tup_ins, n_tup_upd, n_tup_del,
  coalesce(pg_relation_filenode(relid), 0)
FROM pg_stat_user_tables WHERE NOT (schemaname = %s AND relname = ANY (%s))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCounts:
    """Rows of a table written so far, and the number of its file, which is another after a rewrite or TRUNCATE."""

    table: str
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    filenode: int = 0

    @property
    def rows(self) -> int:
        return self.inserted + self.updated + self.deleted

    def __str__(self) -> str:
        done = [
            f"{what} {format_quantity(number, 'row')}"
            for what, number in (("inserts", self.inserted), ("updates", self.updated), ("deletes", self.deleted))
            if number
        ]
        return f"{' and '.join(done) or 'rewrites the rows'} of {self.table}"


def read_row_counts(session: Session, where: Ledger) -> dict[int, RowCounts] | None:
    """The counters of all tables but ours by OID, this session's own included; None where the server tells late."""
    connection = session.connection
    if connection.info.server_version < _FORCE_FLUSH_VERSION:
        return None
    connection.execute("SELECT pg_stat_force_next_flush()")
    return {
        oid: RowCounts(table=table, inserted=inserted, updated=updated, deleted=deleted, filenode=file)
        for oid, table, inserted, updated, deleted, file in connection.execute(
            _ROW_COUNTS, (where.schema, [LEDGER_TABLE, PROGRESS_TABLE])
        )
    }


def subtract_row_counts(before: dict[int, RowCounts], after: dict[int, RowCounts]) -> tuple[RowCounts, ...]:
    """What was written to tables that are there before and after; `file` is 0 where the table kept its file."""
    found = (
        RowCounts(
            table=now.table,
            inserted=now.inserted - old.inserted,
            updated=now.updated - old.updated,
            deleted=now.deleted - old.deleted,
            filenode=now.filenode if now.filenode != old.filenode else 0,
        )
        for oid, now in after.items()
        if (old := before.get(oid))
    )
    return tuple(sorted((count for count in found if count.rows or count.filenode), key=lambda count: count.table))


# How to write a statement so that it can run a second time: the remedies, as data.
#
# Source: the specification, "Idempotent Migrations"; PostgreSQL documentation, the pages of the commands, and "PostgreSQL
# Error Codes".


_MAX_WORDS = 24
_DEFAULT_REMEDY = "put it in a DO block that looks first whether it is done"
_BLOCK_REMEDY = "look first, inside of the block, whether it is done"
_BLOCK_COMMANDS = ("DO", "CALL", "SELECT", "WITH")
_DUPLICATE_OBJECT_CODES = ("42P07", "42710", "42723", "42P06", "42P04", "42P16", "42701")
_UNDEFINED_OBJECT_CODES = ("42P01", "42703", "42704", "42883", "3F000", "42P17")


@dataclass(frozen=True, slots=True, kw_only=True)
class RerunHint:
    """For errors of `codes` in a statement that begins with `head` and has each of `words` near its beginning."""

    sqlstates: tuple[str, ...]
    first_word: str
    words: tuple[str, ...] = ()
    remedy: str


RERUN_HINTS = (
    RerunHint(
        sqlstates=_DUPLICATE_OBJECT_CODES,
        first_word="CREATE",
        words=("TABLE",),
        remedy="write CREATE TABLE IF NOT EXISTS",
    ),
    RerunHint(
        sqlstates=_DUPLICATE_OBJECT_CODES,
        first_word="CREATE",
        words=("INDEX",),
        remedy="write CREATE INDEX IF NOT EXISTS, with a name",
    ),
    RerunHint(
        sqlstates=_DUPLICATE_OBJECT_CODES,
        first_word="CREATE",
        words=("MATERIALIZED", "VIEW"),
        remedy="write CREATE MATERIALIZED VIEW IF NOT EXISTS",
    ),
    RerunHint(
        sqlstates=_DUPLICATE_OBJECT_CODES, first_word="CREATE", words=("VIEW",), remedy="write CREATE OR REPLACE VIEW"
    ),
    RerunHint(
        sqlstates=_DUPLICATE_OBJECT_CODES,
        first_word="CREATE",
        words=("SEQUENCE",),
        remedy="write CREATE SEQUENCE IF NOT EXISTS",
    ),
    RerunHint(
        sqlstates=_DUPLICATE_OBJECT_CODES,
        first_word="CREATE",
        words=("SCHEMA",),
        remedy="write CREATE SCHEMA IF NOT EXISTS",
    ),
    RerunHint(
        sqlstates=_DUPLICATE_OBJECT_CODES,
        first_word="CREATE",
        words=("EXTENSION",),
        remedy="write CREATE EXTENSION IF NOT EXISTS",
    ),
    RerunHint(
        sqlstates=_DUPLICATE_OBJECT_CODES,
        first_word="CREATE",
        words=("STATISTICS",),
        remedy="write CREATE STATISTICS IF NOT EXISTS",
    ),
    RerunHint(
        sqlstates=_DUPLICATE_OBJECT_CODES,
        first_word="CREATE",
        words=("TRIGGER",),
        remedy="write CREATE OR REPLACE TRIGGER",
    ),
    RerunHint(
        sqlstates=_DUPLICATE_OBJECT_CODES,
        first_word="CREATE",
        words=("FUNCTION",),
        remedy="write CREATE OR REPLACE FUNCTION",
    ),
    RerunHint(
        sqlstates=_DUPLICATE_OBJECT_CODES,
        first_word="CREATE",
        words=("PROCEDURE",),
        remedy="write CREATE OR REPLACE PROCEDURE",
    ),
    RerunHint(
        sqlstates=_DUPLICATE_OBJECT_CODES,
        first_word="CREATE",
        words=("AGGREGATE",),
        remedy="write CREATE OR REPLACE AGGREGATE",
    ),
    RerunHint(
        sqlstates=_DUPLICATE_OBJECT_CODES, first_word="CREATE", words=("RULE",), remedy="write CREATE OR REPLACE RULE"
    ),
    RerunHint(
        sqlstates=_DUPLICATE_OBJECT_CODES,
        first_word="CREATE",
        words=("POLICY",),
        remedy="write DROP POLICY IF EXISTS ahead of it",
    ),
    RerunHint(
        sqlstates=_DUPLICATE_OBJECT_CODES,
        first_word="CREATE",
        words=("PUBLICATION",),
        remedy="write DROP PUBLICATION IF EXISTS ahead of it",
    ),
    RerunHint(
        sqlstates=_DUPLICATE_OBJECT_CODES,
        first_word="CREATE",
        words=("TYPE",),
        remedy="put it in a DO block with EXCEPTION WHEN duplicate_object THEN NULL",
    ),
    RerunHint(
        sqlstates=_DUPLICATE_OBJECT_CODES,
        first_word="CREATE",
        words=("DOMAIN",),
        remedy="put it in a DO block with EXCEPTION WHEN duplicate_object THEN NULL",
    ),
    RerunHint(
        sqlstates=("42710",), first_word="ALTER", words=("TYPE", "VALUE"), remedy="write ADD VALUE IF NOT EXISTS"
    ),
    RerunHint(sqlstates=("42701",), first_word="ALTER", words=("ADD",), remedy="write ADD COLUMN IF NOT EXISTS"),
    RerunHint(
        sqlstates=("42710", "42P07", "42P16"),
        first_word="ALTER",
        words=("TABLE", "ADD"),
        remedy="write DROP CONSTRAINT IF EXISTS ahead of it, or put it in a DO block that looks into pg_constraint",
    ),
    RerunHint(
        sqlstates=_DUPLICATE_OBJECT_CODES,
        first_word="ALTER",
        words=("DOMAIN", "ADD"),
        remedy="write DROP CONSTRAINT IF EXISTS ahead of it",
    ),
    RerunHint(
        sqlstates=_UNDEFINED_OBJECT_CODES,
        first_word="ALTER",
        words=("DROP", "COLUMN"),
        remedy="write DROP COLUMN IF EXISTS",
    ),
    RerunHint(
        sqlstates=_UNDEFINED_OBJECT_CODES,
        first_word="ALTER",
        words=("DROP", "CONSTRAINT"),
        remedy="write DROP CONSTRAINT IF EXISTS",
    ),
    RerunHint(sqlstates=_UNDEFINED_OBJECT_CODES, first_word="DROP", remedy="write DROP … IF EXISTS"),
    RerunHint(sqlstates=("23505",), first_word="INSERT", remedy="write ON CONFLICT DO NOTHING"),
    RerunHint(
        sqlstates=("23505",),
        first_word="COPY",
        remedy="copy into a temporary table, and from there INSERT … ON CONFLICT DO NOTHING",
    ),
)


def find_rerun_remedy(sqlstate: str | None, statement: str) -> str:
    """How to write `statement` so that it can run where it has run before; `sqlstate` is what stopped it."""
    head, *others = first_tokens(statement.encode(), limit=_MAX_WORDS) or ("",)
    if head in _BLOCK_COMMANDS:
        return _BLOCK_REMEDY
    fitting = [
        (max((others.index(word) for word in rule.words), default=0), rule)
        for rule in RERUN_HINTS
        if sqlstate in rule.sqlstates and head == rule.first_word and set(rule.words) <= set(others)
    ]
    # CREATE PUBLICATION … FOR TABLE makes a publication: what is made stands first.
    return min(fitting, key=lambda one: one[0])[1].remedy if fitting else _DEFAULT_REMEDY


RERUN_PRACTICE = "safe to re-run"
_MAX_SCHEMA_LINES = 5  # of a schema's difference; the rest is counted
_RERUN_REMEDY = "make it do nothing where it has run before"
_WRITING_COMMANDS = frozenset(
    {"INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "TRUNCATE", "WITH", "DO", "CALL", "SELECT"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _SecondRun:
    """What a file's second run did: the error that stopped it, what it changed in the schema, the rows it wrote."""

    migration: Migration
    error: MigrationFailed | None
    schema_changes: tuple[Line, ...]
    row_counts: tuple[RowCounts, ...] | None


def check_rerun(
    url: str,
    files: tuple[Migration, ...],
    pending: Collection[Migration],
    *,
    patience: WaitLimits,
    before_url: str = "",
    data_changed: CompareData | None = None,
) -> PracticeResult:
    """Run each of the `pending` among the `files` a second time in the clone at `url`, which is never the same after.

    A file that is not applied there yet is applied first, and runs again at once: on a clone of the golden copy each is
    judged in the state that it leaves. Where all are applied already, each runs in the state that the last one left.
    `data_changed` compares the rows of the database at `before_url`, which is as `url` was, with those of `url`. It is
    asked only if counters say that rows were written. Without it nobody knows what was written, and the practice is
    neither held nor broken. Raises DatabaseUnreachable; MigrationFailed when a file fails the first time.
    """
    with open_session(url) as session:
        seconds = [_run_second_time(session, files, one, patience) for one in pending]
    faults = [fault for second in seconds for fault in _second_run_faults(second)]
    wrote = [second for second in seconds if second.error is None and second.row_counts != ()]
    if data_changed and before_url:
        differing = data_changed(before_url, url) if wrote else ()
        if differing:
            faults += [_written_rows_fault(second) for second in wrote]
            return make_practice_result(RERUN_PRACTICE, faults, notes=differing)
        return make_practice_result(
            RERUN_PRACTICE,
            faults,
            notes=[f"{_written_rows_note(second)}, with the values they have" for second in wrote],
        )
    faults += [_written_rows_fault(second) for second in wrote if _row_count_changed(second)]
    unknown = [second for second in wrote if not _row_count_changed(second)]
    notes = [f"{_written_rows_note(second)}; nobody compared them" for second in unknown]
    return make_practice_result(RERUN_PRACTICE, faults, notes=notes, untested=bool(unknown))


def _run_second_time(
    session: Session, files: tuple[Migration, ...], one: Migration, patience: WaitLimits
) -> _SecondRun:
    wish = MigrateOptions(to=one.version, allow_out_of_order=True, waits=patience)
    where = find_ledger(session)
    if not where.exists or not is_recorded(session, where, one.version):
        migrate(session, files, wish, ignore_event)
        where = find_ledger(session)
    before, counts = read_schema(session), read_row_counts(session, where)
    session.connection.execute(delete_record_statement(session.connection, where, one.version))
    failed: MigrationFailed | None = None
    try:
        migrate(session, files, wish, ignore_event)
    except MigrationFailed as error:
        failed = error
        if session.connection.broken:
            raise
        _restore_record(session, where, one)
        if error.rolled_back:
            return _SecondRun(migration=one, error=failed, schema_changes=(), row_counts=())
    after, counts_now = read_schema(session), read_row_counts(session, where)
    written = subtract_row_counts(counts, counts_now) if counts is not None and counts_now is not None else None
    # A table dropped and made again is as it was, but for its rows, which no counter tells of.
    return _SecondRun(migration=one, error=failed, schema_changes=lines(before, after), row_counts=written)


def _restore_record(session: Session, where: Ledger, one: Migration) -> None:
    """Put the record of a file back that failed the second time, so that the next one runs as if it had not."""
    connection = session.connection
    connection.execute(claim_statement(connection, where, one))
    if one.version in read_progress(session, where):
        connection.execute(delete_progress_statement(connection, where, one.version))
        drop_empty_progress_table(session, where)


def _second_run_faults(second: _SecondRun) -> list[PracticeFault]:
    """What the second run itself shows; what it wrote is for the data to say."""
    faults = []
    if error := second.error:
        place = error.failure
        remedy = find_rerun_remedy(place.sqlstate, place.statement or "")
        stopped = _make_fault(
            second.migration, f"the second run fails: {format_migration_error(error)}", line=place.line, remedy=remedy
        )
        faults.append(replace(stopped, left_unchanged=second.schema_changes == () and second.row_counts == ()))
    faults += [
        _make_fault(
            second.migration,
            f"run again, it changes the schema: {change.text}",
            line=_line_of_change(second.migration, change.kind),
        )
        for change in second.schema_changes[:_MAX_SCHEMA_LINES]
    ]
    if (more := len(second.schema_changes) - _MAX_SCHEMA_LINES) > 0:
        faults.append(_make_fault(second.migration, f"run again, it changes the schema in {more} more places"))
    return faults


def _make_fault(one: Migration, message: str, *, line: int | None = None, remedy: str = _RERUN_REMEDY) -> PracticeFault:
    return PracticeFault(message=message, remedy=remedy, version=one.version, filename=one.filename, line=line)


def _written_rows_fault(second: _SecondRun) -> PracticeFault:
    """That a second run wrote rows, with the line of the statement that did, if only one can have."""
    lines = [line for line, words in _statement_words(second.migration) if words[:1] and words[0] in _WRITING_COMMANDS]
    if second.row_counts is None:
        message = "run again, it may write rows, of which this version of PostgreSQL does not tell"
    else:
        message = f"run again, it {', '.join(str(count) for count in second.row_counts)}"
    return _make_fault(second.migration, message, line=lines[0] if len(lines) == 1 else None)


def _written_rows_note(second: _SecondRun) -> str:
    return str(replace(_written_rows_fault(second), remedy=""))


def _row_count_changed(second: _SecondRun) -> bool:
    """Whether a table must have more rows now, or fewer."""
    return any(count.inserted != count.deleted and not count.filenode for count in second.row_counts or ())


def _line_of_change(one: Migration, kind: str) -> int | None:
    """The line of the statement that changed an object of this kind, if only one of the file's speaks of such."""
    word = kind.split(maxsplit=1)[0].upper()
    speaks = {"CONSTRAINT": "ADD", "COLUMN": "ALTER"}.get(word, word)
    lines = [line for line, words in _statement_words(one) if speaks in words]
    return lines[0] if len(lines) == 1 else None


def _statement_words(one: Migration) -> list[tuple[int, tuple[str, ...]]]:
    """(line, first words) of each statement."""
    with open_script(parse_script(one.path, one.filename), one.path) as reading:
        return [
            (part.line, first_tokens(part.sql, limit=40)) for part in reading.parts if part.kind is PartKind.STATEMENT
        ]
