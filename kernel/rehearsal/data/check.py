"""Check the data: a receipt for every table of the golden copy and of the clone."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel.rehearsal.data.connections import fetch_rows, open_connection_pair, wait_for_statistics
from kernel.rehearsal.data.expectations import TableExpectations, resolve_expectations
from kernel.rehearsal.data.hashing import count_query
from kernel.rehearsal.data.row_diff import RowDifference, compare_table_rows
from kernel.rehearsal.data.tables import pair_tables, read_tables
from kernel.rehearsal.result import ColumnChange, Receipt, TableContent, Unexpected
from kernel.units import format_count, format_quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kernel.errors import Problem
    from kernel.rehearsal.data.connections import ConnectionPair
    from kernel.rehearsal.data.expectations import Expectation
    from kernel.rehearsal.data.row_diff import ColumnDifference
    from kernel.rehearsal.data.tables import CatalogColumn, TablePair, TableSide
    from kernel.rehearsal.result import Run


# The judgement of a table's rows: same, expected, or changed with the sentences that say what nobody declared.
#
# Loss needs a declaration: rows removed, values changed, columns and tables dropped with what they hold. Rows added do
# not, nor columns: nothing of production's is lost. Nor does what is computed from other rows: generated columns and
# materialized views.


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedColumn:
    """A column that was dropped, and how many values it held."""

    column: CatalogColumn
    values: int


@dataclass(kw_only=True)
class _UndeclaredChanges:
    """What is unexpected of a table, as it is found: `name` is how a declaration would call it."""

    table_name: str
    sentences: list[Unexpected] = field(default_factory=list)

    def add(self, what: str, declaration: str, *, column: str = "", rows_removed: int | None = None) -> None:
        self.sentences.append(Unexpected(what=what, declaration=declaration, column=column, rows_removed=rows_removed))


def receipt_for_table(
    table: TablePair,
    difference: RowDifference,
    lost: tuple[DroppedColumn, ...],
    declared: TableExpectations,
    *,
    name: str,
    proof: str,
    seconds: float,
) -> Receipt:
    """The receipt of a table that both sides have; `name` is what declarations call it."""
    findings = _UndeclaredChanges(table_name=name)
    if not table.derived:
        _check_rows(findings, table, difference, declared)
        for change in difference.columns:
            _check_column(findings, change, declared)
        for one in lost:
            if one.values and not one.column.generated and one.column.name not in declared.dropped_columns:
                what = f"{one.column.quoted}: dropped with {format_quantity(one.values, 'value')}"
                findings.add(what, f"drops {name}.{one.column.quoted}", column=one.column.name)
    columns = (
        *(
            ColumnChange(column=one.column.name, rows=one.rows, detail=_describe_column(one))
            for one in difference.columns
        ),
        *(ColumnChange(column=one.column.name, rows=one.values, detail="dropped") for one in lost),
    )
    differs = difference.added or difference.removed or difference.changed or any(one.values for one in lost)
    return Receipt(
        table=table.head.quoted,
        rows_before=difference.rows_before,
        rows_after=difference.rows_after,
        content=_classify_content(findings.sentences, differs=bool(differs)),
        added=difference.added,
        removed=difference.removed,
        changed=difference.changed,
        columns=columns,
        unexpected=tuple(findings.sentences),
        proof=proof,
        query=difference.query,
        seconds=seconds,
    )


def receipt_for_dropped_table(
    table: TablePair, rows: int, declared: TableExpectations, *, name: str, seconds: float
) -> Receipt:
    """The receipt of a table that the clone has no more."""
    findings = _UndeclaredChanges(table_name=name)
    expected = (
        table.derived
        or "" in declared.dropped_columns
        or declared.any_row_count
        or declared.expected_rows(added=False) == -rows
    )
    if rows and not expected:
        findings.add(f"dropped with {format_quantity(rows, 'row')}", f"drops {name}")
    return Receipt(
        table=table.head.quoted,
        rows_before=rows,
        rows_after=None,
        content=_classify_content(findings.sentences, differs=bool(rows)),
        removed=rows,
        unexpected=tuple(findings.sentences),
        proof="dropped; its rows were counted before",
        query=f"SELECT * FROM {table.head.quoted}" if rows else "",  # noqa: S608 - quoted by the server, for people to run
        seconds=seconds,
    )


def receipt_for_created_table(table: TablePair, rows: int, declared: TableExpectations, *, seconds: float) -> Receipt:
    """The receipt of a table that the golden copy does not have."""
    wanted = declared.expected_rows(added=True)
    unexpected = [_wrong_count(rows, wanted, "added", declared)] if wanted is not None and wanted != rows else []
    return Receipt(
        table=table.head.quoted,
        rows_before=None,
        rows_after=rows,
        content=_classify_content(unexpected, differs=bool(rows)),
        added=rows,
        unexpected=tuple(unexpected),
        proof="created by the migrations; its rows were counted",
        seconds=seconds,
    )


def _check_rows(
    findings: _UndeclaredChanges, table: TablePair, difference: RowDifference, declared: TableExpectations
) -> None:
    added, removed = difference.added, difference.removed
    if not table.key and declared.may_change():
        # Without a key a changed row is one removed and one added.
        both = min(added, removed)
        added, removed = added - both, removed - both
    if declared.any_row_count:
        return
    wanted = declared.expected_rows(added=False)
    if wanted is not None and removed != -wanted:
        findings.sentences.append(_wrong_count(removed, -wanted, "removed", declared))
    elif wanted is None and removed and not table.key and added:
        gone, come = format_quantity(removed, "row"), format_count(added)
        what = f"{gone} removed and {come} added, or changed: no key tells rows apart"
        findings.add(what, f"changes {findings.table_name}.*")
    elif wanted is None and removed:
        what = f"{format_quantity(removed, 'row')} removed"
        findings.add(what, f"rows {findings.table_name}=-{removed}", rows_removed=removed)
    wanted = declared.expected_rows(added=True)
    if wanted is not None and added != wanted:
        findings.sentences.append(_wrong_count(added, wanted, "added", declared))


def _check_column(findings: _UndeclaredChanges, change: ColumnDifference, declared: TableExpectations) -> None:
    column = change.column
    if column.before.generated or declared.may_change(column.before.name, column.after.name):
        return
    how = f" ({_describe_column(change)})" if _describe_column(change) else ""
    what = f"{column.before.quoted}: {format_quantity(change.rows, 'value')} changed{how}"
    findings.add(what, f"changes {findings.table_name}.{column.before.quoted}", column=column.name)


def _describe_column(change: ColumnDifference) -> str:
    """What was found out about a column's changed values, "" for nothing special."""
    before, after = change.column.before, change.column.after
    found = [f"from {before.type} to {after.type}"] if (before.type != after.type) else []
    if change.became_null:
        found.append(
            "all NULL now" if change.became_null == change.rows else f"{format_count(change.became_null)} NULL now"
        )
    if change.were_null:
        found.append(
            "all NULL before" if change.were_null == change.rows else f"{format_count(change.were_null)} NULL before"
        )
    if before.name != after.name:
        found.append(f"now {after.quoted}")
    if before.generated:
        found.append("computed")
    return ", ".join(found)


def _wrong_count(rows: int, wanted: int, what: str, declared: TableExpectations) -> Unexpected:
    places = ", ".join(
        one.location
        for one in declared.row_expectations
        if one.row_difference is not None and (one.row_difference > 0) is (what == "added")
    )
    return Unexpected(what=f"{format_quantity(rows, 'row')} {what}, but {format_count(wanted)} declared ({places})")


def _classify_content(unexpected: list[Unexpected], *, differs: bool) -> TableContent:
    if unexpected:
        return TableContent.CHANGED
    return TableContent.EXPECTED if differs else TableContent.SAME


_UNTOUCHED_PROOF = "untouched: the same file, no row written; rows as the planner estimates them"


def check_data(
    golden: str, clone: str, runs: Iterable[Run], expectations: Sequence[Expectation], *, jobs: int = 2
) -> tuple[Receipt, ...]:
    """The receipts of all tables, in the order of their names.

    `golden` and `clone` are URLs; the clone was made from the golden copy with TEMPLATE. Only touched tables are read,
    unless somebody stays connected to the clone: then nobody knows what is touched. `jobs` server processes work on a
    table. Raises DatabaseUnreachable, and DatabaseRefused for what the server refuses.
    """
    with open_connection_pair(golden, clone, jobs=jobs) as both:
        before = read_tables(both.template)
        written = _written_oids(runs) if wait_for_statistics(both.clone) else before.keys()
        tables = pair_tables(before, read_tables(both.clone), written=written)
        declared, _ = resolve_expectations(expectations, tables, both.search_path)
        return tuple(
            _compare_table(
                both, table, declared.get(place, TableExpectations()), name=_declared_name(table, both.search_path)
            )
            for place, table in enumerate(tables)
        )


def check_expectation_names(golden: str, clone: str, expectations: Sequence[Expectation]) -> tuple[Problem, ...]:
    """The declarations that name no table or column of either database. Raises as `check`."""
    with open_connection_pair(golden, clone, jobs=1) as both:
        tables = pair_tables(read_tables(both.template), read_tables(both.clone))
        return resolve_expectations(expectations, tables, both.search_path)[1]


def _written_oids(runs: Iterable[Run]) -> frozenset[int]:
    """The OIDs of what the witnesses saw written or rewritten."""
    statements = [statement for run in runs for statement in run.statements]
    written = {one.relation.oid for statement in statements for one in statement.written}
    return frozenset(written | {one.oid for statement in statements for one in statement.rewrites})


def _compare_table(both: ConnectionPair, table: TablePair, declared: TableExpectations, *, name: str) -> Receipt:
    begun = time.perf_counter()
    before, after = table.before, table.after
    if before is None:
        ((rows,),) = fetch_rows(both.clone, count_query(table.leaves))
        return receipt_for_created_table(table, rows, declared, seconds=time.perf_counter() - begun)
    if after is None:
        ((rows,),) = fetch_rows(both.template, count_query(table.leaves))
        return receipt_for_dropped_table(table, rows, declared, name=name, seconds=time.perf_counter() - begun)
    if not table.touched and not table.dropped_columns:
        return _untouched_receipt(table, before, declared, name=name)
    rows, *values = (
        fetch_rows(both.template, count_query(before.leaves, table.dropped_columns))[0]
        if table.dropped_columns
        else (0,)
    )
    lost = tuple(
        DroppedColumn(column=column, values=one) for column, one in zip(table.dropped_columns, values, strict=True)
    )
    if table.touched:
        difference = compare_table_rows(both, table, before, after)
    else:
        difference = RowDifference(rows_before=rows, rows_after=rows)
    return receipt_for_table(
        table,
        difference,
        lost,
        declared,
        name=name,
        proof=_describe_proof(table, difference),
        seconds=time.perf_counter() - begun,
    )


def _untouched_receipt(table: TablePair, before: TableSide, declared: TableExpectations, *, name: str) -> Receipt:
    rows = sum(leaf.estimated_rows for leaf in before.leaves)
    same = RowDifference(rows_before=rows, rows_after=rows)
    return receipt_for_table(table, same, (), declared, name=name, proof=_UNTOUCHED_PROOF, seconds=0.0)


def _describe_proof(table: TablePair, difference: RowDifference) -> str:
    if not table.touched:
        return "the same file, no row written; dropped columns were counted"
    if not table.key:
        return f"every row compared as a whole, {format_quantity(len(table.shared_columns), 'column')}, no key"
    key = ", ".join(column.before.quoted for column in table.key)
    how = ", converted values as text" if difference.as_text else ""
    return f"every row compared by its key ({key}), {format_quantity(len(table.shared_columns), 'column')}{how}"


def _declared_name(table: TablePair, path: Sequence[str]) -> str:
    """The table as a declaration may call it: without its schema where that is looked in first."""
    head = table.head
    return head.quoted.removeprefix(f"{head.schema}.") if path[:1] == (head.schema,) else head.quoted
