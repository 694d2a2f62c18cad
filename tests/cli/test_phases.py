"""Phases: what --phase applies, what may pass a waiting file, and a rename over two phases that breaks no version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Project

USERS = "CREATE TABLE users (id int PRIMARY KEY, name text);\nINSERT INTO users VALUES (1, 'Ada');\n"
EXPAND = """\
ALTER TABLE users ADD COLUMN full_name text;

CREATE FUNCTION keep_names_equal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.name IS DISTINCT FROM OLD.name THEN
        NEW.full_name := NEW.name;
    ELSE
        NEW.full_name := coalesce(NEW.full_name, NEW.name);
    END IF;
    NEW.name := NEW.full_name;
    RETURN NEW;
END
$$;

CREATE TRIGGER keep_names_equal BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION keep_names_equal();
"""
FILL = "UPDATE users SET full_name = name WHERE full_name IS NULL;\n"
CONTRACT = """\
-- migrate: phase=after
DROP TRIGGER keep_names_equal ON users;
DROP FUNCTION keep_names_equal();
ALTER TABLE users DROP COLUMN name;
"""
OLD = ("SELECT name FROM users", "UPDATE users SET name = 'Grace' WHERE id = 1")
NEW = ("SELECT full_name FROM users", "UPDATE users SET full_name = 'Edsger' WHERE id = 1")


@pytest.fixture
def renaming(project: Project) -> Project:
    """A project in which a column is renamed over two phases; its table is applied."""
    project.write("001_users.sql", USERS)
    project.call("db.migrate")
    project.write("002_add_full_name.sql", EXPAND)
    project.write("003_fill_full_name.sql", FILL)
    project.write("004_drop_name.sql", CONTRACT)
    return project


def test_a_rename_over_two_phases_breaks_no_version_that_runs(renaming: Project) -> None:
    def run(*queries: str) -> None:
        for query in queries:
            renaming.rows(query)

    for to in ("002", "003"):
        assert renaming.call("db.migrate", "--to", to, "--phase", "before").code == 0
        run(*OLD)
    waits = renaming.call("db.migrate", "--phase", "before")
    assert (waits.code, waits.out.rstrip().endswith("3 of 4 applied; 1 waits for --phase after")) == (0, True)
    run(*OLD)
    assert renaming.rows("SELECT name, full_name FROM users") == [("Grace", "Grace")]
    run(*NEW, *OLD, *NEW)
    assert renaming.rows("SELECT name, full_name FROM users") == [("Edsger", "Edsger")]

    table = renaming.call("db.status")
    assert "004 004_drop_name.sql" in table.out
    assert "Pending, waits for --phase after" in table.out
    waiting = renaming.call("db.status", "--json").document["migrations"][-1]
    assert (waiting["state"], waiting["phase"]) == ("pending", "after")
    assert renaming.call("db.status", "--check", "--phase", "before").code == 0
    assert renaming.call("db.status", "--check").code == 3

    assert renaming.call("db.migrate", "--phase", "after").code == 0
    run(*NEW)
    with pytest.raises(psycopg.errors.UndefinedColumn):
        run(*OLD)
    assert renaming.recorded() == ["001", "002", "003", "004"]


def test_without_phase_all_files_run_in_version_order(renaming: Project) -> None:
    renaming.write("005_orders.sql", "ALTER TABLE users ADD COLUMN email text;\n")
    assert renaming.call("db.migrate").code == 0
    assert renaming.recorded() == ["001", "002", "003", "004", "005"]
    order = renaming.rows("SELECT version FROM schema_migrations ORDER BY applied_at")
    assert [version for (version,) in order] == ["001", "002", "003", "004", "005"]


def test_a_file_that_names_nothing_of_a_waiting_one_passes_it_and_leaves_no_drift(renaming: Project) -> None:
    renaming.write("005_orders.sql", "CREATE TABLE orders (id int);\n")
    assert renaming.call("db.migrate", "--phase", "before").code == 0
    assert renaming.recorded() == ["001", "002", "003", "005"]

    assert "out of order" not in renaming.call("db.status").out
    assert renaming.call("db.status", "--check").code == 3
    assert renaming.call("db.verify").code == 0
    undone = renaming.call("db.rollback", "--yes")
    assert (undone.code, renaming.recorded()) == (0, ["001", "002", "003"])
    renaming.rows("DROP TABLE orders")
    assert renaming.call("db.migrate", "--phase", "before").code == 0

    assert renaming.call("db.migrate", "--phase", "after").code == 0
    assert renaming.recorded() == ["001", "002", "003", "004", "005"]
    assert renaming.call("db.status", "--check").code == 0


def test_a_file_that_names_what_a_waiting_one_changes_is_refused_before_anything_runs(renaming: Project) -> None:
    renaming.write(
        "005_orders.sql", "CREATE TABLE orders (id int);\nCREATE VIEW names AS\n    SELECT name FROM users;\n"
    )
    refused = renaming.inv("db.migrate", "--phase", "before")
    assert (refused.code, renaming.recorded()) == (2, ["001"])
    assert (
        "005_orders.sql:3: may not pass 004_drop_name.sql, which waits for --phase after: it names users, as line 2 of "
        "that file does; apply that file first, when the former version is gone: inv db.migrate --to 004"
    ) in refused.err
    assert renaming.call("db.migrate", "--phase", "before", "--dry-run").code == 2


def test_a_table_in_a_schema_that_a_waiting_file_drops_is_not_created_before(project: Project) -> None:
    project.write("001_staging.sql", "CREATE SCHEMA staging;\n")
    project.call("db.migrate")
    project.write("002_empty.sql", "-- migrate: phase=after\nDROP SCHEMA staging CASCADE;\nCREATE SCHEMA staging;\n")
    project.write("003_batches.sql", "CREATE TABLE staging.batches (id int);\n")
    refused = project.inv("db.migrate", "--phase", "before")
    assert (refused.code, project.recorded()) == (2, ["001"])
    assert "003_batches.sql:1: may not pass 002_empty.sql" in refused.err
    assert project.call("db.migrate").code == 0
    assert project.rows("SELECT to_regclass('staging.batches') IS NOT NULL") == [(True,)]


@pytest.mark.parametrize("directive", ["-- Migrate: phase=after", "/* migrate: phase=after */"])
def test_a_near_miss_of_the_directive_is_refused_and_drops_nothing(project: Project, directive: str) -> None:
    project.write("001_users.sql", USERS)
    project.call("db.migrate")
    project.write("002_drop_name.sql", f"{directive}\nALTER TABLE users DROP COLUMN name;\n")
    refused = project.inv("db.migrate", "--phase", "before")
    assert (refused.code, project.recorded()) == (2, ["001"])
    assert f"002_drop_name.sql:1: {directive}: not read as a directive" in refused.err
    assert project.rows("SELECT name FROM users") == [("Ada",)]


def test_phase_after_waits_for_pending_files_of_phase_before(renaming: Project) -> None:
    refused = renaming.call("db.migrate", "--phase", "after")
    assert (refused.code, renaming.recorded()) == (2, ["001"])
    assert "004_drop_name.sql: waits for 002_add_full_name.sql" in refused.err


def test_in_a_new_database_a_file_that_may_not_be_passed_runs_in_its_place(project: Project) -> None:
    project.write("001_users.sql", USERS)
    project.write("002_add_full_name.sql", EXPAND)
    project.write("003_drop_name.sql", CONTRACT)
    project.write("004_view.sql", "CREATE VIEW names AS SELECT full_name FROM users;\n")
    project.write("005_email.sql", "-- migrate: phase=after\nALTER TABLE users ADD COLUMN email text;\n")
    project.write("006_emails.sql", "CREATE VIEW emails AS SELECT email FROM users;\n")
    project.write("007_drop_view.sql", "-- migrate: phase=after\nDROP VIEW names;\n")
    project.write("008_orders.sql", "CREATE TABLE orders (id int);\n")
    assert project.call("db.migrate", "--phase", "before").code == 0
    assert project.recorded() == ["001", "002", "003", "004", "005", "006", "008"]
    assert project.call("db.migrate", "--phase", "after").code == 0
    assert project.recorded()[-2:] == ["007", "008"]


def test_a_waiting_file_that_was_added_below_what_it_changes_is_drift(project: Project) -> None:
    project.write("001_users.sql", USERS)
    project.write("003_view.sql", "CREATE VIEW names AS SELECT name FROM users;\n")
    project.call("db.migrate")
    project.write("002_drop_name.sql", CONTRACT)
    late = project.call("db.status", "--check")
    assert late.code == 4
    assert "003_view.sql could not pass it: it names users" in late.out


def test_sql_that_a_file_composes_may_touch_anything(renaming: Project) -> None:
    renaming.write("005_any.sql", "DO $$ BEGIN EXECUTE format('CREATE TABLE %I ()', current_user || '_own'); END $$;\n")
    refused = renaming.call("db.migrate", "--phase", "before")
    assert refused.code == 2
    assert "005_any.sql runs SQL that it composes (line 1), so what it names is unknown" in refused.err
    allowed = renaming.call("db.migrate", "--phase", "before", "--allow-out-of-order")
    assert (allowed.code, renaming.recorded()) == (0, ["001", "002", "003", "005"])


def test_wrong_phases_are_refused_with_file_and_line(project: Project) -> None:
    project.write("001_users.sql", "-- migrate: phase=later\nSELECT 1;\n")
    refused = project.call("db.migrate")
    assert (refused.code, "001_users.sql:1: -- migrate: phase=later: the phases are" in refused.err) == (2, True)
    project.write(
        "001_users.sql", "-- migrate: phase=after\n-- migrate: phase=before\n-- migrate: after=x\nSELECT 1;\n"
    )
    refused = project.call("db.verify", "--offline")
    assert "001_users.sql:2: -- migrate: phase=before: a second phase" in refused.out
    assert "001_users.sql:3: -- migrate: after=x: only for the order of files in repeatable/" in refused.out
    assert project.call("db.migrate", "--phase", "later").code == 2
    assert project.call("db.status", "--phase", "after").code == 2


def test_a_drop_is_an_error_with_the_phase_as_its_remedy_and_a_warning_in_that_phase(renaming: Project) -> None:
    renaming.write("005_drop.sql", "ALTER TABLE users DROP COLUMN id;\n")
    findings = renaming.call("db.lint", "--json").document["findings"]
    drops = {one["version"]: one for one in findings if one["rule"] == "drop-column"}
    assert drops["005"]["severity"] == "error"
    assert "phase=after" in drops["005"]["remedy"]
    assert drops["004"]["severity"] == "warning"
