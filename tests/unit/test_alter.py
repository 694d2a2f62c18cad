"""The shapes of ALTER TABLE that tell which rows a failure is about."""

from __future__ import annotations

import pytest

from kernel.rehearsal.data.alter_statement import added_column_without_value, parse_alter_table


@pytest.mark.parametrize(
    ("statement", "table", "bare", "only", "actions"),
    [
        ("ALTER TABLE t ADD a int", "t", "t", False, 1),
        ('alter table if exists only s."T" * drop a, drop b;', 's."T"', '"T"', True, 2),
        ("ALTER /* , */ TABLE a . b ADD CHECK (x IN (1, 2)), ADD c numeric(1, 2)", "a . b", "b", False, 2),
        ("ALTER TABLE t ADD CHECK (x <> ',' AND y = $$,$$)", "t", "t", False, 1),
    ],
)
def test_the_table_and_its_actions_are_told_apart(
    statement: str, table: str, bare: str, only: bool, actions: int
) -> None:
    found = parse_alter_table(statement.encode())
    assert found is not None
    assert (found.table, found.bare_name, found.only, len(found.actions)) == (table, bare, only, actions)


@pytest.mark.parametrize("statement", ["", "ALTER INDEX i RENAME TO j", "ALTER TABLE", "ALTER TABLE 'x'", "SELECT '"])
def test_other_statements_are_none(statement: str) -> None:
    assert parse_alter_table(statement.encode()) is None


@pytest.mark.parametrize(
    ("action", "column"),
    [
        ("ADD c int NOT NULL", "c"),
        ('ADD COLUMN IF NOT EXISTS "C" int NOT NULL', '"C"'),
        ("ADD COLUMN c int", None),
        ("ADD c int NOT NULL DEFAULT 1", None),
        ("ADD c bigserial NOT NULL", None),
        ("ADD c int NOT NULL GENERATED ALWAYS AS IDENTITY", None),
        ("ADD CONSTRAINT c CHECK (a IS NOT NULL)", None),
    ],
)
def test_a_column_that_nothing_fills_is_known(action: str, column: str | None) -> None:
    statement = f"ALTER TABLE t {action}".encode()
    found = parse_alter_table(statement)
    assert found is not None
    assert added_column_without_value(statement, found.actions[0]) == column
