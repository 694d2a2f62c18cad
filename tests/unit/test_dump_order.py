from __future__ import annotations

import pytest

from kernel.rehearsal.dump import order, shape
from kernel.rehearsal.dump.index import Rows, Statement
from kernel.rehearsal.dump.order import Manner
from kernel.rehearsal.dump.shape import Kind

KEY = b"ALTER TABLE ONLY public.c\n    ADD CONSTRAINT fk FOREIGN KEY (a) REFERENCES public.p(b)"


def items(*kinds: Kind | None) -> list[Statement | Rows]:
    """Statements of these kinds; rows for None."""
    return [
        Rows(b"t", place, 1, place, 1, 0) if kind is None else Statement(kind, place, 1, 0)
        for place, kind in enumerate(kinds)
    ]


@pytest.mark.parametrize(
    ("kinds", "settled"),
    [
        ((Kind.PLAIN, None, Kind.BUILD, Kind.PLAIN, Kind.FOREIGN_KEY, Kind.PLAIN), [0, 0, 0, 1, 1, 1]),
        ((None, Kind.FOREIGN_KEY, Kind.BUILD, Kind.FOREIGN_KEY), [0, 0, 0, 1]),
        ((Kind.FOREIGN_KEY, None), [0, 0]),
        ((Kind.PLAIN, Kind.FOREIGN_KEY), [1, 1]),
    ],
)
def test_keys_are_settled_when_nothing_behind_them_fills_or_indexes_a_table(
    kinds: tuple[Kind | None, ...], settled: list[int]
) -> None:
    stretches = order.of(items(*kinds), schema_only=False).stretches
    assert [stretch.settled for stretch in stretches] == [bool(one) for one in settled]
    assert stretches[-1].settled is (stretches[-1].manner is not Manner.ROWS)


@pytest.mark.parametrize(
    "end",
    [
        b";",
        b" MATCH FULL;",
        b" ON UPDATE CASCADE ON DELETE SET NULL;",
        b" ON DELETE SET NULL (a) DEFERRABLE;",
        b" DEFERRABLE INITIALLY DEFERRED;",
    ],
)
def test_a_key_that_checks_its_rows_is_known_with_its_names(end: bytes) -> None:
    match = shape.key(KEY + end)
    assert match is not None
    assert (match["exclusive"], match["name"]) == (b"public.c", b"fk")


@pytest.mark.parametrize(
    "statement",
    [
        KEY + b" NOT VALID;",
        KEY + b" NOT ENFORCED;",
        KEY + b"; SELECT 1;",
        KEY + b", ADD COLUMN d int DEFAULT f();",
        KEY.replace(b"(a)", b"(a, PERIOD v)").replace(b"(b)", b"(b, PERIOD v)") + b";",
        KEY.replace(b"(a)", b"(f(a))") + b";",
    ],
)
def test_a_key_of_another_shape_is_not_taken_for_one(statement: bytes) -> None:
    assert shape.key(statement) is None
