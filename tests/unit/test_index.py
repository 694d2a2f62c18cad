"""What CREATE and DROP INDEX CONCURRENTLY name, as they are written."""

from __future__ import annotations

import pytest

from kernel.apply.no_transaction import ConcurrentIndexBuild, parse_index_build, parse_index_drop


@pytest.mark.parametrize(
    ("statement", "build"),
    [
        ("CREATE INDEX CONCURRENTLY i ON t (a);", ConcurrentIndexBuild(name="i", table="t")),
        ("create unique index concurrently i on t (a)", ConcurrentIndexBuild(name="i", table="t")),
        ("CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON s.t (a)", ConcurrentIndexBuild(name="i", table="s.t")),
        ("CREATE INDEX CONCURRENTLY ON t (a)", ConcurrentIndexBuild(name=None, table="t")),
        ("CREATE INDEX CONCURRENTLY i ON ONLY t (a)", ConcurrentIndexBuild(name="i", table="t")),
        (
            'CREATE INDEX CONCURRENTLY "I x" ON "S"."T.t" USING gin (a)',
            ConcurrentIndexBuild(name='"I x"', table='"S"."T.t"'),
        ),
        ("CREATE INDEX CONCURRENTLY größe ON straße (a)", ConcurrentIndexBuild(name="größe", table="straße")),
        ("CREATE /* a */ INDEX -- b\nCONCURRENTLY i/**/ON t(a)", ConcurrentIndexBuild(name="i", table="t")),
        ("CREATE INDEX CONCURRENTLY i ON s . t (a)", ConcurrentIndexBuild(name="i", table="s.t")),
    ],
)
def test_a_build_has_a_name_and_a_table(statement: str, build: ConcurrentIndexBuild) -> None:
    assert parse_index_build(statement.encode()) == build


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX CONCURRENTLY",
        "CREATE INDEX CONCURRENTLY i",
        "CREATE INDEX i ON t (a)",
        "CREATE UNIQUE INDEX i ON t (a)",
        "CREATE TABLE concurrently (a int)",
        "REINDEX INDEX CONCURRENTLY i",
        "DROP INDEX CONCURRENTLY i",
        "SELECT 'CREATE INDEX CONCURRENTLY i ON t (a)'",
    ],
)
def test_any_other_statement_builds_nothing(statement: str) -> None:
    assert parse_index_build(statement.encode()) is None


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("DROP INDEX CONCURRENTLY i;", "i"),
        ("drop index concurrently if exists s.i cascade", "s.i"),
        ('DROP INDEX CONCURRENTLY "S"."I x"', '"S"."I x"'),
        ("DROP INDEX i", None),
        ("DROP TABLE t", None),
        ("CREATE INDEX CONCURRENTLY i ON t (a)", None),
    ],
)
def test_a_drop_names_its_index(statement: str, name: str | None) -> None:
    assert parse_index_drop(statement.encode()) == name
