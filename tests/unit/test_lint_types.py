"""Which changes of a type leave the table as it is."""

from __future__ import annotations

import pytest

from kernel.rehearsal.static import types
from kernel.rehearsal.static.types import Change


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        ("varchar(50)", "varchar(100)", Change.FREE),
        ("varchar(50)", "character varying(50)", Change.FREE),
        ("varchar(50)", "varchar", Change.FREE),
        ("character varying(50)", "text", Change.FREE),
        ("text", "varchar", Change.FREE),
        ("text", "varchar(50)", Change.REWRITE),
        ("varchar(100)", "varchar(50)", Change.REWRITE),
        ("varchar", "varchar(50)", Change.REWRITE),
        ("char(10)", "text", Change.REWRITE),
        ("numeric(10,2)", "numeric(12,2)", Change.FREE),
        ("decimal(10,2)", "numeric", Change.FREE),
        ("numeric(10,2)", "numeric(12,4)", Change.REWRITE),
        ("numeric", "numeric(12,4)", Change.REWRITE),
        ("integer", "int4", Change.FREE),
        ("integer", "bigint", Change.REWRITE),
        ("integer", "text", Change.REWRITE),
        ("timestamp(3)", "timestamp", Change.FREE),
        ("timestamp(3)", "timestamp(6)", Change.FREE),
        ("timestamp", "timestamptz", Change.REWRITE),
        ("timestamp with time zone", "timestamptz", Change.FREE),
        ("cidr", "inet", Change.FREE),
        ("inet", "cidr", Change.REWRITE),
        ("text", "citext", Change.FREE),
        ("json", "jsonb", Change.REWRITE),
        (None, "text", Change.FREE),
        (None, "varchar(50)", Change.UNSURE),
        (None, "bigint", Change.REWRITE),
    ],
)
def test_a_change_is_free_when_each_value_is_its_own_new_value(old: str | None, new: str, change: Change) -> None:
    assert types.change(old, new, using=False) is change


def test_a_change_from_an_unknown_type_by_an_expression_is_a_rewrite() -> None:
    assert types.change(None, "text", using=True) is Change.REWRITE
