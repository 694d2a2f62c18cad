"""docs/recipes.md is consistent: every recipe has its row, and files that the linter accepts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.lint.finding import Severity
from kernel.lint.lint import lint_migrations, read_migration_directory
from kernel.migrations.migration import require_migrations
from tests.recipes import PAGE, read_page

if TYPE_CHECKING:
    from pathlib import Path

RECIPES = read_page(PAGE.read_text(encoding="utf-8"))


def test_the_table_has_a_row_for_every_recipe() -> None:
    counts = {heading: len(recipe.migrations) for heading, recipe in RECIPES.recipes.items()}
    assert {heading: bounds.files for heading, bounds in RECIPES.bounds.items()} == counts


def test_what_was_measured_is_below_the_bound_of_its_row() -> None:
    for heading, bounds in RECIPES.bounds.items():
        assert bounds.measured_seconds < max(bounds.reads_seconds, bounds.writes_seconds), heading


@pytest.mark.parametrize("heading", RECIPES.recipes)
def test_the_linter_accepts_every_recipe(heading: str, tmp_path: Path) -> None:
    given = set(RECIPES.given.files)
    for name, text in (RECIPES.given.files | RECIPES.recipes[heading].files).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    migrations = require_migrations(tmp_path)
    numbers = [int(one.version) for one in migrations if one.filename not in given]
    assert numbers == [21 + index for index in range(len(numbers))]
    pending = {one.filename for one in migrations} - given
    result = lint_migrations(read_migration_directory(tmp_path), pending, column_types={})
    assert [one.finding for one in result.findings if one.finding.severity is not Severity.HARMLESS] == []
    assert result.notes == ()
