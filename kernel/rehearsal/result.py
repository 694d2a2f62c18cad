"""What is suggested, and what came of trying it, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from kernel.lint.finding import Severity

if TYPE_CHECKING:
    from datetime import datetime

    from kernel.errors import Failure
    from kernel.lint.finding import Finding


_GIGABYTE = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is borne: reads or writes shut out for `block_seconds`, `wal_bytes` written by one migration.

    The rehearsal fails on findings of `fail_on` and worse; None lets everything pass.
    """

    block_seconds: float = 1.0
    wal_bytes: int = _GIGABYTE
    fail_on: Severity | None = Severity.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestedFile:
    """A file to have: its name by the naming rule, and its text."""

    filename: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """What the suggestion leaves otherwise than the original does, on purpose; `says` is a sentence about it.

    It is a column of `table` ("schema.table", quoted as SQL needs it) that only the suggestion leaves; or, without a
    column, that the columns of the table stand in another order.
    """

    table: str
    description: str
    column: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedSuggestion:
    """A finding that nothing is suggested for, and why, in a sentence. `line` is the statement's."""

    rule: str
    line: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """The files to have instead of one migration, () where nothing is suggested.

    `fresh` are (table, column) whose values are others in every run.
    """

    version: str
    filename: str
    files: tuple[SuggestedFile, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    nondeterministic_columns: tuple[tuple[str, str], ...] = ()
    refused: tuple[RefusedSuggestion, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestionTrial:
    """A suggestion and both timelines: the original's Run, and those of the suggested files, in their order."""

    suggestion: Suggestion
    original_run: Run
    suggested_runs: tuple[Run, ...]
    blocked_before: tuple[BlockedTime, ...] = ()
    blocked_after: tuple[BlockedTime, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestionResult:
    """All that is suggested. `trials` are in the order of the originals' versions; `refused` go with a file name.

    `differences` are lines about schema and rows where the end is not the one that the originals reach, beyond what is
    left on purpose; `fresh` are lines about values that are others in every run, in those of the originals too, and
    which prove nothing; `failed` says which file behind a suggestion failed and why, and then nothing was compared.
    """

    trials: tuple[SuggestionTrial, ...] = ()
    refused: tuple[tuple[str, RefusedSuggestion], ...] = ()
    differences: tuple[str, ...] = ()
    nondeterministic_values: tuple[str, ...] = ()
    failure: str = ""
    seconds: float = 0.0

    @property
    def proven(self) -> bool:
        """Whether every suggestion ran and all of them reach the same end."""
        return bool(self.trials) and not self.failure and not self.differences


# What a rehearsal found, as values: the witnesses make them, the judge reads them, the reports show them.
#
# Times are seconds, sizes bytes. `at_seconds` counts from the start of the first rehearsed migration. Names of relations
# are qualified, and quoted where SQL needs it. Text that came with a dump or a migration is as it came: whoever shows it
# escapes it.


class TableContent(StrEnum):
    """What became of a table's rows; `EXPECTED` is a change that the migration declares."""

    SAME = "same"
    CHANGED = "changed"
    EXPECTED = "expected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A table, index, sequence …, under the name it had when it was first seen.

    `kind` is table, partitioned table, index, partitioned index, view, materialized view, sequence, toast table,
    foreign table or composite type. `rows` is the planner's estimate in the golden copy. One that the rehearsed
    migrations made themselves is `created`: nobody else can be waiting for it. `table` is the one an index belongs to,
    `root` the topmost table that a partition or an heir has its rows seen through.
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
    """Rows of a table read one after the other; `under` is the strongest lock that we held on it, "" for none."""

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
    """A statement of a migration, and what the witnesses saw of it.

    `locks` are those that it took, or took more strongly than before. `commands` are the DDL
    commands inside it, as event triggers name them ("ALTER TABLE public.orders"): more than one where a DO block or a
    function hides them. `notes` are the server's notices and warnings.
    """

    line: int
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
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Rows that stand in the way of a migration or of a constraint; `query` lists all of them."""

    relation: str
    constraint: str
    rows: int
    query: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailure:
    """Why a migration failed in the rehearsal. `code` is the error's code string, as in JSON."""

    code: str
    message: str
    aftermath: str
    hint: str = ""
    failure: Failure | None = None
    violations: tuple[Violation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One migration on the clone. `transactional` tells that its locks last until its commit, and what failed is gone.

    `growth_bytes` is what the database grew on disk. `failed` is None when it was applied.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockedTime:
    """For how long at a stretch a migration shut reads and writes out of a relation that was there before."""

    relation: Relation
    version: str
    reads_seconds: float
    writes_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnChange:
    """How many of a table's rows have another value in a column; `how` says what was found out about it."""

    column: str
    rows: int
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unexpected:
    """What became of a table's rows and no migration declares: `what` in words, and what code decides on.

    `declaration` is what a file would say behind `-- rehearse:` to mean it, "" where it has said something else.
    `column` is the column that it is about, as in ColumnChange, "" for whole rows. `rows_removed` is how many rows are
    gone where that is all, else None.
    """

    what: str
    declaration: str = ""
    column: str = ""
    rows_removed: int | None = None

    def __str__(self) -> str:
        return f"{self.what}; declare it: -- rehearse: {self.declaration}" if self.declaration else self.what


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of the rows of a table between the golden copy and the end of the rehearsal.

    Where there is no key to tell rows apart by, a changed row counts as one removed and one added. `proof` says in a
    few words how it is known. `unexpected` is what no migration declares; with none of it,
    `content` is not CHANGED. `query` lists rows that differ. A table of one side only has None rows on the other.
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
    """A practice of the specification put to the test: `held` is None where it could not be, and `details` say why."""

    name: str
    held: bool | None
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standstill:
    """How long reads and writes of probe sessions waited on a relation: the longest wait, and all standstill together.

    `queued` is the greatest number of sessions seen waiting for it at once.
    """

    relation: str
    reads_longest_seconds: float = 0.0
    reads_total_seconds: float = 0.0
    writes_longest_seconds: float = 0.0
    writes_total_seconds: float = 0.0
    queued: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpSource:
    """Where the copy came from: `name` is the dump's file name or host:port/dbname, never a secret."""

    name: str
    kind: str
    size_bytes: int
    server_version: str = ""
    dumped_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """How the golden copy came to be. `bytes` is its size on disk; `reused` tells that it was kept from before."""

    seconds: float
    size_bytes: int
    reused: bool = False
    clone_seconds: float = 0.0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """All of it. `environment` are (name, value) pairs: versions, settings, sizes, as the page lists them.

    `schema` is the difference that the migrations make to the schema, in words, a line each. `rerun_safe` is None when
    it was not tried. `advice` is the safer way that was tried, None when nobody asked. `verdict` is pass or fail;
    `reasons` are the findings at or above the threshold, worst first.
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

    @property
    def verdict(self) -> str:
        """Whether it passed, pass or fail (INTERFACE: "JSON")."""
        return "fail" if self.reasons else "pass"
