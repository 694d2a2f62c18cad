"""Declarations find the tables that they name, or say what they may have meant."""

from __future__ import annotations

import pytest

from kernel.rehearsal.data import expected, touched
from kernel.rehearsal.data.catalog import Column, Relation
from kernel.rehearsal.data.declared import Expectation, Verb


def table(oid: int, schema: str, name: str, *columns: str) -> Relation:
    return Relation(
        oid=oid,
        schema=schema,
        name=name,
        quoted=f"{schema}.{name}",
        kind="r",
        rows=0,
        root=oid,
        filenode=oid,
        written=0,
        keys=(),
        columns=tuple(
            Column(
                number=number,
                name=one,
                quoted=one,
                type_oid=23,
                typmod=-1,
                type="integer",
                base="integer",
                kind="int4",
                required=False,
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
TABLES = touched.tables(BEFORE, AFTER)


def found(verb: Verb, *name: str) -> str:
    """The table that is named, or the problem."""
    one = Expectation(verb=verb, name=name, file="007_a.sql", line=3)
    by_place, problems = expected.by_table([one], TABLES, ["public"])
    return str(problems[0]) if problems else TABLES[next(iter(by_place))].head.quoted


@pytest.mark.parametrize(
    ("verb", "name", "meant"),
    [
        (Verb.ROWS, ("orders",), "public.orders"),
        (Verb.ROWS, ("app", "orders"), "app.orders"),
        (Verb.ROWS, ("users",), "crm.users"),
        (Verb.ROWS, ("people",), "crm.users"),
        (Verb.ROWS, ("fresh",), "public.fresh"),
        (Verb.CHANGES, ("app", "orders", "note"), "app.orders"),
        (Verb.CHANGES, ("users", "status"), "crm.users"),
        (Verb.CHANGES, ("users", "state"), "crm.users"),
        (Verb.CHANGES, ("users", "*"), "crm.users"),
        (Verb.DROPS, ("app", "orders"), "app.orders"),
        (Verb.DROPS, ("users", "status"), "crm.users"),
    ],
)
def test_a_declaration_finds_its_table(verb: Verb, name: tuple[str, ...], meant: str) -> None:
    assert found(verb, *name) == meant


@pytest.mark.parametrize(
    ("verb", "name", "message"),
    [
        (Verb.ROWS, ("ordrs",), "-- rehearse: rows: no table ordrs; do you mean orders"),
        (Verb.ROWS, ("crm", "orders"), "-- rehearse: rows: no table crm.orders; do you mean orders"),
        (Verb.CHANGES, ("users", "statu"), "-- rehearse: changes: no column statu in users; do you mean status"),
        (Verb.DROPS, ("x", "y", "z"), "-- rehearse: drops: no table x.y.z; correct the declaration, or take it out"),
    ],
)
def test_a_name_that_nothing_has_is_a_problem_with_the_nearest(verb: Verb, name: tuple[str, ...], message: str) -> None:
    assert found(verb, *name) == f"007_a.sql:3: {message}"
