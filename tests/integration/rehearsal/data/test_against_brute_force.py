"""Small tables of any content, compared with a comparison in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from tests.integration.rehearsal.data.conftest import Copies

pytestmark = pytest.mark.slow

Rows = dict[int, tuple[str | None, int | None]]

# Few values, so that rows are alike, swapped and doubled often.
VALUES = st.tuples(st.sampled_from([None, "", "a", "b"]), st.sampled_from([None, 0, 1, -1]))
TABLES = st.dictionaries(st.integers(1, 9), VALUES, max_size=7)


def written(url: str, name: str, rows: Rows) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(f"TRUNCATE {name}".encode())
        for key, (a, b) in rows.items():
            connection.execute(f"INSERT INTO {name} VALUES (%s, %s, %s)".encode(), (key, a, b))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=TABLES, after=TABLES)
def test_keyed_rows_differ_as_in_a_comparison_in_python(copies: Copies, before: Rows, after: Rows) -> None:
    if not copies.cloned:
        copies.holds("CREATE TABLE t (id int PRIMARY KEY, a text, b int)")
        copies.migrated()
    written(copies.template, "t", before)
    written(copies.clone, "t", after)
    receipt = copies.receipt()
    both = before.keys() & after.keys()
    assert (receipt.rows_before, receipt.rows_after) == (len(before), len(after))
    assert receipt.removed == len(before.keys() - after.keys())
    assert receipt.added == len(after.keys() - before.keys())
    assert receipt.changed == sum(before[key] != after[key] for key in both)
    columns = {one.column: one.rows for one in receipt.columns}
    expected = {name: sum(before[key][at] != after[key][at] for key in both) for at, name in enumerate("ab")}
    assert columns == {name: rows for name, rows in expected.items() if rows}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.lists(VALUES, max_size=7), after=st.lists(VALUES, max_size=7))
def test_rows_without_a_key_differ_as_multisets(
    copies: Copies, before: list[tuple[str | None, int | None]], after: list[tuple[str | None, int | None]]
) -> None:
    if not copies.cloned:
        copies.holds("CREATE TABLE t (place int, a text, b int)")
        copies.migrated()
    for url, rows in ((copies.template, before), (copies.clone, after)):
        with psycopg.connect(url) as connection:
            connection.execute("TRUNCATE t")
            for row in rows:
                connection.execute("INSERT INTO t VALUES (0, %s, %s)", row)
    receipt = copies.receipt()
    removed, added = list(before), list(after)
    for row in before:
        if row in added:
            added.remove(row)
            removed.remove(row)
    assert (receipt.removed, receipt.added, receipt.changed) == (len(removed), len(added), 0)
