"""Which changes of a type leave the table as it is."""

from __future__ import annotations

import pytest

from kernel.lint.type_changes import TypeChangeCost, type_change_cost


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        ("varchar(50)", "varchar(100)", TypeChangeCost.FREE),
        ("varchar(50)", "character varying(50)", TypeChangeCost.FREE),
        ("varchar(50)", "varchar", TypeChangeCost.FREE),
        ("character varying(50)", "text", TypeChangeCost.FREE),
        ("text", "varchar", TypeChangeCost.FREE),
        ("text", "varchar(50)", TypeChangeCost.REWRITE),
        ("varchar(100)", "varchar(50)", TypeChangeCost.REWRITE),
        ("varchar", "varchar(50)", TypeChangeCost.REWRITE),
        ("char(10)", "text", TypeChangeCost.REWRITE),
        ("char(2)", "char(3)", TypeChangeCost.REWRITE),
        ("char(2)", "character(2)", TypeChangeCost.FREE),
        ("numeric(10,2)", "numeric(12,2)", TypeChangeCost.FREE),
        ("decimal(10,2)", "numeric", TypeChangeCost.FREE),
        ("numeric(10,2)", "numeric(12,4)", TypeChangeCost.REWRITE),
        ("numeric", "numeric(12,4)", TypeChangeCost.REWRITE),
        ("integer", "int4", TypeChangeCost.FREE),
        ("integer", "bigint", TypeChangeCost.REWRITE),
        ("integer", "text", TypeChangeCost.REWRITE),
        ("timestamp(3)", "timestamp", TypeChangeCost.FREE),
        ("timestamp(3)", "timestamp(6)", TypeChangeCost.FREE),
        ("timestamp", "timestamptz", TypeChangeCost.REWRITE),
        ("timestamp with time zone", "timestamptz", TypeChangeCost.FREE),
        ("cidr", "inet", TypeChangeCost.FREE),
        ("inet", "cidr", TypeChangeCost.REWRITE),
        ("text", "citext", TypeChangeCost.FREE),
        ("json", "jsonb", TypeChangeCost.REWRITE),
        (None, "text", TypeChangeCost.FREE),
        (None, "varchar(50)", TypeChangeCost.UNSURE),
        (None, "bigint", TypeChangeCost.REWRITE),
    ],
)
def test_a_change_is_free_when_each_value_is_its_own_new_value(
    old: str | None, new: str, change: TypeChangeCost
) -> None:
    assert type_change_cost(old, new, using=False) is change


def test_a_change_from_an_unknown_type_by_an_expression_is_a_rewrite() -> None:
    assert type_change_cost(None, "text", using=True) is TypeChangeCost.REWRITE
