"""Declarations find the tables that they name, or say what they may have meant."""

from __future__ import annotations

import pytest

from kernel.rehearsal.data.expectations import Expectation, ExpectationKind, resolve_expectations
from kernel.rehearsal.data.tables import CatalogColumn, CatalogTable, pair_tables


def table(oid: int, schema: str, name: str, *columns: str) -> CatalogTable:
    return CatalogTable(
        oid=oid,
        schema=schema,
        name=name,
        quoted=f"{schema}.{name}",
        kind="r",
        estimated_rows=0,
        root_oid=oid,
        filenode=oid,
        rows_written=0,
        keys=(),
        columns=tuple(
            CatalogColumn(
                number=number,
                name=one,
                quoted=one,
                type_oid=23,
                type="integer",
                base="integer",
                kind="int4",
                generated=False,
            )
            for number, one in enumerate(columns, start=1)
        ),
    )


BEFORE = {
    1: table(1, "app", "orders", "id", "note"),
    2: table(2, "public", "orders", "id"),
    3: table(3, "crm", "users", "id", "status"),
}
AFTER = {1: BEFORE[1], 2: BEFORE[2], 3: table(3, "crm", "people", "id", "state"), 4: table(4, "public", "fresh", "id")}
TABLES = pair_tables(BEFORE, AFTER)


def found(verb: ExpectationKind, *name: str) -> str:
    """The table that is named, or the problem."""
    one = Expectation(kind=verb, name=name, file="007_a.sql", line=3)
    by_place, problems = resolve_expectations([one], TABLES, ["public"])
    return str(problems[0]) if problems else TABLES[next(iter(by_place))].head.quoted


@pytest.mark.parametrize(
    ("verb", "name", "meant"),
    [
        (ExpectationKind.ROWS, ("orders",), "public.orders"),
        (ExpectationKind.ROWS, ("app", "orders"), "app.orders"),
        (ExpectationKind.ROWS, ("users",), "crm.users"),
        (ExpectationKind.ROWS, ("people",), "crm.users"),
        (ExpectationKind.ROWS, ("fresh",), "public.fresh"),
        (ExpectationKind.CHANGES, ("app", "orders", "note"), "app.orders"),
        (ExpectationKind.CHANGES, ("users", "status"), "crm.users"),
        (ExpectationKind.CHANGES, ("users", "state"), "crm.users"),
        (ExpectationKind.CHANGES, ("users", "*"), "crm.users"),
        (ExpectationKind.DROPS, ("app", "orders"), "app.orders"),
        (ExpectationKind.DROPS, ("users", "status"), "crm.users"),
    ],
)
def test_a_declaration_finds_its_table(verb: ExpectationKind, name: tuple[str, ...], meant: str) -> None:
    assert found(verb, *name) == meant


@pytest.mark.parametrize(
    ("verb", "name", "message"),
    [
        (ExpectationKind.ROWS, ("ordrs",), "-- rehearse: rows: no table ordrs; do you mean orders"),
        (ExpectationKind.ROWS, ("crm", "orders"), "-- rehearse: rows: no table crm.orders; do you mean orders"),
        (
            ExpectationKind.CHANGES,
            ("users", "statu"),
            "-- rehearse: changes: no column statu in users; do you mean status",
        ),
        (
            ExpectationKind.DROPS,
            ("x", "y", "z"),
            "-- rehearse: drops: no table x.y.z; correct the declaration, or take it out",
        ),
    ],
)
def test_a_name_that_nothing_has_is_a_problem_with_the_nearest(
    verb: ExpectationKind, name: tuple[str, ...], message: str
) -> None:
    assert found(verb, *name) == f"007_a.sql:3: {message}"
