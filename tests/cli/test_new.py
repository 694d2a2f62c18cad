"""db.new: the next file, in the project's folder, without a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Project


def test_the_next_number_is_scaffolded_and_its_path_printed(three: Project) -> None:
    made = three.inv("db.new", "add_user_preferences", "--description", "Preferences of tenants", DATABASE_URL="")
    assert (made.code, made.out, made.err) == (0, "migrations/004_add_user_preferences.sql\n", "")
    assert (three.root / made.out.strip()).read_text().splitlines()[:2] == [
        "-- Migration: 004 - Add user preferences",
        "-- Description: Preferences of tenants",
    ]


def test_with_revert_and_no_transaction_both_files_run_as_they_are(three: Project) -> None:
    made = three.inv("db.new", "Index the tenants", "--revert", "--no-transaction")
    assert made.out.splitlines() == [
        "migrations/004_index_the_tenants.sql",
        "migrations/revert/004_index_the_tenants.sql",
    ]
    assert made.err == "named index_the_tenants\n"
    assert "-- migrate: no-transaction" in (three.migrations / "004_index_the_tenants.sql").read_text()
    assert three.inv("db.migrate").code == 0
    assert three.inv("db.rollback", "--revert").code == 0
    assert three.recorded() == ["001", "002", "003"]


@pytest.mark.parametrize("name", ["--help", "", "../other"])
def test_a_name_that_cannot_be_one_makes_no_file(three: Project, name: str) -> None:
    before = sorted(three.root.rglob("*.sql"))
    refused = three.inv("db.new", name)
    assert refused.code == 2
    assert refused.err.startswith("error: name: ")
    assert sorted(three.root.rglob("*.sql")) == before
