"""Values that differ in every run are no difference of a suggestion, and hide no other difference."""

from __future__ import annotations

import pytest

from kernel.rehearsal.result import ColumnChange, Receipt, TableContent
from kernel.rehearsal.suggest.equivalence import find_nondeterministic_columns, has_regenerated_rows

CLOCK = ("public.t", "touched")


def difference(
    table: str, *, added: int = 0, removed: int = 0, changed: int = 0, columns: tuple[tuple[str, int], ...] = ()
) -> Receipt:
    """A receipt of a table whose rows differ."""
    return Receipt(
        table=table,
        rows_before=100,
        rows_after=100,
        content=TableContent.CHANGED,
        added=added,
        removed=removed,
        changed=changed,
        columns=tuple(ColumnChange(column=name, rows=count) for name, count in columns),
    )


def apart(rows: int, *more: tuple[str, int]) -> tuple[Receipt, ...]:
    """A table with other values in so many rows of `touched`, and in more columns."""
    columns = tuple((name, count) for name, count in (("touched", rows), *more) if count)
    return (difference("public.t", changed=max(count for _, count in columns), columns=columns),) if columns else ()


def test_a_column_that_differs_between_two_runs_of_the_originals_is_nondeterministic() -> None:
    assert find_nondeterministic_columns(apart(40), apart(40), apart(40), apart(40)) == {CLOCK: 40}


@pytest.mark.parametrize(
    ("found", "again", "changes", "suggested"),
    [
        (apart(40), (), apart(40), apart(40)),
        (apart(40), apart(39), apart(40), apart(40)),
        (apart(40), apart(40), apart(40), apart(0)),
        (apart(40), apart(40), apart(40), apart(41)),
    ],
    ids=["the same in every run", "in fewer rows", "not written by the suggestion", "written in more rows"],
)
def test_another_difference_is_one_of_the_suggestion(
    found: tuple[Receipt, ...],
    again: tuple[Receipt, ...],
    changes: tuple[Receipt, ...],
    suggested: tuple[Receipt, ...],
) -> None:
    assert find_nondeterministic_columns(found, again, changes, suggested) == {}


def test_another_column_of_the_table_is_still_a_difference() -> None:
    both = apart(40, ("status", 1))
    assert find_nondeterministic_columns(both, apart(40), both, apart(40)) == {CLOCK: 40}


def test_a_column_of_that_name_in_another_table_explains_nothing() -> None:
    other = (difference("public.u", changed=40, columns=(("touched", 40),)),)
    assert find_nondeterministic_columns(other, apart(40), apart(40), apart(40)) == {}


def test_rows_are_regenerated_only_if_as_many_differ_between_two_runs() -> None:
    found = difference("public.t", added=3, removed=3)
    assert has_regenerated_rows(found, (found,))
    assert not has_regenerated_rows(found, (difference("public.t", added=3, removed=2),))
    assert not has_regenerated_rows(apart(40)[0], apart(40))
