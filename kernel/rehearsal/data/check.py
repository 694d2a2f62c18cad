"""Check the data: a receipt for every table of the golden copy and of the clone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kernel import units
from kernel.rehearsal.data import catalog, compare, expected, receipt, sides, sources, statistics, touched
from kernel.rehearsal.data.compare import Difference
from kernel.rehearsal.data.expected import Declared
from kernel.rehearsal.data.receipt import Lost

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kernel.errors import Problem
    from kernel.rehearsal.data.declared import Expectation
    from kernel.rehearsal.data.sides import Sides
    from kernel.rehearsal.data.touched import Side, Table
    from kernel.rehearsal.result import Receipt, Run

_UNTOUCHED = "untouched: the same file, no row written; rows as the planner estimates them"


def check(
    golden: str, clone: str, runs: Iterable[Run], expectations: Sequence[Expectation], *, jobs: int = 2
) -> tuple[Receipt, ...]:
    """The receipts of all tables, in the order of their names.

    `golden` and `clone` are URLs; the clone was made from the golden copy with TEMPLATE. Only touched tables are read,
    unless somebody stays connected to the clone: then nobody knows what is touched. `jobs` server processes work on a
    table. Raises DatabaseUnreachable, and DatabaseRefused for what the server refuses.
    """
    with sides.opened(golden, clone, jobs=jobs) as both:
        before = catalog.read(both.golden)
        written = _written(runs) if statistics.complete(both.clone) else before.keys()
        tables = touched.tables(before, catalog.read(both.clone), written=written)
        declared, _ = expected.by_table(expectations, tables, both.path)
        return tuple(
            _receipt(both, table, declared.get(place, Declared()), name=_called(table, both.path))
            for place, table in enumerate(tables)
        )


def misnamed(golden: str, clone: str, expectations: Sequence[Expectation]) -> tuple[Problem, ...]:
    """The declarations that name no table or column of either database. Raises as `check`."""
    with sides.opened(golden, clone, jobs=1) as both:
        tables = touched.tables(catalog.read(both.golden), catalog.read(both.clone))
        return expected.by_table(expectations, tables, both.path)[1]


def _written(runs: Iterable[Run]) -> frozenset[int]:
    """The OIDs of what the witnesses saw written or rewritten."""
    statements = [statement for run in runs for statement in run.statements]
    written = {one.relation.oid for statement in statements for one in statement.written}
    return frozenset(written | {one.oid for statement in statements for one in statement.rewrites})


def _receipt(both: Sides, table: Table, declared: Declared, *, name: str) -> Receipt:
    begun = time.perf_counter()
    before, after = table.before, table.after
    if before is None:
        ((rows,),) = sides.rows(both.clone, sources.counted(table.leaves))
        return receipt.created(table, rows, declared, seconds=time.perf_counter() - begun)
    if after is None:
        ((rows,),) = sides.rows(both.golden, sources.counted(table.leaves))
        return receipt.dropped(table, rows, declared, name=name, seconds=time.perf_counter() - begun)
    if not table.touched and not table.dropped:
        return _untouched(table, before, declared, name=name)
    rows, *values = sides.rows(both.golden, sources.counted(before.leaves, table.dropped))[0] if table.dropped else (0,)
    lost = tuple(Lost(column=column, values=one) for column, one in zip(table.dropped, values, strict=True))
    if table.touched:
        difference = compare.difference(both, table, before, after)
    else:
        difference = Difference(rows_before=rows, rows_after=rows)
    return receipt.of(
        table,
        difference,
        lost,
        declared,
        name=name,
        proof=_proof(table, difference),
        seconds=time.perf_counter() - begun,
    )


def _untouched(table: Table, before: Side, declared: Declared, *, name: str) -> Receipt:
    rows = sum(leaf.rows for leaf in before.leaves)
    same = Difference(rows_before=rows, rows_after=rows)
    return receipt.of(table, same, (), declared, name=name, proof=_UNTOUCHED, seconds=0.0)


def _proof(table: Table, difference: Difference) -> str:
    if not table.touched:
        return "the same file, no row written; dropped columns were counted"
    if not table.key:
        return f"every row compared as a whole, {units.several(len(table.shared), 'column')}, no key"
    key = ", ".join(column.before.quoted for column in table.key)
    how = ", converted values as text" if difference.as_text else ""
    return f"every row compared by its key ({key}), {units.several(len(table.shared), 'column')}{how}"


def _called(table: Table, path: Sequence[str]) -> str:
    """The table as a declaration may call it: without its schema where that is looked in first."""
    head = table.head
    return head.quoted.removeprefix(f"{head.schema}.") if path[:1] == (head.schema,) else head.quoted
