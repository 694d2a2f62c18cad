"""db.repair, and what db.status says of a partial file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Project

pytestmark = pytest.mark.slow

HEAD = "-- migrate: no-transaction\n"


@pytest.fixture
def partial(project: Project) -> Project:
    """A file that stopped at its second statement, a failed index build."""
    project.write("001_t.sql", "CREATE TABLE t (a int);\nINSERT INTO t VALUES (1), (1);\n")
    project.write("002_b.sql", f"{HEAD}CREATE TABLE u (a int);\nCREATE UNIQUE INDEX CONCURRENTLY t_a ON t (a);\n")
    failed = project.inv("db.migrate")
    assert failed.code == 6
    assert "public.t_a is left INVALID; the next run drops it and builds it again" in failed.err
    return project


def test_status_says_which_statement_is_next_and_which_index_is_invalid(partial: Project) -> None:
    shown = partial.inv("db.status")
    assert shown.code == 0
    assert "Partial:\n  002_b.sql: the next run begins with statement 2; public.t_a is INVALID" in shown.out
    (_, entry) = partial.inv("db.status", "--json").document["migrations"]
    assert (entry["state"], entry["next_statement"], entry["invalid_indexes"]) == ("partial", 2, ["public.t_a"])


def test_a_partial_file_runs_from_its_beginning_once_it_is_restarted(partial: Project) -> None:
    done = partial.inv("db.repair", "--restart", "2")
    assert done.code == 0
    assert done.out.startswith("002_b.sql: the next inv db.migrate runs it from its beginning in ")
    assert "; no SQL ran\n  1 statement that finished runs a second time\n" in done.out
    assert "  public.t_a is INVALID, and is dropped first" in done.out
    partial.rows("DROP TABLE u; DELETE FROM t WHERE ctid = '(0,1)'")
    assert partial.inv("db.migrate").code == 0
    assert partial.recorded() == ["001", "002"]


def test_a_partial_file_keeps_its_number(partial: Project) -> None:
    refused = partial.inv("db.renumber", "002_b.sql", "--to", "5")
    assert refused.code == 2
    assert "a partial file keeps its number" in refused.err
    (partial.migrations / "002_b.sql").rename(partial.migrations / "005_b.sql")
    moved = partial.inv("db.migrate")
    assert moved.code == 4
    assert (
        "005_b.sql: what ran of it as version 002 (1 statement) would run again; number it 002 again, "
        "or let it run again: inv db.repair --restart 002" in moved.err
    )
    assert partial.inv("db.repair", "--restart", "002").code == 0
    partial.rows("DROP TABLE u; DROP INDEX t_a; DELETE FROM t WHERE ctid = '(0,1)'")
    assert partial.inv("db.migrate").code == 0
    assert partial.recorded() == ["001", "005"]


def test_a_restart_needs_yes_in_production_and_has_a_document(partial: Project) -> None:
    unconfirmed = partial.inv("db.repair", "--restart", "002", KERNEL_STORAGE_MODE="SUPABASE")
    assert unconfirmed.code == 2
    assert "--yes" in unconfirmed.err
    done = partial.inv("db.repair", "--restart", "002", "--yes", "--json", KERNEL_STORAGE_MODE="SUPABASE")
    assert done.code == 0
    assert done.document["restarted"] == {"version": "002", "filename": "002_b.sql"}
    assert done.document["finished"] == 1
    assert done.document["invalid_indexes"] == ["public.t_a"]


@pytest.mark.parametrize("flags", [(), ("--accept", "1", "--restart", "2"), ("--restart", "1"), ("--restart", "x")])
def test_a_repair_of_nothing_or_of_two_things_is_refused(partial: Project, flags: tuple[str, ...]) -> None:
    assert partial.inv("db.repair", *flags).code == 2


def test_accepting_a_file_says_that_no_sql_ran_and_both_checksums(project: Project) -> None:
    path = project.write("001_t.sql", "CREATE TABLE t (a int);\n")
    project.inv("db.migrate")
    before = project.value("SELECT checksum FROM schema_migrations")
    path.write_text("CREATE TABLE t (a int);\nCREATE TABLE u (a int);\n")
    done = project.inv("db.repair", "--accept", "1")
    assert done.code == 0
    after = project.value("SELECT checksum FROM schema_migrations")
    assert done.out.splitlines()[0].endswith("; no SQL ran")
    assert done.out.splitlines()[1] == f"  checksum {before} -> {after}"
    assert project.tables() == {"t"}


def test_a_statement_without_effect_is_named_before_the_file_runs(project: Project) -> None:
    project.write("001_t.sql", f"{HEAD}SET LOCAL lock_timeout = '1s';\nCREATE TABLE t (a int);\n")
    for flags in (("--dry-run",), ()):
        shown = project.inv("db.migrate", *flags)
        assert shown.code == 0
        assert "warning: 001_t.sql:2: SET LOCAL has no effect, since each statement commits by itself" in shown.err


@pytest.mark.parametrize(
    ("task", "grants"),
    [
        (("db.repair", "--accept", "001"), ("UPDATE ON public.schema_migrations",)),
        (("db.repair", "--restart", "002"), ("SELECT, INSERT, UPDATE, DELETE ON public.schema_migrations_progress",)),
        (("db.rollback",), ("DELETE ON public.schema_migrations",)),
    ],
)
def test_a_task_that_changes_records_names_the_privilege_that_the_role_lacks(
    partial: Project, role: str, task: tuple[str, ...], grants: tuple[str, ...]
) -> None:
    partial.write("001_t.sql", "CREATE TABLE t (a int);\nINSERT INTO t VALUES (1), (1);\n-- a comment\n")
    partial.rows(f"GRANT SELECT ON schema_migrations TO {role}")
    for grant in grants:
        refused = partial.call(*task, DATABASE_URL=partial.url_with(user=role))
        assert refused.code == 7
        assert f"GRANT {grant} TO {role}" in refused.err
        partial.rows(f"GRANT {grant} TO {role}")
    assert partial.call(*task, DATABASE_URL=partial.url_with(user=role)).code == 0


def test_a_baseline_names_the_privilege_that_the_role_lacks(three: Project, role: str) -> None:
    three.rows("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    url = three.url_with(user=role)
    refused = three.call("db.baseline", "--to", "003", DATABASE_URL=url)
    assert (refused.code, three.value("SELECT to_regclass('schema_migrations') IS NULL")) == (7, True)
    assert f"GRANT CREATE ON SCHEMA public TO {role}" in refused.err
    three.rows(f"GRANT CREATE ON SCHEMA public TO {role}")
    assert three.call("db.baseline", "--to", "003", DATABASE_URL=url).code == 0
