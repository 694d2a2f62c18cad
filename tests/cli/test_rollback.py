"""db.rollback: records go, newest first; with revert files the SQL is undone in the same transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import conninfo_to_dict

if TYPE_CHECKING:
    from tests.cli.conftest import Project

# The specification, "Rollback Last Migration", word for word.
WARNING = "⚠️  WARNING: Rollback only removes the migration record. You must manually revert database changes!\n"


@pytest.fixture
def applied(three: Project) -> Project:
    """Three migrations, applied."""
    assert three.call("db.migrate").code == 0
    return three


def database_name(project: Project) -> str:
    """host:port/dbname, as results name the database."""
    parts = conninfo_to_dict(project.url)
    return f"{parts['host']}:{parts['port']}/{parts['dbname']}"


def test_the_newest_record_goes_and_the_sql_stays(applied: Project) -> None:
    rolled = applied.inv("db.rollback")
    assert (rolled.code, rolled.err) == (0, WARNING)
    assert rolled.out.splitlines() == [
        "003_three.sql: record removed",
        f"1 migration rolled back in {database_name(applied)}",
    ]
    assert applied.recorded() == ["001", "002"]
    assert applied.tables() == {"one", "two", "three"}


def test_steps_and_to_say_how_far_back(applied: Project) -> None:
    assert applied.call("db.rollback", "--to", "2").out.startswith("003_three.sql: record removed\n1 migration")
    document = applied.call("db.rollback", "--steps=2", "--json").document
    assert [one["version"] for one in document["removed"]] == ["002", "001"]
    assert document["reverted"] is False
    nothing = applied.call("db.rollback")
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
        refused = applied.call("db.rollback", *flags, "--json")
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
        f"2 migrations rolled back in {database_name(applied)}",
    ]
    assert (applied.recorded(), applied.tables()) == (["001"], {"one"})


def test_a_revert_that_fails_leaves_its_record(applied: Project) -> None:
    applied.write("revert/003_three.sql", "DROP TABLE three;\nDROP TABLE four;\n")
    before = applied.state()
    failed = applied.call("db.rollback", "--revert", "--json")
    assert (failed.code, failed.error["file"], failed.error["line"]) == (6, "revert/003_three.sql", 2)
    assert failed.document["failed"] == {"version": "003", "filename": "revert/003_three.sql"}
    assert applied.state() == before


@pytest.mark.parametrize("flags", [("--steps", "3"), ("--to", "0")], ids=["steps", "to"])
def test_a_rollback_that_fails_half_way_says_what_it_reverted(applied: Project, flags: tuple[str, ...]) -> None:
    if flags[0] == "--to":
        applied.write("000_zero.sql", "SELECT 0;\n")
        assert applied.call("db.migrate", "--allow-out-of-order").code == 0
    applied.write("revert/003_three.sql", "DROP TABLE three;\n")
    applied.write("revert/002_two.sql", "DROP TABLE four;\n")
    applied.write("revert/001_one.sql", "DROP TABLE one;\n")
    failed = applied.call("db.rollback", "--revert", *flags)
    assert failed.code == 6
    again = "--to 0" if flags[0] == "--to" else "--steps 2"
    assert failed.err.splitlines()[-4:] == [
        "reverted before, and without a record now: 003_three.sql",
        "revert/002_two.sql: rolled back: the database is as it was before this file",
        "still applied: 002_two.sql, 001_one.sql",
        f"next: correct revert/002_two.sql, then run: inv db.rollback --revert {again}",
    ]
    applied.write("revert/002_two.sql", "DROP TABLE two;\n")
    assert applied.call("db.rollback", "--revert", *again.split()).code == 0
    assert applied.tables() == set()


def test_a_rollback_that_fails_half_way_says_so_in_json(applied: Project) -> None:
    applied.write("revert/003_three.sql", "DROP TABLE three;\n")
    applied.write("revert/002_two.sql", "DROP TABLE four;\n")
    document = applied.inv("db.rollback", "--revert", "--steps", "2", "--json").document
    assert document["removed"] == [{"version": "003", "filename": "003_three.sql"}]
    assert document["failed"] == {"version": "002", "filename": "revert/002_two.sql"}
    assert document["remaining"] == [{"version": "002", "filename": "002_two.sql"}]
    assert set(document) == {"error", "removed", "failed", "remaining"}


def test_a_rollback_to_the_newest_has_nothing_to_do_and_says_why(applied: Project) -> None:
    before = applied.state()
    nothing = applied.call("db.rollback", "--to", "3")
    assert (nothing.code, nothing.err) == (0, "")
    assert nothing.out == f"nothing to roll back: 003_three.sql is the newest applied in {database_name(applied)}\n"
    assert applied.state() == before


@pytest.mark.parametrize("flag", ["--dry-run", "--dry"])
def test_a_dry_run_shows_what_would_be_rolled_back_and_writes_nothing(applied: Project, flag: str) -> None:
    before = applied.state()
    task = ("db.rollback", flag) if flag == "--dry-run" else (flag, "db.rollback")
    shown = applied.call(*task, "--steps", "2", KERNEL_STORAGE_MODE="SUPABASE")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.splitlines() == [
        f"would roll back in {database_name(applied)}:",
        "  003_three.sql: remove its record, not undo its SQL",
        "  002_two.sql: remove its record, not undo its SQL",
    ]
    document = applied.call(*task, "--json").document
    assert document["removed"] == []
    assert document["remaining"] == [{"version": "003", "filename": "003_three.sql"}]
    assert "revert/003_three.sql: no such file" in applied.call(*task, "--revert").err
    assert applied.state() == before


def test_production_wants_yes_for_a_rollback_and_for_nothing_else(applied: Project) -> None:
    before = applied.state()
    refused = applied.call("db.rollback", "--json", KERNEL_STORAGE_MODE="SUPABASE")
    assert (refused.code, refused.error["code"]) == (2, "usage")
    assert "KERNEL_STORAGE_MODE=SUPABASE" in refused.err
    assert "--yes" in refused.err
    assert applied.state() == before
    assert applied.call("db.rollback", "--yes", KERNEL_STORAGE_MODE="SUPABASE").code == 0
    applied.rows("DROP TABLE three")
    assert applied.call("db.migrate", KERNEL_STORAGE_MODE="SUPABASE").code == 0


def test_a_role_that_may_not_delete_is_told_what_to_grant(applied: Project, role: str) -> None:
    applied.rows(f"GRANT SELECT ON schema_migrations TO {role}")
    before = applied.state()
    refused = applied.call("db.rollback", "--json", DATABASE_URL=applied.url_with(user=role))
    assert (refused.code, refused.error["code"]) == (7, "database_refused")
    assert f"GRANT DELETE ON public.schema_migrations TO {role}" in refused.err
    assert applied.state() == before
