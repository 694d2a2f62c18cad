"""PURE: which values are others in every run, such as what a trigger takes from the clock; they prove nothing.

A difference in them is none of the suggestion, as long as everything else about them is the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from psycopg import sql

from kernel.apply.events import ignore_event
from kernel.db.connection import open_session
from kernel.db.ledger import LEDGER_TABLE, PROGRESS_TABLE, find_ledger
from kernel.errors import MigrationFailed
from kernel.operations.migrate import MigrateOptions, migrate
from kernel.rehearsal.data.connections import open_connection_pair, wait_for_statistics
from kernel.rehearsal.data.row_diff import compare_table_rows
from kernel.rehearsal.data.tables import pair_tables, read_tables
from kernel.rehearsal.schema.diff import diff_schemas
from kernel.rehearsal.schema.snapshot import Schema, read_schema
from kernel.units import format_count, format_quantity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from kernel.migrations.migration import Migration
    from kernel.rehearsal.data.connections import ConnectionPair
    from kernel.rehearsal.data.tables import CatalogTable
    from kernel.rehearsal.prod_copy.copy import ProdCopy
    from kernel.rehearsal.request import RehearsalRequest
    from kernel.rehearsal.result import Leftover, Suggestion
    from kernel.rehearsal.schema.snapshot import SchemaObject


ColumnCounts = dict[tuple[str, str], int]


def find_nondeterministic_columns(
    apart: Sequence[TableRowDifference],
    again: Sequence[TableRowDifference],
    changes: Sequence[TableRowDifference],
    suggested_changes: Sequence[TableRowDifference],
) -> ColumnCounts:
    """The (table, column) of `apart` whose values are others in every run, with the number of rows that differ.

    `apart` is how the suggestion's end differs from the originals', `again` how a second run of the originals does,
    `changes` what the originals make of the golden copy, and `suggested_changes` what the suggestion makes of it. A
    column counts only where two runs of the originals differ in no fewer rows, and where both ways change it in as many
    rows: a suggestion that forgets to write it, or writes it everywhere, is still another one.
    """
    in_every_run, meant, done = _column_counts(again), _column_counts(changes), _column_counts(suggested_changes)
    return {
        column: rows
        for column, rows in _column_counts(apart).items()
        if in_every_run.get(column, 0) >= rows and meant.get(column, 0) == done.get(column, 0)
    }


def has_regenerated_rows(apart: TableRowDifference, again: Sequence[TableRowDifference]) -> bool:
    """Whether two runs of the originals have the same number of rows apart, as keys do that are made anew each time.

    Nobody can tell then which row should be compared with which.
    """
    both = (apart.added, apart.removed)
    return any(both) and any((one.table, one.added, one.removed) == (apart.table, *both) for one in again)


def _column_counts(apart: Sequence[TableRowDifference]) -> ColumnCounts:
    return {(one.table, column): rows for one in apart for column, rows in one.columns}


# Whether two databases, cloned from one golden copy and migrated in two ways, have come to the same end.
#
# Schemas are compared by name. So are columns: one that was swapped has another number than one whose type was changed.


def compare_schemas(wanted: Schema, reached: Schema, leaves: Sequence[Leftover]) -> tuple[str, ...]:
    """What makes the schema that was reached another one than what was wanted, but for what is left on purpose."""
    columns = {(one.table, one.column) for one in leaves if one.column}
    ordered = {one.table for one in leaves if not one.column}
    places = {thing.name: thing.place for thing in wanted.objects if thing.place}
    kept = (thing for thing in reached.objects if (_table_name(thing), thing.bare_name) not in columns)
    things = (
        thing._replace(place=places.get(thing.name, thing.place)) if _table_name(thing) in ordered else thing
        for thing in kept
    )
    return diff_schemas(wanted, Schema(objects=tuple(things)), oids=False)


def _table_name(column: SchemaObject) -> str:
    """The table of a column as its name says it, "" for everything else."""
    for end in (f".{column.bare_name}", _quoted_suffix(column.bare_name)) if column.place else ():
        if column.name.endswith(end):
            return column.name.removesuffix(end)
    return ""


def _quoted_suffix(bare: str) -> str:
    return '."' + bare.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRowDifference:
    """How the rows of a table differ; `columns` are (name, number of rows that have another value there)."""

    table: str
    added: int = 0
    removed: int = 0
    changed: int = 0
    columns: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        counts = ((self.added, "too many"), (self.removed, "missing"), (self.changed, "different"))
        told = ", ".join(f"{format_quantity(count, 'row')} {what}" for count, what in counts if count)
        columns = ", ".join(name for name, _ in self.columns)
        return f"{self.table}: {told}{f' in {columns}' if columns else ''}"


def compare_rows(
    wanted: str,
    reached: str,
    ours: str,
    *,
    without: Collection[tuple[str, str]],
    jobs: int,
    only: Collection[str] | None = None,
) -> tuple[TableRowDifference, ...]:
    """The tables whose rows differ, `without` these columns of them (table, column); `only` these tables, if told.

    `wanted` and `reached` are URLs, `ours` is the schema of the ledger, which is not compared. Raises
    EnvironmentFailed.
    """
    with open_connection_pair(wanted, reached, jobs=jobs) as both:
        for connection in (both.template, both.clone):
            wait_for_statistics(connection)
        before, after = read_tables(both.template), read_tables(both.clone)
        written = {oid for oid, one in before.items() if one.rows_written}
        names = {one.quoted: one for one in before.values()}
        before = {
            oid: _with_original_numbers(one, one, without)
            for oid, one in before.items()
            if not _is_ledger_table(one, ours)
        }
        after = {
            oid: _with_original_numbers(one, names.get(one.quoted), without)
            for oid, one in after.items()
            if not _is_ledger_table(one, ours)
        }
        return tuple(_differing_tables(both, before, after, written, only))


def compare_value_counts(
    wanted: str, reached: str, columns: Collection[tuple[str, str]], *, jobs: int
) -> tuple[str, ...]:
    """Lines about columns (table, column) that have a value in more rows there, or in fewer; both sides have them."""
    with open_connection_pair(wanted, reached, jobs=jobs) as both:
        there = [
            {(one.quoted, column.name) for one in read_tables(side).values() for column in one.columns}
            for side in (both.template, both.clone)
        ]
        return tuple(_differing_value_counts(both, there[0] & there[1] & set(columns)))


def _is_ledger_table(one: CatalogTable, schema_name: str) -> bool:
    return one.schema == schema_name and one.name in (LEDGER_TABLE, PROGRESS_TABLE)


def _with_original_numbers(
    one: CatalogTable, before: CatalogTable | None, without: Collection[tuple[str, str]]
) -> CatalogTable:
    """A relation whose columns have the numbers of those of the same name there, and not those that are left out."""
    numbers = {column.name: column.number for column in before.columns} if before else {}
    new = {column.number: numbers.get(column.name, -column.number) for column in one.columns}
    return replace(
        one,
        columns=tuple(
            replace(column, number=new[column.number])
            for column in one.columns
            if (one.quoted, column.name) not in without
        ),
        keys=tuple(tuple(new[number] for number in key) for key in one.keys),
    )


def _differing_tables(
    both: ConnectionPair,
    before: Mapping[int, CatalogTable],
    after: Mapping[int, CatalogTable],
    written: Collection[int],
    only: Collection[str] | None,
) -> Iterator[TableRowDifference]:
    for table in pair_tables(before, after, written=written):
        if table.before is None or table.after is None or not table.touched:
            continue  # a table that only one side has is the schema's affair
        if only is not None and table.head.quoted not in only:
            continue
        found = compare_table_rows(both, table, table.before, table.after)
        if found.added or found.removed or found.changed or found.rows_before != found.rows_after:
            yield TableRowDifference(
                table=table.head.quoted,
                added=found.added,
                removed=found.removed,
                changed=found.changed,
                columns=tuple((one.column.name, one.rows) for one in found.columns),
            )


def _differing_value_counts(both: ConnectionPair, fresh: Collection[tuple[str, str]]) -> Iterator[str]:
    for table, column in sorted(fresh):
        # The table's name comes from the server, quoted.
        counted = sql.SQL("SELECT count({}) FROM {}").format(sql.Identifier(column), sql.SQL(table))
        ((ours,),), ((theirs,),) = both.query_both(counted, counted)
        if ours != theirs:
            yield f"{table}: {format_quantity(theirs, 'row')} with a value in {column}, and not {format_count(ours)}"


# The proof: what was suggested comes to the same end as the originals, in schema and in rows.
#
# Where rows differ, the originals run once more on another clone, for what differs between two runs of them is no fault
# of the suggestion.


SECOND_RUN_CLONE = "once_more"
_UNMATCHABLE_ROWS = "; two runs of the originals differ so too, and nobody can tell which rows belong together"


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalence:
    """Lines about what differs, and about values that are others in every run, of which only the number is compared."""

    differences: tuple[str, ...] = ()
    nondeterministic_values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MigratedClones:
    """Where the `originals` of a `copy`, the `last` of them included, have come to, and where the suggestion has: URLs.

    Both clones are there, and nobody is connected to them.
    """

    copy: ProdCopy
    migrations: tuple[Migration, ...]
    last_version: str
    original_url: str = field(repr=False)
    suggested_url: str = field(repr=False)


def prove_equivalence(ends: MigratedClones, suggested: Sequence[Suggestion], wish: RehearsalRequest) -> Equivalence:
    """Compare the ends, but for what is left on purpose. Raises EnvironmentFailed."""
    leaves = [leftover for one in suggested for leftover in one.leftovers]
    expected = {column for one in suggested for column in one.nondeterministic_columns}
    without = {(one.table, one.column) for one in leaves} | expected
    with open_session(ends.original_url) as session:
        aim, ours = read_schema(session), find_ledger(session).schema
    with open_session(ends.suggested_url) as session:
        end = read_schema(session)
    rows = _RowComparison(ledger_schema=ours, jobs=wish.jobs)
    apart = rows.compare(ends.original_url, ends.suggested_url, without)
    found: ColumnCounts = {}
    again: tuple[TableRowDifference, ...] = ()
    if apart:
        again, found = _compare_second_run(ends, rows, apart, without, wish)
    if found:
        apart = rows.compare(
            ends.original_url, ends.suggested_url, without | found.keys(), only={one.table for one in apart}
        )
    return Equivalence(
        differences=(
            *compare_schemas(aim, end, leaves),
            *(f"{one}{_UNMATCHABLE_ROWS if has_regenerated_rows(one, again) else ''}" for one in apart),
            *compare_value_counts(ends.original_url, ends.suggested_url, expected | found.keys(), jobs=wish.jobs),
        ),
        nondeterministic_values=tuple(
            f"{table}: {format_quantity(count, 'value')} of {column}"
            for (table, column), count in sorted(found.items())
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _RowComparison:
    """How rows are compared here: not those of our tables, which are in the schema `ours`."""

    ledger_schema: str
    jobs: int

    def compare(
        self,
        wanted: str,
        reached: str,
        without: Collection[tuple[str, str]],
        *,
        only: Collection[str] | None = None,
    ) -> tuple[TableRowDifference, ...]:
        return compare_rows(wanted, reached, self.ledger_schema, without=without, jobs=self.jobs, only=only)


def _compare_second_run(
    ends: MigratedClones,
    rows: _RowComparison,
    apart: Sequence[TableRowDifference],
    without: Collection[tuple[str, str]],
    wish: RehearsalRequest,
) -> tuple[tuple[TableRowDifference, ...], ColumnCounts]:
    """How a second run of the originals differs from the first, and which columns of `apart` that explains."""
    tables = {one.table for one in apart}
    with ends.copy.clone(SECOND_RUN_CLONE) as clone:
        try:
            with open_session(clone.url) as session:
                migrate(session, ends.migrations, MigrateOptions(to=ends.last_version, waits=wish.waits), ignore_event)
        except MigrationFailed:
            return (), {}  # what cannot be had twice on one server, a role, explains nothing
        again = rows.compare(ends.original_url, clone.url, without, only=tables)
    golden = ends.copy.url
    changes, suggested = (
        rows.compare(golden, url, without, only=tables) for url in (ends.original_url, ends.suggested_url)
    )
    return again, find_nondeterministic_columns(apart, again, changes, suggested)
