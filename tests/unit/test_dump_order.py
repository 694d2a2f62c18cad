from __future__ import annotations

import pytest

from kernel.rehearsal.dump.plain.classify import StatementKind, match_foreign_key
from kernel.rehearsal.dump.plain.contents import DumpStatement, RowBlock
from kernel.rehearsal.dump.plain.load_order import StepMode, plan_load

KEY = b"ALTER TABLE ONLY public.c\n    ADD CONSTRAINT fk FOREIGN KEY (a) REFERENCES public.p(b)"


def items(*kinds: StatementKind | None) -> list[DumpStatement | RowBlock]:
    """Statements of these kinds; rows for None."""
    return [
        RowBlock(b"t", place, 1, place, 1, 0) if kind is None else DumpStatement(kind, place, 1, 0)
        for place, kind in enumerate(kinds)
    ]


@pytest.mark.parametrize(
    ("kinds", "settled"),
    [
        (
            (
                StatementKind.PLAIN,
                None,
                StatementKind.INDEX,
                StatementKind.PLAIN,
                StatementKind.FOREIGN_KEY,
                StatementKind.PLAIN,
            ),
            [0, 0, 0, 1, 1, 1],
        ),
        ((None, StatementKind.FOREIGN_KEY, StatementKind.INDEX, StatementKind.FOREIGN_KEY), [0, 0, 0, 1]),
        ((StatementKind.FOREIGN_KEY, None), [0, 0]),
        ((StatementKind.PLAIN, StatementKind.FOREIGN_KEY), [1, 1]),
    ],
)
def test_keys_are_settled_when_nothing_behind_them_fills_or_indexes_a_table(
    kinds: tuple[StatementKind | None, ...], settled: list[int]
) -> None:
    stretches = plan_load(items(*kinds), schema_only=False).steps
    assert [stretch.data_complete for stretch in stretches] == [bool(one) for one in settled]
    assert stretches[-1].data_complete is (stretches[-1].mode is not StepMode.ROWS)


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
    match = match_foreign_key(KEY + end)
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
    assert match_foreign_key(statement) is None
