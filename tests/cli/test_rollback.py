"""db.rollback: records go, newest first; with revert files the SQL is undone in the same transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Project

# The specification, "Rollback Last Migration", word for word.
WARNING = "⚠️  WARNING: Rollback only removes the migration record. You must manually revert database changes!\n"


@pytest.fixture
def applied(three: Project) -> Project:
    """Three migrations, applied."""
    assert three.inv("db.migrate").code == 0
    return three


def test_the_newest_record_goes_and_the_sql_stays(applied: Project) -> None:
    rolled = applied.inv("db.rollback")
    assert (rolled.code, rolled.out, rolled.err) == (0, "003_three.sql: record removed\n", WARNING)
    assert applied.recorded() == ["001", "002"]
    assert applied.tables() == {"one", "two", "three"}


def test_steps_and_to_say_how_far_back(applied: Project) -> None:
    assert applied.inv("db.rollback", "--to", "2").out == "003_three.sql: record removed\n"
    document = applied.inv("db.rollback", "--steps=2", "--json").document
    assert [one["version"] for one in document["removed"]] == ["002", "001"]
    assert document["reverted"] is False
    nothing = applied.inv("db.rollback")
    assert nothing.code == 0
    assert nothing.out.startswith("nothing to roll back: no migration is recorded in ")
    assert nothing.err == ""


REFUSED = {
    ("--steps", "0"): "--steps 0: expected a whole number from 1",
    ("--steps", "9" * 5000): "expected a whole number from 1",
    ("--steps", "4"): "--steps 4: only 3 applied; see inv db.status",
    ("--steps", "2", "--to", "1"): "--steps and --to exclude each other; give one of them",
    ("--to", "7"): "--to 7: this version is not applied, so it cannot stay applied; see inv db.status",
    ("--to", ""): "--to: empty; write a version such as 016, or omit the flag",
}


def test_what_cannot_be_meant_is_refused(applied: Project) -> None:
    before = applied.state()
    for flags, message in REFUSED.items():
        refused = applied.inv("db.rollback", *flags, "--json")
        assert (refused.code, refused.error["code"]) == (2, "usage")
        assert message in refused.err
    assert applied.state() == before


def test_revert_runs_the_paired_files_newest_first(applied: Project) -> None:
    applied.write("revert/003_three.sql", "DROP TABLE three;\n")
    before = applied.state()
    refused = applied.inv("db.rollback", "--steps", "2", "--revert")
    assert refused.code == 2
    assert "error: revert/002_two.sql: no such file; write what undoes the migration" in refused.err
    assert applied.state() == before

    applied.write("revert/002_two.sql", "ALTER TABLE two RENAME TO back;\nDROP TABLE back;\n")
    rolled = applied.inv("db.rollback", "--steps", "2", "--revert")
    assert (rolled.code, rolled.err) == (0, "")
    assert rolled.out.splitlines() == [
        "003_three.sql: reverted, and its record removed",
        "002_two.sql: reverted, and its record removed",
    ]
    assert (applied.recorded(), applied.tables()) == (["001"], {"one"})


def test_a_revert_that_fails_leaves_its_record(applied: Project) -> None:
    applied.write("revert/003_three.sql", "DROP TABLE three;\nDROP TABLE four;\n")
    before = applied.state()
    failed = applied.inv("db.rollback", "--revert", "--json")
    assert (failed.code, failed.error["file"], failed.error["line"]) == (6, "revert/003_three.sql", 2)
    assert failed.document["failed"] == {"version": "003", "filename": "revert/003_three.sql"}
    assert applied.state() == before


def test_production_wants_yes_for_a_rollback_and_for_nothing_else(applied: Project) -> None:
    before = applied.state()
    refused = applied.inv("db.rollback", "--json", KERNEL_STORAGE_MODE="SUPABASE")
    assert (refused.code, refused.error["code"]) == (2, "usage")
    assert "KERNEL_STORAGE_MODE=SUPABASE" in refused.err
    assert "--yes" in refused.err
    assert applied.state() == before
    assert applied.inv("db.rollback", "--yes", KERNEL_STORAGE_MODE="SUPABASE").code == 0
    applied.rows("DROP TABLE three")
    assert applied.inv("db.migrate", KERNEL_STORAGE_MODE="SUPABASE").code == 0


def test_a_role_that_may_not_delete_is_told_what_to_grant(applied: Project, role: str) -> None:
    applied.rows(f"GRANT SELECT ON schema_migrations TO {role}")
    before = applied.state()
    refused = applied.inv("db.rollback", "--json", DATABASE_URL=applied.url_with(user=role))
    assert (refused.code, refused.error["code"]) == (7, "database_refused")
    assert f"GRANT DELETE ON public.schema_migrations TO {role}" in refused.err
    assert applied.state() == before
