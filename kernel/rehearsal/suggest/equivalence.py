"""Compare two clones of one template database, migrated in two ways: schemas, rows, and values that never repeat.

Where rows differ, the originals run again on a third clone: what differs between two runs of the originals, such as
values that a trigger takes from the clock, is not a difference of the suggestion.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from psycopg import sql

from kernel.apply.events import ignore_event
from kernel.db.connection import open_session
from kernel.errors import MigrationFailed
from kernel.operations.migrate import MigrateOptions, migrate
from kernel.rehearsal.data.check import check_data
from kernel.rehearsal.data.connections import open_connection_pair
from kernel.rehearsal.data.tables import read_tables
from kernel.schema import diff_schemas, read_schema
from kernel.units import format_count, format_quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from kernel.migrations.migration import Migration
    from kernel.rehearsal.prod_copy.copy import ProdCopy
    from kernel.rehearsal.request import RehearsalRequest
    from kernel.rehearsal.result import Receipt, Suggestion

ColumnCounts = dict[tuple[str, str], int]  # rows by (table, column)

SECOND_RUN_CLONE = "once_more"
_UNMATCHABLE_ROWS = "; two runs of the originals differ in the same way, and their rows cannot be matched"


@dataclass(frozen=True, slots=True, kw_only=True)
class MigratedClones:
    """The clone with the originals up to `last_version` of a `copy`, and the one with the suggestions.

    Both exist, and no session is connected to them.
    """

    copy: ProdCopy
    migrations: tuple[Migration, ...]
    last_version: str
    original_url: str = field(repr=False)
    suggested_url: str = field(repr=False)
    ledger_tables: frozenset[str]

    def compare_rows(
        self, before_url: str, after_url: str, *, without: Collection[tuple[str, str]], jobs: int
    ) -> tuple[Receipt, ...]:
        """The tables of both databases whose rows differ, columns in `without` not compared. Raises EnvironmentFailed.

        The runner's tables are not compared; a table that only one database has is a difference of the schemas.
        """
        receipts = check_data(
            before_url, after_url, (), (), jobs=jobs, without=without, template_migrated=before_url != self.copy.url
        )
        return tuple(
            one
            for one in receipts
            if one.table not in self.ledger_tables
            and None not in (one.rows_before, one.rows_after)
            and (one.added or one.removed or one.changed)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalence:
    """Lines about what differs, and about values that differ in every run, of which only the number is compared."""

    differences: tuple[str, ...] = ()
    nondeterministic_values: tuple[str, ...] = ()


def prove_equivalence(
    clones: MigratedClones, suggestions: Sequence[Suggestion], request: RehearsalRequest
) -> Equivalence:
    """Compare both clones. Raises EnvironmentFailed."""
    filled = {column for suggestion in suggestions for column in suggestion.nondeterministic_columns}
    with open_session(clones.original_url, migrations_table=request.migrations_table) as session:
        original_schema = read_schema(session)
    with open_session(clones.suggested_url, migrations_table=request.migrations_table) as session:
        suggested_schema = read_schema(session)
    compare = partial(clones.compare_rows, jobs=request.jobs)
    differing = compare(clones.original_url, clones.suggested_url, without=filled)
    never_equal: ColumnCounts = {}
    between_runs: tuple[Receipt, ...] = ()
    if differing:
        between_runs, never_equal = _compare_second_run(clones, compare, differing, filled, request)
        if never_equal:
            differing = compare(clones.original_url, clones.suggested_url, without=filled | never_equal.keys())
    return Equivalence(
        differences=(
            *diff_schemas(original_schema, suggested_schema, oids=False),
            *(describe_row_difference(one, between_runs) for one in differing),
            *_compare_value_counts(
                clones.original_url, clones.suggested_url, filled | never_equal.keys(), jobs=request.jobs
            ),
        ),
        nondeterministic_values=tuple(
            f"{table}: {format_quantity(count, 'value')} of {column}"
            for (table, column), count in sorted(never_equal.items())
        ),
    )


def _compare_second_run(
    clones: MigratedClones,
    compare: Callable[..., tuple[Receipt, ...]],
    differing: Sequence[Receipt],
    without: Collection[tuple[str, str]],
    request: RehearsalRequest,
) -> tuple[tuple[Receipt, ...], ColumnCounts]:
    """How a second run of the originals differs from the first, and which columns of `differing` that explains."""
    with clones.copy.clone(SECOND_RUN_CLONE) as clone:
        options = MigrateOptions(to=clones.last_version, waits=request.waits)
        try:
            with open_session(clone.url, role=request.role, migrations_table=request.migrations_table) as session:
                migrate(session, clones.migrations, options, ignore_event)
        except MigrationFailed:
            return (), {}  # what cannot exist twice on a server, such as a role, explains nothing
        between_runs = compare(clones.original_url, clone.url, without=without)
    changes, suggested_changes = (
        compare(clones.copy.url, url, without=without) for url in (clones.original_url, clones.suggested_url)
    )
    return between_runs, find_nondeterministic_columns(differing, between_runs, changes, suggested_changes)


def find_nondeterministic_columns(
    differing: Sequence[Receipt],
    between_runs: Sequence[Receipt],
    changes: Sequence[Receipt],
    suggested_changes: Sequence[Receipt],
) -> ColumnCounts:
    """The columns of `differing` whose values differ in every run, with the number of rows that differ.

    `differing` is suggestion against originals, `between_runs` two runs of the originals, `changes` and
    `suggested_changes` originals and suggestion against the template database. A column counts only where two runs of
    the originals differ in no fewer rows, and where both ways change it in as many rows: a suggestion that does not
    write it, or writes it in other rows, is still a difference.
    """
    differing_counts, in_every_run = _column_counts(differing), _column_counts(between_runs)
    intended, actual = _column_counts(changes), _column_counts(suggested_changes)
    return {
        column: rows
        for column, rows in differing_counts.items()
        if in_every_run.get(column, 0) >= rows and intended.get(column, 0) == actual.get(column, 0)
    }


def has_regenerated_rows(difference: Receipt, between_runs: Sequence[Receipt]) -> bool:
    """Whether two runs of the originals add and remove as many rows, as with keys that are generated in each run."""
    counts = (difference.added, difference.removed)
    return any(counts) and any(
        (one.table, one.added, one.removed) == (difference.table, *counts) for one in between_runs
    )


def _column_counts(differences: Sequence[Receipt]) -> ColumnCounts:
    return {(one.table, column.column): column.rows for one in differences for column in one.columns}


def describe_row_difference(difference: Receipt, between_runs: Sequence[Receipt]) -> str:
    """A line about a table whose rows differ, and about what two runs of the originals explain."""
    counts = ((difference.added, "too many"), (difference.removed, "missing"), (difference.changed, "different"))
    rows = ", ".join(f"{format_quantity(count, 'row')} {what}" for count, what in counts if count)
    columns = ", ".join(column.column for column in difference.columns)
    regenerated = _UNMATCHABLE_ROWS if has_regenerated_rows(difference, between_runs) else ""
    return f"{difference.table}: {rows}{f' in {columns}' if columns else ''}{regenerated}"


def _compare_value_counts(
    original_url: str, suggested_url: str, columns: Collection[tuple[str, str]], *, jobs: int
) -> Iterator[str]:
    """Lines about columns that are NULL in fewer or more rows of one side; columns of one side only are skipped."""
    with open_connection_pair(original_url, suggested_url, jobs=jobs) as pair:
        original, suggested = (
            {(table.quoted, column.name) for table in read_tables(side).values() for column in table.columns}
            for side in (pair.template, pair.clone)
        )
        for table, column in sorted(original & suggested & set(columns)):
            # The table's name comes quoted from the server.
            query = sql.SQL("SELECT count({}) FROM {}").format(sql.Identifier(column), sql.SQL(table))
            ((original_count,),), ((suggested_count,),) = pair.query_both(query, query)
            if original_count != suggested_count:
                values = format_quantity(suggested_count, "row")
                yield f"{table}: {values} with a value in {column}, and not {format_count(original_count)}"
