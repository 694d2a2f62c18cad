"""The values of a rehearsal: what was run and measured, findings, and suggestions.

Times are seconds, sizes bytes. `at_seconds` counts from the start of the first rehearsed migration. Names of relations
are qualified, and quoted where SQL needs it. Text from a dump or a migration is unchanged: reports escape it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from kernel.lint.finding import Severity
from kernel.units import format_quantity

if TYPE_CHECKING:
    from datetime import datetime

    from kernel.errors import Failure
    from kernel.lint.finding import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a rehearsal: reads or writes blocked for `block_seconds`, `wal_bytes` written by one migration.

    The rehearsal fails on findings of `fail_on` and worse; with None it never fails.
    """

    block_seconds: float = 1.0
    wal_bytes: int = 1 << 30
    fail_on: Severity | None = Severity.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestedFile:
    """A suggested migration file."""

    filename: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedSuggestion:
    """A finding without a suggestion, and the reason. `line` is the statement's."""

    rule: str
    line: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """The files that replace one migration, () where nothing is suggested.

    `nondeterministic_columns` are (table, column) whose values differ in every run.
    """

    version: str
    filename: str
    files: tuple[SuggestedFile, ...] = ()
    nondeterministic_columns: tuple[tuple[str, str], ...] = ()
    refused: tuple[RefusedSuggestion, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestionTrial:
    """A suggestion and both timelines: the original's Run, and the Runs of the suggested files, in their order."""

    suggestion: Suggestion
    original_run: Run
    suggested_runs: tuple[Run, ...]
    blocked_before: tuple[BlockedTime, ...] = ()
    blocked_after: tuple[BlockedTime, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestionResult:
    """All suggestions. `trials` are in the order of the originals' versions; `refused` are pairs with a file name.

    `differences` are lines about schema and rows where the result differs from that of the originals;
    `nondeterministic_values` are lines about values that differ in every run, of the originals too, and
    prove nothing; `failure` says which file after a suggestion failed and why, and then nothing was compared.
    """

    trials: tuple[SuggestionTrial, ...] = ()
    refused: tuple[tuple[str, RefusedSuggestion], ...] = ()
    differences: tuple[str, ...] = ()
    nondeterministic_values: tuple[str, ...] = ()
    failure: str = ""
    seconds: float = 0.0

    @property
    def proven(self) -> bool:
        """Whether every suggestion ran and all of them have the same result as the originals."""
        return bool(self.trials) and not self.failure and not self.differences


class TableContent(StrEnum):
    """How a table's rows changed; `EXPECTED` is a change that the migration declares."""

    SAME = "same"
    CHANGED = "changed"
    EXPECTED = "expected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A table, index, sequence …, under the name it had when it was first seen.

    `kind` is table, partitioned table, index, partitioned index, view, materialized view, sequence, toast table,
    foreign table or composite type. `rows` is the planner's estimate in the template database. A relation that the
    rehearsed migrations created is `created`: no other session waits for it. `table` is the table of an index, `root`
    the topmost parent of a partition or child table.
    """

    oid: int
    name: str
    kind: str = "table"
    rows: int = 0
    size_bytes: int = 0
    created: bool = False
    table: str = ""
    root: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A lock on a relation, from when it was granted to when its transaction ended. `mode` is a name of LOCK TABLE."""

    relation: Relation
    mode: str
    at_seconds: float
    held_seconds: float
    waited_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """Rows of a table read sequentially; `held_lock_mode` is the migration's strongest lock on it, "" for none."""

    relation: Relation
    rows: int
    held_lock_mode: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsWritten:
    """Rows of a table written by a statement, through triggers and cascades too."""

    relation: Relation
    inserted: int = 0
    updated: int = 0
    deleted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedStatement:
    """A statement of a migration, and what was traced of it.

    `line` and `column` (characters) count from 1; `offset` is that byte of the file. `locks` are those that it took, or
    took in a stronger mode than before. `commands` are its DDL commands as event triggers report them ("ALTER TABLE
    public.orders"): more than one in a DO block or a function; `dropped` are the objects that went with those that it
    drops ("table constraint total_check on public.orders"). `notes` are the server's notices and warnings,
    and how the batches of a backfill went.
    """

    line: int
    column: int
    offset: int
    sql: str
    at_seconds: float
    seconds: float
    locks: tuple[Lock, ...] = ()
    rewrites: tuple[Relation, ...] = ()
    index_rebuilds: tuple[Relation, ...] = ()
    scans: tuple[Scan, ...] = ()
    written: tuple[RowsWritten, ...] = ()
    wal_bytes: int = 0
    commands: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Rows that violate a constraint or make a migration fail; `query` lists all of them.

    `check` is the check that, at the top of the file, would have stopped the migration; "" if none was tried.
    Of a unique key, `groups` is the number of keys that several of these rows share; None for another constraint.
    """

    relation: str
    constraint: str
    rows: int
    query: str
    check: str = ""
    groups: int | None = None

    @property
    def counts(self) -> str:
        """The number of rows in words, and that of the keys that they share."""
        rows = format_quantity(self.rows, "row")
        return rows if self.groups is None else f"{rows} with {format_quantity(self.groups, 'duplicated key')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailure:
    """Why a migration failed in the rehearsal. `code` is the error code, as in JSON."""

    code: str
    message: str
    aftermath: str
    hint: str = ""
    failure: Failure | None = None
    violations: tuple[Violation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One migration on the clone; a `transactional` one holds its locks to the commit, and is rolled back on failure.

    `growth_bytes` is the growth of the database on disk. `failed` is None when it was applied.
    """

    version: str
    filename: str
    transactional: bool
    at_seconds: float
    seconds: float
    statements: tuple[TracedStatement, ...]
    wal_bytes: int = 0
    growth_bytes: int = 0
    failed: RunFailure | None = None

    def statement_at(self, offset: int | None) -> TracedStatement | None:
        """The statement that a byte of the file belongs to; None for none, and if none ran before it."""
        before = [one for one in self.statements if offset is not None and one.offset <= offset]
        return before[-1] if before else None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockedTime:
    """The longest time without interruption that a migration blocked reads and writes of an existing relation."""

    relation: Relation
    version: str
    reads_seconds: float
    writes_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnChange:
    """The number of rows with another value in a column; `detail` describes the change."""

    column: str
    rows: int
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unexpected:
    """A change of a table's rows that no migration declares: `what` in words, and values for code to decide on.

    `declaration` is the text after `-- rehearse:` that would declare it, "" where a declaration is wrong. `column` is
    the changed column, as in ColumnChange, "" for whole rows. `rows_removed` is the number of rows removed where
    nothing else changed, else None.
    """

    what: str
    declaration: str = ""
    column: str = ""
    rows_removed: int | None = None

    def __str__(self) -> str:
        return f"{self.what}; declare it: -- rehearse: {self.declaration}" if self.declaration else self.what


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The changes of a table's rows between the template database and the end of the rehearsal.

    Without a key, a changed row counts as one removed and one added. `proof` says how the result was obtained.
    `unexpected` are undeclared changes; without any, `content` is not CHANGED. `query` lists rows that differ. A table
    of one side only has None rows on the other.
    """

    table: str
    rows_before: int | None
    rows_after: int | None
    content: TableContent
    added: int = 0
    removed: int = 0
    changed: int = 0
    columns: tuple[ColumnChange, ...] = ()
    unexpected: tuple[Unexpected, ...] = ()
    proof: str = ""
    query: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Practice:
    """The test of a practice of the specification: `held` is None where it was not tested, and `details` say why."""

    name: str
    held: bool | None
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standstill:
    """How long reads and writes of probe sessions waited on a relation: the longest wait, and the total.

    `queued` is the greatest number of sessions that waited for it at once.
    """

    relation: str
    reads_longest_seconds: float = 0.0
    reads_total_seconds: float = 0.0
    writes_longest_seconds: float = 0.0
    writes_total_seconds: float = 0.0
    queued: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpSource:
    """The source of the copy: `name` is the dump's file name or host:port/dbname, without secrets."""

    name: str
    kind: str
    size_bytes: int
    server_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """The restore of the template database, `size_bytes` on disk; `reused`: a kept copy was used."""

    seconds: float
    size_bytes: int
    reused: bool = False
    clone_seconds: float = 0.0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """The result of a rehearsal. `environment` are (name, value) pairs: versions, settings, sizes, for the report.

    `schema` are lines about the changes of the schema. `rerun_safe` is None when it was not tested. `advice` are the
    suggestions, None when they were not requested. `reasons` are the findings at or above the threshold, the worst
    first.
    """

    database: str
    source: DumpSource
    restore: Restore
    runs: tuple[Run, ...]
    blocked: tuple[BlockedTime, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    schema: tuple[str, ...] = ()
    practices: tuple[Practice, ...] = ()
    rerun_safe: bool | None = None
    traffic: tuple[Standstill, ...] = ()
    findings: tuple[Finding, ...] = ()
    reasons: tuple[Finding, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0
    advice: SuggestionResult | None = None
    began_at: datetime | None = None

    @property
    def server_version(self) -> str:
        """The version of the server on which it ran, "" if it is not known."""
        return dict(self.environment).get("server_version", "")

    @property
    def verdict(self) -> str:
        """Either "pass" or "fail", as in JSON."""
        return "fail" if self.reasons else "pass"
