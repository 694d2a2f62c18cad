"""Statements of one line are told apart by their offset: each finding has the measurements of its own statement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.lint.finding import Severity

if TYPE_CHECKING:
    from kernel.lint.finding import Finding
    from tests.integration.rehearsal.findings.rehearsals import Rehearsals

pytestmark = pytest.mark.slow

GIVEN = """
CREATE TABLE filled (id int PRIMARY KEY, v int, code varchar(8), note text);
INSERT INTO filled SELECT n, n, 'c' || n, 'n' || n FROM generate_series(1, 5000) AS n;
CREATE TABLE vacant (id int PRIMARY KEY, v int);
"""


def findings_by_statement(rehearsals: Rehearsals, *statements: str) -> list[dict[str, Finding]]:
    """The findings at each statement by their rules; all statements are on one line."""
    line = "".join(f"/* ä */ {one} " for one in statements)
    rehearsal = rehearsals.rehearse(GIVEN, f"-- rehearse: changes filled.v\n{line}\n")
    (run,) = rehearsal.runs
    begins = [len("-- rehearse: changes filled.v\n") + len(line[: line.index(one)].encode()) for one in statements]
    assert [(one.line, one.column, one.offset) for one in run.statements] == [
        (2, line.index(one) + 1, begin) for one, begin in zip(statements, begins, strict=True)
    ]
    for found in rehearsal.findings:
        statement = run.statement_at(found.offset)
        assert statement is None or (found.line, found.column is not None) == (2, True)
    return [
        {found.rule: found for found in rehearsal.findings if run.statement_at(found.offset) is statement}
        for statement in run.statements
    ]


@pytest.mark.parametrize("reverse", [False, True], ids=["empty table first", "empty table last"])
def test_an_update_of_every_row_is_not_measured_at_its_neighbour(rehearsals: Rehearsals, reverse: bool) -> None:
    statements = ["UPDATE vacant SET v = 1;", "UPDATE filled SET v = v;"][:: -1 if reverse else 1]
    vacant, filled = findings_by_statement(rehearsals, *statements)[:: -1 if reverse else 1]
    assert vacant["write-without-where"].severity is Severity.HARMLESS
    assert "no row was there" in vacant["write-without-where"].message
    assert filled["write-without-where"].severity is Severity.WARNING
    assert "5 000 rows written" in filled["write-without-where"].message.replace("\N{NARROW NO-BREAK SPACE}", " ")


def test_rows_are_removed_by_the_delete_and_not_by_the_update_before_it(rehearsals: Rehearsals) -> None:
    update, delete = findings_by_statement(rehearsals, "UPDATE filled SET v = v;", "DELETE FROM filled WHERE id < 10;")
    assert "9 rows removed" not in update["write-without-where"].message
    assert "9 rows removed" in delete["data-lost"].message


def test_indexes_of_one_line_are_measured_each_on_its_table(rehearsals: Rehearsals) -> None:
    vacant, filled = findings_by_statement(
        rehearsals, "CREATE INDEX IF NOT EXISTS a ON vacant (v);", "CREATE INDEX IF NOT EXISTS b ON filled (v);"
    )
    assert vacant["create-index-not-concurrently"].severity is Severity.HARMLESS
    assert filled["create-index-not-concurrently"].severity is Severity.WARNING


def test_a_changed_column_is_reported_at_the_statement_that_changes_it(rehearsals: Rehearsals) -> None:
    note, v, code = findings_by_statement(
        rehearsals,
        "UPDATE filled SET note = 'x' WHERE id > 0;",
        "UPDATE filled SET v = v + 1 WHERE id > 0;",
        "ALTER TABLE filled ALTER COLUMN code TYPE char(9);",
    )
    assert "note: 5" in note["data-lost"].message
    assert "data-lost" not in v  # its change is declared
    assert "code: 5" in code["type-change-loses-data"].message
