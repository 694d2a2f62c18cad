"""Check the data: a receipt for every table of the template database and of the clone.

Loss needs a declaration: rows removed, values changed, columns and tables dropped with what they hold. Rows added do
not, nor columns: no production data is lost. Nor does what is computed from other rows: generated columns and
materialized views.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from kernel.errors import FilesInvalid
from kernel.rehearsal.data.connections import fetch_rows, open_connection_pair, wait_for_statistics
from kernel.rehearsal.data.expectations import TableExpectations, resolve_expectations
from kernel.rehearsal.data.hashing import count_query
from kernel.rehearsal.data.row_diff import RowDifference, compare_table_rows
from kernel.rehearsal.data.tables import pair_tables, read_tables
from kernel.rehearsal.result import ColumnChange, Receipt, TableContent, Unexpected
from kernel.units import format_count, format_quantity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from kernel.db.connection import Connection
    from kernel.rehearsal.data.connections import ConnectionPair
    from kernel.rehearsal.data.expectations import Expectation
    from kernel.rehearsal.data.row_diff import ColumnDifference
    from kernel.rehearsal.data.tables import CatalogColumn, CatalogTable, TablePair
    from kernel.rehearsal.result import Run


def check_data(
    template: str,
    clone: str,
    runs: Iterable[Run],
    expectations: Sequence[Expectation],
    *,
    jobs: int = 2,
    without: Collection[tuple[str, str]] = (),
    template_migrated: bool = False,
) -> tuple[Receipt, ...]:
    """The receipts of all tables, ordered by name.

    `template` and `clone` are URLs; the clone was made with CREATE DATABASE … TEMPLATE, or both were made from one
    template and `template_migrated` is true. Only touched tables are read, unless another session stays connected to
    the clone: then every table counts as touched. `jobs` server processes work on a table. `without` are (table,
    column) that are not compared. Raises FilesInvalid for declarations that name no table or column of either database,
    DatabaseUnreachable, and DatabaseRefused for what the server refuses.
    """
    with open_connection_pair(template, clone, jobs=jobs) as both:
        # Before the tables are read: their numbers of written rows are complete then.
        complete = [wait_for_statistics(one) for one in ([both.template] if template_migrated else []) + [both.clone]]
        before, after = (_read_tables_without(connection, without) for connection in (both.template, both.clone))
        written = _written_oids(runs) if all(complete) else before.keys()
        if template_migrated:
            written = written | {oid for oid, table in before.items() if table.rows_written}
        tables = pair_tables(before, after, written=written)
        declared, problems = resolve_expectations(expectations, tables, both.search_path)
        if problems:
            raise FilesInvalid(problems)
        return tuple(
            _compare_table(
                both, table, declared.get(index, TableExpectations()), name=_declared_name(table, both.search_path)
            )
            for index, table in enumerate(tables)
        )


def _read_tables_without(connection: Connection, without: Collection[tuple[str, str]]) -> dict[int, CatalogTable]:
    return {
        oid: replace(table, columns=tuple(one for one in table.columns if (table.quoted, one.name) not in without))
        for oid, table in read_tables(connection).items()
    }


def _written_oids(runs: Iterable[Run]) -> AbstractSet[int]:
    """The OIDs of relations that traced statements wrote or rewrote."""
    statements = [statement for run in runs for statement in run.statements]
    written = {rows.relation.oid for statement in statements for rows in statement.written}
    return written | {relation.oid for statement in statements for relation in statement.rewrites}


def _declared_name(table: TablePair, search_path: Sequence[str]) -> str:
    """The table's name in a declaration: without its schema where that is the first of the search path."""
    head = table.head
    return head.quoted.removeprefix(f"{head.schema}.") if search_path[:1] == (head.schema,) else head.quoted


def _compare_table(both: ConnectionPair, table: TablePair, declared: TableExpectations, *, name: str) -> Receipt:
    started = time.perf_counter()
    before, after = table.before, table.after
    if before is None or after is None:
        ((rows,),) = fetch_rows(both.template if before else both.clone, count_query(table.leaves))
        return _receipt_for_one_side(table, rows, declared, started, name=name)
    lost: _DroppedColumns = ()
    rows = sum(leaf.estimated_rows for leaf in before.leaves)
    if table.dropped_columns:
        ((rows, *values),) = fetch_rows(both.template, count_query(before.leaves, table.dropped_columns))
        lost = tuple(zip(table.dropped_columns, values, strict=True))
    difference = RowDifference(rows_before=rows, rows_after=rows)
    if table.touched:
        difference = compare_table_rows(both, table, before, after)
    return _receipt_for_table(table, difference, lost, declared, started, name=name)


# The columns that were dropped, each with the number of values that it held.
_DroppedColumns = tuple[tuple["CatalogColumn", int], ...]


def _receipt_for_table(
    table: TablePair,
    difference: RowDifference,
    lost: _DroppedColumns,
    declared: TableExpectations,
    started: float,
    *,
    name: str,
) -> Receipt:
    """The receipt of a table that both sides have; `name` is its name in declarations."""
    unexpected: tuple[Unexpected, ...] = ()
    if not table.derived:
        unexpected = (
            *_unexpected_rows(table, difference, declared, name),
            *_unexpected_values(difference, declared, name),
            *_unexpected_drops(lost, declared, name),
        )
    columns = [
        ColumnChange(column=change.column.name, rows=change.rows, detail=_describe_column(change))
        for change in difference.columns
    ]
    columns += [ColumnChange(column=column.name, rows=values, detail="dropped") for column, values in lost]
    differs = difference.added or difference.removed or difference.changed or any(values for _, values in lost)
    return Receipt(
        table=table.head.quoted,
        rows_before=difference.rows_before,
        rows_after=difference.rows_after,
        content=_classify_content(unexpected, differs=bool(differs)),
        added=difference.added,
        removed=difference.removed,
        changed=difference.changed,
        columns=tuple(columns),
        unexpected=unexpected,
        proof=_describe_proof(table, difference),
        query=difference.query,
        seconds=time.perf_counter() - started if table.touched or lost else 0.0,
    )


def _receipt_for_one_side(
    table: TablePair, rows: int, declared: TableExpectations, started: float, *, name: str
) -> Receipt:
    """The receipt of a table that was dropped or created, with all of its rows."""
    dropped = table.after is None
    unexpected = () if dropped else tuple(_unexpected_count(rows, "added", declared))
    is_declared = (
        table.derived
        or "" in declared.dropped_columns
        or declared.any_row_count
        or declared.expected_rows(added=False) == -rows
    )
    if dropped and rows and not is_declared:
        unexpected = (Unexpected(what=f"dropped with {format_quantity(rows, 'row')}", declaration=f"drops {name}"),)
    return Receipt(
        table=table.head.quoted,
        rows_before=rows if dropped else None,
        rows_after=None if dropped else rows,
        content=_classify_content(unexpected, differs=bool(rows)),
        added=0 if dropped else rows,
        removed=rows if dropped else 0,
        unexpected=unexpected,
        proof=f"{'dropped' if dropped else 'created by the migrations'}; its rows were counted",
        query=f"SELECT * FROM {table.head.quoted}" if dropped and rows else "",  # noqa: S608 - quoted by the server, for people to run
        seconds=time.perf_counter() - started,
    )


def _unexpected_rows(
    table: TablePair, difference: RowDifference, declared: TableExpectations, name: str
) -> Iterator[Unexpected]:
    if declared.any_row_count:
        return
    added, removed = difference.added, difference.removed
    if not table.key and declared.may_change():
        # Without a key a changed row counts as one removed and one added.
        both = min(added, removed)
        added, removed = added - both, removed - both
    if declared.expected_rows(added=False) is not None:
        yield from _unexpected_count(removed, "removed", declared)
    elif removed and added and not table.key:
        rows = f"{format_quantity(removed, 'row')} removed and {format_count(added)} added"
        what = f"{rows}, or changed: no key tells rows apart"
        yield Unexpected(what=what, declaration=f"changes {name}.*")
    elif removed:
        what = f"{format_quantity(removed, 'row')} removed"
        yield Unexpected(what=what, declaration=f"rows {name}=-{removed}", rows_removed=removed)
    yield from _unexpected_count(added, "added", declared)


def _unexpected_count(rows: int, change: str, declared: TableExpectations) -> Iterator[Unexpected]:
    """The number of rows "added" or "removed", where it is not the declared one."""
    is_added = change == "added"
    expected = declared.expected_rows(added=is_added)
    if expected is not None and rows != abs(expected):
        locations = ", ".join(
            expectation.location
            for expectation in declared.row_expectations
            if expectation.row_difference is not None and (expectation.row_difference > 0) is is_added
        )
        count = format_count(abs(expected))
        yield Unexpected(what=f"{format_quantity(rows, 'row')} {change}, but {count} declared ({locations})")


def _unexpected_values(difference: RowDifference, declared: TableExpectations, name: str) -> Iterator[Unexpected]:
    for change in difference.columns:
        before, after = change.column.before, change.column.after
        if not before.generated and not declared.may_change(before.name, after.name):
            detail = f" ({_describe_column(change)})" if _describe_column(change) else ""
            yield Unexpected(
                what=f"{before.quoted}: {format_quantity(change.rows, 'value')} changed{detail}",
                declaration=f"changes {name}.{before.quoted}",
                column=before.name,
            )


def _unexpected_drops(lost: _DroppedColumns, declared: TableExpectations, name: str) -> Iterator[Unexpected]:
    for column, values in lost:
        if values and not column.generated and column.name not in declared.dropped_columns:
            yield Unexpected(
                what=f"{column.quoted}: dropped with {format_quantity(values, 'value')}",
                declaration=f"drops {name}.{column.quoted}",
                column=column.name,
            )


def _describe_column(change: ColumnDifference) -> str:
    """What is known about a column's changed values, "" for nothing special."""
    before, after = change.column.before, change.column.after
    details = [f"from {before.type} to {after.type}"] if before.type != after.type else []
    for count, when in ((change.became_null, "now"), (change.were_null, "before")):
        if count:
            details.append(f"{'all' if count == change.rows else format_count(count)} NULL {when}")
    if before.name != after.name:
        details.append(f"now {after.quoted}")
    if after.kind == "bpchar" and before.base != after.base:
        details.append("padded with blanks")
    if before.generated:
        details.append("computed")
    return ", ".join(details)


def _classify_content(unexpected: tuple[Unexpected, ...], *, differs: bool) -> TableContent:
    if unexpected:
        return TableContent.CHANGED
    return TableContent.EXPECTED if differs else TableContent.SAME


def _describe_proof(table: TablePair, difference: RowDifference) -> str:
    if not table.touched:
        if table.dropped_columns:
            return "the same file, no row written; dropped columns were counted"
        return "untouched: the same file, no row written; rows as the planner estimates them"
    columns = format_quantity(len(table.shared_columns), "column")
    if not table.key:
        return f"every row compared as a whole, {columns}, no key"
    key = ", ".join(column.before.quoted for column in table.key)
    conversion = ", converted values as text" if difference.as_text else ""
    return f"every row compared by its key ({key}), {columns}{conversion}"
