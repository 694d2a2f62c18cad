"""Safe to re-run: each pending file runs a second time, as `db.migrate` runs it, and must change nothing.

Source: the specification, "Idempotent Migrations", and "Migration Already Applied": the record is removed by hand, and
the migrations run again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernel.config.ledger_name import DEFAULT_LEDGER
from kernel.db.connection import open_session
from kernel.db.ledger import Ledger, find_ledger
from kernel.db.progress_table import delete_progress_statement, read_progress
from kernel.db.records import claim_statement, delete_record_statement, is_recorded
from kernel.errors import MigrationFailed
from kernel.migrations.script import column_at, open_script, parse_script
from kernel.rehearsal.practices.result import (
    PracticeFault,
    PracticeResult,
    apply_through,
    format_migration_error,
    make_practice_result,
)
from kernel.schema import lines, read_schema
from kernel.sql.lexer import PartKind
from kernel.sql.tokens import first_tokens
from kernel.units import format_quantity

if TYPE_CHECKING:
    from collections.abc import Collection

    from kernel.apply.executor import WaitLimits
    from kernel.config.ledger_name import LedgerName
    from kernel.db.connection import Session
    from kernel.migrations.migration import Migration
    from kernel.rehearsal.practices.result import CompareData
    from kernel.schema import Line
    from kernel.sql.lexer import Part


# Rows that a run wrote, by the server's own counters: cheap, and blind to what the rows held.
_FORCE_FLUSH_VERSION = 150_000  # the first version with pg_stat_force_next_flush()
# By OID: a table may be renamed between two readings. Rows of a rolled-back transaction count as well.
_ROW_COUNTS = """
SELECT relid, format('%%I.%%I', schemaname, relname), n_tup_ins, n_tup_upd, n_tup_del,
  coalesce(pg_relation_filenode(relid), 0)
FROM pg_stat_user_tables WHERE NOT (schemaname = %s AND relname = ANY (%s))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCounts:
    """Rows of a table written so far, and the number of its file, which changes with a rewrite or TRUNCATE."""

    table: str
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    filenode: int = 0

    def since(self, before: RowCounts) -> RowCounts:
        """The rows written after `before`; `filenode` is 0 where the table kept its file."""
        return RowCounts(
            table=self.table,
            inserted=self.inserted - before.inserted,
            updated=self.updated - before.updated,
            deleted=self.deleted - before.deleted,
            filenode=self.filenode if self.filenode != before.filenode else 0,
        )

    def __bool__(self) -> bool:
        return bool(self.inserted or self.updated or self.deleted or self.filenode)

    def __str__(self) -> str:
        done = [
            f"{what} {format_quantity(number, 'row')}"
            for what, number in (("inserts", self.inserted), ("updates", self.updated), ("deletes", self.deleted))
            if number
        ]
        return f"{' and '.join(done) or 'rewrites the rows'} of {self.table}"


def read_row_counts(session: Session, ledger: Ledger) -> dict[int, RowCounts] | None:
    """The counters of all tables but the ledger's, by OID, this session's included; None before PostgreSQL 15."""
    connection = session.connection
    if connection.info.server_version < _FORCE_FLUSH_VERSION:
        return None
    connection.execute("SELECT pg_stat_force_next_flush()")
    return {
        oid: RowCounts(table=table, inserted=inserted, updated=updated, deleted=deleted, filenode=file)
        for oid, table, inserted, updated, deleted, file in connection.execute(
            _ROW_COUNTS, (ledger.schema, list(ledger.tables))
        )
    }


def subtract_row_counts(before: dict[int, RowCounts], after: dict[int, RowCounts]) -> tuple[RowCounts, ...]:
    """The rows written between two readings, of tables that are in both, by name."""
    written = (counts.since(before[oid]) for oid, counts in after.items() if oid in before)
    return tuple(sorted((counts for counts in written if counts), key=lambda counts: counts.table))


# How to write a statement so that it can run a second time. Source: PostgreSQL documentation, "SQL Commands" and
# "PostgreSQL Error Codes".
_MAX_WORDS = 24
_DEFAULT_REMEDY = "put it in a DO block that looks first whether it is done"
_BLOCK_REMEDY = "look first, inside of the block, whether it is done"
_BLOCK_COMMANDS = ("DO", "CALL", "SELECT", "WITH")
_DUPLICATE_OBJECT_CODES = frozenset({"42P07", "42710", "42723", "42P06", "42P04", "42P16", "42701"})
_UNDEFINED_OBJECT_CODES = frozenset({"42P01", "42703", "42704", "42883", "3F000", "42P17"})
_UNIQUE_VIOLATION = frozenset({"23505"})
_CATCH_DUPLICATE = "put it in a DO block with EXCEPTION WHEN duplicate_object THEN NULL"
# Of CREATE, by the words of the kind of object.
_CREATE_REMEDIES = {
    **{
        kind: f"write CREATE {kind} IF NOT EXISTS"
        for kind in ("TABLE", "MATERIALIZED VIEW", "SEQUENCE", "SCHEMA", "EXTENSION", "STATISTICS")
    },
    "INDEX": "write CREATE INDEX IF NOT EXISTS, with a name",
    **{
        kind: f"write CREATE OR REPLACE {kind}"
        for kind in ("VIEW", "TRIGGER", "FUNCTION", "PROCEDURE", "AGGREGATE", "RULE")
    },
    **{kind: f"write DROP {kind} IF EXISTS before it" for kind in ("POLICY", "PUBLICATION")},
    "TYPE": _CATCH_DUPLICATE,
    "DOMAIN": _CATCH_DUPLICATE,
}
# (SQLSTATEs, first word, further words near the beginning, remedy).
_REMEDIES = (
    *((_DUPLICATE_OBJECT_CODES, "CREATE", kind.split(), remedy) for kind, remedy in _CREATE_REMEDIES.items()),
    (frozenset({"42710"}), "ALTER", ["TYPE", "VALUE"], "write ADD VALUE IF NOT EXISTS"),
    (frozenset({"42701"}), "ALTER", ["ADD"], "write ADD COLUMN IF NOT EXISTS"),
    (
        frozenset({"42710", "42P07", "42P16"}),
        "ALTER",
        ["TABLE", "ADD"],
        "write DROP CONSTRAINT IF EXISTS before it, or put it in a DO block that looks into pg_constraint",
    ),
    (_DUPLICATE_OBJECT_CODES, "ALTER", ["DOMAIN", "ADD"], "write DROP CONSTRAINT IF EXISTS before it"),
    (_UNDEFINED_OBJECT_CODES, "ALTER", ["DROP", "COLUMN"], "write DROP COLUMN IF EXISTS"),
    (_UNDEFINED_OBJECT_CODES, "ALTER", ["DROP", "CONSTRAINT"], "write DROP CONSTRAINT IF EXISTS"),
    (_UNDEFINED_OBJECT_CODES, "DROP", [], "write DROP … IF EXISTS"),
    (_UNIQUE_VIOLATION, "INSERT", [], "write ON CONFLICT DO NOTHING"),
    (
        _UNIQUE_VIOLATION,
        "COPY",
        [],
        "copy into a temporary table, and from there INSERT … ON CONFLICT DO NOTHING",
    ),
)


def find_rerun_remedy(sqlstate: str | None, statement: str) -> str:
    """How to write `statement` so that it can run a second time; `sqlstate` is the error of its second run."""
    first_word, *others = first_tokens(statement.encode(), limit=_MAX_WORDS) or ("",)
    if first_word in _BLOCK_COMMANDS:
        return _BLOCK_REMEDY
    fitting = [
        (max((others.index(word) for word in words), default=0), remedy)
        for sqlstates, command, words, remedy in _REMEDIES
        if sqlstate in sqlstates and first_word == command and set(words) <= set(others)
    ]
    # CREATE PUBLICATION … FOR TABLE creates a publication: the kind of object stands first.
    return min(fitting, key=lambda match: match[0])[1] if fitting else _DEFAULT_REMEDY


RERUN_PRACTICE = "safe to re-run"
_MAX_SCHEMA_LINES = 5  # of a schema's difference; the rest is counted
_RERUN_REMEDY = "make it do nothing where it has run before"
_WRITING_COMMANDS = frozenset(
    {"INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "TRUNCATE", "WITH", "DO", "CALL", "SELECT"}
)


def check_rerun(
    url: str,
    files: tuple[Migration, ...],
    pending: Collection[Migration],
    *,
    waits: WaitLimits,
    migrations_table: LedgerName = DEFAULT_LEDGER,
    role: str = "",
    before_url: str = "",
    data_changed: CompareData | None = None,
) -> PracticeResult:
    """Run each of the `pending` among the `files` a second time in the clone at `url`, which is changed by it.

    A file that is not applied there yet is applied first, and runs again at once: on a fresh clone each file runs in
    the state that it leaves. Where all are applied already, each runs in the state that the last one left.
    `data_changed` compares the rows of the database at `before_url`, a clone in the state that `url` had, with those of
    `url`; it is called only if counters say that rows were written. Without it the practice is neither held nor broken
    where rows were written. Raises DatabaseUnreachable; MigrationFailed when a file fails the first time.
    """
    with open_session(url, role=role, migrations_table=migrations_table) as session:
        runs = [_run_second_time(session, files, migration, waits) for migration in pending]
    faults = [fault for run in runs for fault in run.faults()]
    wrote = [run for run in runs if run.error is None and run.row_counts != ()]
    if data_changed and before_url:
        if wrote and (differing := data_changed(before_url, url)):
            faults += [run.written_rows_fault() for run in wrote]
            return make_practice_result(RERUN_PRACTICE, faults, notes=differing)
        notes = [f"{run.written_rows_note()}, with the values they have" for run in wrote]
        return make_practice_result(RERUN_PRACTICE, faults, notes=notes)
    faults += [run.written_rows_fault() for run in wrote if run.row_count_changed]
    unknown = [run for run in wrote if not run.row_count_changed]
    notes = [f"{run.written_rows_note()}; the values were not compared" for run in unknown]
    return make_practice_result(RERUN_PRACTICE, faults, notes=notes, untested=bool(unknown))


@dataclass(frozen=True, slots=True, kw_only=True)
class _SecondRun:
    """What a file's second run did: its error, what it changed in the schema, the rows it wrote (None: not known)."""

    migration: Migration
    error: MigrationFailed | None
    schema_changes: tuple[Line, ...]
    row_counts: tuple[RowCounts, ...] | None

    @property
    def row_count_changed(self) -> bool:
        """Whether a table must have more rows now, or fewer."""
        return any(count.inserted != count.deleted and not count.filenode for count in self.row_counts or ())

    def faults(self) -> list[PracticeFault]:
        """The error and the changes of the schema; whether rows it wrote are a fault, their values decide."""
        faults = []
        if self.error:
            failure = self.error.failure
            message = f"the second run fails: {format_migration_error(self.error)}"
            column = failure.column or self._column_at(failure.offset)
            fault = replace(self._fault(message, None), line=failure.line, column=column, offset=failure.offset)
            remedy = find_rerun_remedy(failure.sqlstate, failure.statement or "")
            unchanged = self.schema_changes == () and self.row_counts == ()
            faults.append(replace(fault, remedy=remedy, left_unchanged=unchanged))
        faults += [
            self._fault(f"run again, it changes the schema: {change.text}", self._part_of_change(change.kind))
            for change in self.schema_changes[:_MAX_SCHEMA_LINES]
        ]
        if (more := len(self.schema_changes) - _MAX_SCHEMA_LINES) > 0:
            faults.append(self._fault(f"run again, it changes the schema in {more} more places", None))
        return faults

    def written_rows_fault(self) -> PracticeFault:
        """That it wrote rows, with the line of the statement that did, if only one can have."""
        if self.row_counts is None:
            message = "run again, it may write rows, of which this version of PostgreSQL does not tell"
        else:
            message = f"run again, it {', '.join(str(count) for count in self.row_counts)}"
        parts = [part for part, words in self._statement_words() if words[:1] and words[0] in _WRITING_COMMANDS]
        return self._fault(message, parts[0] if len(parts) == 1 else None)

    def written_rows_note(self) -> str:
        return str(replace(self.written_rows_fault(), remedy=""))

    def _fault(self, message: str, part: Part | None) -> PracticeFault:
        return PracticeFault(
            message=message,
            remedy=_RERUN_REMEDY,
            version=self.migration.version,
            filename=self.migration.filename,
            line=part.line if part else None,
            column=self._column_at(part.offset) if part else None,
            offset=part.offset if part else None,
        )

    def _column_at(self, offset: int | None) -> int | None:
        return None if offset is None else column_at(self.migration.path, offset)

    def _part_of_change(self, kind: str) -> Part | None:
        """The statement that changed an object of this kind, if only one statement names the kind."""
        word = kind.split(maxsplit=1)[0].upper()
        keyword = {"CONSTRAINT": "ADD", "COLUMN": "ALTER"}.get(word, word)
        parts = [part for part, words in self._statement_words() if keyword in words]
        return parts[0] if len(parts) == 1 else None

    def _statement_words(self) -> list[tuple[Part, tuple[str, ...]]]:
        """Each statement with its first words."""
        migration = self.migration
        with open_script(parse_script(migration.path, migration.filename), migration.path) as reading:
            return [
                (part, first_tokens(part.sql, limit=40)) for part in reading.parts if part.kind is PartKind.STATEMENT
            ]


def _run_second_time(
    session: Session, files: tuple[Migration, ...], migration: Migration, waits: WaitLimits
) -> _SecondRun:
    ledger = find_ledger(session)
    if not ledger.exists or not is_recorded(session, ledger, migration.version):
        apply_through(session, files, migration, waits)
        ledger = find_ledger(session)
    before, counts = read_schema(session), read_row_counts(session, ledger)
    session.connection.execute(delete_record_statement(session.connection, ledger, migration.version))
    failed: MigrationFailed | None = None
    try:
        apply_through(session, files, migration, waits)
    except MigrationFailed as error:
        failed = error
        if session.connection.broken:
            raise
        _restore_record(session, ledger, migration)
        if error.rolled_back:
            return _SecondRun(migration=migration, error=failed, schema_changes=(), row_counts=())
    after, counts_now = read_schema(session), read_row_counts(session, ledger)
    written = subtract_row_counts(counts, counts_now) if counts is not None and counts_now is not None else None
    # A table dropped and created again is the same but for its rows, which no counter includes.
    return _SecondRun(migration=migration, error=failed, schema_changes=lines(before, after), row_counts=written)


def _restore_record(session: Session, ledger: Ledger, migration: Migration) -> None:
    """Restore the record of a file that failed the second time, so that the next one runs as if it had not."""
    connection = session.connection
    connection.execute(claim_statement(connection, ledger, migration))
    if progress := read_progress(session, ledger).get(migration.version):
        connection.execute(delete_progress_statement(connection, ledger, migration.version, xid=progress.xid))
