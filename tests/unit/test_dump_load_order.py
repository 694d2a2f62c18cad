"""The order in which a dump is loaded."""

from __future__ import annotations

import pytest

from kernel.rehearsal.dump.plain.classify import StatementKind
from kernel.rehearsal.dump.plain.contents import DumpStatement, RowBlock
from kernel.rehearsal.dump.plain.load_order import StepMode, plan_load


def items(*kinds: StatementKind | None) -> list[DumpStatement | RowBlock]:
    """Statements of these kinds; rows for None."""
    return [
        RowBlock(b"t", place, 1, place, 1, 0) if kind is None else DumpStatement(kind, place, 1, 0)
        for place, kind in enumerate(kinds)
    ]


@pytest.mark.parametrize(
    ("kinds", "modes"),
    [
        (
            (StatementKind.PLAIN, None, None, StatementKind.INDEX, StatementKind.FOREIGN_KEY, StatementKind.PLAIN),
            [StepMode.IN_ORDER, StepMode.ROWS, StepMode.INDEXES, StepMode.FOREIGN_KEYS, StepMode.IN_ORDER],
        ),
        (
            (None, StatementKind.FOREIGN_KEY, StatementKind.INDEX, None),
            [StepMode.ROWS, StepMode.FOREIGN_KEYS, StepMode.INDEXES, StepMode.ROWS],
        ),
    ],
)
def test_a_step_ends_where_another_kind_of_item_follows(
    kinds: tuple[StatementKind | None, ...], modes: list[StepMode]
) -> None:
    assert [step.mode for step in plan_load(items(*kinds), schema_only=False).steps] == modes


def test_properties_of_indexes_and_values_of_sequences_do_not_end_a_step() -> None:
    kinds = (None, StatementKind.SEQUENCE, None, StatementKind.INDEX, StatementKind.INDEX_PROPERTY, StatementKind.INDEX)
    steps = plan_load(items(*kinds), schema_only=False).steps
    assert [(step.mode, len(step.items), len(step.after)) for step in steps] == [
        (StepMode.ROWS, 2, 1),
        (StepMode.INDEXES, 2, 1),
    ]
